// Bounds by lines: one back-substitution for many columns at once (PROOFS.md section 4; CROWN, Zhang et al. 2018, Theorem 3.2).
#pragma once

#include "core/program.hpp"
#include "kernels/lines.hpp"
#include "kernels/region.hpp"

namespace pydual {

// Buffers of one evaluation, all n_k x r for value k (k = 0 is the input).
struct Adjoints {
    double* const* after;   // [0..K] coefficients of z_k: in, those of the form; out, the coefficients when z_k was replaced
    double* const* before;  // [1..K] out: the coefficients of y_k
    double* constant;       // [r] in: the form's constants; out: those of the result
};

// Replaces z_top, ..., z_1 by their lines. lines[k], split[k] for k = 1..top; split[k] (or null) is added to the coefficients
// of y_k (the multipliers of neuron splits with their signs). On return after[0] holds the coefficients of the input.
void back_substitute(const Program& program, int top, const Lines* lines, const double* const* split, int r, const Adjoints& a);

// One step of it: replaces z_k.
void substitute_layer(const Program& program, int k, const Lines* lines, const double* const* split, int r, const Adjoints& a);

// The minimizer pushed through the same lines: from z[0] = x fills y[k], z[k] for k = 1..top.
void play_forward(const Program& program, int top, const Lines* lines, const double* const* after, int r, double* const* y,
                  double* const* z);

}  // namespace pydual
