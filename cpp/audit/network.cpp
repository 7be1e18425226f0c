#include "audit/network.hpp"

namespace pydual::audit {
namespace {

Rows transposed_dense(const Rows& m) {
    Rows t{m.columns, m.rows, true, std::vector<double>(m.values.size()), {}, {}};
    for (int i = 0; i < m.rows; ++i)
        for (int j = 0; j < m.columns; ++j)
            t.values[static_cast<std::size_t>(j) * m.rows + i] = m.values[static_cast<std::size_t>(i) * m.columns + j];
    return t;
}

}  // namespace

Rows transposed(const Rows& m) {
    if (m.dense) return transposed_dense(m);
    Rows t{m.columns, m.rows, false, std::vector<double>(m.values.size()), std::vector<std::int64_t>(m.columns + 1, 0),
           std::vector<std::int32_t>(m.values.size())};
    for (const std::int32_t j : m.indices) ++t.starts[j + 1];
    for (int j = 0; j < m.columns; ++j) t.starts[j + 1] += t.starts[j];
    std::vector<std::int64_t> at(t.starts.begin(), t.starts.end() - 1);
    for (int i = 0; i < m.rows; ++i)
        for (std::int64_t p = m.starts[i]; p < m.starts[i + 1]; ++p) {
            const std::int64_t q = at[m.indices[p]]++;
            t.indices[q] = i;
            t.values[q] = m.values[p];
        }
    return t;
}

void count_entries(const Rows& m, std::vector<int>& counts) {
    for (int i = 0; i < m.rows; ++i) {
        const std::int64_t begin = m.dense ? static_cast<std::int64_t>(i) * m.columns : m.starts[i];
        const std::int64_t end = m.dense ? begin + m.columns : m.starts[i + 1];
        for (std::int64_t p = begin; p < end; ++p) counts[i] += m.values[p] != 0.0;
    }
}

}  // namespace pydual::audit
