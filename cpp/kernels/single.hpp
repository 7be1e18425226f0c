// Bounds by lines and multipliers in single precision, for searches whose answers are proved in double precision afterwards.
//
// The slopes of a column stay, its multipliers rise (kernels/ascent.hpp, which this is the fast part of: no weights of margins, no
// moving slopes, no curvatures).
#pragma once

#include <deque>
#include <vector>

#include "core/program.hpp"
#include "kernels/buffers.hpp"
#include "kernels/region.hpp"

namespace pydual {

struct Neuron {
    int layer = 0;  // 1..K; 0 for none
    int unit = 0;
};

struct Fixed {
    Neuron neuron;
    signed char phase = 0;  // 1 active, -1 inactive
    double multiplier = 0.0;
    double price = 0.0;  // of the neuron where it was split
};

// A program, rows of a form and intervals, shared by all columns. Inputs are relative to the middle of their intervals, so that
// those far from zero lose no digits.
class SingleNetwork {
public:
    SingleNetwork(const Program& program, const Form& form, const RegionView& region, const double* const* lower,
                  const double* const* upper);
    SingleNetwork(const SingleNetwork&) = delete;
    SingleNetwork& operator=(const SingleNetwork&) = delete;

    // Whether at least half of the products of an evaluation are with inputs.
    bool mostly_reads_inputs() const { return mostly_reads_inputs_; }
    // The slopes [k] n_k x count; adaptive where they are below zero.
    std::vector<std::vector<float>> slopes(const double* const* alpha, int count) const;

private:
    friend class SingleColumns;

    enum class Shape : char { dead, identity, open, curve };

    // Of each unit: its shape and lines, as in kernels/lines.hpp; alpha of an open ReLU is that of the column.
    struct Units {
        std::vector<TermOf<float>> terms;
        std::vector<Shape> shape;
        std::vector<float> bias, alpha, below, slope, offset;
    };

    void center(const RegionView& region);
    std::vector<double> at_middle(const Layer& layer) const;
    void add_layer(int k, const double* lower, const double* upper);
    TermOf<float> rounded(const Term& term);
    SparseOf<float> rounded(const Sparse& matrix, int lines);
    const float* rounded(const double* numbers, std::size_t count);

    const Program& program_;
    const Form& form_;
    RegionView region_;
    std::vector<Units> units_;        // [1..K]
    std::vector<double> form_bias_;
    std::vector<double> middle_, lower_, upper_, center_;  // of the inputs, all but the first relative to the middle
    bool mostly_reads_inputs_ = false;
    std::deque<std::vector<float>> numbers_;
};

// What layers and rows of the form read in each of some inputs.
struct Inputs {
    Inputs(const Program& program, int many) : count(many), read(program, many, 1), form(many, 0.0f) {}

    int count;
    ColumnsOf<float> read;    // [k], n_k x count, with bias
    std::vector<float> form;  // without bias
};

// Up to `most` columns of one network, and memory for them.
class SingleColumns {
public:
    SingleColumns(const SingleNetwork& network, int most);

    // r columns, without fixed neurons: column c is row rows[c] of the form, with the slopes [k] n_k x count in place ends[c].
    void begin(int r, const int* rows, const std::vector<std::vector<float>>& alpha, int count, const int* ends);
    void fix(int column, const Fixed& fixed);

    // The bounds, and the inputs that attain them.
    void evaluate();
    // What those are as inputs first, first + 1, ..
    void read_inputs(Inputs& inputs, int first) const;
    // What would be the bounds if each column's only input were that in its place: no less, and without the products with inputs'
    // weights.
    void evaluate_at(const Inputs& inputs, const int* places);
    // After evaluate: y and z of the neurons where the bounds are attained.
    void play();

    // Steps of Adam for the multipliers (Kingma and Ba 2015), until each column's bound is above its target, and at the best point
    // the bound and the multipliers; the play is the last one.
    struct Steps {
        int count;
        double rate;  // in units of the neurons' prices
        double decay;
    };
    void ascend(const Steps& steps, const float* targets);

    const float* bound() const { return bound_.data(); }
    const float* y(Neuron n) const { return y_[n.layer] + static_cast<long>(n.unit) * r_; }
    const float* z(Neuron n) const { return z_[n.layer] + static_cast<long>(n.unit) * r_; }
    const float* price(Neuron n) const { return after_[n.layer] + static_cast<long>(n.unit) * r_; }
    bool is_fixed(int column, const Neuron& neuron) const;
    double multiplier(int column, int place) const { return at(column, place).best; }  // `place`: in the order of fixing

private:
    // A fixed neuron of a column: its multiplier with Adam's moments, and the best one.
    struct Entry {
        int unit, column;
        float phase, scale, beta, best;
        double first, second;  // squares of large numbers would overflow
    };
    struct Place {
        int layer, index;
    };

    const Entry& at(int column, int place) const { return entries_[places_[column][place].layer][places_[column][place].index]; }
    void start();
    void relax(int k);
    void substitute(int k);
    void concretize();
    bool keep_best(const float* targets);
    void move(int step, double rate);

    const SingleNetwork& network_;
    const Program& p_;
    int r_ = 0;
    ColumnsOf<float> after_, before_, alpha_, y_, z_;
    std::vector<float> constant_, bound_, best_;
    std::vector<std::vector<Entry>> entries_;  // by layer
    std::vector<std::vector<Place>> places_;   // by column, in the order in which they were fixed
    std::vector<int> rows_;
    std::vector<char> better_;
    std::vector<double> wide_, x_, scratch_, sums_;  // for balls
};

}  // namespace pydual
