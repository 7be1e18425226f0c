// A network as layers between activations, the form in which every kernel sees it.
//
// z_0 = x is the input; for k = 1..K the pre-activation is y_k = sum_t A_t z_{s_t} + b_k with s_t < k, and z_k = f_k(y_k),
// elementwise, for the activation f_k of the layer.
// A `Form` is a stack of affine functions of z_0..z_K, such as the margins of a problem.
// Matrices of columns (one column a query row, node, cell or attack) are row-major n x R: the R columns are contiguous.
#pragma once

#include <cstdint>
#include <vector>

namespace pydual {

// The nonzero entries of a matrix line by line: those of line i are starts[i] to starts[i + 1]. Lines with entries in the same
// places may stand together in `order`: those of group g are groups[g] to groups[g + 1].
template <class Real>
struct SparseOf {
    const std::int32_t* starts = nullptr;
    const std::int32_t* indices = nullptr;
    const Real* values = nullptr;
    const std::int32_t* order = nullptr;
    const std::int32_t* groups = nullptr;
    int group_count = 0;
};

// A is dense (rows x cols, row-major) if `dense` is set, else sparse, by rows and by columns. The memory belongs to the caller
// and outlives the program.
template <class Real>
struct TermOf {
    int source = 0;
    int rows = 0;
    int cols = 0;
    const Real* dense = nullptr;
    SparseOf<Real> by_rows, by_columns;
};

// on_entry(column, value) for the entries of a row, but the zeros of a sparse matrix.
template <class Real, class OnEntry>
void for_each_entry(const TermOf<Real>& t, int row, const OnEntry& on_entry) {
    if (t.dense)
        for (int j = 0; j < t.cols; ++j) on_entry(j, t.dense[static_cast<long>(row) * t.cols + j]);
    else
        for (int p = t.by_rows.starts[row]; p < t.by_rows.starts[row + 1]; ++p)
            on_entry(t.by_rows.indices[p], t.by_rows.values[p]);
}

using Sparse = SparseOf<double>;
using Term = TermOf<double>;

enum class Kind { relu, sigmoid, tanh, square };  // all but the first are curves

struct Layer {
    Kind kind = Kind::relu;
    int size = 0;
    std::vector<Term> terms;
    const double* bias = nullptr;
};

using Form = Layer;  // size rows, without an activation

struct Program {
    int inputs = 0;
    std::vector<Layer> layers;  // layers[k - 1] defines y_k

    int depth() const { return static_cast<int>(layers.size()); }
    int size(int k) const { return k == 0 ? inputs : layers[k - 1].size; }
    Kind kind(int k) const { return layers[k - 1].kind; }
    bool has_curves() const {
        for (const Layer& layer : layers)
            if (layer.kind != Kind::relu) return true;
        return false;
    }
};

}  // namespace pydual
