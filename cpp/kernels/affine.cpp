#include "kernels/affine.hpp"

#include <cstring>

#include "core/blas.hpp"
#include "core/dispatch.hpp"
#include "core/pack.hpp"
#include "kernels/small_products.hpp"

namespace pydual {
namespace {

constexpr int kPack = 8;

// Y += M X for `Packs` packs of columns of X and Y, whose sums stay in registers for a line of M.
template <int Packs, class Real>
PYDUAL_INLINE void gather_packs(const SparseOf<Real>& m, int lines, const Real* x, int ldx, Real* y, int ldy) {
    for (int i = 0; i < lines; ++i) {
        Real* at = y + static_cast<long>(i) * ldy;
        Pack<kPack, Real> sum[Packs];
        std::memcpy(sum, at, sizeof(sum));
        for (int p = m.starts[i]; p < m.starts[i + 1]; ++p) {
            const Real* from = x + static_cast<long>(m.indices[p]) * ldx;
            for (int k = 0; k < Packs; ++k) {
                Pack<kPack, Real> one;
                std::memcpy(&one, from + k * kPack, sizeof(one));
                sum[k] += m.values[p] * one;
            }
        }
        std::memcpy(at, sum, sizeof(sum));
    }
}

template <class Real>
PYDUAL_INLINE void gather_column(const SparseOf<Real>& m, int lines, const Real* x, int ldx, Real* y, int ldy) {
    for (int i = 0; i < lines; ++i)
        for (int p = m.starts[i]; p < m.starts[i + 1]; ++p)
            y[static_cast<long>(i) * ldy] += m.values[p] * x[static_cast<long>(m.indices[p]) * ldx];
}

template <class Real>
PYDUAL_INLINE void gather_columns(const SparseOf<Real>& m, int lines, const Real* x, int ldx, int r, Real* y, int ldy) {
    int c = 0;
    for (; c + 4 * kPack <= r; c += 4 * kPack) gather_packs<4>(m, lines, x + c, ldx, y + c, ldy);
    for (; c + kPack <= r; c += kPack) gather_packs<1>(m, lines, x + c, ldx, y + c, ldy);
    for (; c < r; ++c) gather_column(m, lines, x + c, ldx, y + c, ldy);
}

PYDUAL_DISPATCH void gather(const SparseOf<double>& m, int lines, const double* x, int ldx, int r, double* y, int ldy) {
    gather_columns(m, lines, x, ldx, r, y, ldy);
}

PYDUAL_DISPATCH void gather(const SparseOf<float>& m, int lines, const float* x, int ldx, int r, float* y, int ldy) {
    gather_columns(m, lines, x, ldx, r, y, ldy);
}

template <class Real>
void apply_any(const TermOf<Real>& term, const Real* x, int ldx, int r, Real* y, int ldy) {
    if (!term.dense)
        gather(SparseOf<Real>{term.indptr, term.indices, term.values}, term.rows, x, ldx, r, y, ldy);
    else if (is_small(term))
        multiply_small(DenseLines<Real>{term.dense, term.rows, term.cols, term.cols, 1}, x, ldx, r, y, ldy);
    else
        multiply_add(term.dense, term.rows, term.cols, x, ldx, r, y, ldy);
}

template <class Real>
void apply_any_transposed(const TermOf<Real>& term, const Real* y, int ldy, int r, Real* x, int ldx) {
    if (!term.dense)
        gather(term.columns, term.cols, y, ldy, r, x, ldx);
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
    for (const Term& t : form.terms) {
        for (int c = 0; c < r; ++c) {
            const long i = rows[c];
            if (t.dense) {
                for (int j = 0; j < t.cols; ++j) x[t.source][static_cast<long>(j) * r + c] += t.dense[i * t.cols + j];
            } else {
                for (int p = t.indptr[i]; p < t.indptr[i + 1]; ++p)
                    x[t.source][static_cast<long>(t.indices[p]) * r + c] += t.values[p];
            }
        }
    }
}

}  // namespace pydual
