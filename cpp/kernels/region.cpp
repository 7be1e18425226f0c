#include "kernels/region.hpp"

#include <algorithm>
#include <cmath>

#include "core/dispatch.hpp"

namespace pydual {
namespace {

// The end of one interval that is best against w, and what it costs.
PYDUAL_DISPATCH void shared_box_row(double lower, double upper, const double* w, int r, double* bound, double* x) {
    for (int c = 0; c < r; ++c) {
        x[c] = w[c] >= 0.0 ? lower : upper;
        bound[c] += w[c] * x[c];
    }
}

PYDUAL_DISPATCH void box_row(const double* lower, const double* upper, const double* w, int r, double* bound, double* x) {
    for (int c = 0; c < r; ++c) {
        x[c] = w[c] >= 0.0 ? lower[c] : upper[c];
        bound[c] += w[c] * x[c];
    }
}

// One column of the problem, around the ball's center: minimize w.d over low <= d <= high with ||d|| <= radius.
struct Column {
    Norm norm;
    const double* w;
    const double* low;
    const double* high;
    double* d;
    int n;
    double budget;  // radius, squared for l2
};

// The best d_i within its bounds against w_i d_i + kappa * (d_i^2 or |d_i|).
double reply(const Column& q, int i, double kappa) {
    if (q.norm == Norm::l2) return std::clamp(-q.w[i] / (2.0 * kappa), q.low[i], q.high[i]);
    const double free = std::clamp(0.0, q.low[i], q.high[i]);
    if (std::fabs(q.w[i]) <= kappa) return free;
    return q.w[i] > 0.0 ? std::min(q.low[i], free) : std::max(q.high[i], free);
}

double power(const Column& q, double d) { return q.norm == Norm::l2 ? d * d : std::fabs(d); }

// d := argmin over the box of w.d + kappa * (||d||_2^2 or ||d||_1); returns that power of the norm.
double play(const Column& q, double kappa) {
    double spent = 0.0;
    for (int i = 0; i < q.n; ++i) {
        q.d[i] = reply(q, i, kappa);
        spent += power(q, q.d[i]);
    }
    return spent;
}

// In l1 the best d jumps where kappa passes some |w_i|: what `left` of the budget remains goes part of the way.
void spend(const Column& q, double kappa, double left) {
    double more = 0.0;
    for (int i = 0; i < q.n; ++i) more += power(q, reply(q, i, kappa)) - power(q, q.d[i]);
    if (q.norm != Norm::l1 || more <= left) return;
    for (int i = 0; i < q.n; ++i) q.d[i] += left / more * (reply(q, i, kappa) - q.d[i]);
}

// The Lagrangian max_kappa min_d w.d + kappa (norm(d) - budget) is concave in kappa and largest where norm(d) meets the budget.
double minimize(const Column& q) {
    double size = 0.0;
    for (int i = 0; i < q.n; ++i) size = q.norm == Norm::l2 ? std::hypot(size, q.w[i]) : std::max(size, std::fabs(q.w[i]));
    if (size == 0.0 || q.budget <= 0.0) {
        for (int i = 0; i < q.n; ++i) q.d[i] = std::clamp(0.0, q.low[i], q.high[i]);
        return 0.0;
    }
    double high = q.norm == Norm::l2 ? size / (2.0 * std::sqrt(q.budget)) : size;
    for (int k = 0; k < 60 && play(q, high) > q.budget; ++k) high *= 2.0;  // the center lies outside of the box
    double low = high;
    for (int k = 0; k < 60 && play(q, low) < q.budget; ++k) low *= 0.5;
    for (int k = 0; k < 40; ++k) {
        const double middle = std::sqrt(low * high);
        (play(q, middle) > q.budget ? low : high) = middle;
    }
    const double spent = play(q, high);
    double value = high * (spent - q.budget);
    for (int i = 0; i < q.n; ++i) value += q.w[i] * q.d[i];
    if (spent < q.budget) spend(q, low, q.budget - spent);
    return value;
}

void ball_column(const RegionView& g, int c, const double* w, int r, double* bound, double* x, double* scratch) {
    double* weights = scratch;
    double* low = scratch + g.inputs;
    double* high = scratch + 2L * g.inputs;
    double* d = scratch + 3L * g.inputs;
    double at_center = 0.0;
    for (int i = 0; i < g.inputs; ++i) {
        const long at = static_cast<long>(i) * g.ld + static_cast<long>(c) * g.step;
        weights[i] = w[static_cast<long>(i) * r + c];
        low[i] = g.lower[at] - g.center[i];
        high[i] = g.upper[at] - g.center[i];
        at_center += weights[i] * g.center[i];
    }
    const double budget = g.norm == Norm::l2 ? g.radius * g.radius : g.radius;
    bound[c] += at_center + minimize({g.norm, weights, low, high, d, g.inputs, budget});
    for (int i = 0; i < g.inputs; ++i) x[static_cast<long>(i) * r + c] = g.center[i] + d[i];
}

}  // namespace

void concretize(const RegionView& region, const double* w, const double* constant, int r, double* bound, double* x,
                double* scratch) {
    std::copy(constant, constant + r, bound);
    if (region.norm != Norm::none) {
        for (int c = 0; c < r; ++c) ball_column(region, c, w, r, bound, x, scratch);
        return;
    }
    for (int i = 0; i < region.inputs; ++i) {
        const long at = static_cast<long>(i) * region.ld;
        const long row = static_cast<long>(i) * r;
        if (region.step == 0)
            shared_box_row(region.lower[at], region.upper[at], w + row, r, bound, x + row);
        else
            box_row(region.lower + at, region.upper + at, w + row, r, bound, x + row);
    }
}

void project(const RegionView& region, int column, double* x, int step_x, double* scratch) {
    double* from = scratch;
    double spent = 0.0;
    // The nearest point for a multiplier kappa >= 0 of the ball's constraint: (p + kappa c) / (1 + kappa), or p - c shrunk by
    // kappa for l1, then clipped. Its distance from c decreases in kappa.
    const auto move = [&](double kappa) {
        spent = 0.0;
        for (int i = 0; i < region.inputs; ++i) {
            const long at = static_cast<long>(i) * region.ld + static_cast<long>(column) * region.step;
            double v = from[i];
            if (region.norm != Norm::none) {
                const double d = v - region.center[i];
                v = region.center[i] + (region.norm == Norm::l2 ? d / (1.0 + kappa)
                                                                 : std::copysign(std::max(std::fabs(d) - kappa, 0.0), d));
            }
            v = std::clamp(v, region.lower[at], region.upper[at]);
            x[static_cast<long>(i) * step_x] = v;
            if (region.norm != Norm::none)
                spent += region.norm == Norm::l2 ? (v - region.center[i]) * (v - region.center[i]) : std::fabs(v - region.center[i]);
        }
    };
    double largest = 0.0;
    for (int i = 0; i < region.inputs; ++i) {
        from[i] = x[static_cast<long>(i) * step_x];
        if (region.norm != Norm::none) largest = std::max(largest, std::fabs(from[i] - region.center[i]));
    }
    move(0.0);
    const double budget = region.norm == Norm::l2 ? region.radius * region.radius : region.radius;
    if (region.norm == Norm::none || spent <= budget) return;
    double low = 0.0;
    double high = region.norm == Norm::l2 ? 1.0 : largest;
    for (int k = 0; k < 60 && region.norm == Norm::l2; ++k) {
        move(high);
        if (spent <= budget) break;
        low = high;
        high *= 4.0;
    }
    for (int k = 0; k < 50; ++k) {
        const double middle = 0.5 * (low + high);
        move(middle);
        (spent > budget ? low : high) = middle;
    }
    move(high);
}

}  // namespace pydual
