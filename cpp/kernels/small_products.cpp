#include "kernels/small_products.hpp"

#include <cstring>

#include "core/dispatch.hpp"
#include "core/pack.hpp"

namespace pydual {
namespace {

constexpr int kBlock = 6;  // lines whose sums for eight columns fit into 16 registers of four doubles, beside their factors

// N columns of `Block` lines, whose sums stay in registers.
template <int N, int Block, class Real>
PYDUAL_INLINE void add_block(const DenseLines<Real>& m, int first, const Real* x, int ldx, Real* y, int ldy) {
    const Real* entry = m.entries + static_cast<long>(first) * m.next;
    Real* at = y + static_cast<long>(first) * ldy;
    Pack<N, Real> sum[Block];
    for (int b = 0; b < Block; ++b) std::memcpy(&sum[b], at + static_cast<long>(b) * ldy, sizeof(sum[b]));
    for (int p = 0; p < m.depth; ++p) {
        Pack<N, Real> one;
        std::memcpy(&one, x + static_cast<long>(p) * ldx, sizeof(one));
        for (int b = 0; b < Block; ++b) sum[b] += entry[static_cast<long>(b) * m.next + static_cast<long>(p) * m.step] * one;
    }
    for (int b = 0; b < Block; ++b) std::memcpy(at + static_cast<long>(b) * ldy, &sum[b], sizeof(sum[b]));
}

template <int N, class Real>
PYDUAL_INLINE void add_columns(const DenseLines<Real>& m, const Real* x, int ldx, Real* y, int ldy) {
    int i = 0;
    for (; i + kBlock <= m.count; i += kBlock) add_block<N, kBlock>(m, i, x, ldx, y, ldy);
    for (; i + 2 <= m.count; i += 2) add_block<N, 2>(m, i, x, ldx, y, ldy);
    for (; i < m.count; ++i) add_block<N, 1>(m, i, x, ldx, y, ldy);
}

template <class Real>
PYDUAL_INLINE void multiply(const DenseLines<Real>& m, const Real* x, int ldx, int r, Real* y, int ldy) {
    int c = 0;
    for (; c + 8 <= r; c += 8) add_columns<8>(m, x + c, ldx, y + c, ldy);
    for (; c + 4 <= r; c += 4) add_columns<4>(m, x + c, ldx, y + c, ldy);
    for (; c + 2 <= r; c += 2) add_columns<2>(m, x + c, ldx, y + c, ldy);
    for (; c < r; ++c) add_columns<1>(m, x + c, ldx, y + c, ldy);
}

}  // namespace

PYDUAL_DISPATCH void multiply_small(const DenseLines<double>& m, const double* x, int ldx, int r, double* y, int ldy) {
    multiply(m, x, ldx, r, y, ldy);
}

PYDUAL_DISPATCH void multiply_small(const DenseLines<float>& m, const float* x, int ldx, int r, float* y, int ldy) {
    multiply(m, x, ldx, r, y, ldy);
}

}  // namespace pydual
