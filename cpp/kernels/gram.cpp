#include "kernels/gram.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/blas.hpp"
#include "core/dispatch.hpp"

namespace pydual {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// The first n columns of A (m rows, row stride lda), each times its factor.
PYDUAL_DISPATCH void scale_columns(const double* a, int lda, int m, int n, const double* factor, double* out) {
    for (int i = 0; i < m; ++i)
        for (int k = 0; k < n; ++k) out[static_cast<long>(i) * n + k] = a[static_cast<long>(i) * lda + k] * factor[k];
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

PYDUAL_DISPATCH void add(double factor, const double* a, int n, double* out) {
    for (int i = 0; i < n; ++i) out[i] += factor * a[i];
}

double sum(const std::vector<double>& values) {
    double total = 0.0;
    for (const double v : values) total += v;
    return total;
}

}  // namespace

GramMultipliers::GramMultipliers(const GramProblem& problem)
    : scaled_lambda(problem.kept), mu(problem.kept), sigma(problem.kept), tau(problem.kept), kappa_kept(problem.kept),
      beta(problem.cuts), ball(problem.ball ? 1 : 0), kappa_inputs(problem.inputs), rho(problem.products.size()) {}

GramMoments::GramMoments(const GramProblem& problem)
    : inputs(problem.inputs), kept(problem.kept), rows(problem.rows()),
      inputs_kept(static_cast<std::size_t>(problem.inputs) * problem.kept),
      kept_kept(static_cast<std::size_t>(problem.kept) * problem.kept),
      rows_kept(static_cast<std::size_t>(problem.rows()) * problem.kept) {}

GramDual::GramDual(const GramProblem& problem)
    : problem_(problem), n_(problem.inputs), m_(problem.kept), rows_(problem.rows()), curvature_(n_), inverse_root_(n_),
      shared_(static_cast<std::size_t>(rows_) * rows_), scaled_(static_cast<std::size_t>(rows_) * n_),
      meeting_(static_cast<std::size_t>(m_) * n_), coupled_(static_cast<std::size_t>(rows_) * m_),
      omega_(problem.products.size()), e_(problem.products.size()), added_(static_cast<std::size_t>(m_) * m_),
      factor_(added_.size()), inverse_(added_.size()), weights_(rows_), extra_(n_), beyond_(n_), pull_(n_), linear_(m_),
      along_(rows_), rest_(m_), share_(rows_), t_inputs_(n_), t_kept_(m_), values_(rows_), spread_(n_) {}

// With K the curvatures of inputs, q the weights of the rows X, H, and t_i times (Omega X + E) x + (Omega H + Z) h + ... for kept
// neuron i (Omega has the scaled lambdas on its diagonal; the rest of it, and e, E, Z, come from products): the linear part of
// inputs is p = X' q + e, that of kept neurons g = H' q + ..., and completing the squares of inputs leaves, with Y = Omega X + E,
//     T = sym(Omega H + Z) + kappa - Y K^-1 Y' / 4,   r = g / 2 - Y K^-1 p / 4,   bound = constant - p' K^-1 p / 4 - r' T^-1 r.
double GramDual::bound(const GramMultipliers& at) {
    for (int i = 0; i < n_; ++i) {
        curvature_[i] = at.kappa_inputs[i] + (problem_.ball ? at.ball[0] * problem_.squares[i] : 0.0);
        inverse_root_[i] = 1.0 / std::sqrt(curvature_[i]);
    }
    scale_columns(problem_.x.data(), n_, rows_, n_, inverse_root_.data(), scaled_.data());
    symmetric_square(scaled_.data(), rows_, n_, shared_.data());
    couple(at);
    combine(at);
    return solve(at);
}

// Y, X K^-1 Y', and what products add to Omega H + Z - Y K^-1 Y' / 4, row by row of the few entries of Omega and E.
void GramDual::couple(const GramMultipliers& at) {
    const double *x = problem_.x.data(), *h = problem_.h.data();
    scale_rows(x, m_, n_, at.scaled_lambda.data(), meeting_.data());
    scale_columns(shared_.data(), rows_, rows_, m_, at.scaled_lambda.data(), coupled_.data());
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        omega_[k] = -at.rho[k] * p.sign * p.row_factor;
        e_[k] = -at.rho[k] * p.sign * p.input_factor;
        add(omega_[k], x + static_cast<long>(p.row) * n_, n_, meeting_.data() + static_cast<long>(p.kept) * n_);
        meeting_[static_cast<long>(p.kept) * n_ + p.input] += e_[k];
        const double* const shared = shared_.data() + static_cast<long>(p.row) * rows_;
        double* const column = coupled_.data() + p.kept;
        for (int r = 0; r < rows_; ++r) column[static_cast<long>(r) * m_] += omega_[k] * shared[r];
        for (int r = 0; r < rows_ && e_[k] != 0.0; ++r)
            column[static_cast<long>(r) * m_] += e_[k] / curvature_[p.input] * x[static_cast<long>(r) * n_ + p.input];
    }
    if (omega_.empty()) return;
    for (int i = 0; i < m_; ++i)  // of D (H - X K^-1 Y' / 4): what Y has besides D X
        for (int j = 0; j < m_; ++j)
            added_[static_cast<long>(i) * m_ + j] =
                -0.25 * at.scaled_lambda[i] *
                (coupled_[static_cast<long>(i) * m_ + j] - at.scaled_lambda[j] * shared_[static_cast<long>(i) * rows_ + j]);
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        double* const row = added_.data() + static_cast<long>(p.kept) * m_;
        add(omega_[k], h + static_cast<long>(p.row) * m_, m_, row);
        add(-0.25 * omega_[k], coupled_.data() + static_cast<long>(p.row) * m_, m_, row);
        for (int j = 0; j < m_ && e_[k] != 0.0; ++j)
            row[j] -= 0.25 * e_[k] / curvature_[p.input] * meeting_[static_cast<long>(j) * n_ + p.input];
        row[p.other] -= at.rho[k] * p.sign * p.other_factor;
    }
}

