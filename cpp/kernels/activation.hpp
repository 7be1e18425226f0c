// The activations of layers: values, derivatives, and lines around curves (PROOFS.md section 4).
#pragma once

#include "core/program.hpp"
#include "kernels/lines.hpp"

namespace pydual {

// z = f(y), n numbers.
void activate(Kind kind, const double* y, long n, double* z);

// [low, high] encloses f([lower, upper]), n numbers; an output may be an input.
void activate_ends(Kind kind, const double* lower, const double* upper, long n, double* low, double* high);

// before = f'(y) * after, n numbers; the derivative of the ReLU at 0 is 0.
void differentiate(Kind kind, const double* y, const double* after, long n, double* before);

// Lines of n components of a curve with intervals [l, u]: alpha p + below <= f(p) <= slope p + offset on [l, u].
void curve_lines(Kind kind, const double* lower, const double* upper, long n, Rule rule, double* alpha, double* below,
                 double* slope, double* offset);

}  // namespace pydual
