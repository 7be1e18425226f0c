#include "audit/norm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "audit/lanes.hpp"

namespace pydual::audit {
namespace {

constexpr double kLeastPivot = 0x1p-40;  // of the entry that it was at first
constexpr double kLargest = 0x1p500;     // of an entry of a factor: its square is finite
constexpr int kMostRows = 4096;          // of a matrix that is factored: two squares of numbers, a quarter of a gigabyte

// f(column, entry) for each stored entry of a row.
template <class F>
void each_entry(const Rows& matrix, int row, F&& f) {
    if (matrix.dense) {
        const double* values = matrix.values.data() + static_cast<std::ptrdiff_t>(row) * matrix.columns;
        for (int j = 0; j < matrix.columns; ++j) f(j, values[j]);
        return;
    }
    for (std::int64_t t = matrix.starts[row]; t < matrix.starts[row + 1]; ++t) f(matrix.indices[t], matrix.values[t]);
}

// At most the negated greatest sum of magnitudes in a row.
double neg_largest_row(const Rows& matrix) {
    double least = 0.0;
    for (int i = 0; i < matrix.rows; ++i) {
        double sum = 0.0;
        each_entry(matrix, i, [&](int, double v) { sum += v < 0.0 ? v : -v; });
        least = std::min(least, sum);
    }
    return least;
}

// low += v other and neg += -v other, entry by entry.
PYDUAL_AUDIT_DISPATCH void add_multiple(double v, const double* other, int first, int count, double* __restrict low,
                                        double* __restrict neg) {
    for (int j = first; j < count; ++j) {
        low[j] += v * other[j];
        neg[j] += (-v) * other[j];
    }
}

// rest += what is at most -|e| for low <= e and neg <= -e, entry by entry.
PYDUAL_AUDIT_DISPATCH void add_magnitudes(const double* low, const double* neg, int first, int count, double* rest) {
    for (int j = first; j < count; ++j) rest[j] += std::min(low[j], neg[j]);
}

// square I - G for G = M M^T, where M has the rows `matrix`, less a Cholesky factor's L L^T: the upper triangle, enclosed.
class Remainder {
public:
    Remainder(const Rows& matrix, const Rows& transposed, double square)
        : n_(matrix.rows), low_(static_cast<std::size_t>(n_) * n_, 0.0), neg_(low_.size(), 0.0), rest_(n_, 0.0), form_(n_, 0.0),
          most_(n_) {
        std::vector<double> row(n_);
        for (int i = 0; i < n_; ++i) {
            each_entry(matrix, i, [&](int c, double v) {
                if (v == 0.0) return;
                if (transposed.dense) return add_multiple(v, transposed.values.data() + std::ptrdiff_t{c} * n_, i, n_, neg(i), low(i));
                each_entry(transposed, c, [&](int j, double w) {
                    if (j < i) return;
                    neg(i)[j] += v * w;
                    low(i)[j] += (-v) * w;
                });
            });
            low(i)[i] += square;
            neg(i)[i] += -square;
            most_[i] = std::min(std::max(low(i)[i], 0.0), kLargest);
        }
    }

    // At most the negated greatest sum of magnitudes in a row of what is left.
    double run() {
        for (int k = 0; k < n_; ++k) eliminate(k);
        return *std::min_element(rest_.begin(), rest_.end());
    }

private:
    double* low(int i) { return low_.data() + static_cast<std::ptrdiff_t>(i) * n_; }
    double* neg(int i) { return neg_.data() + static_cast<std::ptrdiff_t>(i) * n_; }

    // Subtracts the square of a form in the components from k on, the one that leaves nearly nothing in row k.
    void eliminate(int k) {
        const double pivot = low(k)[k];
        const double root = pivot > most_[k] * kLeastPivot && pivot <= kLargest ? std::sqrt(pivot) : 0.0;
        form_[k] = root;
        for (int j = k + 1; j < n_; ++j) {
            const double entry = root > 0.0 ? low(k)[j] / root : 0.0;
            form_[j] = entry * entry <= most_[j] ? entry : 0.0;
        }
        if (root > 0.0)
            for (int i = k; i < n_; ++i)
                if (form_[i] != 0.0) add_multiple(form_[i], form_.data(), i, n_, neg(i), low(i));
        add_magnitudes(low(k), neg(k), k, n_, rest_.data());
        for (int j = k + 1; j < n_; ++j) rest_[k] += std::min(low(k)[j], neg(k)[j]);
    }

    int n_;
    std::vector<double> low_, neg_, rest_, form_;
    std::vector<double> most_;  // the greatest squares of a form's entries
};

// y >= 0 with y y >= x.
double root_above(double x) {
    if (!(x <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::infinity();
    double y = std::sqrt(x);
    while (y * y < x) y = std::nextafter(y, std::numeric_limits<double>::infinity());
    return y;
}

}  // namespace

double neg_norm(const Term& term, double guess) {
    double neg_square = neg_largest_row(term.forward) * -neg_largest_row(term.backward);
    const double square = guess * guess;
    const bool small = std::min(term.forward.rows, term.forward.columns) <= kMostRows;
    if (small && square > 0.0 && !(square >= -neg_square)) {
        const bool wide = term.forward.rows <= term.forward.columns;
        Remainder remainder(wide ? term.forward : term.backward, wide ? term.backward : term.forward, square);
        const double better = -square + remainder.run();
        if (better > neg_square) neg_square = better;
    }
    return -root_above(-neg_square);
}

}  // namespace pydual::audit