// q, e, g and the constant, then K^-1 p and X K^-1 p: this through W, as T is, so that errors of W cancel.
void GramDual::combine(const GramMultipliers& at) {
    for (int j = 0; j < m_; ++j) weights_[j] = at.scaled_lambda[j] - at.sigma[j] + problem_.slope[j] * at.tau[j];
    for (int c = 0; c < problem_.cuts; ++c) weights_[m_ + c] = -at.beta[c];
    if (problem_.ball) weights_[problem_.ball_row()] = at.ball[0];
    weights_[rows_ - 1] = 1.0;
    for (std::size_t k = 0; k < omega_.size(); ++k)
        weights_[problem_.products[k].row] -= at.rho[k] * problem_.products[k].row_factor;
    multiply_transposed(problem_.h.data(), rows_, m_, weights_.data(), linear_.data());
    constant_ = dot(weights_.data(), problem_.constant.data(), rows_) - sum(at.kappa_inputs) - sum(at.kappa_kept);
    if (problem_.ball) constant_ += at.ball[0] * problem_.ball_constant;
    for (int j = 0; j < m_; ++j) {
        const double outputs = problem_.half[j] * ((1.0 - problem_.slope[j]) * at.tau[j] - at.mu[j]);
        linear_[j] += outputs + at.scaled_lambda[j] * problem_.constant[j];
        constant_ += outputs + problem_.slope[j] * problem_.lower[j] * at.tau[j];
    }
    std::fill(extra_.begin(), extra_.end(), 0.0);
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        extra_[p.input] -= at.rho[k] * p.input_factor;
        linear_[p.other] -= at.rho[k] * p.other_factor;
        linear_[p.kept] -= at.rho[k] * p.sign * p.constant;
        linear_[p.kept] += omega_[k] * problem_.constant[p.row];
        constant_ -= at.rho[k] * p.constant;
    }
    pull(weights_);
    multiply_transposed(shared_.data(), rows_, rows_, weights_.data(), along_.data());
    for (int r = 0; r < rows_ && !omega_.empty(); ++r)
        along_[r] += dot(problem_.x.data() + static_cast<long>(r) * n_, beyond_.data(), n_);
}

// K^-1 e and K^-1 (X' weights + e).
void GramDual::pull(const std::vector<double>& weights) {
    multiply_transposed(problem_.x.data(), rows_, n_, weights.data(), pull_.data());
    for (int i = 0; i < n_; ++i) {
        beyond_[i] = extra_[i] / curvature_[i];
        pull_[i] = (pull_[i] + extra_[i]) / curvature_[i];
    }
}

