#include "kernels/ascent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dispatch.hpp"
#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/backward.hpp"
#include "kernels/buffers.hpp"
#include "kernels/intervals.hpp"

namespace pydual {
namespace {

// Steps of Adam uphill, projected onto [0, high] (Kingma and Ba 2015, algorithm 1).
struct Adam {
    double rate, correct1, correct2, high;

    PYDUAL_INLINE void step(double g, double& first, double& second, double& value) const {
        first = 0.9 * first + 0.1 * g;
        second = 0.999 * second + 0.001 * g * g;
        const double moved = value + rate * (first * correct1) / (std::sqrt(second * correct2) + 1e-8);
        value = moved < 0.0 ? 0.0 : (moved > high ? high : moved);
    }
};

PYDUAL_DISPATCH void move_all(const Adam& adam, const double* gradient, long n, double* first, double* second, double* value) {
    for (long e = 0; e < n; ++e) adam.step(gradient[e], first[e], second[e], value[e]);
}

// One Adam step uphill for the logarithm of a number, whose derivative is value times that of the value.
void adam_of_logarithm(const double* gradient, long n, double rate, double correct1, double correct2, double* first, double* second,
                       double* value) {
    for (long e = 0; e < n; ++e) {
        const double g = value[e] * gradient[e];
        first[e] = 0.9 * first[e] + 0.1 * g;
        second[e] = 0.999 * second[e] + 0.001 * g * g;
        value[e] *= std::exp(rate * (first[e] * correct1) / (std::sqrt(second[e] * correct2) + 1e-30));
    }
}

// The same with curvatures: d bound / d alpha = price (y - at).
PYDUAL_DISPATCH void curved_gradients(const double* price, const double* y, const double* slope, const double* at, long n, double* alpha) {
    for (long e = 0; e < n; ++e) alpha[e] = slope[e] > 0.0 && slope[e] < 1.0 ? price[e] * (y[e] - at[e]) : 0.0;
}

// d bound / d alpha = max(price, 0) y on free unstable neurons.
PYDUAL_DISPATCH void gradients(const double* price, const double* y, const double* slope, long n, double* alpha) {
    for (long e = 0; e < n; ++e) {
        const bool unstable = slope[e] > 0.0 && slope[e] < 1.0;
        alpha[e] = unstable && price[e] > 0.0 ? price[e] * y[e] : 0.0;
    }
}

// The columns of `mask`, of n rows.
PYDUAL_DISPATCH void copy_columns(const char* mask, const double* from, int n, int r, double* to) {
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < r; ++c) {
            const long e = static_cast<long>(i) * r + c;
            to[e] = mask[c] ? from[e] : to[e];
        }
}

// The lines of r queries at some duals, and the bound that they give.
class Relaxation {
public:
    Relaxation(const AscentQuery& query, int r, const AscentPoint& start)
        : q_(query), p_(*query.program), r_(r), alpha(p_, r, 1), beta(p_, r, 1), slope(p_, r, 1), price(p_, r), lines(p_.depth() + 1),
          lambda(start.lambda, start.lambda + (query.row ? 0 : static_cast<long>(query.margins->size) * r)),
          fixed(p_.depth() + 1), bound(r), offset_(p_, r, 1), split_(p_, r, 1), before_(p_, r, 1), below_(p_.depth() + 1),
          constant_(r), scratch_(4L * p_.inputs),
          at_(p_, query.center ? r : 0, 1) {
        curved.resize(p_.depth() + 1);
        curvature.resize(p_.depth() + 1);
        for (int k = 1; k <= p_.depth(); ++k) p_.kind(k) == Kind::relu ? start_layer(k, start) : start_curves(k);
    }

    // Fills bound, price and the minimizing input x.
    void evaluate(double* x) {
        weigh_margins();
        back_substitute(p_, p_.depth(), lines.data(), split_.get(), r_, {price.get(), before_.get(), constant_.data()});
        concretize(q_.region, price[0], constant_.data(), r_, bound.data(), x, scratch_.data());
    }

    // The best of the bounds at the input and at all stages, by intervals [low, high] of z.
    void evaluate_stages(const double* const* low, const double* const* high, double* x) {
        std::vector<double> best(r_, -std::numeric_limits<double>::infinity());
        const std::vector<char> read(p_.depth() + 1, 1);
        weigh_margins();
        write_out_splits();
        for (int k = p_.depth(); k >= 1; --k) {
            drop_inactive(k);
            try_stage(p_, k, low, high, read, price.get(), constant_.data(), r_, best.data());
            substitute_layer(p_, k, lines.data(), split_.get(), r_, {price.get(), before_.get(), constant_.data()});
        }
        concretize(q_.region, price[0], constant_.data(), r_, bound.data(), x, scratch_.data());
        for (int c = 0; c < r_; ++c) bound[c] = std::max(bound[c], best[c]);
    }

