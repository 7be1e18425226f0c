#include "kernels/sparse_products.hpp"

#include <algorithm>
#include <tuple>

#include "core/dispatch.hpp"
#include "core/pack.hpp"

namespace pydual {
namespace {

std::uint64_t hash(const std::int32_t* begin, const std::int32_t* end) {
    std::uint64_t found = 1469598103934665603u;  // FNV-1a, by entries
    for (; begin != end; ++begin) found = (found ^ static_cast<std::uint32_t>(*begin)) * 1099511628211u;
    return found;
}

// `Packs` packs of `N` columns of `Lines` lines of one group, whose sums stay in registers.
template <int Lines, int N, int Packs, class Real>
PYDUAL_INLINE void add_lines(const SparseOf<Real>& m, const std::int32_t* lines, const Real* x, int ldx, Real* y, int ldy) {
    const int count = m.starts[lines[0] + 1] - m.starts[lines[0]];
    const std::int32_t* places = m.indices + m.starts[lines[0]];
    const Real* values[Lines];
    Pack<N, Real> sum[Lines][Packs];
    for (int l = 0; l < Lines; ++l) {
        values[l] = m.values + m.starts[lines[l]];
        std::memcpy(sum[l], y + static_cast<long>(lines[l]) * ldy, sizeof(sum[l]));
    }
    for (int p = 0; p < count; ++p) {
        const Real* from = x + static_cast<long>(places[p]) * ldx;
        for (int k = 0; k < Packs; ++k) {
            Pack<N, Real> one;
            std::memcpy(&one, from + k * N, sizeof(one));
            for (int l = 0; l < Lines; ++l) sum[l][k] += values[l][p] * one;
        }
    }
    for (int l = 0; l < Lines; ++l) std::memcpy(y + static_cast<long>(lines[l]) * ldy, sum[l], sizeof(sum[l]));
}

template <int N, int Packs, class Real>
PYDUAL_INLINE void add_groups(const SparseOf<Real>& m, const Real* x, int ldx, Real* y, int ldy) {
    for (int g = 0; g < m.group_count; ++g) {
        const std::int32_t *line = m.order + m.groups[g], *end = m.order + m.groups[g + 1];
        for (; line + 4 <= end; line += 4) add_lines<4, N, Packs>(m, line, x, ldx, y, ldy);
        if (end - line == 3) add_lines<3, N, Packs>(m, line, x, ldx, y, ldy);
        if (end - line == 2) add_lines<2, N, Packs>(m, line, x, ldx, y, ldy);
        if (end - line == 1) add_lines<1, N, Packs>(m, line, x, ldx, y, ldy);
    }
}

template <class Real>
PYDUAL_INLINE void multiply(const SparseOf<Real>& m, const Real* x, int ldx, int r, Real* y, int ldy) {
    constexpr int kWide = 64 / sizeof(Real);
    int c = 0;
    for (; c + 2 * kWide <= r; c += 2 * kWide) add_groups<kWide, 2>(m, x + c, ldx, y + c, ldy);
    if (c + kWide <= r) add_groups<kWide, 1>(m, x + c, ldx, y + c, ldy), c += kWide;
    if (kWide > 8 && c + 8 <= r) add_groups<8, 1>(m, x + c, ldx, y + c, ldy), c += 8;
    if (c + 4 <= r) add_groups<4, 1>(m, x + c, ldx, y + c, ldy), c += 4;
    if (c + 2 <= r) add_groups<2, 1>(m, x + c, ldx, y + c, ldy), c += 2;
    if (c < r) add_groups<1, 1>(m, x + c, ldx, y + c, ldy);
}

}  // namespace

LineGroups group_lines(const std::int32_t* starts, const std::int32_t* indices, int lines) {
    const auto same = [&](int a, int b) {
        return std::equal(indices + starts[a], indices + starts[a + 1], indices + starts[b], indices + starts[b + 1]);
    };
    std::vector<std::tuple<std::int32_t, std::uint64_t, std::int32_t>> keys;  // first place, hash of the places, line
    for (int i = 0; i < lines; ++i) {
        const std::int32_t *begin = indices + starts[i], *end = indices + starts[i + 1];
        keys.emplace_back(begin < end ? *begin : -1, hash(begin, end), i);
    }
    std::sort(keys.begin(), keys.end());
    LineGroups found;
    for (const auto& [first, key, line] : keys) {
        if (found.order.empty() || !same(found.order.back(), line))
            found.starts.push_back(static_cast<std::int32_t>(found.order.size()));
        found.order.push_back(line);
    }
    found.starts.push_back(lines);
    return found;
}

PYDUAL_DISPATCH void multiply_sparse(const Sparse& m, const double* x, int ldx, int r, double* y, int ldy) {
    multiply(m, x, ldx, r, y, ldy);
}

PYDUAL_DISPATCH void multiply_sparse(const SparseOf<float>& m, const float* x, int ldx, int r, float* y, int ldy) {
    multiply(m, x, ldx, r, y, ldy);
}

}  // namespace pydual
