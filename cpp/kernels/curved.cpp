#include "kernels/curved.hpp"

#include <algorithm>
#include <cmath>

#include "core/dispatch.hpp"
#include "kernels/lines.hpp"

namespace pydual {
namespace {

constexpr double kFlat = 1e-150;  // a curvature below this counts as this: its half reciprocal is finite

bool is_open(double slope) { return slope > 0.0 && slope < 1.0; }

void start_slopes(const Lines& lines, const Curved& v, const double* w, int n, int r) {
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < r; ++c) {
            const long e = static_cast<long>(i) * r + c;
            const long at = static_cast<long>(i) * v.ld + static_cast<long>(c) * v.step;
            if (!is_open(lines.slope[e]) || (v.alpha[e] >= 0.0 && (v.curvature[c] >= 0.0 || w[e] >= 0.0))) continue;
            v.alpha[e] = w[e] < 0.0 ? lines.slope[e] : (v.upper[at] > -v.lower[at] ? 1.0 : 0.0);
        }
    }
}

// The best curvature where the center is 0 and there are no intervals: Theorem 4.2 with phi = w max(alpha, 1 - alpha) for w < 0.
void start_curvatures(const Lines& lines, const Curved& v, const double* w, int n, int r) {
    for (int c = 0; c < r; ++c) {
        if (v.curvature[c] >= 0.0) continue;
        double sum = 0.0;
        for (int i = 0; i < n; ++i) {
            const long e = static_cast<long>(i) * r + c;
            const double phi = is_open(lines.slope[e]) ? std::min(w[e], 0.0) * std::max(v.alpha[e], 1.0 - v.alpha[e]) : 0.0;
            sum += phi * phi;
        }
        v.curvature[c] = v.radius > 0.0 && std::isfinite(v.radius) ? 0.5 * std::sqrt(sum) / v.radius : 0.0;
    }
}

PYDUAL_DISPATCH void curved_row(const double* alpha, const double* slope, const double* lower, const double* upper, int step,
                                double center, const double* curvature, const double* w, int r, double* hat, double* constant,
                                double* at) {
    for (int c = 0; c < r; ++c) {
        const double g = alpha[c] * w[c];
        const double k = curvature[c] > kFlat ? curvature[c] : kFlat;
        const double half = 0.5 / k;
        const double u = upper[c * step];
        const double l = lower[c * step];
        const double rise = w[c] - g;
        const double free_right = center - rise * half;
        const double free_left = center + g * half;
        const double right = free_right < 0.0 ? 0.0 : (free_right > u ? u : free_right);
        const double left = free_left > 0.0 ? 0.0 : (free_left < l ? l : free_left);
        const double at_right = rise * right + k * (right - center) * (right - center);
        const double at_left = -g * left + k * (left - center) * (left - center);
        const bool open = slope[c] > 0.0 && slope[c] < 1.0;
        const bool is_left = at_left < at_right;
        hat[c] = g;
        at[c] = open ? (is_left ? left : right) : 0.0;
        constant[c] += open ? (is_left ? at_left : at_right) : 0.0;
    }
}

}  // namespace

void curved_backward(const Lines& lines, const Curved& v, const double* w, int n, int r, double* hat, double* constant) {
    start_slopes(lines, v, w, n, r);
    start_curvatures(lines, v, w, n, r);
    for (int i = 0; i < n; ++i) {
        const long e = static_cast<long>(i) * r;
        const long at = static_cast<long>(i) * v.ld;
        curved_row(v.alpha + e, lines.slope + e, v.lower + at, v.upper + at, v.step, v.center[i], v.curvature, w + e, r, hat + e,
                   constant, v.at + e);
    }
    for (int c = 0; c < r; ++c)
        if (v.curvature[c] > 0.0) constant[c] -= v.curvature[c] * v.radius * v.radius;
}

PYDUAL_DISPATCH void curved_forward(const Lines& lines, const Curved& v, const double* y, int n, int r, double* z) {
    const long count = static_cast<long>(n) * r;
    for (long e = 0; e < count; ++e) z[e] = lines.alpha[e] * (y[e] - v.at[e]) + (v.at[e] > 0.0 ? v.at[e] : 0.0);
}

void curvature_gradient(const Lines& lines, const Curved& v, int n, int r, double* out) {
    if (!std::isfinite(v.radius)) return std::fill(out, out + r, 0.0);
    for (int c = 0; c < r; ++c) out[c] = -v.radius * v.radius;
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < r; ++c) {
            const long e = static_cast<long>(i) * r + c;
            const double distance = v.at[e] - v.center[i];
            out[c] += is_open(lines.slope[e]) ? distance * distance : 0.0;
        }
    }
}

}  // namespace pydual
