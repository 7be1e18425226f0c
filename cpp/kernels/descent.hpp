// Projected gradient descent on the real network: the primal player (Madry et al. 2018; FGSM is its first step).
//
// Minimizes max_m margins_m(x) over the region, many starts at once; a point with a value <= 0 is a candidate attack.
#pragma once

#include "core/program.hpp"
#include "kernels/region.hpp"

namespace pydual {

struct DescentOptions {
    int steps = 40;
    double first_step = 0.25;  // fraction of the width of the box (of the radius for a ball)
    double decay = 0.9;
    double goal = 0.0;  // stop as soon as a column reaches this value
};

// In: starts as the columns of x (inputs x r), inside the region. Out: in x the best point of each column, in value (r) its
// worst margin.
void descend(const Program& program, const Form& margins, const RegionView& region, const DescentOptions& options, int r,
             double* x, double* value);

// Worst margin of each column, and its row in `worst` (may be null).
void worst_margins(const Form& margins, int r, double* const* z, double* values, double* value, int* worst);

}  // namespace pydual
