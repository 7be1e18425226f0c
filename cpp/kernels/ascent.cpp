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

namespace pydual {
namespace {

// One Adam step uphill, projected onto [0, high] (Kingma and Ba 2015, algorithm 1).
PYDUAL_DISPATCH void adam(const double* gradient, long n, double rate, double correct1, double correct2, double high,
                          double* first, double* second, double* value) {
    for (long e = 0; e < n; ++e) {
        const double g = gradient[e];
        first[e] = 0.9 * first[e] + 0.1 * g;
        second[e] = 0.999 * second[e] + 0.001 * g * g;
        const double step = rate * (first[e] * correct1) / (std::sqrt(second[e] * correct2) + 1e-8);
        const double moved = value[e] + step;
        value[e] = moved < 0.0 ? 0.0 : (moved > high ? high : moved);
    }
}

// d bound / d alpha = max(price, 0) y on free unstable neurons; d bound / d beta = -y (active), y (inactive).
PYDUAL_DISPATCH void gradients(const double* price, const double* y, const double* slope, const signed char* phase, long n,
                               double* alpha, double* beta) {
    for (long e = 0; e < n; ++e) {
        const bool unstable = slope[e] > 0.0 && slope[e] < 1.0;
        alpha[e] = unstable && price[e] > 0.0 ? price[e] * y[e] : 0.0;
        beta[e] = -static_cast<double>(phase[e]) * y[e];
    }
}

class Ascent {
public:
    Ascent(const AscentQuery& query, const AscentOptions& options, int r, const AscentPoint& best, const AscentResult& result)
        : q_(query), p_(*query.program), o_(options), r_(r), best_(best), out_(result),
          alpha_(p_, r, 1), beta_(p_, r, 1), slope_(p_, r, 1), offset_(p_, r, 1), split_(p_, r, 1),
          after_(p_, r), before_(p_, r, 1), y_(p_, r, 1), z_(p_, r), gradient_alpha_(p_, r, 1), gradient_beta_(p_, r, 1),
          first_alpha_(p_, r, 1), second_alpha_(p_, r, 1), first_beta_(p_, r, 1), second_beta_(p_, r, 1),
          lines_(p_.depth() + 1), below_(p_.depth() + 1), lambda_(best.lambda, best.lambda + static_cast<long>(query.margins->size) * r),
          constant_(r), bound_(r), scratch_(4L * p_.inputs), values_(static_cast<long>(query.margins->size) * r) {
        for (int k = 1; k <= p_.depth(); ++k) p_.kind(k) == Kind::relu ? start_layer(k) : start_curves(k);
        std::fill(out_.bound, out_.bound + r, -std::numeric_limits<double>::infinity());
        single_ = !several_margins();
    }

    void run() {
        double scale = 1.0;
        for (int step = 0;; ++step) {
            evaluate_bound();
            const bool proved = keep_best();
            if (proved || step >= o_.steps) break;
            move(step + 1, scale);
            scale *= o_.decay;
        }
        play_best();
    }

private:
    long count(int k) const { return static_cast<long>(p_.size(k)) * r_; }

    void start_layer(int k) {
        const int n = p_.size(k);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < r_; ++c) start_neuron(k, i, c);
        lines_[k] = {alpha_[k], slope_[k], offset_[k], nullptr, 1, r_};
    }

    // Shared intervals have shared lines.
    void start_curves(int k) {
        const long n = q_.step ? count(k) : p_.size(k);
        below_[k].resize(n);
        curve_lines(p_.kind(k), q_.lower[k], q_.upper[k], n, Rule::adaptive, alpha_[k], below_[k].data(), slope_[k], offset_[k]);
        lines_[k] = {alpha_[k], slope_[k], offset_[k], below_[k].data(), q_.step, q_.step ? r_ : 1};
    }

    void start_neuron(int k, int i, int c) {
        const long e = static_cast<long>(i) * r_ + c;
        const long at = q_.step ? e : i;
        const double l = q_.lower[k][at];
        const double u = q_.upper[k][at];
        const signed char phase = q_.phase[k][e];
        const bool active = phase > 0 || (phase == 0 && l >= 0.0);
        const bool unstable = phase == 0 && l < 0.0 && u > 0.0;
        slope_[k][e] = unstable ? u / (u - l) : (active ? 1.0 : 0.0);
        offset_[k][e] = unstable ? -slope_[k][e] * l : 0.0;
        const double given = best_.alpha[k][e];
        alpha_[k][e] = unstable ? (given >= 0.0 ? std::min(given, 1.0) : (u > -l ? 1.0 : 0.0)) : slope_[k][e];
        beta_[k][e] = phase ? std::max(best_.beta[k][e], 0.0) : 0.0;
    }

    bool several_margins() const {
        for (int c = 0; c < r_; ++c) {
            int n = 0;
            for (int m = 0; m < q_.margins->size; ++m) n += q_.allowed[static_cast<long>(m) * r_ + c];
            if (n > 1) return true;
        }
        return false;
    }

