#include "kernels/descent.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/buffers.hpp"

namespace pydual {
namespace {

void forward(const Program& program, int r, double* const* y, double* const* z) {
    for (int k = 1; k <= program.depth(); ++k) {
        evaluate(program.layers[k - 1], z, r, y[k]);
        const long n = static_cast<long>(program.size(k)) * r;
        activate(program.kind(k), y[k], n, z[k]);
    }
}

// Gradient of the chosen margin of each column with respect to the input, into after[0].
void gradient(const Program& program, const Form& margins, int r, const int* worst, double* const* y, double* pick,
              const Columns& after, double* const* before) {
    std::fill(pick, pick + static_cast<long>(margins.size) * r, 0.0);
    for (int c = 0; c < r; ++c) pick[static_cast<long>(worst[c]) * r + c] = 1.0;
    for (const Term& t : margins.terms) apply_transposed(t, pick, r, r, after[t.source], r);
    for (int k = program.depth(); k >= 1; --k) {
        const long n = static_cast<long>(program.size(k)) * r;
        differentiate(program.kind(k), y[k], after[k], n, before[k]);
        for (const Term& t : program.layers[k - 1].terms) apply_transposed(t, before[k], r, r, after[t.source], r);
    }
}

void step_box(const RegionView& g, int c, const double* slope, double size, int r, double* x) {
    for (int i = 0; i < g.inputs; ++i) {
        const long at = static_cast<long>(i) * g.ld + static_cast<long>(c) * g.step;
        const long e = static_cast<long>(i) * r + c;
        const double width = g.upper[at] - g.lower[at];
        if (slope[e] != 0.0) x[e] -= std::copysign(size * width, slope[e]);
    }
}

void step_ball(const RegionView& g, int c, const double* slope, double size, int r, double* x) {
    double norm = 0.0;
    for (int i = 0; i < g.inputs; ++i) norm = std::hypot(norm, slope[static_cast<long>(i) * r + c]);
    if (norm == 0.0) return;
    for (int i = 0; i < g.inputs; ++i) {
        const long e = static_cast<long>(i) * r + c;
        x[e] -= 2.0 * size * g.radius * slope[e] / norm;
    }
}

}  // namespace

void worst_margins(const Form& margins, int r, double* const* z, double* values, double* value, int* worst) {
    evaluate(margins, z, r, values);
    if (margins.size == 0) std::fill(value, value + r, -INFINITY);  // a catastrophe everywhere
    for (int c = 0; c < r && margins.size > 0; ++c) {
        int best = 0;
        const auto of = [&](int m) { return values[static_cast<long>(m) * r + c]; };
        for (int m = 1; m < margins.size && !std::isnan(of(best)); ++m)
            if (!(of(m) <= of(best))) best = m;  // NaN, where values overflow, is worst
        value[c] = of(best);
        if (worst) worst[c] = best;
    }
}

void descend(const Program& program, const Form& margins, const RegionView& region, const DescentOptions& options, int r,
             double* x, double* value) {
    Columns y(program, r, 1), z(program, r), after(program, r), before(program, r, 1);
    std::vector<double> values(static_cast<std::size_t>(margins.size) * r), pick(values.size()), now(r);
    std::vector<double> scratch(program.inputs);
    std::vector<int> worst(r);
    const long inputs = static_cast<long>(program.inputs) * r;
    std::copy(x, x + inputs, z[0]);
    std::fill(value, value + r, INFINITY);
    double size = options.first_step;
    for (int step = 0;; ++step) {
        forward(program, r, y.get(), z.get());
        worst_margins(margins, r, z.get(), values.data(), now.data(), worst.data());
        bool found = false;
        for (int c = 0; c < r; ++c) {
            if (!(now[c] < value[c])) continue;
            value[c] = now[c];
            found = found || now[c] <= options.goal;
            for (int i = 0; i < program.inputs; ++i) x[static_cast<long>(i) * r + c] = z[0][static_cast<long>(i) * r + c];
        }
        if (found || step >= options.steps) return;
        after.clear();
        gradient(program, margins, r, worst.data(), y.get(), pick.data(), after, before.get());
        for (int c = 0; c < r; ++c) {
            (region.norm == Norm::none ? step_box : step_ball)(region, c, after[0], size, r, z[0]);
            project(region, c, z[0] + c, r, scratch.data());
        }
        size *= options.decay;
    }
}

}  // namespace pydual
