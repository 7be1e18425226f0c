#include "kernels/affine.hpp"

#include "core/blas.hpp"
#include "core/dispatch.hpp"

namespace pydual {
namespace {

PYDUAL_DISPATCH void add_scaled(double* y, const double* x, double a, int n) {
    for (int c = 0; c < n; ++c) y[c] += a * x[c];
}

void sparse_apply(const Term& t, const double* x, int ldx, int r, double* y, int ldy) {
    for (int i = 0; i < t.rows; ++i)
        for (int p = t.indptr[i]; p < t.indptr[i + 1]; ++p)
            add_scaled(y + static_cast<long>(i) * ldy, x + static_cast<long>(t.indices[p]) * ldx, t.values[p], r);
}

void sparse_apply_transposed(const Term& t, const double* y, int ldy, int r, double* x, int ldx) {
    for (int i = 0; i < t.rows; ++i)
        for (int p = t.indptr[i]; p < t.indptr[i + 1]; ++p)
            add_scaled(x + static_cast<long>(t.indices[p]) * ldx, y + static_cast<long>(i) * ldy, t.values[p], r);
}

}  // namespace

void apply(const Term& term, const double* x, int ldx, int r, double* y, int ldy) {
    if (term.dense)
        multiply_add(term.dense, term.rows, term.cols, x, ldx, r, y, ldy);
    else
        sparse_apply(term, x, ldx, r, y, ldy);
}

void apply_transposed(const Term& term, const double* y, int ldy, int r, double* x, int ldx) {
    if (term.dense)
        multiply_transposed_add(term.dense, term.rows, term.cols, y, ldy, r, x, ldx);
    else
        sparse_apply_transposed(term, y, ldy, r, x, ldx);
}

void evaluate(const Layer& layer, const double* const* z, int r, double* y) {
    for (int i = 0; i < layer.size; ++i)
        for (int c = 0; c < r; ++c) y[static_cast<long>(i) * r + c] = layer.bias[i];
    for (const Term& term : layer.terms) apply(term, z[term.source], r, r, y, r);
}

}  // namespace pydual
