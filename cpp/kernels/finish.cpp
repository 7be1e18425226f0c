#include "kernels/finish.hpp"

#include <algorithm>
#include <cmath>

#include "core/dispatch.hpp"
#include "core/pack.hpp"

namespace pydual {
namespace {

PYDUAL_DISPATCH void add_scaled(double* y, const double* x, double a, int n) {
    for (int i = 0; i < n; ++i) y[i] += a * x[i];
}

// With sums side by side: a single one would have to wait for each addition before the next.
PYDUAL_DISPATCH double dot(const double* x, const double* y, int n) {
    Pack<4> sums{};
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        Pack<4> a, b;
        std::memcpy(&a, x + i, sizeof(a));
        std::memcpy(&b, y + i, sizeof(b));
        sums += a * b;
    }
    double parts[4];
    std::memcpy(parts, &sums, sizeof(sums));
    double total = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    for (; i < n; ++i) total += x[i] * y[i];
    return total;
}

}  // namespace

void CellProof::clear() {
    neurons.clear();
    active.clear();
    split.clear();
    weights.clear();
    betas.clear();
    slopes.clear();
}

Finisher::Finisher(const Program& program, const Form& margins, const FinishOptions& options)
    : program_(program), margins_(margins), options_(options), stack_(options.unstable + 2) {
    const int u = options.unstable;
    const int width = 1 + program.inputs + u;
    rows_.resize(static_cast<std::size_t>(u) * width);
    margin_rows_.resize(static_cast<std::size_t>(margins.size) * width);
    for (auto* array : {&lower_, &upper_, &slope_, &offset_, &price_, &before_, &y_, &z_}) array->resize(u);
    phase_.resize(u);
    path_.reserve(u);
    coefficients_.resize(width);
    t_.resize(program.inputs);
    values_.resize(margins.size);
    for (Duals* d : {&best_, &first_, &second_}) {
        d->alpha.resize(u);
        d->beta.resize(u);
        d->lambda.resize(margins.size);
    }
    for (Duals& d : stack_) d = best_;
}

// A forward pass in which every unstable neuron's output is a variable of its own.
void Finisher::reduce(const double* low, const double* high, ZonotopeSpace& space) {
    u_ = 0;
    proof_.clear();
    start_forms(program_, low, high, space);
    inputs_ = static_cast<int>(space.wide.size());
    const int inputs = inputs_;
    int number = 0;
    int width = 1 + inputs;
    const int full = 1 + program_.inputs + options_.unstable;
    for (int k = 1; k <= program_.depth(); ++k) {
        const int n = program_.size(k);
        affine_forms(program_.layers[k - 1], width, space, space.forms[k].data());
        int next = width;
        for (int i = 0; i < n; ++i) next += space.offset[k][i] != 0.0;
        for (int i = 0; i < n; ++i, ++number) {
            double* row = space.forms[k].data() + static_cast<long>(i) * space.stride;
            std::fill(row + width, row + next, 0.0);
            if (space.offset[k][i] == 0.0) {
                if (space.slope[k][i] == 0.0)
                    std::fill(row, row + width, 0.0);
                else
                    proof_.active.push_back(number);
                continue;
            }
            double* kept = rows_.data() + static_cast<long>(u_) * full;
            std::copy(row, row + width, kept);
            std::fill(kept + width, kept + full, 0.0);
            std::fill(row, row + next, 0.0);
            row[1 + inputs + u_] = 1.0;
            lower_[u_] = space.lower[k][i];
            upper_[u_] = space.upper[k][i];
            slope_[u_] = space.slope[k][i];
            offset_[u_] = space.offset[k][i];
            proof_.neurons.push_back(number);
            ++u_;
        }
        width = next;
        space.widths[k] = width;
    }
    affine_forms(margins_, width, space, space.result.data());
    for (int m = 0; m < margins_.size; ++m)
        std::copy_n(space.result.data() + static_cast<long>(m) * space.stride, width, margin_rows_.data() + static_cast<long>(m) * full);
    width_ = full;
}

