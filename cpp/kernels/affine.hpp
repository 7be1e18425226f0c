// Products of one layer's matrices with columns.
#pragma once

#include "core/program.hpp"

namespace pydual {

// Y (rows x r, stride ldy) += A X (cols x r, stride ldx).
void apply(const Term& term, const double* x, int ldx, int r, double* y, int ldy);

void apply(const TermOf<float>& term, const float* x, int ldx, int r, float* y, int ldy);

// X (cols x r, stride ldx) += A' Y (rows x r, stride ldy).
void apply_transposed(const Term& term, const double* y, int ldy, int r, double* x, int ldx);
void apply_transposed(const TermOf<float>& term, const float* y, int ldy, int r, float* x, int ldx);

// Y (size x r) = sum_t A_t Z_{s_t} + bias, for z[s] the columns of value s; all strides are r.
void evaluate(const Layer& layer, const double* const* z, int r, double* y);

// Column c += row rows[c] of the form: the coefficients of z_s to X[s] (n_s x r), the constant term to constant[c].
void add_rows(const Form& form, const int* rows, int r, double* const* x, double* constant);

}  // namespace pydual
