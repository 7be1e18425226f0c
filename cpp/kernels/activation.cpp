#include "kernels/activation.hpp"

#include <algorithm>
#include <cmath>

namespace pydual {
namespace {

// Everything about curves is computed for tanh: sigmoid(p) = (1 + tanh(p / 2)) / 2.

// tanh'(p) = 1 / cosh(p)^2, without the cancellation of 1 - tanh(p)^2.
double steepness(double p) {
    const double e = std::exp(-std::fabs(p));
    const double c = 2.0 * e / (1.0 + e * e);
    return c * c;
}

struct Line {
    double slope, offset;
};

// Where the line through (l, tanh l) touches the curve, for l < 0 and tanh'(u) < the slope k of the chord to u. The slope of
// the chord from l to d is greatest at that point: d -> the d' >= 0 with tanh'(d') = k(d) comes down to it quadratically,
// and at every d on the way the tangent is above the curve on [l, u].
double touching(double l, double u) {
    const double low = std::tanh(l);
    double d = u;
    for (int step = 0; step < 30; ++step) {
        const double k = (std::tanh(d) - low) / (d - l);
        const double next = std::min(std::atanh(std::sqrt(std::max(1.0 - k, 0.0))), d);
        const bool settled = d - next <= 1e-14 * (1.0 + d);
        d = next;
        if (settled) break;
    }
    return d;
}

// The line above tanh on [l, u].
Line above(double l, double u, Rule rule) {
    const double low = std::tanh(l);
    const double high = std::tanh(u);
    if (!(l < u)) return {0.0, high};
    if (rule == Rule::parallel) {  // tanh - slope * p does not fall on [l, u]
        const double slope = std::min(steepness(l), steepness(u));
        return {slope, high - slope * u};
    }
    const double chord = (high - low) / (u - l);
    if (steepness(u) >= chord) return {chord, std::max(low - chord * l, high - chord * u)};
    const double at = l >= 0.0 ? 0.5 * (l + u) : touching(l, u);
    const double slope = steepness(at);
    return {slope, std::max(std::tanh(at) - slope * at, low - slope * l)};
}

// The tangent in the middle, p^2 >= 2 t p - t^2, and the chord, (p - l) (u - p) >= 0: parallel.
void square_lines(const double* lower, const double* upper, long n, double* alpha, double* below, double* slope, double* offset) {
    for (long i = 0; i < n; ++i) {
        const double t = 0.5 * lower[i] + 0.5 * upper[i];
        alpha[i] = slope[i] = 2.0 * t;
        below[i] = -t * t;
        offset[i] = -lower[i] * upper[i];
    }
}

}  // namespace

void activate(Kind kind, const double* y, long n, double* z) {
    if (kind == Kind::relu) {
        for (long e = 0; e < n; ++e) z[e] = y[e] < 0.0 ? 0.0 : y[e];  // NaN, where values overflow, stays
    } else if (kind == Kind::tanh) {
        for (long e = 0; e < n; ++e) z[e] = std::tanh(y[e]);
    } else if (kind == Kind::square) {
        for (long e = 0; e < n; ++e) z[e] = y[e] * y[e];
    } else {
        for (long e = 0; e < n; ++e) z[e] = 1.0 / (1.0 + std::exp(-y[e]));
    }
}

void activate_ends(Kind kind, const double* lower, const double* upper, long n, double* low, double* high) {
    if (kind != Kind::square) {  // the others rise
        activate(kind, lower, n, low);
        activate(kind, upper, n, high);
        return;
    }
    for (long e = 0; e < n; ++e) {
        const double l = lower[e], u = upper[e];
        low[e] = l <= 0.0 && u >= 0.0 ? 0.0 : std::min(l * l, u * u);
        high[e] = std::max(l * l, u * u);
    }
}

void differentiate(Kind kind, const double* y, const double* after, long n, double* before) {
    if (kind == Kind::relu) {
        for (long e = 0; e < n; ++e) before[e] = y[e] > 0.0 ? after[e] : 0.0;
    } else if (kind == Kind::tanh) {
        for (long e = 0; e < n; ++e) before[e] = steepness(y[e]) * after[e];
    } else if (kind == Kind::square) {
        for (long e = 0; e < n; ++e) before[e] = 2.0 * y[e] * after[e];
    } else {
        for (long e = 0; e < n; ++e) before[e] = 0.25 * steepness(0.5 * y[e]) * after[e];
    }
}

void curve_lines(Kind kind, const double* lower, const double* upper, long n, Rule rule, double* alpha, double* below,
                 double* slope, double* offset) {
    if (kind == Kind::square) return square_lines(lower, upper, n, alpha, below, slope, offset);
    const bool sigmoid = kind == Kind::sigmoid;
    const double inner = sigmoid ? 0.5 : 1.0;  // f(p) = base + inner tanh(inner p)
    const double base = sigmoid ? 0.5 : 0.0;
    for (long i = 0; i < n; ++i) {
        const double l = inner * lower[i];
        const double u = inner * upper[i];
        const Line top = above(l, u, rule);
        const Line bottom = above(-u, -l, rule);  // tanh is odd
        alpha[i] = inner * inner * bottom.slope;
        below[i] = base - inner * bottom.offset;
        slope[i] = inner * inner * top.slope;
        offset[i] = base + inner * top.offset;
    }
}

}  // namespace pydual
