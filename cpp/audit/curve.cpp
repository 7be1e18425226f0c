#include "audit/curve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pydual::audit {
namespace {

constexpr int kTerms = 20;
constexpr double kLn2Below = 0x1.62e42fefa39efp-1;  // ln 2 lies between this double and the next one
constexpr double kLn2Above = 0x1.62e42fefa39f0p-1;
constexpr double kLargest = 700.0;  // e^700 is between 2^1000 and the largest double
constexpr int kBisections = 30;

// e^r for 0 <= r <= 3/4 by Horner's scheme 1 + r/1 (1 + r/2 (... (1 + r/n T))), where 1 <= T <= 1 + r/8 as n = 20.
double taylor_low(double r) {
    double sum = 1.0;
    for (int j = kTerms; j >= 1; --j) sum = 1.0 + r * sum / j;
    return sum;
}

double taylor_neg(double r) {
    double sum = -1.0 - r / 8.0;
    for (int j = kTerms; j >= 1; --j) sum = -1.0 + r * sum / j;
    return sum;
}

// e^x = 2^k e^r for x >= 0, with r = x - k ln 2 in [r_low, -neg_r].
Enclosure rising(double x) {
    if (!(x <= kLargest)) return {0x1p1000, -std::numeric_limits<double>::infinity()};
    const double k = std::floor(x * 1.4426950408889634);
    const double r_low = std::max(0.0, x + (-k) * kLn2Above);
    const double neg_r = -x + k * kLn2Below;
    const double scale = std::ldexp(1.0, static_cast<int>(k));
    return {taylor_low(r_low) * scale, taylor_neg(std::max(0.0, -neg_r)) * scale};
}

Enclosure sigmoid(double p) {
    const Enclosure e = exponential(p >= 0.0 ? -p : p);
    if (p >= 0.0) return {1.0 / -(-1.0 + e.neg), std::max(-1.0, -1.0 / (1.0 + e.low))};  // 1 / (1 + E)
    return {e.low / -(-1.0 - e.low), std::max(-1.0, e.neg / (1.0 + -e.neg))};            // E / (1 + E)
}

// f'(t) for t >= 0, where it falls as f(t) rises: s (1 - s) or 1 - s^2.
Enclosure derivative(Kind kind, const Enclosure& f) {
    const double low = std::max(0.0, f.low);
    const double high = -f.neg;
    if (kind == Kind::sigmoid) return {std::max(0.0, high * (1.0 - high)), low * (low - 1.0)};
    return {std::max(0.0, 1.0 + (-high) * high), -1.0 + low * low};
}

double middle(const Enclosure& e) { return (e.low - e.neg) / 2.0; }

double value_near(Kind kind, double p) { return middle(curve(kind, p)); }

double slope_near(Kind kind, double p) {
    const double v = value_near(kind, p);
    return std::max(0.0, kind == Kind::sigmoid ? v * (1.0 - v) : 1.0 - v * v);
}

struct Tangent {
    double slope;
    double at;  // where the tangent of the concave part is taken, at least 0
};

// The point of [0, high] where the line through (low, f(low)) touches the curve; low < 0.
double touching(Kind kind, double low, double high) {
    const double start = value_near(kind, low);
    double left = 0.0;
    double right = high;
    for (int t = 0; t < kBisections; ++t) {
        const double d = (left + right) / 2.0;
        (slope_near(kind, d) * (d - low) > value_near(kind, d) - start ? left : right) = d;
    }
    return right;
}

// The recipe of PROOFS.md; whatever it chooses, `neg_above` makes it a line above.
Tangent choose(Kind kind, double low, double high, bool parallel) {
    const double at = std::max(high, 0.0);
    if (!(low < high)) return {0.0, at};
    const double end = slope_near(kind, high);
    if (parallel) return {std::min(slope_near(kind, low), end), at};
    const double chord = (value_near(kind, high) - value_near(kind, low)) / (high - low);
    if (end >= chord) return {std::max(0.0, chord), at};
    const double d = low >= 0.0 ? low + (high - low) / 2.0 : touching(kind, low, high);
    return {slope_near(kind, d), d};
}

// A lower bound of -C, the greatest value of f(p) - slope p on [low, high] being C.
double neg_above(Kind kind, double low, double high, const Tangent& line) {
    double neg = 0.0;
    bool first = true;
    const auto take = [&](double bound) {
        neg = first ? bound : std::min(neg, bound);
        first = false;
    };
    if (low <= 0.0)  // also where the interval is [0, 0]
        for (const double p : {low, std::min(high, 0.0)}) take(curve(kind, p).neg + line.slope * p);
    if (high <= 0.0) return neg;
    const Enclosure f = curve(kind, line.at);
    const Enclosure d = derivative(kind, f);
    for (const double p : {std::max(low, 0.0), high}) {
        const double drop = p >= line.at ? d.neg * -(line.at - p) : d.low * (line.at - p);  // at most -f'(t) (p - t)
        take(f.neg + drop + line.slope * p);
    }
    return neg;
}

// p^2 >= a p - a^2 / 4 for any slope a, and p^2 - a p is convex, so greatest at an end.
CurveLines square_lines(double low, double high) {
    const double a = low < high ? low + high : 0.0;
    CurveLines lines;
    lines.slope_below = lines.slope_above = a;
    lines.intercept_below = low < high ? (-a) * a / 4.0 : low * low;
    lines.neg_above = std::min(a * low + (-low) * low, a * high + (-high) * high);
    return lines;
}

}  // namespace

Enclosure exponential(double x) {
    if (x >= 0.0) return rising(x);
    const Enclosure e = rising(-x);
    return {1.0 / -e.neg, -1.0 / e.low};
}

Enclosure curve(Kind kind, double p) {
    if (kind == Kind::square) return {p * p, (-p) * p};
    if (kind == Kind::sigmoid) return sigmoid(p);
    const Enclosure s = sigmoid(2.0 * p);  // tanh p = 2 sigmoid(2 p) - 1
    return {std::max(-1.0, 2.0 * s.low - 1.0), std::max(-1.0, 2.0 * s.neg + 1.0)};
}

Enclosure curve_ends(Kind kind, double low, double neg) {
    if (kind != Kind::square) return {curve(kind, low).low, curve(kind, -neg).neg};  // they rise
    const double least = low <= 0.0 && neg <= 0.0 ? 0.0 : std::min(low * low, neg * neg);
    return {least, std::min((-low) * low, (-neg) * neg)};
}

CurveLines curve_lines(Kind kind, double low, double neg, bool parallel) {
    if (kind == Kind::square) return square_lines(low, -neg);
    const double high = -neg;
    const Tangent above = choose(kind, low, high, parallel);
    const Tangent below = choose(kind, neg, -low, parallel);  // of the reflected curve, on [-high, -low]
    const double reflected = neg_above(kind, neg, -low, below);
    CurveLines lines;
    lines.slope_above = above.slope;
    lines.neg_above = neg_above(kind, low, high, above);
    lines.slope_below = below.slope;
    lines.intercept_below = kind == Kind::sigmoid ? 1.0 + reflected : reflected;  // sigmoid(p) = 1 - sigmoid(-p)
    return lines;
}

}  // namespace pydual::audit