    long count(int k) const { return static_cast<long>(p_.size(k)) * r_; }

    const AscentQuery& q_;
    const Program& p_;
    int r_;
    Columns alpha, beta, slope, price;
    std::vector<Lines> lines;
    std::vector<double> lambda;
    std::vector<std::vector<long>> fixed;  // by layer: where phases are
    std::vector<double> bound;
    std::vector<Curved> curved;                  // by layer
    std::vector<std::vector<double>> curvature;  // by layer, r; empty where there is none

private:
    // The coefficients of the weighed margins and of the splits.
    void weigh_margins() {
        price.clear();
        std::fill(constant_.begin(), constant_.end(), 0.0);
        if (q_.row) {
            add_rows(*q_.margins, q_.row, r_, price.get(), constant_.data());
        } else {
            for (int m = 0; m < q_.margins->size; ++m)
                for (int c = 0; c < r_; ++c) constant_[c] += q_.margins->bias[m] * lambda[static_cast<long>(m) * r_ + c];
            for (const Term& t : q_.margins->terms) apply_transposed(t, lambda.data(), r_, r_, price[t.source], r_);
        }
        for (int k = 1; k <= p_.depth(); ++k)
            for (const long e : fixed[k]) split_[k][e] = -static_cast<double>(q_.phase[k][e]) * beta[k][e];
    }

    // The multipliers of splits by what their neurons read, at once: stages hold them, too.
    void write_out_splits() {
        for (int k = 1; k <= p_.depth(); ++k) {
            if (fixed[k].empty()) continue;
            const Layer& layer = p_.layers[k - 1];
            for (const long e : fixed[k]) constant_[e % r_] += layer.bias[e / r_] * split_[k][e];
            for (const Term& t : layer.terms) apply_transposed(t, split_[k], r_, r_, price[t.source], r_);
            for (const long e : fixed[k]) split_[k][e] = 0.0;
        }
    }

    // The output of an inactive neuron is 0, whatever its interval says.
    void drop_inactive(int top) {
        for (int k = 1; k <= top; ++k)
            for (const long e : fixed[k])
                if (q_.phase[k][e] < 0) price[k][e] = 0.0;
    }

    void start_layer(int k, const AscentPoint& start) {
        const int n = p_.size(k);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < r_; ++c) start_neuron(k, i, c, start);
        lines[k] = {alpha[k], slope[k], offset_[k], nullptr, 1, r_};
        if (has_curvatures()) start_curved(k, start);
    }

    bool has_curvatures() const { return q_.center != nullptr; }

    void start_curved(int k, const AscentPoint& start) {
        curvature[k].assign(start.curvature[k], start.curvature[k] + r_);
        curved[k] = {q_.lower[k], q_.upper[k], q_.center[k], q_.radius[k], alpha[k], curvature[k].data(), at_[k], q_.step, q_.step ? r_ : 1};
        lines[k].curved = &curved[k];
    }

    // Shared intervals have shared lines.
    void start_curves(int k) {
        const long n = q_.step ? count(k) : p_.size(k);
        below_[k].resize(n);
        curve_lines(p_.kind(k), q_.lower[k], q_.upper[k], n, Rule::adaptive, alpha[k], below_[k].data(), slope[k], offset_[k]);
        lines[k] = {alpha[k], slope[k], offset_[k], below_[k].data(), q_.step, q_.step ? r_ : 1};
    }

    void start_neuron(int k, int i, int c, const AscentPoint& start) {
        const long e = static_cast<long>(i) * r_ + c;
        const long at = q_.step ? e : i;
        const double l = q_.lower[k][at];
        const double u = q_.upper[k][at];
        const signed char phase = q_.phase[k][e];
        const bool active = phase > 0 || (phase == 0 && l >= 0.0);
        const bool unstable = phase == 0 && l < 0.0 && u > 0.0;
        slope[k][e] = unstable ? u / (u - l) : (active ? 1.0 : 0.0);
        offset_[k][e] = unstable ? -slope[k][e] * l : 0.0;
        const double given = start.alpha[k][e];
        const double adaptive = has_curvatures() ? -1.0 : (u > -l ? 1.0 : 0.0);  // with curvatures, coefficients have a say
        alpha[k][e] = unstable ? (given >= 0.0 ? std::min(given, 1.0) : adaptive) : slope[k][e];
        beta[k][e] = phase ? std::max(start.beta[k][e], 0.0) : 0.0;
        if (phase) fixed[k].push_back(e);
    }