bool Finisher::finish(const double* low, const double* high, ZonotopeSpace& space) {
    reduce(low, high, space);
    nodes_ = 0;
    work_ = 0.0;
    path_.clear();
    std::fill(phase_.begin(), phase_.end(), 0);
    Duals& root = stack_[0];
    for (int j = 0; j < u_; ++j) {
        root.alpha[j] = upper_[j] > -lower_[j] ? 1.0 : 0.0;
        root.beta[j] = 0.0;
    }
    std::fill(root.lambda.begin(), root.lambda.end(), 1.0 / margins_.size);
    return search(0);
}

bool Finisher::search(int depth) {
    ++nodes_;
    if (work_ > options_.work) return false;
    Duals& here = stack_[depth];
    if (ascend(here)) return true;
    const int j = choose();
    if (j < 0) return false;
    proof_.split.push_back(j);
    path_.push_back(j);
    for (const signed char phase : {static_cast<signed char>(-1), static_cast<signed char>(1)}) {
        phase_[j] = phase;
        stack_[depth + 1] = here;
        stack_[depth + 1].beta[j] = 0.0;
        if (!search(depth + 1)) {
            phase_[j] = 0;
            path_.pop_back();
            return false;
        }
    }
    phase_[j] = 0;
    path_.pop_back();
    return true;
}

// Ascends from `duals`, leaves the best point there with its play; true if it closes the node (and the leaf is written).
bool Finisher::ascend(Duals& duals) {
    double best = -INFINITY;
    for (Duals* d : {&first_, &second_}) {
        std::fill(d->alpha.begin(), d->alpha.end(), 0.0);
        std::fill(d->beta.begin(), d->beta.end(), 0.0);
    }
    Duals& now = duals;
    double scale = 1.0;
    for (int step = 0; step <= options_.steps; ++step) {
        const double bound = evaluate(now);
        if (bound > best) {
            best = bound;
            best_ = now;
        }
        if (bound > options_.target && close(now)) return true;
        if (step == options_.steps) break;
        play(now);
        move(now, step + 1, scale);
        scale *= 0.96;
    }
    duals = best_;
    evaluate(duals);
    play(duals);
    return false;
}

// The Lagrangian's minimum over t in [-1, 1]; leaves coefficients, prices and t.
double Finisher::evaluate(const Duals& duals) {
    const int inputs = inputs_;
    work_ += static_cast<double>(u_) * (2 * inputs + u_);  // with the play that follows
    double* c = coefficients_.data();
    std::fill(coefficients_.begin(), coefficients_.end(), 0.0);
    for (int m = 0; m < margins_.size; ++m)
        if (duals.lambda[m] != 0.0) add_scaled(c, margin_rows_.data() + static_cast<long>(m) * width_, duals.lambda[m], 1 + inputs + u_);
    for (int j = u_ - 1; j >= 0; --j) {
        const double price = c[1 + inputs + j];
        price_[j] = price;
        double hat = 0.0;
        if (phase_[j] > 0) {
            hat = price - duals.beta[j];
        } else if (phase_[j] < 0) {
            hat = duals.beta[j];
        } else if (price >= 0.0) {
            hat = duals.alpha[j] * price;
        } else {
            hat = slope_[j] * price;
            c[0] += offset_[j] * price;
        }
        before_[j] = hat;
        add_scaled(c, rows_.data() + static_cast<long>(j) * width_, hat, 1 + inputs + j);
    }
    double bound = c[0];
    for (int i = 0; i < inputs; ++i) {
        bound -= std::fabs(c[1 + i]);
        t_[i] = c[1 + i] >= 0.0 ? -1.0 : 1.0;
    }
    return bound;
}

