#include "kernels/gram.hpp"

#include <cmath>
#include <limits>

#include "core/blas.hpp"
#include "core/dispatch.hpp"

namespace pydual {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

PYDUAL_DISPATCH void scale_columns(const double* a, int m, int n, const double* factor, double* out) {
    for (int i = 0; i < m; ++i)
        for (int k = 0; k < n; ++k) out[static_cast<long>(i) * n + k] = a[static_cast<long>(i) * n + k] * factor[k];
}

PYDUAL_DISPATCH void scale_rows(const double* a, int m, int n, const double* factor, double* out) {
    for (int i = 0; i < m; ++i)
        for (int k = 0; k < n; ++k) out[static_cast<long>(i) * n + k] = a[static_cast<long>(i) * n + k] * factor[i];
}

PYDUAL_DISPATCH void add_column_squares(const double* a, int m, int n, double* sums) {
    for (int k = 0; k < n; ++k) sums[k] = 0.0;
    for (int i = 0; i < m; ++i)
        for (int k = 0; k < n; ++k) sums[k] += a[static_cast<long>(i) * n + k] * a[static_cast<long>(i) * n + k];
}

PYDUAL_DISPATCH double dot(const double* a, const double* b, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

double sum(const std::vector<double>& values) {
    double total = 0.0;
    for (const double v : values) total += v;
    return total;
}

}  // namespace

GramMultipliers::GramMultipliers(const GramProblem& problem)
    : scaled_lambda(problem.kept), mu(problem.kept), sigma(problem.kept), tau(problem.kept), kappa_kept(problem.kept),
      beta(problem.cuts), ball(problem.ball ? 1 : 0), kappa_inputs(problem.inputs) {}

GramDual::GramDual(const GramProblem& problem)
    : problem_(problem), n_(problem.inputs), m_(problem.kept), rows_(problem.rows()), curvature_(n_), inverse_root_(n_),
      weights_(rows_), products_(static_cast<std::size_t>(rows_) * rows_), scaled_(static_cast<std::size_t>(rows_) * n_),
      factor_(static_cast<std::size_t>(m_) * m_), inverse_(static_cast<std::size_t>(m_) * m_), rest_(m_), t_inputs_(n_),
      t_kept_(m_), linear_(m_), mixed_(rows_), values_(rows_), whitened_(static_cast<std::size_t>(m_) * n_), spread_(n_),
      combined_(static_cast<std::size_t>(m_) * m_) {}

// With K the curvatures of inputs, D the scaled lambdas and q the weights of the rows X, H: the linear part of inputs is
// X' q, that of kept neurons g = H' q + ..., and completing the squares of inputs leaves, with W = X K^-1 X',
//     T = sym(D H) + kappa - D W D / 4,   r = g / 2 - D W q / 4,   bound = constant - q' W q / 4 - r' T^-1 r.
double GramDual::bound(const GramMultipliers& at) {
    for (int i = 0; i < n_; ++i) {
        curvature_[i] = at.kappa_inputs[i] + (problem_.ball ? at.ball[0] * problem_.squares[i] : 0.0);
        inverse_root_[i] = 1.0 / std::sqrt(curvature_[i]);
    }
    scale_columns(problem_.x.data(), rows_, n_, inverse_root_.data(), scaled_.data());
    symmetric_square(scaled_.data(), rows_, n_, products_.data());
    combine(at);
    return solve(at);
}

void GramDual::combine(const GramMultipliers& at) {
    for (int j = 0; j < m_; ++j) weights_[j] = at.scaled_lambda[j] - at.sigma[j] + problem_.slope[j] * at.tau[j];
    for (int c = 0; c < problem_.cuts; ++c) weights_[m_ + c] = -at.beta[c];
    if (problem_.ball) weights_[problem_.ball_row()] = at.ball[0];
    weights_[rows_ - 1] = 1.0;
    multiply_transposed(problem_.h.data(), rows_, m_, weights_.data(), linear_.data());
    for (int j = 0; j < m_; ++j)
        linear_[j] += problem_.half[j] * ((1.0 - problem_.slope[j]) * at.tau[j] - at.mu[j]) +
                      at.scaled_lambda[j] * problem_.constant[j];
    multiply_transposed(products_.data(), rows_, rows_, weights_.data(), mixed_.data());  // W q
}

double GramDual::solve(const GramMultipliers& at) {
    for (int i = 0; i < m_; ++i)
        for (int j = 0; j <= i; ++j) {
            const double coupled = at.scaled_lambda[i] * problem_.h[static_cast<long>(i) * m_ + j] +
                                   at.scaled_lambda[j] * problem_.h[static_cast<long>(j) * m_ + i];
            const double shared = at.scaled_lambda[i] * at.scaled_lambda[j] * products_[static_cast<long>(i) * rows_ + j];
            factor_[static_cast<long>(i) * m_ + j] = 0.5 * coupled - 0.25 * shared + (i == j ? at.kappa_kept[i] : 0.0);
        }
    if (!cholesky(factor_.data(), m_)) return kNever;
    double constant = dot(weights_.data(), problem_.constant.data(), rows_) - sum(at.kappa_inputs) - sum(at.kappa_kept);
    if (problem_.ball) constant += at.ball[0] * problem_.ball_constant;
    log_determinant_ = 0.0;
    for (int j = 0; j < m_; ++j) {
        constant += problem_.half[j] * ((1.0 - problem_.slope[j]) * at.tau[j] - at.mu[j]) +
                    problem_.slope[j] * problem_.lower[j] * at.tau[j];
        rest_[j] = 0.5 * linear_[j] - 0.25 * at.scaled_lambda[j] * mixed_[j];
        log_determinant_ += 2.0 * std::log(factor_[static_cast<long>(j) * m_ + j]);
    }
    t_kept_ = rest_;
    solve_lower(factor_.data(), m_, 1, t_kept_.data());
    const double bound = constant - 0.25 * dot(weights_.data(), mixed_.data(), rows_) - dot(t_kept_.data(), t_kept_.data(), m_);
    return std::isfinite(bound) && std::isfinite(log_determinant_) ? bound : kNever;
}

double GramDual::log_curvatures() const {
    double total = 0.0;
    for (const double k : curvature_) total += std::log(k);
    return total;
}

// t of kept neurons: -T^-1 r; of inputs: -K^-1 X' (q + D t) / 2; the values of the rows there.
void GramDual::attain() {
    for (int j = 0; j < m_; ++j) t_kept_[j] = -dot(inverse_.data() + static_cast<long>(j) * m_, rest_.data(), m_);
}

void GramDual::gradient(const GramMultipliers& at, double weight, GramMultipliers& out) {
    inverse_ = factor_;
    invert_cholesky(inverse_.data(), m_);
    for (int i = 0; i < m_; ++i)
        for (int j = 0; j < i; ++j) inverse_[static_cast<long>(j) * m_ + i] = inverse_[static_cast<long>(i) * m_ + j];
    attain();
    std::vector<double>& share = mixed_;  // (q + D t) / 2
    for (int r = 0; r < rows_; ++r) share[r] = 0.5 * (weights_[r] + (r < m_ ? at.scaled_lambda[r] * t_kept_[r] : 0.0));
    multiply_transposed(problem_.x.data(), rows_, n_, share.data(), t_inputs_.data());
    for (int i = 0; i < n_; ++i) t_inputs_[i] /= -curvature_[i];
    for (int r = 0; r < rows_; ++r)
        values_[r] = problem_.constant[r] - dot(products_.data() + static_cast<long>(r) * rows_, share.data(), rows_) +
                     dot(problem_.h.data() + static_cast<long>(r) * m_, t_kept_.data(), m_);
    for (int j = 0; j < m_; ++j) {
        const double z = problem_.half[j] * (1.0 + t_kept_[j]);
        double trace = 0.0;
        for (int k = 0; k < m_; ++k)
            trace += (problem_.h[static_cast<long>(j) * m_ + k] -
                      0.5 * products_[static_cast<long>(j) * rows_ + k] * at.scaled_lambda[k]) *
                     inverse_[static_cast<long>(j) * m_ + k];
        out.scaled_lambda[j] = (1.0 + t_kept_[j]) * values_[j] + weight * trace;
        out.mu[j] = -z;
        out.sigma[j] = -values_[j];
        out.tau[j] = problem_.slope[j] * (values_[j] + problem_.lower[j]) - (problem_.slope[j] - 1.0) * z;
        out.kappa_kept[j] = t_kept_[j] * t_kept_[j] - 1.0 + weight * inverse_[static_cast<long>(j) * m_ + j];
    }
    for (int c = 0; c < problem_.cuts; ++c) out.beta[c] = -values_[m_ + c];
    // the variances of inputs: 1 / K + the squares of the columns of L^-1 D X / 2, times K^-2
    scale_rows(problem_.x.data(), m_, n_, at.scaled_lambda.data(), whitened_.data());
    solve_lower(factor_.data(), m_, n_, whitened_.data());
    add_column_squares(whitened_.data(), m_, n_, spread_.data());
    double in_ball = problem_.ball ? values_[problem_.ball_row()] + problem_.ball_constant : 0.0;
    for (int i = 0; i < n_; ++i) {
        const double variance = (1.0 + 0.25 * spread_[i] / curvature_[i]) / curvature_[i];
        const double second_moment = t_inputs_[i] * t_inputs_[i] + weight * variance;
        out.kappa_inputs[i] = second_moment - 1.0;
        if (problem_.ball) in_ball += problem_.squares[i] * second_moment;
    }
    if (problem_.ball) out.ball[0] = in_ball;
}

}  // namespace pydual
