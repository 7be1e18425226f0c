#include "kernels/affine.hpp"

#include "core/blas.hpp"
#include "kernels/small_products.hpp"
#include "kernels/sparse_products.hpp"

namespace pydual {
namespace {

template <class Real>
void apply_any(const TermOf<Real>& term, const Real* x, int ldx, int r, Real* y, int ldy) {
    if (!term.dense)
        multiply_sparse(term.by_rows, x, ldx, r, y, ldy);
    else if (is_small(term))
        multiply_small(DenseLines<Real>{term.dense, term.rows, term.cols, term.cols, 1}, x, ldx, r, y, ldy);
    else
        multiply_add(term.dense, term.rows, term.cols, x, ldx, r, y, ldy);
}

template <class Real>
void apply_any_transposed(const TermOf<Real>& term, const Real* y, int ldy, int r, Real* x, int ldx) {
    if (!term.dense)
        multiply_sparse(term.by_columns, y, ldy, r, x, ldx);
    else if (is_small(term))
        multiply_small(DenseLines<Real>{term.dense, term.cols, term.rows, 1, term.cols}, y, ldy, r, x, ldx);
    else
        multiply_transposed_add(term.dense, term.rows, term.cols, y, ldy, r, x, ldx);
}

}  // namespace

void apply(const Term& term, const double* x, int ldx, int r, double* y, int ldy) { apply_any(term, x, ldx, r, y, ldy); }

void apply(const TermOf<float>& term, const float* x, int ldx, int r, float* y, int ldy) { apply_any(term, x, ldx, r, y, ldy); }

void apply_transposed(const Term& term, const double* y, int ldy, int r, double* x, int ldx) {
    apply_any_transposed(term, y, ldy, r, x, ldx);
}

void apply_transposed(const TermOf<float>& term, const float* y, int ldy, int r, float* x, int ldx) {
    apply_any_transposed(term, y, ldy, r, x, ldx);
}

void evaluate(const Layer& layer, const double* const* z, int r, double* y) {
    for (int i = 0; i < layer.size; ++i)
        for (int c = 0; c < r; ++c) y[static_cast<long>(i) * r + c] = layer.bias[i];
    for (const Term& term : layer.terms) apply(term, z[term.source], r, r, y, r);
}

void add_rows(const Form& form, const int* rows, int r, double* const* x, double* constant) {
    for (int c = 0; c < r; ++c) constant[c] += form.bias[rows[c]];
    for (const Term& t : form.terms)
        for (int c = 0; c < r; ++c)
            for_each_entry(t, rows[c], [&](int j, double value) { x[t.source][static_cast<long>(j) * r + c] += value; });
}

}  // namespace pydual