    void evaluate_bound() {
        after_.clear();
        std::fill(constant_.begin(), constant_.end(), 0.0);
        const int rows = q_.margins->size;
        for (int m = 0; m < rows; ++m)
            for (int c = 0; c < r_; ++c) constant_[c] += q_.margins->bias[m] * lambda_[static_cast<long>(m) * r_ + c];
        for (const Term& t : q_.margins->terms) apply_transposed(t, lambda_.data(), r_, r_, after_[t.source], r_);
        for (int k = 1; k <= p_.depth(); ++k)
            for (long e = 0; e < count(k); ++e) split_[k][e] = -static_cast<double>(q_.phase[k][e]) * beta_[k][e];
        back_substitute(p_, p_.depth(), lines_.data(), split_.get(), r_, {after_.get(), before_.get(), constant_.data()});
        concretize(q_.region, after_[0], constant_.data(), r_, bound_.data(), z_[0], scratch_.data());
        play_forward(p_, p_.depth(), lines_.data(), after_.get(), r_, y_.get(), z_.get());
    }

    // Copies columns that improved; true if every column is above the target.
    bool keep_best() {
        std::vector<char>& better = improved_;
        better.assign(r_, 0);
        bool all = true;
        for (int c = 0; c < r_; ++c) {
            better[c] = bound_[c] > out_.bound[c];
            if (better[c]) out_.bound[c] = bound_[c];
            all = all && out_.bound[c] > o_.target;
        }
        copy(lambda_.data(), q_.margins->size, best_.lambda);
        copy(z_[0], p_.inputs, out_.x);
        for (int k = 1; k <= p_.depth(); ++k) {
            if (p_.kind(k) == Kind::relu) copy(alpha_[k], p_.size(k), best_.alpha[k]);
            copy(beta_[k], p_.size(k), best_.beta[k]);
            copy(y_[k], p_.size(k), out_.y[k]);
            copy(after_[k], p_.size(k), out_.price[k]);
        }
        return all;
    }

    // The outputs of the best play, from its inputs and prices.
    void play_best() {
        for (int k = 1; k <= p_.depth(); ++k) {
            Lines lines = lines_[k];
            if (p_.kind(k) == Kind::relu) lines.alpha = best_.alpha[k];
            relax_forward(lines, out_.price[k], out_.y[k], p_.size(k), r_, out_.z[k]);
        }
    }

    void copy(const double* from, int n, double* to) const {
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < r_; ++c)
                if (improved_[c]) to[static_cast<long>(i) * r_ + c] = from[static_cast<long>(i) * r_ + c];
    }

    void move(int step, double scale) {
        const double correct1 = 1.0 / (1.0 - std::pow(0.9, step));
        const double correct2 = 1.0 / (1.0 - std::pow(0.999, step));
        const double unbounded = std::numeric_limits<double>::infinity();
        for (int k = 1; k <= p_.depth(); ++k) {
            if (p_.kind(k) != Kind::relu) continue;
            gradients(after_[k], y_[k], slope_[k], q_.phase[k], count(k), gradient_alpha_[k], gradient_beta_[k]);
            adam(gradient_alpha_[k], count(k), scale * o_.alpha_rate, correct1, correct2, 1.0, first_alpha_[k],
                 second_alpha_[k], alpha_[k]);
            adam(gradient_beta_[k], count(k), scale * o_.beta_rate, correct1, correct2, unbounded, first_beta_[k],
                 second_beta_[k], beta_[k]);
        }
        if (!single_) move_lambda(scale);
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
                if (q_.allowed[e]) lambda_[e] = std::max(lambda_[e], 1e-6) * std::exp(scale * o_.lambda_rate * values_[e] / largest);
                mean += q_.allowed[e] ? lambda_[e] : 0.0;
            }
            for (int m = 0; m < rows; ++m) lambda_[static_cast<long>(m) * r_ + c] /= mean;
        }
    }

    const AscentQuery& q_;
    const Program& p_;
    const AscentOptions& o_;
    int r_;
    const AscentPoint& best_;
    const AscentResult& out_;
    Columns alpha_, beta_, slope_, offset_, split_, after_, before_, y_, z_;
    Columns gradient_alpha_, gradient_beta_, first_alpha_, second_alpha_, first_beta_, second_beta_;
    std::vector<Lines> lines_;
    std::vector<std::vector<double>> below_;  // of curves
    std::vector<double> lambda_, constant_, bound_, scratch_, values_;
    std::vector<char> improved_;
    bool single_ = true;
};

}  // namespace

void ascend(const AscentQuery& query, const AscentOptions& options, int r, const AscentPoint& point,
            const AscentResult& result) {
    Ascent(query, options, r, point, result).run();
}

}  // namespace pydual
