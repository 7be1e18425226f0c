#include "kernels/stages.hpp"

#include <algorithm>
#include <cmath>

#include "core/dispatch.hpp"
#include "kernels/affine.hpp"

namespace pydual {
namespace {

int widest(const Program& program) {
    int n = 0;
    for (const Layer& layer : program.layers) n = std::max(n, layer.size);
    return n;
}

// With one slope above and below, a function and its negative have the same coefficients: both bounds in one pass.
PYDUAL_DISPATCH void relax_row(double slope, double below, double above, double bias, const double* w, int r, double* hat,
                               double* low, double* high) {
    for (int c = 0; c < r; ++c) {
        const double positive = w[c] > 0.0 ? w[c] : 0.0;
        const double negative = w[c] - positive;
        hat[c] = slope * w[c];
        low[c] += below * positive + above * negative + bias * hat[c];
        high[c] += above * positive + below * negative + bias * hat[c];
    }
}

PYDUAL_DISPATCH void interval_row(const double* w, double lower, double upper, int r, double* least, double* most) {
    for (int c = 0; c < r; ++c) {
        const double positive = w[c] > 0.0 ? w[c] : 0.0;
        const double negative = w[c] - positive;
        least[c] += lower * positive + upper * negative;
        most[c] += upper * positive + lower * negative;
    }
}

}  // namespace

Stages::Stages(const Program& program)
    : lines(program.depth() + 1), after_(program, widest(program)), before_(program, widest(program), 1) {
    for (auto* array : {&low_, &high_, &least_, &most_, &best_low_, &best_high_}) array->resize(widest(program));
}

void Stages::relax(const Program& program, int k, const double* lower, const double* upper) {
    relax_layer(program.kind(k), lower, upper, program.size(k), Rule::parallel, lines[k]);
}

void Stages::cut(const Program& program, int k, const RegionView& box, const std::vector<int>& units, double* lower,
                 double* upper) {
    const int r = static_cast<int>(units.size());
    const Layer& layer = program.layers[k - 1];
    for (int s = 0; s < k; ++s) std::fill_n(after_[s], static_cast<long>(program.size(s)) * r, 0.0);
    std::fill_n(low_.begin(), r, 0.0);
    add_rows(layer, units.data(), r, after_.get(), low_.data());
    std::copy_n(low_.begin(), r, high_.begin());
    std::fill_n(best_low_.begin(), r, -INFINITY);
    std::fill_n(best_high_.begin(), r, INFINITY);
    read_.assign(program.depth() + 1, 0);
    for (const Term& t : layer.terms) read_[t.source] = 1;
    for (int below = k - 1; below >= 2; --below) {
        if (!read_[below]) continue;
        substitute(program, below, r);
        take(program, below - 1, box, r);
    }
    for (int c = 0; c < r; ++c) {
        lower[units[c]] = std::max(lower[units[c]], best_low_[c]);
        upper[units[c]] = std::min(upper[units[c]], best_high_[c]);
    }
}

// Replaces z_k by its lines.
void Stages::substitute(const Program& program, int k, int r) {
    const Layer& layer = program.layers[k - 1];
    const LayerLines& l = lines[k];
    const bool relu = layer.kind == Kind::relu;
    for (int i = 0; i < layer.size; ++i) {
        const long row = static_cast<long>(i) * r;
        relax_row(l.slope[i], relu ? 0.0 : l.below[i], l.offset[i], layer.bias[i], after_[k] + row, r, before_[k] + row,
                  low_.data(), high_.data());
    }
    for (const Term& t : layer.terms) {
        apply_transposed(t, before_[k], r, r, after_[t.source], r);
        read_[t.source] = 1;
    }
}

// The bounds by the intervals of z_0..z_k.
void Stages::take(const Program& program, int k, const RegionView& box, int r) {
    std::copy_n(low_.begin(), r, least_.begin());
    std::copy_n(high_.begin(), r, most_.begin());
    for (int s = 0; s <= k; ++s) {
        if (!read_[s]) continue;
        const double* lower = s == 0 ? box.lower : lines[s].low.data();
        const double* upper = s == 0 ? box.upper : lines[s].high.data();
        for (int i = 0; i < program.size(s); ++i)
            interval_row(after_[s] + static_cast<long>(i) * r, lower[i], upper[i], r, least_.data(), most_.data());
    }
    for (int c = 0; c < r; ++c) {
        best_low_[c] = std::max(best_low_[c], least_[c]);
        best_high_[c] = std::min(best_high_[c], most_[c]);
    }
}

}  // namespace pydual
