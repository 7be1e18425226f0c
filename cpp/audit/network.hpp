// The network as the audit sees it: the primitives of PROOFS.md, section 1, with matrices in both orientations.
#pragma once

#include <cstdint>
#include <vector>

namespace pydual::audit {

// Dense row-major, or compressed rows; `rows` of the one are `columns` of its transpose.
struct Rows {
    int rows = 0;
    int columns = 0;
    bool dense = false;
    std::vector<double> values;
    std::vector<std::int64_t> starts;   // rows + 1, if not dense
    std::vector<std::int32_t> indices;  // as many as values, if not dense
};

Rows transposed(const Rows& matrix);

// Adds to counts[i] the number of nonzero entries of row i.
void count_entries(const Rows& matrix, std::vector<int>& counts);

struct Term {
    int source = 0;
    Rows forward;   // M
    Rows backward;  // M transposed
};

enum class Kind { input, affine, relu, sigmoid, tanh, square };

struct Value {
    Kind kind = Kind::input;
    int size = 0;
    int source = 0;            // of a relu or curve
    int first_neuron = 0;      // of a relu
    std::vector<Term> terms;   // of an affine value
    std::vector<double> bias;  // of an affine value
    int longest_row = 0;       // of an affine value: nonzero entries of a row, over all terms together
    double largest = 0.0;      // of an affine value: magnitude of an entry

    bool is_curve() const { return kind == Kind::sigmoid || kind == Kind::tanh || kind == Kind::square; }
    bool is_activation() const { return kind == Kind::relu || is_curve(); }
};

struct Neuron {
    int value = 0;   // the relu
    int source = 0;  // the value that it is applied to
    int component = 0;
};

// An entry m of a map with low <= m and neg <= -m; it multiplies component `index` of a value that is not affine.
struct Entry {
    std::int32_t value;
    std::int32_t index;
    double low;
    double neg;
};

// An affine value written out over the input and the outputs of activations.
struct WrittenOut {
    std::vector<std::vector<Entry>> rows;
    std::vector<double> bias_low;
    std::vector<double> bias_neg;  // at most the negated bias
};

struct Network {
    std::vector<Value> values;
    std::vector<Neuron> neurons;
    int output = 0;
    std::vector<WrittenOut> written;  // by value; without rows where the terms serve as well
    std::vector<int> first_relu;      // of each value: the first relu that is applied to it, or 0
    std::vector<char> read_by_curve;  // of each value

    int inputs() const { return values[0].size; }
    int size(int k) const { return values[k].size; }
};

}  // namespace pydual::audit
