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
constexpr double kLongest = 2.0;  // of a step, in the logarithm of a multiplier

// The nonnegative multipliers whose logarithms are variables, in their order.
template <class Multipliers, class Action>
void each_positive(Multipliers& m, const Action& action) {
    for (auto* part : {&m.mu, &m.sigma, &m.tau, &m.kappa_kept, &m.beta, &m.ball, &m.kappa_inputs, &m.rho}) action(*part);
}

int count(const GramProblem& p) {
    return 5 * p.kept + p.cuts + (p.ball ? 1 : 0) + p.inputs + static_cast<int>(p.products.size());
}

}  // namespace

GramAscent::GramAscent(GramProblem problem, const GramMultipliers& start, std::vector<double> lambda_scale,
                       const GramOptions& options)
    : problem_(std::move(problem)), options_(options), lambda_scale_(std::move(lambda_scale)), dual_(problem_), at_(start),
      slopes_(problem_), best_(start), minimizer_(count(problem_), kMemory, kLongest), weight_(options.first_weight),
      present_bound_(-std::numeric_limits<double>::infinity()), best_bound_(present_bound_) {
    for (int j = 0; j < problem_.kept; ++j) point_.push_back(start.scaled_lambda[j] / lambda_scale_[j]);
    each_positive(start, [&](const std::vector<double>& part) {
        for (const double v : part) point_.push_back(std::log(std::max(v, kLeast)));
    });
    barriers_ = count(problem_) + problem_.kept;  // of each positive multiplier, and of the matrix
}

void GramAscent::read(const double* point) {
    for (int j = 0; j < problem_.kept; ++j) at_.scaled_lambda[j] = lambda_scale_[j] * *point++;
    each_positive(at_, [&](std::vector<double>& part) {
        for (double& v : part) v = std::exp(std::clamp(*point++, -kLargestLog, kLargestLog));
    });
}

// What is minimized: -(bound + weight * barrier), and its gradient in the variables.
double GramAscent::evaluate(const double* point, double* gradient) {
    read(point);
    present_bound_ = dual_.bound(at_);
    if (!std::isfinite(present_bound_)) return std::numeric_limits<double>::infinity();
    dual_.gradient(at_, weight_, slopes_);
    double barrier = dual_.log_determinant();
    for (int j = 0; j < problem_.kept; ++j) *gradient++ = -lambda_scale_[j] * slopes_.scaled_lambda[j];
    const auto chain = [&](const std::vector<double>& values, const std::vector<double>& slopes, bool own_barrier) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            *gradient++ = -values[i] * slopes[i] - (own_barrier ? weight_ : 0.0);
            barrier += std::log(values[i]) * (own_barrier ? 1.0 : 0.0);
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
    const auto f = [this](const double* point, double* gradient) { return evaluate(point, gradient); };
    if (!started_) {
        minimizer_.start(f, point_);
        best_bound_ = present_bound_;
        best_ = at_;
        started_ = true;
        ended_ = !std::isfinite(present_bound_);
    }
    for (int k = 0; k < steps && !ended_ && best_bound_ <= goal; ++k) {
        const bool moved = minimizer_.step(f, point_);
        ++taken_;
        ++taken_at_weight_;
        if (moved && present_bound_ > best_bound_) {
            best_bound_ = present_bound_;
            best_ = at_;
        }
        gained_ = 0.9 * gained_ + (moved ? minimizer_.decrease() : 0.0);
        const bool flat = taken_at_weight_ > 20 && gained_ < options_.flatness * weight_ * barriers_;
        if (moved && !flat && taken_at_weight_ < options_.steps_per_weight) continue;
        lower_weight(goal);
        minimizer_.start(f, point_);
    }
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
