// Back-substitution of eight rows at once (PROOFS.md, section 4). A row belongs to a lane of some block of cells.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "audit/ball.hpp"
#include "audit/cells.hpp"

namespace pydual::audit {

// Where a row finds its intervals, its box and its lines.
struct Row {
    const CellBlock* block = nullptr;
    int lane = 0;
    const Box* box = nullptr;
    const Phases* phases = nullptr;   // neuron splits that cut the block's intervals further, or null
    int rule = kAdaptiveRule;
    const double* slopes = nullptr;   // by neuron, negative where the rule decides; or null
    const double* curvatures = nullptr;      // of a ball leaf: one for each relu; else null
    const Surroundings* around = nullptr;    // of a ball leaf
};

struct Interval {
    double low, neg;  // [low, -neg]
};

// Workspace of one thread, reused.
class Backward {
public:
    explicit Backward(const Setting& setting);

    // Starts `count` rows (at most kLanes) with all coefficients zero and these constants; the other lanes repeat row 0.
    void start(const Row* rows, int count);
    double* constants() { return constant_.data(); }
    // The coefficients of the shifted value k, [component][lane], to add to.
    double* coefficients(int k);

    // Adds `multiplier` times the fact of a phase, y <= 0 or -y <= 0, to a row.
    void add_split(const Phase& phase, double multiplier, int lane);

    // The lower bounds of the rows over their boxes, the best of all stages; -infinity or NaN where nothing is known.
    void bound(double* best);

    // Replaces all values but the input and the outputs of these neurons, whose coefficients go to out[neuron][lane].
    void write_out(const std::vector<int>& kept, double* out);
    // What a neuron reads, as row 0 has it.
    Interval source_interval(int neuron);

private:
    struct Gathered {
        std::vector<double> low, neg;
        bool fresh = false;
    };

    const Gathered& intervals(int source);
    void cut(int source, Gathered& g);
    void keep(int k, const std::vector<int>& kept, double* out);
    void affine(int k);
    void activation(int k);
    void relu_lines(int k, const Gathered& g);
    void curve_lines(int k, const Gathered& g);
    void flat_lines(int k, const Gathered& g, int lane);
    void replace_open(int k, const Gathered& g, int lane);
    void apply_lines(int k);
    void charge_error(int k);
    void stage(double* best);
    void stage_value(int k, double* total);
    void add_box(double* total);
    void input(double* best);
    int replace_affine(int top);

    const Setting& setting_;
    const Network& net_;
    std::array<Row, kLanes> rows_;
    std::vector<std::vector<double>> pending_;
    std::vector<char> used_;
    std::vector<Gathered> gathered_;
    std::vector<std::int32_t> active_;
    // lines of the activation in turn: slopes and intercepts below, slopes and negated intercepts above, and what the slope
    // above is multiplied with besides v': shift - foot
    std::vector<double> below_, below_constant_, above_, above_neg_, above_shift_;
    std::array<double, kLanes> constant_{};
};

}  // namespace pydual::audit
