// Workspace that callers allocate once and kernels only use: n_k x r columns for each value of a program.
#pragma once

#include <algorithm>
#include <vector>

#include "core/program.hpp"

namespace pydual {

// Columns for the values first..K of a program; row-major, 64 bytes apart.
template <class Real>
class ColumnsOf {
public:
    ColumnsOf(const Program& program, int columns, int first = 0) : pointers_(program.depth() + 1, nullptr) {
        std::size_t total = 0;
        for (int k = first; k <= program.depth(); ++k) total += padded(program.size(k), columns);
        storage_.assign(total, Real(0));
        std::size_t at = 0;
        for (int k = first; k <= program.depth(); ++k) {
            pointers_[k] = storage_.data() + at;
            at += padded(program.size(k), columns);
        }
    }
    ColumnsOf(const ColumnsOf&) = delete;
    ColumnsOf& operator=(const ColumnsOf&) = delete;
    ColumnsOf(ColumnsOf&&) = default;  // the storage stays where it is

    Real* const* get() const { return pointers_.data(); }
    Real* operator[](int k) const { return pointers_[k]; }
    void clear() { std::fill(storage_.begin(), storage_.end(), Real(0)); }

private:
    static std::size_t padded(int n, int columns) { return (static_cast<std::size_t>(n) * columns + 15) / 16 * 16; }

    std::vector<Real> storage_;
    std::vector<Real*> pointers_;
};

using Columns = ColumnsOf<double>;

}  // namespace pydual