    Columns offset_, split_, before_;
    std::vector<std::vector<double>> below_;  // of curves
    std::vector<double> constant_, scratch_;
    Columns at_;  // where the minima with curvatures are
};

class Ascent {
public:
    Ascent(const AscentQuery& query, const AscentOptions& options, int r, const AscentPoint& best, const AscentResult& result)
        : q_(query), p_(*query.program), o_(options), r_(r), best_(best), out_(result), now_(query, r, best), y_(p_, r, 1), z_(p_, r),
          moments_(options, r, now_), values_(static_cast<long>(query.margins->size) * r), curvature_moments_(p_.depth() + 1),
          single_(!several_margins()) {
        std::fill(out_.bound, out_.bound + r, -std::numeric_limits<double>::infinity());
    }

    void run() {
        double scale = 1.0;
        for (int step = 0;; ++step) {
            now_.evaluate(z_[0]);
            play_forward(p_, p_.depth(), now_.lines.data(), now_.price.get(), r_, y_.get(), z_.get());
            const bool proved = keep_best();
            if (proved || step >= o_.steps) break;
            move(step + 1, scale);
            scale *= o_.decay;
        }
        play_best();
    }

private:
    bool several_margins() const {
        for (int c = 0; c < r_; ++c) {
            int n = 0;
            for (int m = 0; m < q_.margins->size; ++m) n += q_.allowed[static_cast<long>(m) * r_ + c];
            if (n > 1) return true;
        }
        return false;
    }

    // Copies columns that improved; true if every column is above the target.
    bool keep_best() {
        std::vector<char>& better = improved_;
        better.assign(r_, 0);
        bool all = true;
        for (int c = 0; c < r_; ++c) {
            better[c] = now_.bound[c] > out_.bound[c];
            if (better[c]) out_.bound[c] = now_.bound[c];
            all = all && out_.bound[c] > o_.target;
        }
        copy(now_.lambda.data(), q_.margins->size, best_.lambda);
        copy(z_[0], p_.inputs, out_.x);
        for (int k = 1; k <= p_.depth(); ++k) {
            if (p_.kind(k) == Kind::relu) copy(now_.alpha[k], p_.size(k), best_.alpha[k]);
            if (!now_.curvature[k].empty()) copy(now_.curvature[k].data(), 1, best_.curvature[k]);
            if (!now_.curvature[k].empty()) copy(z_[k], p_.size(k), out_.z[k]);
            copy(now_.beta[k], p_.size(k), best_.beta[k]);
            copy(y_[k], p_.size(k), out_.y[k]);
            copy(now_.price[k], p_.size(k), out_.price[k]);
        }
        return all;
    }

    // The outputs of the best play, from its inputs and prices.
    void play_best() {
        for (int k = 1; k <= p_.depth(); ++k) {
            Lines lines = now_.lines[k];
            if (lines.curved) continue;  // kept with the best
            if (p_.kind(k) == Kind::relu) lines.alpha = best_.alpha[k];
            relax_forward(lines, out_.price[k], out_.y[k], p_.size(k), r_, out_.z[k]);
        }
    }

    void copy(const double* from, int n, double* to) const { copy_columns(improved_.data(), from, n, r_, to); }

    void move(int step, double scale) {
        const double correct1 = 1.0 / (1.0 - std::pow(0.9, step));
        const double correct2 = 1.0 / (1.0 - std::pow(0.999, step));
        const Adam of_alpha{scale * o_.alpha_rate, correct1, correct2, 1.0};
        const Adam of_beta{scale * o_.beta_rate, correct1, correct2, std::numeric_limits<double>::infinity()};
        for (int k = 1; k <= p_.depth(); ++k) {
            if (p_.kind(k) != Kind::relu) continue;
            if (!now_.curvature[k].empty()) move_curvature(k, step, scale);
            if (o_.alpha_rate > 0.0) move_alpha(k, of_alpha);
            move_beta(k, of_beta);
        }
        if (!single_) move_lambda(scale);
    }

    void move_alpha(int k, const Adam& adam) {
        double* gradient = moments_.gradient[k];
        gradients(now_.price[k], y_[k], now_.slope[k], now_.count(k), gradient);
        if (now_.lines[k].curved) curved_gradients(now_.price[k], y_[k], now_.slope[k], now_.curved[k].at, now_.count(k), gradient);
        move_all(adam, gradient, now_.count(k), moments_.first[k], moments_.second[k], now_.alpha[k]);
    }

