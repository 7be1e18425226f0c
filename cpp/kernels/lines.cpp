#include "kernels/lines.hpp"

#include <algorithm>

#include "core/dispatch.hpp"

namespace pydual {
namespace {

PYDUAL_DISPATCH void shared_row(double alpha, double slope, double offset, const double* w, int r, double* hat,
                                double* constant) {
    for (int c = 0; c < r; ++c) {
        const double positive = w[c] > 0.0 ? w[c] : 0.0;
        const double negative = w[c] - positive;
        hat[c] = alpha * positive + slope * negative;
        constant[c] += offset * negative;
    }
}

PYDUAL_DISPATCH void add_positive(double below, const double* w, int r, double* constant) {
    for (int c = 0; c < r; ++c) constant[c] += below * (w[c] > 0.0 ? w[c] : 0.0);
}

PYDUAL_DISPATCH void add_positives(const double* below, const double* w, int r, double* constant) {
    for (int c = 0; c < r; ++c) constant[c] += below[c] * (w[c] > 0.0 ? w[c] : 0.0);
}

PYDUAL_DISPATCH void column_row(const double* alpha, const double* slope, const double* offset, const double* w, int r,
                                double* hat, double* constant) {
    for (int c = 0; c < r; ++c) {
        const double positive = w[c] > 0.0 ? w[c] : 0.0;
        const double negative = w[c] - positive;
        hat[c] = alpha[c] * positive + slope[c] * negative;
        constant[c] += offset[c] * negative;
    }
}

}  // namespace

void relu_lines(const double* lower, const double* upper, int n, Rule rule, double* alpha, double* slope, double* offset) {
    for (int i = 0; i < n; ++i) {
        const double l = lower[i];
        const double u = upper[i];
        if (l >= 0.0 || u <= 0.0) {
            alpha[i] = slope[i] = l >= 0.0 ? 1.0 : 0.0;
            offset[i] = 0.0;
            continue;
        }
        slope[i] = u / (u - l);
        offset[i] = -slope[i] * l;
        alpha[i] = rule == Rule::parallel ? slope[i] : (u > -l ? 1.0 : 0.0);
    }
}

void relax_backward(const Lines& lines, const double* w, int n, int r, double* hat, double* constant) {
    if (lines.curved) return curved_backward(lines, *lines.curved, w, n, r, hat, constant);
    for (int i = 0; i < n; ++i) {
        const long at = static_cast<long>(i) * lines.ld;
        const long row = static_cast<long>(i) * r;
        if (lines.step == 0)
            shared_row(lines.alpha[at], lines.slope[at], lines.offset[at], w + row, r, hat + row, constant);
        else
            column_row(lines.alpha + at, lines.slope + at, lines.offset + at, w + row, r, hat + row, constant);
        if (!lines.below) continue;
        if (lines.step == 0)
            add_positive(lines.below[at], w + row, r, constant);
        else
            add_positives(lines.below + at, w + row, r, constant);
    }
}

PYDUAL_DISPATCH void relax_forward(const Lines& lines, const double* w, const double* y, int n, int r, double* z) {
    if (lines.curved) return curved_forward(lines, *lines.curved, y, n, r, z);
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < r; ++c) {
            const long at = static_cast<long>(i) * lines.ld + static_cast<long>(c) * lines.step;
            const long e = static_cast<long>(i) * r + c;
            z[e] = w[e] >= 0.0 ? lines.alpha[at] * y[e] : lines.slope[at] * y[e] + lines.offset[at];
        }
    }
    if (!lines.below) return;
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < r; ++c) {
            const long e = static_cast<long>(i) * r + c;
            if (w[e] >= 0.0) z[e] += lines.below[static_cast<long>(i) * lines.ld + static_cast<long>(c) * lines.step];
        }
    }
}

}  // namespace pydual
