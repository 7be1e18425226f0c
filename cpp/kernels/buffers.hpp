// Workspace that callers allocate once and kernels only use: n_k x r columns for each value of a program.
#pragma once

#include <algorithm>
#include <vector>

#include "core/program.hpp"

namespace pydual {

// Columns for the values first..K of a program; row-major, 64 bytes apart.
class Columns {
public:
    Columns(const Program& program, int columns, int first = 0) : pointers_(program.depth() + 1, nullptr) {
        std::size_t total = 0;
        for (int k = first; k <= program.depth(); ++k) total += padded(program.size(k), columns);
        storage_.assign(total, 0.0);
        std::size_t at = 0;
        for (int k = first; k <= program.depth(); ++k) {
            pointers_[k] = storage_.data() + at;
            at += padded(program.size(k), columns);
        }
    }
    Columns(const Columns&) = delete;
    Columns& operator=(const Columns&) = delete;

    double* const* get() const { return pointers_.data(); }
    double* operator[](int k) const { return pointers_[k]; }
    void clear() { std::fill(storage_.begin(), storage_.end(), 0.0); }

private:
    static std::size_t padded(int n, int columns) { return (static_cast<std::size_t>(n) * columns + 7) / 8 * 8; }

    std::vector<double> storage_;
    std::vector<double*> pointers_;
};

}  // namespace pydual