// At least the sum of |Y_j K^-1/2| over kept neurons j.
double GramDual::largest_meeting(const GramMultipliers& at) const {
    double total = 0.0;
    for (int j = 0; j < m_; ++j) total += std::fabs(at.scaled_lambda[j]) * std::sqrt(shared_[static_cast<long>(j) * rows_ + j]);
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        total += std::fabs(omega_[k]) * std::sqrt(shared_[static_cast<long>(p.row) * rows_ + p.row]);
        if (e_[k] != 0.0) total += std::fabs(e_[k]) * inverse_root_[p.input];
    }
    return total;
}

double GramDual::solve(const GramMultipliers& at) {
    for (int i = 0; i < m_; ++i)
        for (int j = 0; j <= i; ++j) {
            const long ij = static_cast<long>(i) * m_ + j, ji = static_cast<long>(j) * m_ + i;
            const double coupled = at.scaled_lambda[i] * problem_.h[ij] + at.scaled_lambda[j] * problem_.h[ji];
            const double shared = at.scaled_lambda[i] * at.scaled_lambda[j] * shared_[static_cast<long>(i) * rows_ + j];
            factor_[ij] = 0.5 * coupled - 0.25 * shared + (i == j ? at.kappa_kept[i] : 0.0);
            if (!omega_.empty()) factor_[ij] += 0.5 * (added_[ij] + added_[ji]);
        }
    if (!cholesky(factor_.data(), m_)) return kNever;
    for (int j = 0; j < m_; ++j) rest_[j] = 0.5 * linear_[j] - 0.25 * at.scaled_lambda[j] * along_[j];
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        rest_[p.kept] -= 0.25 * (omega_[k] * along_[p.row] + e_[k] * pull_[p.input]);
    }
    log_determinant_ = 0.0;
    double least = std::numeric_limits<double>::infinity(), most = 0.0;
    for (int j = 0; j < m_; ++j) {
        const double pivot = factor_[static_cast<long>(j) * m_ + j];
        log_determinant_ += 2.0 * std::log(pivot);
        least = std::min(least, pivot);
        most = std::max(most, pivot);
    }
    t_kept_ = rest_;
    solve_lower(factor_.data(), m_, 1, t_kept_.data());
    const double pulled = dot(weights_.data(), along_.data(), rows_) + dot(extra_.data(), pull_.data(), n_);
    const double paid = dot(t_kept_.data(), t_kept_.data(), m_);
    const double bound = constant_ - 0.25 * pulled - paid;
    // A solution with T is off by m roundings times the condition of T, which is at least (most / least)^2; and T is a difference
    // whose parts are at most share^2 / 4 in all, as |Y_j K^-1/2| is at most what this adds for j, with |t| about 1.
    const double share = largest_meeting(at), condition = (most / least) * (most / least);
    uncertainty_ = std::numeric_limits<double>::epsilon() * (std::fabs(constant_) + 0.25 * share * share + m_ * paid * condition);
    return std::isfinite(bound) && std::isfinite(log_determinant_) ? bound : kNever;
}

double GramDual::log_curvatures() const {
    double total = 0.0;
    for (const double k : curvature_) total += std::log(k);
    return total;
}

// T^-1; t of kept neurons: -T^-1 r; of inputs: -K^-1 (p + Y' t) / 2; the values of the rows there.
void GramDual::attain(const GramMultipliers& at) {
    inverse_ = factor_;
    invert_cholesky(inverse_.data(), m_);
    for (int i = 0; i < m_; ++i)
        for (int j = 0; j < i; ++j) inverse_[static_cast<long>(j) * m_ + i] = inverse_[static_cast<long>(i) * m_ + j];
    for (int j = 0; j < m_; ++j) t_kept_[j] = -dot(inverse_.data() + static_cast<long>(j) * m_, rest_.data(), m_);
    share_ = weights_;  // q + Omega' t; and e + E' t
    for (int j = 0; j < m_; ++j) share_[j] += at.scaled_lambda[j] * t_kept_[j];
    for (std::size_t k = 0; k < omega_.size(); ++k) {
        share_[problem_.products[k].row] += omega_[k] * t_kept_[problem_.products[k].kept];
        extra_[problem_.products[k].input] += e_[k] * t_kept_[problem_.products[k].kept];
    }
    pull(share_);
    for (int i = 0; i < n_; ++i) t_inputs_[i] = -0.5 * pull_[i];
    for (int r = 0; r < rows_; ++r) {
        double pulled = dot(shared_.data() + static_cast<long>(r) * rows_, share_.data(), rows_);
        if (!omega_.empty()) pulled += dot(problem_.x.data() + static_cast<long>(r) * n_, beyond_.data(), n_);
        values_[r] = problem_.constant[r] - 0.5 * pulled + dot(problem_.h.data() + static_cast<long>(r) * m_, t_kept_.data(), m_);
    }
}

