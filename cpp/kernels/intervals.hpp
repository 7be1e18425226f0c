// Intervals of every pre-activation over a region (PROOFS.md section 5).
#pragma once

#include "core/program.hpp"
#include "kernels/lines.hpp"
#include "kernels/region.hpp"

namespace pydual {

// Interval arithmetic for y_k from the intervals of y_1..y_{k-1}; lower[k], upper[k] for k = 1..K are n_k long.
void interval_layer(const Program& program, int k, const RegionView& box, double* const* lower, double* const* upper);

// All layers by interval arithmetic.
void interval_bounds(const Program& program, const RegionView& box, double* const* lower, double* const* upper);

// All layers by interval arithmetic cut with bounds by lines under `rule`, for ReLUs that intervals leave unstable and for curves.
// In networks with curves, bounds by lines are the best of all stages.
// `phase[k][i]`, of ReLUs only, is 1 (active), -1 (inactive) or 0; a phase cuts the interval and fixes the line.
// Returns false if some interval is empty: then the region with these phases is empty up to rounding.
bool linear_bounds(const Program& program, const RegionView& region, Rule rule, const signed char* const* phase, int threads,
                   double* const* lower, double* const* upper);

}  // namespace pydual