    // d bound / d beta = -y (active), y (inactive).
    void move_beta(int k, const Adam& adam) {
        for (std::size_t i = 0; i < now_.fixed[k].size(); ++i) {
            const long e = now_.fixed[k][i];
            adam.step(-static_cast<double>(q_.phase[k][e]) * y_[k][e], moments_.first_beta[k][i], moments_.second_beta[k][i], now_.beta[k][e]);
        }
    }

    void move_curvature(int k, int step, double scale) {
        std::vector<double>& moments = curvature_moments_[k];
        moments.resize(3L * r_, 0.0);
        curvature_gradient(now_.lines[k], now_.curved[k], p_.size(k), r_, moments.data());
        adam_of_logarithm(moments.data(), r_, scale * o_.curvature_rate, 1.0 / (1.0 - std::pow(0.9, step)), 1.0 / (1.0 - std::pow(0.999, step)),
                          moments.data() + r_, moments.data() + 2L * r_, now_.curvature[k].data());
    }

    // Exponentiated gradient on the simplex: the gradient of a weight is its margin at the relaxed play.
    void move_lambda(double scale) {
        const int rows = q_.margins->size;
        evaluate(*q_.margins, z_.get(), r_, values_.data());
        for (int c = 0; c < r_; ++c) {
            double largest = 0.0;
            double mean = 0.0;
            for (int m = 0; m < rows; ++m) {
                const long e = static_cast<long>(m) * r_ + c;
                if (q_.allowed[e]) largest = std::max(largest, std::fabs(values_[e]));
            }
            if (largest == 0.0) continue;
            for (int m = 0; m < rows; ++m) {
                const long e = static_cast<long>(m) * r_ + c;
                if (q_.allowed[e]) now_.lambda[e] = std::max(now_.lambda[e], 1e-6) * std::exp(scale * o_.lambda_rate * values_[e] / largest);
                mean += q_.allowed[e] ? now_.lambda[e] : 0.0;
            }
            for (int m = 0; m < rows; ++m) now_.lambda[static_cast<long>(m) * r_ + c] /= mean;
        }
    }

    // Gradients and their moving averages: of all alpha that move, and of beta where phases are fixed.
    struct Moments {
        Moments(const AscentOptions& o, int r, const Relaxation& at) : Moments(o.steps && o.alpha_rate > 0.0 ? r : 0, at) {}
        Moments(int r, const Relaxation& at) : gradient(at.p_, r, 1), first(at.p_, r, 1), second(at.p_, r, 1) {
            for (const std::vector<long>& places : at.fixed) first_beta.emplace_back(places.size(), 0.0);
            second_beta = first_beta;
        }
        Columns gradient, first, second;
        std::vector<std::vector<double>> first_beta, second_beta;
    };

    const AscentQuery& q_;
    const Program& p_;
    const AscentOptions& o_;
    int r_;
    const AscentPoint& best_;
    const AscentResult& out_;
    Relaxation now_;
    Columns y_, z_;
    Moments moments_;
    std::vector<double> values_;
    std::vector<std::vector<double>> curvature_moments_;  // by layer: gradient and its averages, 3 x r
    std::vector<char> improved_;
    bool single_;
};

}  // namespace

void ascend(const AscentQuery& query, const AscentOptions& options, int r, const AscentPoint& point,
            const AscentResult& result) {
    Ascent(query, options, r, point, result).run();
}

void evaluate_bounds(const AscentQuery& query, int r, const AscentPoint& point, double* bound) {
    Relaxation at(query, r, point);
    std::vector<double> x(static_cast<std::size_t>(query.program->inputs) * r);
    at.evaluate(x.data());
    std::copy(at.bound.begin(), at.bound.end(), bound);
}

void evaluate_stages(const AscentQuery& query, int r, const AscentPoint& point, double* bound) {
    const Program& p = *query.program;
    Columns low(p, 1), high(p, 1);
    std::copy(query.region.lower, query.region.lower + p.inputs, low[0]);
    std::copy(query.region.upper, query.region.upper + p.inputs, high[0]);
    for (int k = 1; k <= p.depth(); ++k) {
        activate_ends(p.kind(k), query.lower[k], query.upper[k], p.size(k), low[k], high[k]);
    }
    Relaxation at(query, r, point);
    std::vector<double> x(static_cast<std::size_t>(p.inputs) * r);
    at.evaluate_stages(low.get(), high.get(), x.data());
    std::copy(at.bound.begin(), at.bound.end(), bound);
}

}  // namespace pydual
