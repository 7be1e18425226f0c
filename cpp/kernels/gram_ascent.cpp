#include "kernels/gram_ascent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace pydual {
namespace {

constexpr double kLeast = 1e-6;       // nonnegative multipliers start above this
constexpr double kLargestLog = 60.0;  // of a multiplier
constexpr int kMemory = 25;
constexpr double kDoubt = 1.5;  // the central path is not reached exactly
constexpr double kLongest = 2.0;  // of a step of L-BFGS, in the logarithm of a multiplier
constexpr double kCentered = 0.25;  // of the weight: what a step that ends a weight gains
constexpr double kEnough = 0.01;    // of what a step gains if the dual were linear
constexpr double kShort = 0.5;      // parts of Newton's step, below which the path is far
constexpr double kRaise = 4.0;
constexpr double kCap = 1e3;  // times the largest multiplier
constexpr int kAttempts = 30;

// The nonnegative multipliers whose logarithms are variables, in their order.
template <class Multipliers, class Action>
void each_positive(Multipliers& m, const Action& action) {
    for (auto* part : {&m.mu, &m.sigma, &m.tau, &m.kappa_kept, &m.beta, &m.ball, &m.kappa_inputs, &m.rho}) action(*part);
}

}  // namespace

GramAscent::GramAscent(GramProblem problem, const GramMultipliers& start, std::vector<double> lambda_scale,
                       const GramOptions& options)
    : problem_(std::move(problem)), options_(options), lambda_scale_(std::move(lambda_scale)), dual_(problem_), at_(start),
      slopes_(problem_), best_(start), minimizer_(count_variables(problem_), kMemory, kLongest), weight_(options.first_weight),
      present_bound_(-std::numeric_limits<double>::infinity()), best_bound_(present_bound_) {
    for (int j = 0; j < problem_.kept; ++j) point_.push_back(start.scaled_lambda[j] / lambda_scale_[j]);
    each_positive(start, [&](const std::vector<double>& part) {
        for (const double v : part) point_.push_back(std::log(std::max(v, kLeast)));
    });
    own_.assign(point_.size(), 1.0);
    std::fill_n(own_.begin(), problem_.kept, 0.0);
    if (!problem_.ball) std::fill_n(own_.begin() + 5 * problem_.kept + problem_.cuts, problem_.inputs, 0.0);
    barriers_ = count_variables(problem_) + problem_.kept;  // of each positive multiplier, and of the matrix
}

void GramAscent::read(const double* point, GramMultipliers& into) const {
    for (int j = 0; j < problem_.kept; ++j) into.scaled_lambda[j] = lambda_scale_[j] * *point++;
    each_positive(into, [&](std::vector<double>& part) {
        for (double& v : part) v = std::exp(std::clamp(*point++, -kLargestLog, kLargestLog));
    });
}

GramMultipliers GramAscent::present() const {
    GramMultipliers result(problem_);
    read(point_.data(), result);
    return result;
}

// What is minimized: -(bound + weight * barrier), and its gradient in the variables. Where two products say the same with
// opposite signs, their multipliers could grow together for ever: the barrier charges them as shares of a cap.
double GramAscent::evaluate(const double* point, double* gradient) {
    read(point, at_);
    present_bound_ = dual_.bound(at_);
    if (!std::isfinite(present_bound_)) return std::numeric_limits<double>::infinity();
    dual_.gradient(at_, weight_, slopes_);
    double barrier = dual_.log_determinant();
    for (int j = 0; j < problem_.kept; ++j) *gradient++ = -lambda_scale_[j] * slopes_.scaled_lambda[j];
    const auto chain = [&](const std::vector<double>& values, const std::vector<double>& slopes, bool own_barrier) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            *gradient++ = -values[i] * (slopes[i] - weight_ / cap_) - (own_barrier ? weight_ : 0.0);
            barrier += (own_barrier ? std::log(values[i]) : 0.0) - values[i] / cap_;
        }
    };
    chain(at_.mu, slopes_.mu, true);
    chain(at_.sigma, slopes_.sigma, true);
    chain(at_.tau, slopes_.tau, true);
    chain(at_.kappa_kept, slopes_.kappa_kept, true);
    chain(at_.beta, slopes_.beta, true);
    chain(at_.ball, slopes_.ball, true);
    chain(at_.kappa_inputs, slopes_.kappa_inputs, problem_.ball);
    chain(at_.rho, slopes_.rho, true);
    barrier += dual_.log_curvatures();
    return -(present_bound_ + weight_ * barrier);
}

