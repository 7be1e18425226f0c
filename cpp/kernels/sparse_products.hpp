// Products of sparse matrices with columns. Lines with entries in the same places, as a convolution's channels at one position
// have, are multiplied together: what they read is loaded once for all of them.
#pragma once

#include <vector>

#include "core/program.hpp"

namespace pydual {

struct LineGroups {
    std::vector<std::int32_t> order, starts;
};

// Lines of a matrix by the places of their entries, as SparseOf has them.
LineGroups group_lines(const std::int32_t* starts, const std::int32_t* indices, int lines);

// Y (lines x r, stride ldy) += M X (stride ldx).
void multiply_sparse(const Sparse& m, const double* x, int ldx, int r, double* y, int ldy);
void multiply_sparse(const SparseOf<float>& m, const float* x, int ldx, int r, float* y, int ldy);

}  // namespace pydual
