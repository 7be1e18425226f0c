// Lines around an activation: alpha*y + below <= f(y) <= slope*y + offset on [l, u].
//
// Around a ReLU, below is 0 (a null pointer); stable and split neurons have the same form, with alpha = slope in {0, 1} and offset 0, so the loops do not branch.
// Element (i, c) of an array stands at [i * ld + c * step]: step 0, ld 1 for lines shared by all columns, else step 1, ld r.
#pragma once

#include "kernels/curved.hpp"

namespace pydual {

struct Lines {
    const double* alpha = nullptr;
    const double* slope = nullptr;
    const double* offset = nullptr;
    const double* below = nullptr;
    int step = 0;
    int ld = 1;
    const Curved* curved = nullptr;  // in place of the lines around open ReLUs, or null
};

// Which slope below an unstable ReLU: alpha = slope above (parallel), or alpha = 1 if u > -l else 0 (adaptive).
enum class Rule { parallel = 2, adaptive = 3 };

// Lines of n ReLUs with intervals [l, u].
void relu_lines(const double* lower, const double* upper, int n, Rule rule, double* alpha, double* slope, double* offset);

// Minimizing w.z over the lines: hat = alpha max(w, 0) + slope min(w, 0); constant += below max(w, 0) + offset min(w, 0).
// n x r.
void relax_backward(const Lines& lines, const double* w, int n, int r, double* hat, double* constant);

// The play that attains it: z = alpha y + below where w >= 0, else slope y + offset. n x r.
void relax_forward(const Lines& lines, const double* w, const double* y, int n, int r, double* z);

}  // namespace pydual
