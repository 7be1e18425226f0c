#include "kernels/intervals.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dispatch.hpp"
#include "core/threads.hpp"
#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/backward.hpp"
#include "kernels/buffers.hpp"

namespace pydual {
namespace {

constexpr int kRowsPerTask = 64;

// Interval of a product, split by the sign of the weight.
PYDUAL_INLINE void accumulate(double weight, double low, double high, double& lower, double& upper) {
    lower += weight >= 0.0 ? weight * low : weight * high;
    upper += weight >= 0.0 ? weight * high : weight * low;
}

// The same for a row, with eight running sums side by side: one alone would wait for every addition before the next.
PYDUAL_DISPATCH void accumulate_row(const double* row, const double* low, const double* high, int n, double& lower, double& upper) {
    constexpr int kLanes = 8;
    double least[kLanes] = {}, most[kLanes] = {};
    int j = 0;
    for (; j + kLanes <= n; j += kLanes)
        for (int l = 0; l < kLanes; ++l) accumulate(row[j + l], low[j + l], high[j + l], least[l], most[l]);
    for (; j < n; ++j) accumulate(row[j], low[j], high[j], lower, upper);
    for (int l = 0; l < kLanes; ++l) lower += least[l], upper += most[l];
}

void term_interval(const Term& t, const double* low, const double* high, double* lower, double* upper) {
    for (int i = 0; i < t.rows; ++i) {
        if (t.dense) {
            accumulate_row(t.dense + static_cast<long>(i) * t.cols, low, high, t.cols, lower[i], upper[i]);
        } else {
            for (int p = t.by_rows.starts[i]; p < t.by_rows.starts[i + 1]; ++p)
                accumulate(t.by_rows.values[p], low[t.by_rows.indices[p]], high[t.by_rows.indices[p]], lower[i], upper[i]);
        }
    }
}

PYDUAL_DISPATCH void add_least(const double* w, double low, double high, int r, double* least) {
    for (int c = 0; c < r; ++c) least[c] += w[c] * (w[c] >= 0.0 ? low : high);
}

// The values that y_k reads.
std::vector<char> values_read(const Program& program, int k) {
    std::vector<char> read(program.depth() + 1, 0);
    for (const Term& t : program.layers[k - 1].terms) read[t.source] = 1;
    return read;
}

// Rows e_i (sign +1: lower bounds) or -e_i (upper bounds) of y_k for a chunk of neurons, as forms of the values below.
void seed_rows(const Layer& layer, const int* neurons, int count, double sign, double* const* after, double* constant) {
    for (int c = 0; c < count; ++c) constant[c] = sign * layer.bias[neurons[c]];
    for (const Term& t : layer.terms) {
        double* out = after[t.source];
        for (int c = 0; c < count; ++c)
            for_each_entry(t, neurons[c], [&](int j, double value) { out[static_cast<long>(j) * count + c] += sign * value; });
    }
}

void bound_chunk(const Program& program, const RegionView& region, int k, const Lines* lines, const LayerLines* store,
                 const int* neurons, int count, double* lower, double* upper) {
    Columns after(program, count);
    Columns before(program, count, 1);
    std::vector<double> constant(count), bound(count), best(count), scratch(4L * program.inputs), x(static_cast<long>(program.inputs) * count);
    std::vector<const double*> low{region.lower}, high{region.upper};
    for (int s = 1; s < k; ++s) {
        low.push_back(store[s].low.data());
        high.push_back(store[s].high.data());
    }
    for (const double sign : {1.0, -1.0}) {
        after.clear();
        seed_rows(program.layers[k - 1], neurons, count, sign, after.get(), constant.data());
        std::fill(best.begin(), best.end(), -INFINITY);
        std::vector<char> read = values_read(program, k);
        for (int below = k - 1; below >= 1; --below) {
            if (!read[below]) continue;
            substitute_layer(program, below, lines, nullptr, count, {after.get(), before.get(), constant.data()});
            for (const Term& t : program.layers[below - 1].terms) read[t.source] = 1;
            if (below > 1) try_stage(program, below - 1, low.data(), high.data(), read, after.get(), constant.data(), count, best.data());
        }
        concretize(region, after[0], constant.data(), count, bound.data(), x.data(), scratch.data());
        for (int c = 0; c < count; ++c) {
            const int i = neurons[c];
            const double found = std::max(bound[c], best[c]);
            if (sign > 0.0)
                lower[i] = std::max(lower[i], found);
            else
                upper[i] = std::min(upper[i], -found);
        }
    }
}

// Cuts by the phases; false if an interval is empty.
bool cut(const signed char* phase, int n, double* lower, double* upper) {
    bool possible = true;
    for (int i = 0; i < n; ++i) {
        if (phase && phase[i] > 0) lower[i] = std::max(lower[i], 0.0);
        if (phase && phase[i] < 0) upper[i] = std::min(upper[i], 0.0);
        possible = possible && lower[i] <= upper[i];
        if (lower[i] > upper[i]) lower[i] = upper[i] = phase && phase[i] < 0 ? 0.0 : std::max(0.0, lower[i]);
    }
    return possible;
}

}  // namespace

void try_stage(const Program& program, int k, const double* const* low, const double* const* high, const std::vector<char>& read,
               const double* const* after, const double* constant, int r, double* bound) {
    std::vector<double> least(constant, constant + r);
    for (int s = 0; s <= k; ++s) {
        if (!read[s]) continue;
        for (int i = 0; i < program.size(s); ++i) add_least(after[s] + static_cast<long>(i) * r, low[s][i], high[s][i], r, least.data());
    }
    for (int c = 0; c < r; ++c) bound[c] = std::max(bound[c], least[c]);
}

std::vector<int> to_refine(Kind kind, const double* lower, const double* upper, int n) {
    std::vector<int> chosen;
    for (int i = 0; i < n; ++i)
        if (kind == Kind::relu ? lower[i] < 0.0 && upper[i] > 0.0 : lower[i] < upper[i]) chosen.push_back(i);
    return chosen;
}

Lines relax_layer(Kind kind, const double* lower, const double* upper, int n, Rule rule, LayerLines& s) {
    for (auto* array : {&s.alpha, &s.slope, &s.offset, &s.low, &s.high}) array->resize(n);
    activate_ends(kind, lower, upper, n, s.low.data(), s.high.data());
    if (kind == Kind::relu) {
        relu_lines(lower, upper, n, rule, s.alpha.data(), s.slope.data(), s.offset.data());
        return {s.alpha.data(), s.slope.data(), s.offset.data(), nullptr, 0, 1};
    }
    s.below.resize(n);
    curve_lines(kind, lower, upper, n, rule, s.alpha.data(), s.below.data(), s.slope.data(), s.offset.data());
    return {s.alpha.data(), s.slope.data(), s.offset.data(), s.below.data(), 0, 1};
}

void interval_layer(const Program& program, int k, const RegionView& box, double* const* lower, double* const* upper) {
    const Layer& layer = program.layers[k - 1];
    std::copy(layer.bias, layer.bias + layer.size, lower[k]);
    std::copy(layer.bias, layer.bias + layer.size, upper[k]);
    std::vector<double> low, high;
    for (const Term& t : layer.terms) {
        if (t.source == 0) {
            term_interval(t, box.lower, box.upper, lower[k], upper[k]);
            continue;
        }
        low.resize(t.cols);
        high.resize(t.cols);
        activate_ends(program.kind(t.source), lower[t.source], upper[t.source], t.cols, low.data(), high.data());
        term_interval(t, low.data(), high.data(), lower[k], upper[k]);
    }
}

void interval_bounds(const Program& program, const RegionView& box, double* const* lower, double* const* upper) {
    for (int k = 1; k <= program.depth(); ++k) interval_layer(program, k, box, lower, upper);
}

bool linear_bounds(const Program& program, const RegionView& region, Rule rule, const signed char* const* phase, int threads,
                   double* const* lower, double* const* upper) {
    std::vector<LayerLines> store(program.depth() + 1);
    std::vector<Lines> lines(program.depth() + 1);
    bool possible = true;
    for (int k = 1; k <= program.depth(); ++k) {
        const int n = program.size(k);
        interval_layer(program, k, region, lower, upper);
        const signed char* fixed = phase ? phase[k] : nullptr;
        const std::vector<int> open = to_refine(program.kind(k), lower[k], upper[k], n);
        const int tasks = (static_cast<int>(open.size()) + kRowsPerTask - 1) / kRowsPerTask;
        parallel_for(tasks, threads, [&](int task) {
            const int first = task * kRowsPerTask;
            const int count = std::min<int>(kRowsPerTask, static_cast<int>(open.size()) - first);
            bound_chunk(program, region, k, lines.data(), store.data(), open.data() + first, count, lower[k], upper[k]);
        });
        if (program.kind(k) == Kind::relu)
            possible = cut(fixed, n, lower[k], upper[k]) && possible;
        else
            for (int i = 0; i < n; ++i)  // rounding may cross the ends of a point's interval
                if (lower[k][i] > upper[k][i]) std::swap(lower[k][i], upper[k][i]);
        lines[k] = relax_layer(program.kind(k), lower[k], upper[k], n, rule, store[k]);
    }
    return possible;
}

}  // namespace pydual