void GramAscent::advance(int steps, double goal) {
    if (!started_) {
        minimizer_.start([this](const double* point, double* gradient) { return evaluate(point, gradient); }, point_);
        keep_best();
        started_ = true;
        ended_ = !std::isfinite(present_bound_);
    }
    for (int k = 0; k < steps && !ended_ && best_bound_ <= goal; ++k) {
        const bool centered = second_order() ? newton_step() : cheap_step();
        ++taken_;
        ++taken_at_weight_;
        if (centered || taken_at_weight_ >= options_.steps_per_weight) lower_weight(goal);
    }
}

void GramAscent::keep_best() {
    const double sure = present_bound_ - dual_.uncertainty();
    if (!(sure > best_bound_)) return;
    best_bound_ = sure;
    best_ = at_;
}

// Whether the weight is done with.
bool GramAscent::cheap_step() {
    const auto f = [this](const double* point, double* gradient) { return evaluate(point, gradient); };
    if (taken_at_weight_ == 0 && taken_ > 0) minimizer_.start(f, point_);
    const bool moved = minimizer_.step(f, point_);
    if (moved) keep_best();
    gained_ = 0.9 * gained_ + (moved ? minimizer_.decrease() : 0.0);
    return !moved || (taken_at_weight_ >= 20 && gained_ < options_.flatness * weight_ * barriers_);
}

// Newton's method begins: small multipliers, which it could only double step by step, are raised to half of where they belong.
void GramAscent::begin_newton() {
    newton_ = std::make_unique<GramNewton>(problem_);
    gradient_.resize(point_.size());
    trial_ = point_;
    scale_ = lambda_scale_;
    scale_.resize(point_.size());
    double largest = 1.0;
    evaluate(point_.data(), gradient_.data());
    each_positive(at_, [&](const std::vector<double>& part) {
        for (const double v : part) largest = std::max(largest, v);
    });
    cap_ = kCap * largest;
    std::size_t k = problem_.kept;
    each_positive(at_, [&](const std::vector<double>& part) {
        for (const double v : part) {
            const double slope = std::abs(gradient_[k] + weight_ * own_[k]) / v;
            trial_[k] = std::max(point_[k], std::log(0.5 * std::min(weight_ / slope, largest)));
            ++k;
        }
    });
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        if (std::isfinite(evaluate(trial_.data(), gradient_.data()))) {
            point_ = trial_;
            return;
        }
        for (k = problem_.kept; k < point_.size(); ++k) trial_[k] = 0.5 * (trial_[k] + point_[k]);
    }
}

bool GramAscent::newton_step() {
    if (newton_ == nullptr) begin_newton();
    value_ = evaluate(point_.data(), gradient_.data());
    for (double& g : gradient_) g = -g;
    for (std::size_t k = problem_.kept; k < point_.size(); ++k) scale_[k] = std::exp(point_[k]);
    dual_.bound(at_);  // again, as the gradient has used up what it left
    const double gain = newton_->find(dual_, at_, weight_, scale_, own_, gradient_);
    const double taken = gain < 0.0 ? 0.0 : move(newton_->step(), gain);
    const bool centered = taken == 0.0 || gain < kCentered * weight_;
    if (!on_path_ && !centered && taken < kShort) weight_ *= kRaise;  // too far from the path for a weight so small
    on_path_ = on_path_ || centered;
    return centered;
}

// How much of a step the signs allow, less a tenth.
double GramAscent::longest(const std::vector<double>& step) const {
    double most = 0.0;
    for (std::size_t k = problem_.kept; k < step.size(); ++k) most = std::max(most, -step[k]);
    return std::min(1.0, 0.9 / most);
}

// Along the step, as far as it is of use: which part of it that is.
double GramAscent::move(const std::vector<double>& step, double gain) {
    double length = longest(step);
    for (int attempt = 0; attempt < kAttempts; ++attempt, length *= 0.5) {
        trial_ = point_;
        for (std::size_t k = 0; k < step.size(); ++k)
            trial_[k] += k < lambda_scale_.size() ? length * step[k] : std::log1p(length * step[k]);
        const double value = evaluate(trial_.data(), gradient_.data());
        if (!(value <= value_ - kEnough * length * gain)) continue;
        point_.swap(trial_);
        keep_best();
        return length;
    }
    return 0.0;
}

// On the central path the relaxation's optimum is at most bound + weight * (number of barriers).
void GramAscent::lower_weight(double goal) {
    const bool hopeless = best_bound_ + kDoubt * weight_ * barriers_ < goal;
    ended_ = hopeless || weight_ <= options_.last_weight * (1.0 + 1e-9);
    if (ended_) return;
    weight_ = std::max(weight_ * options_.decay, options_.last_weight);
    taken_at_weight_ = 0;
}

}  // namespace pydual
