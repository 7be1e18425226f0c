#include "kernels/gram_newton.hpp"

#include <algorithm>
#include <cmath>

#include "core/blas.hpp"

namespace pydual {
namespace {

constexpr double kRidge = 1e-14;  // of the diagonal, against rounding

long at_row(int row, int columns) { return static_cast<long>(row) * columns; }

}  // namespace

int count_variables(const GramProblem& p) {
    return 5 * p.kept + p.cuts + (p.ball ? 1 : 0) + p.inputs + static_cast<int>(p.products.size());
}

GramNewton::GramNewton(const GramProblem& problem)
    : problem_(problem), n_(problem.inputs), m_(problem.kept), rows_(problem.rows()), vectors_(rows_ + n_ + m_),
      variables_(count_variables(problem)), first_input_(5 * m_ + problem.cuts + (problem.ball ? 1 : 0)),
      ball_(problem.ball ? first_input_ - 1 : -1), moments_(problem), pairs_(at_row(vectors_, vectors_)),
      inputs_(at_row(n_, n_)), rows_inputs_(at_row(rows_, n_)), pull_(at_row(m_, n_)), all_(variables_),
      matrix_(at_row(variables_, variables_)), along_(vectors_), across_(vectors_), step_(variables_) {}

double GramNewton::find(GramDual& dual, const GramMultipliers& at, double weight, const std::vector<double>& scale,
                        const std::vector<double>& own, const std::vector<double>& gradient) {
    dual.moments(at, moments_);
    meet(dual);
    describe(at);
    fill(weight);
    if (problem_.ball) add_ball();
    for (int k = 0; k < variables_; ++k) {
        double* const row = matrix_.data() + at_row(k, variables_);
        for (int l = 0; l <= k; ++l) row[l] *= scale[k] * scale[l];
        row[k] = row[k] * (1.0 + kRidge) + weight * own[k];
    }
    if (!cholesky(matrix_.data(), variables_)) return -1.0;
    step_ = gradient;
    solve_lower(matrix_.data(), variables_, 1, step_.data());
    double gain = 0.0;
    for (const double s : step_) gain += s * s;
    solve_lower_transposed(matrix_.data(), variables_, 1, step_.data());
    return std::isfinite(gain) ? gain : -1.0;
}

// P of all pairs of vectors. P of inputs is K^-1 + (K^-1 Y' / 2) T^-1 (Y K^-1 / 2), of inputs and kept neurons -K^-1 Y' T^-1 / 2.
void GramNewton::meet(GramDual& dual) {
    const std::vector<double>&curvature = dual.curvature(), &meeting = dual.meeting();
    for (int j = 0; j < m_; ++j)
        for (int i = 0; i < n_; ++i) pull_[at_row(j, n_) + i] = -0.5 * meeting[at_row(j, n_) + i] / curvature[i];
    std::fill(inputs_.begin(), inputs_.end(), 0.0);
    multiply_add(moments_.inputs_kept.data(), n_, m_, pull_.data(), n_, n_, inputs_.data(), n_);
    for (int i = 0; i < n_; ++i) inputs_[at_row(i, n_) + i] += 1.0 / curvature[i];
    for (int i = 0; i < n_; ++i) {
        double* const row = pairs_.data() + at_row(of_input(i), vectors_);
        std::copy_n(inputs_.data() + at_row(i, n_), n_, row + rows_);
        std::copy_n(moments_.inputs_kept.data() + at_row(i, m_), m_, row + rows_ + n_);
    }
    for (int j = 0; j < m_; ++j) {
        double* const row = pairs_.data() + at_row(of_kept(j), vectors_);
        for (int i = 0; i < n_; ++i) row[rows_ + i] = moments_.inputs_kept[at_row(i, m_) + j];
        std::copy_n(moments_.kept_kept.data() + at_row(j, m_), m_, row + rows_ + n_);
    }
    for (int r = 0; r < rows_; ++r) {  // of rows and units: (X, H) P
        double* const row = pairs_.data() + at_row(r, vectors_);
        std::fill_n(row, rows_ + n_, 0.0);
        std::copy_n(moments_.rows_kept.data() + at_row(r, m_), m_, row + rows_ + n_);
    }
    double* const of_rows = pairs_.data();
    multiply_add(problem_.x.data(), rows_, n_, inputs_.data(), n_, n_, of_rows + rows_, vectors_);
    for (int j = 0; j < m_; ++j)
        for (int i = 0; i < n_; ++i) pull_[at_row(j, n_) + i] = moments_.inputs_kept[at_row(i, m_) + j];
    multiply_add(problem_.h.data(), rows_, m_, pull_.data(), n_, n_, of_rows + rows_, vectors_);
    for (int r = 0; r < rows_; ++r)
        for (int v = rows_; v < vectors_; ++v) pairs_[at_row(v, vectors_) + r] = of_rows[at_row(r, vectors_) + v];
    const double *units_inputs = pairs_.data() + at_row(rows_, vectors_), *units_kept = units_inputs + at_row(n_, vectors_);
    multiply_add(problem_.x.data(), rows_, n_, units_inputs, vectors_, rows_, of_rows, vectors_);
    multiply_add(problem_.h.data(), rows_, m_, units_kept, vectors_, rows_, of_rows, vectors_);
}

// The derivatives of what each multiplier is multiplied with (gram.hpp), with the signs that the bound has them with.
void GramNewton::describe(const GramMultipliers& at) {
    std::fill(all_.begin(), all_.end(), Variable());
    for (int j = 0; j < m_; ++j) {
        const double half = problem_.half[j], slope = problem_.slope[j], t = moments_.kept[j];
        Variable &lambda = all_[j], &kappa = all_[4 * m_ + j];
        lambda.slope.add(of_kept(j), moments_.rows[j]);
        lambda.slope.add(j, 1.0 + t);
        lambda.square.add(j, 1.0);
        lambda.unit = of_kept(j);
        all_[m_ + j].slope.add(of_kept(j), -half);
        all_[2 * m_ + j].slope.add(j, -1.0);
        all_[3 * m_ + j].slope.add(j, slope);
        all_[3 * m_ + j].slope.add(of_kept(j), (1.0 - slope) * half);
        kappa.slope.add(of_kept(j), 2.0 * t);
        kappa.square.add(of_kept(j), 1.0);
        kappa.unit = of_kept(j);
    }
    for (int c = 0; c < problem_.cuts; ++c) all_[5 * m_ + c].slope.add(m_ + c, -1.0);
    if (problem_.ball) all_[ball_].slope.add(problem_.ball_row(), 1.0);
    for (int i = 0; i < n_; ++i) {
        Variable& kappa = all_[first_input_ + i];
        kappa.slope.add(of_input(i), 2.0 * moments_.inputs[i]);
        kappa.square.add(of_input(i), 1.0);
        kappa.unit = of_input(i);
    }
    for (std::size_t k = 0; k < at.rho.size(); ++k) describe_product(problem_.products[k], all_[first_input_ + n_ + k]);
}

void GramNewton::describe_product(const GramProduct& p, Variable& v) const {
    const double first = 1.0 + p.sign * moments_.kept[p.kept];
    const double second = p.row_factor * moments_.rows[p.row] + p.other_factor * moments_.kept[p.other] +
                          p.input_factor * moments_.inputs[p.input] + p.constant;
    v.unit = of_kept(p.kept);
    v.slope.add(of_kept(p.kept), -p.sign * second);
    const auto factor = [&](int vector, double value) {
        if (value == 0.0) return;
        v.slope.add(vector, -first * value);
        v.square.add(vector, -p.sign * value);
    };
    factor(p.row, p.row_factor);
    factor(of_kept(p.other), p.other_factor);
    factor(of_input(p.input), p.input_factor);
}

void GramNewton::combine(const Combination& c, std::vector<double>& out) const {
    std::fill(out.begin(), out.end(), 0.0);
    for (int k = 0; k < c.size; ++k) {
        const double* const row = pairs_.data() + at_row(c.vector[k], vectors_);
        for (int v = 0; v < vectors_; ++v) out[v] += c.factor[k] * row[v];
    }
}

// The lower triangle of minus the second derivatives.
void GramNewton::fill(double weight) {
    const auto value = [](const Combination& c, const double* of) {
        double total = 0.0;
        for (int k = 0; k < c.size; ++k) total += c.factor[k] * of[c.vector[k]];
        return total;
    };
    for (int k = 0; k < variables_; ++k) {
        const Variable& mine = all_[k];
        double* const row = matrix_.data() + at_row(k, variables_);
        combine(mine.slope, along_);
        for (int l = 0; l <= k; ++l) row[l] = 0.5 * value(all_[l].slope, along_.data());
        if (mine.unit < 0) continue;
        const double* const unit = pairs_.data() + at_row(mine.unit, vectors_);
        combine(mine.square, across_);
        for (int l = 0; l <= k; ++l) {
            const Variable& other = all_[l];
            if (other.unit < 0) continue;
            row[l] += 0.5 * weight * (unit[other.unit] * value(other.square, across_.data()) +
                                      across_[other.unit] * value(other.square, unit));
        }
    }
}

// The ball's function is a row plus the squares of the radii times what the boxes of inputs are multiplied with.
void GramNewton::add_ball() {
    const auto entry = [&](int k, int l) -> double& { return matrix_[at_row(std::max(k, l), variables_) + std::min(k, l)]; };
    std::fill(step_.begin(), step_.end(), 0.0);
    for (int i = 0; i < n_; ++i)
        for (int l = 0; l < variables_; ++l) step_[l] += problem_.squares[i] * entry(first_input_ + i, l);
    double own = step_[ball_];
    for (int i = 0; i < n_; ++i) own += problem_.squares[i] * step_[first_input_ + i];
    for (int l = 0; l < variables_; ++l) entry(ball_, l) += l == ball_ ? own + step_[ball_] : step_[l];
}

}  // namespace pydual
