#include "kernels/zonotope.hpp"

#include <algorithm>
#include <cmath>

#include "core/dispatch.hpp"
#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/backward.hpp"
#include "kernels/intervals.hpp"

namespace pydual {
namespace {

constexpr double kNegligible = 1e-13;  // a width beside the widest: it moves bounds by less than rounding does

PYDUAL_DISPATCH double radius(const double* row, int width) {
    double total = 0.0;
    for (int g = 1; g < width; ++g) total += std::fabs(row[g]);
    return total;
}

PYDUAL_DISPATCH void scale(double* row, int width, double factor) {
    for (int g = 0; g < width; ++g) row[g] *= factor;
}

// Cuts intervals that come from interval arithmetic by the forms where PROOFS.md section 5 does: lines on others would be other
// lines. For the same reason the stages between count, in networks that have any.
void cut(const Program& program, int k, const RegionView& box, int width, ZonotopeSpace& s) {
    const Kind kind = program.kind(k);
    double* const lower = s.lower[k];
    double* const upper = s.upper[k];
    const std::vector<int> units = to_refine(kind, lower, upper, program.size(k));
    for (const int i : units) {
        const double* row = s.forms[k].data() + static_cast<long>(i) * s.stride;
        s.spread[i] = radius(row, width);
        lower[i] = std::max(lower[i], row[0] - s.spread[i]);
        upper[i] = std::min(upper[i], row[0] + s.spread[i]);
    }
    if (!s.stages) return;
    if (k > 2 && !units.empty()) s.stages->cut(program, k, box, units, lower, upper);
    for (const int i : units)
        if (lower[i] > upper[i]) std::swap(lower[i], upper[i]);  // a point's, up to rounding
    s.stages->relax(program, k, lower, upper);
}

// z = s y - s l / 2 +- (-s l / 2) on unstable rows: one new generator each. Returns the new width.
int relu(int k, int n, int width, ZonotopeSpace& s, CellResult& result) {
    const int inputs = static_cast<int>(s.wide.size());
    int next = width;
    for (int i = 0; i < n; ++i) {
        if (s.lower[k][i] >= 0.0 || s.upper[k][i] <= 0.0) continue;
        const double* row = s.forms[k].data() + static_cast<long>(i) * s.stride;
        ++next;
        const double interval = s.upper[k][i] - s.lower[k][i];
        const double openness = -4.0 * (s.lower[k][i] / interval) * (s.upper[k][i] / interval);
        for (int g = 0; g < inputs; ++g) result.weight[s.wide[g]] += openness * std::fabs(row[1 + g]) / s.spread[i];
    }
    relu_lines(s.lower[k], s.upper[k], n, Rule::adaptive, s.alpha[k], s.slope[k], s.offset[k]);
    int generator = width;
    for (int i = 0; i < n; ++i) {
        double* row = s.forms[k].data() + static_cast<long>(i) * s.stride;
        if (s.slope[k][i] != 1.0) scale(row, width, s.slope[k][i]);
        std::fill(row + width, row + next, 0.0);
        if (s.offset[k][i] == 0.0) continue;
        row[0] += 0.5 * s.offset[k][i];
        row[generator++] = 0.5 * s.offset[k][i];
    }
    result.unstable += next - width;
    return next;
}

// The same for a curve, with parallel lines. An input counts by its share in a source's interval times the distance of the
// lines. The lines that stay in the space are the adaptive ones.
int curve(Kind kind, int k, int n, int width, ZonotopeSpace& s, CellResult& result) {
    const int inputs = static_cast<int>(s.wide.size());
    const LayerLines& lines = s.stages->lines[k];
    int next = width;
    for (int i = 0; i < n; ++i) next += lines.offset[i] > lines.below[i];
    int generator = width;
    for (int i = 0; i < n; ++i) {
        double* row = s.forms[k].data() + static_cast<long>(i) * s.stride;
        const double gap = lines.offset[i] - lines.below[i];
        const double spread = radius(row, width);
        for (int g = 0; g < inputs && gap > 0.0 && spread > 0.0; ++g) result.weight[s.wide[g]] += gap * std::fabs(row[1 + g]) / spread;
        scale(row, width, lines.slope[i]);
        std::fill(row + width, row + next, 0.0);
        row[0] += 0.5 * (lines.offset[i] + lines.below[i]);
        if (gap > 0.0) row[generator++] = 0.5 * gap;
    }
    curve_lines(kind, s.lower[k], s.upper[k], n, Rule::adaptive, s.alpha[k], s.below[k].data(), s.slope[k], s.offset[k]);
    return next;
}

void forward_margins(const Program& program, const Form& margins, ZonotopeSpace& s, CellResult& result) {
    const int width = s.widths[program.depth()];
    affine_forms(margins, width, s, s.result.data());
    for (int m = 0; m < margins.size; ++m) {
        const double* row = s.result.data() + static_cast<long>(m) * s.stride;
        result.lower[m] = row[0] - radius(row, width);
        result.adaptive[m] = 0;
    }
}

void backward_margins(const Program& program, const Form& margins, const double* low, const double* high, ZonotopeSpace& s,
                      CellResult& result) {
    const int rows = margins.size;
    s.after.clear();
    std::copy(margins.bias, margins.bias + rows, s.constant.begin());
    for (const Term& t : margins.terms) apply_transposed(t, s.identity.data(), rows, rows, s.after[t.source], rows);
    back_substitute(program, program.depth(), s.lines.data(), nullptr, rows, {s.after.get(), s.before.get(), s.constant.data()});
    RegionView box;
    box.inputs = program.inputs;
    box.lower = low;
    box.upper = high;
    concretize(box, s.after[0], s.constant.data(), rows, s.bound.data(), s.x.data(), nullptr);
    int best = 0;
    for (int m = 0; m < rows; ++m) {
        result.adaptive[m] = s.bound[m] > result.lower[m];
        result.lower[m] = std::max(result.lower[m], s.bound[m]);
        if (result.lower[m] > result.lower[best]) best = m;
    }
    for (int i = 0; i < program.inputs; ++i) result.x[i] = s.x[static_cast<long>(i) * rows + best];
}

}  // namespace

void start_forms(const Program& program, const double* low, const double* high, ZonotopeSpace& s) {
    double widest = 0.0;
    for (int i = 0; i < program.inputs; ++i) widest = std::max(widest, high[i] - low[i]);
    s.wide.clear();
    for (int i = 0; i < program.inputs; ++i)
        if (high[i] - low[i] > kNegligible * widest || std::isinf(widest)) s.wide.push_back(i);
    s.widths[0] = 1 + static_cast<int>(s.wide.size());
    for (int i = 0; i < program.inputs; ++i) {
        double* row = s.forms[0].data() + static_cast<long>(i) * s.stride;
        std::fill(row, row + s.widths[0], 0.0);
        row[0] = 0.5 * (low[i] + high[i]);
    }
    for (std::size_t g = 0; g < s.wide.size(); ++g) {
        const int i = s.wide[g];
        s.forms[0][static_cast<std::size_t>(i) * s.stride + 1 + g] = 0.5 * (high[i] - low[i]);
    }
}

void affine_forms(const Layer& layer, int width, ZonotopeSpace& s, double* out) {
    for (int i = 0; i < layer.size; ++i) {
        double* row = out + static_cast<long>(i) * s.stride;
        std::fill(row, row + width, 0.0);
        row[0] = layer.bias[i];
    }
    for (const Term& t : layer.terms) apply(t, s.forms[t.source].data(), s.stride, s.widths[t.source], out, s.stride);
}

bool bound_cell(const Program& program, const Form& margins, const double* low, const double* high, ZonotopeSpace& space,
                CellResult& result) {
    start_forms(program, low, high, space);
    RegionView box;
    box.inputs = program.inputs;
    box.lower = low;
    box.upper = high;
    result.unstable = 0;
    std::fill(result.weight, result.weight + program.inputs, 0.0);
    int width = space.widths[0];
    for (int k = 1; k <= program.depth(); ++k) {
        affine_forms(program.layers[k - 1], width, space, space.forms[k].data());
        interval_layer(program, k, box, space.lower.get(), space.upper.get());
        cut(program, k, box, width, space);
        const Kind kind = program.kind(k);
        width = kind == Kind::relu ? relu(k, program.size(k), width, space, result)
                                   : curve(kind, k, program.size(k), width, space, result);
        space.widths[k] = width;
    }
    forward_margins(program, margins, space, result);
    backward_margins(program, margins, low, high, space, result);
    for (int m = 0; m < margins.size; ++m)
        if (!std::isfinite(result.lower[m])) return false;
    return true;
}

}  // namespace pydual