// The relaxed adversary's play that attains it.
void Finisher::play(const Duals& duals) {
    const int inputs = inputs_;
    for (int j = 0; j < u_; ++j) {
        const double* row = rows_.data() + static_cast<long>(j) * width_;
        y_[j] = row[0] + dot(row + 1, t_.data(), inputs) + dot(row + 1 + inputs, z_.data(), j);
        if (phase_[j] != 0)
            z_[j] = phase_[j] > 0 ? y_[j] : 0.0;
        else
            z_[j] = price_[j] >= 0.0 ? duals.alpha[j] * y_[j] : slope_[j] * y_[j] + offset_[j];
    }
    for (int m = 0; m < margins_.size; ++m) {
        const double* row = margin_rows_.data() + static_cast<long>(m) * width_;
        values_[m] = row[0] + dot(row + 1, t_.data(), inputs) + dot(row + 1 + inputs, z_.data(), u_);
    }
}

// One Adam step on alpha and beta, one exponentiated-gradient step on lambda (see ascent.cpp).
void Finisher::move(Duals& duals, int step, double scale) {
    const double correct1 = 1.0 / (1.0 - std::pow(0.9, step));
    const double correct2 = 1.0 / (1.0 - std::pow(0.999, step));
    const auto adam = [&](double g, double& first, double& second, double rate) {
        first = 0.9 * first + 0.1 * g;
        second = 0.999 * second + 0.001 * g * g;
        return scale * rate * (first * correct1) / (std::sqrt(second * correct2) + 1e-12);
    };
    for (int j = 0; j < u_; ++j) {
        if (phase_[j] == 0) {
            const double g = price_[j] > 0.0 ? price_[j] * y_[j] : 0.0;
            duals.alpha[j] = std::clamp(duals.alpha[j] + adam(g, first_.alpha[j], second_.alpha[j], 0.2), 0.0, 1.0);
        } else {
            const double size = std::max(std::fabs(price_[j]), 1e-3);  // beta moves on the scale of the price
            const double g = -phase_[j] * y_[j];
            duals.beta[j] = std::max(duals.beta[j] + size * adam(g, first_.beta[j], second_.beta[j], 0.2), 0.0);
        }
    }
    if (margins_.size == 1) return;
    double largest = 0.0;
    for (const double v : values_) largest = std::max(largest, std::fabs(v));
    if (largest == 0.0) return;
    double total = 0.0;
    for (int m = 0; m < margins_.size; ++m) {
        duals.lambda[m] = std::max(duals.lambda[m], 1e-6) * std::exp(scale * values_[m] / largest);
        total += duals.lambda[m];
    }
    for (double& w : duals.lambda) w /= total;
}

// Rounds the duals to what the certificate stores; writes the leaf if the bound survives.
bool Finisher::close(const Duals& duals) {
    Duals& stored = best_;
    stored = duals;
    for (int j = 0; j < u_; ++j) {
        stored.alpha[j] = std::nearbyint(duals.alpha[j] * 128.0) / 128.0;
        stored.beta[j] = static_cast<float>(duals.beta[j]);
    }
    for (double& w : stored.lambda) w = static_cast<float>(w);
    if (!(evaluate(stored) > options_.target)) {
        evaluate(duals);
        return false;
    }
    proof_.split.push_back(-1);
    for (const double w : stored.lambda) proof_.weights.push_back(static_cast<float>(w));
    for (const int j : path_) proof_.betas.push_back(static_cast<float>(stored.beta[j]));
    for (int j = 0; j < u_; ++j) proof_.slopes.push_back(static_cast<std::uint8_t>(stored.alpha[j] * 128.0));
    return true;
}

// The free neuron whose relaxation costs the bound most at the play; -1 if none is left.
int Finisher::choose() const {
    int best = -1;
    double most = -1.0;
    for (int j = 0; j < u_; ++j) {
        if (phase_[j] != 0) continue;
        const double gap = std::fabs(price_[j]) * (std::fabs(z_[j] - std::max(y_[j], 0.0)) + 0.1 * offset_[j]);
        if (gap > most) {
            most = gap;
            best = j;
        }
    }
    return best;
}

}  // namespace pydual