// Of a row and t of a kept neuron, for weight 1: (H - X K^-1 Y' / 2) T^-1.
double GramDual::covariance(int row, int kept) const {
    double total = 0.0;
    for (int k = 0; k < m_; ++k)
        total += (problem_.h[static_cast<long>(row) * m_ + k] - 0.5 * coupled_[static_cast<long>(row) * m_ + k]) *
                 inverse_[static_cast<long>(kept) * m_ + k];
    return total;
}

void GramDual::gradient(const GramMultipliers& at, double weight, GramMultipliers& out) {
    attain(at);
    for (int j = 0; j < m_; ++j) {
        const double z = problem_.half[j] * (1.0 + t_kept_[j]);
        out.scaled_lambda[j] = (1.0 + t_kept_[j]) * values_[j] + weight * covariance(j, j);
        out.mu[j] = -z;
        out.sigma[j] = -values_[j];
        out.tau[j] = problem_.slope[j] * (values_[j] + problem_.lower[j]) - (problem_.slope[j] - 1.0) * z;
        out.kappa_kept[j] = t_kept_[j] * t_kept_[j] - 1.0 + weight * inverse_[static_cast<long>(j) * m_ + j];
    }
    for (int c = 0; c < problem_.cuts; ++c) out.beta[c] = -values_[m_ + c];
    differentiate_products(weight, out);
    differentiate_inputs(weight, out);
}

// Less the pseudo-expectations of the products.
void GramDual::differentiate_products(double weight, GramMultipliers& out) const {
    for (std::size_t k = 0; k < problem_.products.size(); ++k) {
        const GramProduct& p = problem_.products[k];
        const double* const inverse = inverse_.data() + static_cast<long>(p.kept) * m_;
        double meet = 0.0;  // -2 times the covariance of the input and the kept neuron, times the curvature
        for (int j = 0; j < m_ && p.input_factor != 0.0; ++j)
            meet += meeting_[static_cast<long>(j) * n_ + p.input] * inverse[j];
        const double value = p.row_factor * values_[p.row] + p.other_factor * t_kept_[p.other] +
                             p.input_factor * t_inputs_[p.input] + p.constant;
        const double together = p.row_factor * covariance(p.row, p.kept) + p.other_factor * inverse[p.other] -
                                0.5 * p.input_factor * meet / curvature_[p.input];
        out.rho[k] = -(1.0 + p.sign * t_kept_[p.kept]) * value - weight * p.sign * together;
    }
}

// The variances of inputs: 1 / K + the squares of the columns of L^-1 Y / 2, times K^-2. Overwrites Y.
void GramDual::differentiate_inputs(double weight, GramMultipliers& out) {
    solve_lower(factor_.data(), m_, n_, meeting_.data());
    add_column_squares(meeting_.data(), m_, n_, spread_.data());
    double in_ball = problem_.ball ? values_[problem_.ball_row()] + problem_.ball_constant : 0.0;
    for (int i = 0; i < n_; ++i) {
        const double variance = (1.0 + 0.25 * spread_[i] / curvature_[i]) / curvature_[i];
        const double second_moment = t_inputs_[i] * t_inputs_[i] + weight * variance;
        out.kappa_inputs[i] = second_moment - 1.0;
        if (problem_.ball) in_ball += problem_.squares[i] * second_moment;
    }
    if (problem_.ball) out.ball[0] = in_ball;
}

void GramDual::moments(const GramMultipliers& at, GramMoments& out) {
    attain(at);
    out.inputs = t_inputs_;
    out.kept = t_kept_;
    out.rows = values_;
    out.kept_kept = inverse_;
    for (int r = 0; r < rows_; ++r)
        for (int j = 0; j < m_; ++j) out.rows_kept[static_cast<long>(r) * m_ + j] = covariance(r, j);
    std::fill(out.inputs_kept.begin(), out.inputs_kept.end(), 0.0);
    multiply_transposed_add(meeting_.data(), m_, n_, inverse_.data(), m_, m_, out.inputs_kept.data(), m_);
    for (int i = 0; i < n_; ++i)
        for (int j = 0; j < m_; ++j) out.inputs_kept[static_cast<long>(i) * m_ + j] *= -0.5 / curvature_[i];
}

}  // namespace pydual
