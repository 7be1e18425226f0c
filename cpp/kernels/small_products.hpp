// Products of small dense matrices with columns, without BLAS: scipy, which brings it, takes longer to load than they do.
#pragma once

#include "core/program.hpp"

namespace pydual {

// Whether a dense matrix has so few entries that its products are taken here.
template <class Real>
bool is_small(const TermOf<Real>& term) {
    return static_cast<long>(term.rows) * term.cols <= 4096;
}

// Lines of a dense matrix or of its transpose: `depth` entries, `step` apart, and `next` from one line to the next.
template <class Real>
struct DenseLines {
    const Real* entries;
    int count, depth, next, step;
};

// Y (count x r, stride ldy) += M X (depth x r, stride ldx).
void multiply_small(const DenseLines<double>& m, const double* x, int ldx, int r, double* y, int ldy);
void multiply_small(const DenseLines<float>& m, const float* x, int ldx, int r, float* y, int ldy);

}  // namespace pydual
