// Minimum of linear functions over the region: a box, or a box cut by an l1 or l2 ball.
#pragma once

namespace pydual {

enum class Norm { none, l1, l2 };

// Bounds of input i for column c stand at [i * ld + c * step] (see lines.hpp); the ball is shared by all columns.
struct RegionView {
    int inputs = 0;
    const double* lower = nullptr;
    const double* upper = nullptr;
    int step = 0;
    int ld = 1;
    Norm norm = Norm::none;
    const double* center = nullptr;
    double radius = 0.0;
};

// bound[c] = constant[c] + min over the region of w[:, c].x, and x (inputs x r) a point that attains it, up to rounding.
// For the l2 ball: the best of the Lagrangian bounds of PROOFS.md section 4 found by bisection.
// `scratch` holds 4 * inputs doubles.
void concretize(const RegionView& region, const double* w, const double* constant, int r, double* bound, double* x,
                double* scratch);

// The projection of a point with stride `step_x` onto the region, in place; `scratch` holds `inputs` doubles.
// If ball and box have no common point, the point of the box is returned that is about nearest to the center.
void project(const RegionView& region, int column, double* x, int step_x, double* scratch);

}  // namespace pydual
