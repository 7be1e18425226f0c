// Intervals of every pre-activation over a region (PROOFS.md section 5).
#pragma once

#include <vector>

#include "core/program.hpp"
#include "kernels/lines.hpp"
#include "kernels/region.hpp"

namespace pydual {

// The lines of a layer, and the intervals of its outputs.
struct LayerLines {
    std::vector<double> alpha, slope, offset, below, low, high;
};

// Fills `store` by the rule from the intervals of y; the result points into it.
Lines relax_layer(Kind kind, const double* lower, const double* upper, int n, Rule rule, LayerLines& store);

// The units of a layer that lines refine: ReLUs of open sign, and all that a curve reads.
std::vector<int> to_refine(Kind kind, const double* lower, const double* upper, int n);

// bound[c] = max(bound[c], constant[c] + sum_s min over the intervals [low[s], high[s]] of z_s, s = 0..k, of the coefficients
// after[s] (n_s x r)); values that are not `read` have none. The audits take the best stage (PROOFS.md section 4), and lines
// that depend on intervals must not be others there.
void try_stage(const Program& program, int k, const double* const* low, const double* const* high, const std::vector<char>& read,
               const double* const* after, const double* constant, int r, double* bound);

// Interval arithmetic for y_k from the intervals of y_1..y_{k-1}; lower[k], upper[k] for k = 1..K are n_k long.
void interval_layer(const Program& program, int k, const RegionView& box, double* const* lower, double* const* upper);

// All layers by interval arithmetic.
void interval_bounds(const Program& program, const RegionView& box, double* const* lower, double* const* upper);

// All layers by interval arithmetic cut with bounds by lines under `rule`, for ReLUs that intervals leave unstable and for curves.
// Bounds by lines are the best of all stages.
// `phase[k][i]`, of ReLUs only, is 1 (active), -1 (inactive) or 0; a phase cuts the interval and fixes the line.
// Returns false if some interval is empty: then the region with these phases is empty up to rounding.
bool linear_bounds(const Program& program, const RegionView& region, Rule rule, const signed char* const* phase, int threads,
                   double* const* lower, double* const* upper);

}  // namespace pydual
