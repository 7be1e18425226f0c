#include "audit/region.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace pydual::audit {
namespace {

constexpr double kLargest = 0x1p1000;  // of kappa: 4 kappa is exact

struct Function {
    const double* w;
    int stride;
    const Box& box;
    const Ball& ball;

    int size() const { return static_cast<int>(box.lower.size()); }
    double at(int i) const { return w[static_cast<std::ptrdiff_t>(i) * stride]; }
    double nearest(int i) const { return std::min(std::max(ball.center[i], box.lower[i]), box.upper[i]); }
};

// A lower bound of |p - c|.
double distance(double p, double c) { return p >= c ? p - c : c - p; }

// A lower bound of -|p - c|.
double neg_distance(double p, double c) { return p >= c ? c - p : p - c; }

// sum_i min over {lower, upper, nearest} of w x + kappa |x - c|, minus kappa r: the term is convex on either side of c.
double l1_bound(const Function& f, double kappa) {
    double total = (-kappa) * f.ball.radius;
    for (int i = 0; i < f.size(); ++i) {
        double least = std::numeric_limits<double>::infinity();
        for (const double p : {f.box.lower[i], f.box.upper[i], f.nearest(i)})
            least = std::min(least, f.at(i) * p + kappa * distance(p, f.ball.center[i]));
        total += least;
    }
    return total;
}

// The kappa from which on the coordinates with smaller coefficients stay at the center: any kappa gives a bound.
double l1_multiplier(const Function& f) {
    std::vector<int> order(f.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return std::fabs(f.at(a)) > std::fabs(f.at(b)); });
    double budget = f.ball.radius;
    for (int i = 0; i < f.size(); ++i) budget += neg_distance(f.nearest(i), f.ball.center[i]);
    if (budget < 0.0) return f.size() ? (1.0 + std::fabs(f.at(order[0]))) * 0x1p60 : 0.0;  // box and ball are disjoint
    for (const int i : order) {
        const double farthest = f.at(i) >= 0.0 ? f.box.lower[i] : f.box.upper[i];
        budget += neg_distance(farthest, f.ball.center[i]) + distance(f.nearest(i), f.ball.center[i]);
        if (budget < 0.0) return std::fabs(f.at(i));
    }
    return 0.0;
}

// A lower bound of the least w x + kappa (x - c)^2 on [low, high]: at an end where the derivative says so, else anywhere.
double parabola(double w, double low, double high, double c, double kappa) {
    const double to_low = low - c;           // at most low - c
    const double neg_to_high = c - high;     // at most -(high - c)
    if (w + 2.0 * kappa * to_low >= 0.0) {   // rising at low
        const double side = distance(low, c);
        return w * low + kappa * (side * side);
    }
    if (-w + 2.0 * kappa * neg_to_high >= 0.0) {  // falling at high
        const double side = distance(high, c);
        return w * high + kappa * (side * side);
    }
    return w * c + (-w) * w / (4.0 * kappa);  // at c - w / (2 kappa): w c - w^2 / (4 kappa)
}

double l2_bound(const Function& f, double kappa) {
    double total = (-kappa) * f.ball.radius * f.ball.radius;
    for (int i = 0; i < f.size(); ++i)
        total += parabola(f.at(i), f.box.lower[i], f.box.upper[i], f.ball.center[i], kappa);
    return total;
}

// Whether the minimizer for kappa leaves the ball, roughly.
bool outside(const Function& f, double kappa) {
    double sum = 0.0;
    for (int i = 0; i < f.size(); ++i) {
        const double step = -f.at(i) / (2.0 * kappa);
        const double kept = std::min(std::max(step, f.box.lower[i] - f.ball.center[i]), f.box.upper[i] - f.ball.center[i]);
        sum += kept * kept;
    }
    return sum > f.ball.radius * f.ball.radius;
}

// About the best kappa > 0: any gives a bound.
double l2_multiplier(const Function& f) {
    double norm = 0.0;
    for (int i = 0; i < f.size(); ++i) norm += f.at(i) * f.at(i);
    const double size = norm > 0.0 ? std::sqrt(norm) : 1.0;  // also without coefficients: box and ball may be disjoint
    double kappa = size / (2.0 * std::max(f.ball.radius, 0x1p-500));
    const bool grow = outside(f, kappa);
    const double factor = grow ? 2.0 : 0.5;
    for (int t = 0; t < 60 && outside(f, kappa * factor) == grow; ++t) kappa *= factor;
    double low = std::min(kappa, kappa * factor);
    double high = std::max(kappa, kappa * factor);
    for (int t = 0; t < 24; ++t) {
        const double mid = (low + high) / 2.0;
        (outside(f, mid) ? low : high) = mid;
    }
    return high;
}

}  // namespace

double ball_minimum(const double* w, int stride, const Box& box, const Ball& ball) {
    const Function f{w, stride, box, ball};
    for (int i = 0; i < f.size(); ++i)
        if (!std::isfinite(f.at(i))) return -std::numeric_limits<double>::infinity();
    return ball.l2 ? l2_bound(f, std::min(l2_multiplier(f), kLargest)) : l1_bound(f, l1_multiplier(f));
}

}  // namespace pydual::audit
