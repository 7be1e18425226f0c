// Exact finishing of a small cell: branch and bound on the network that is left of the cell.
//
// Over a cell only the unstable neurons bend; all others are linear and drop out. What is left has the cell's wide inputs, scaled to
// t in [-1, 1], and u unstable neurons in order, y_j = a_j + A_j t + sum_{i<j} B_ji z_i, z_j = max(y_j, 0), and margins of the
// same form. (There must be no curves.) A bound of it costs u (inputs + u) operations, so that dual ascent and ReLU splits take microseconds.
#pragma once

#include <cstdint>
#include <vector>

#include "core/program.hpp"
#include "kernels/zonotope.hpp"

namespace pydual {

struct FinishOptions {
    int unstable = 256;    // cells with more unstable neurons are not tried
    double work = 2e6;     // give up beyond this many multiply-adds
    int steps = 24;        // ascent steps a node
    double target = 1e-9;  // a leaf's bound must exceed this
};

// The proof of a finished cell: a tree over the unstable neurons in preorder, inactive child first.
struct CellProof {
    std::vector<std::int32_t> neurons;  // [u] numbers in the whole network
    std::vector<std::int32_t> active;   // the neurons that are active all over the cell
    std::vector<std::int32_t> split;    // a node's local neuron, or -1 for a leaf
    std::vector<float> weights;         // M for each leaf
    std::vector<float> betas;           // one for each split above each leaf, from the root down
    std::vector<std::uint8_t> slopes;   // u for each leaf, in units of 1/128

    void clear();
};

// Workspace and search; one for each thread.
class Finisher {
public:
    Finisher(const Program& program, const Form& margins, const FinishOptions& options);

    // Tries to prove the cell that `space` holds after bound_cell. True if `proof()` is complete.
    bool finish(const double* low, const double* high, ZonotopeSpace& space);

    const CellProof& proof() const { return proof_; }
    int nodes() const { return nodes_; }

private:
    struct Duals {
        std::vector<double> alpha, beta, lambda;
    };

    void reduce(const double* low, const double* high, ZonotopeSpace& space);
    bool search(int depth);
    bool ascend(Duals& duals);
    double evaluate(const Duals& duals);
    void play(const Duals& duals);
    void move(Duals& duals, int step, double scale);
    bool close(const Duals& duals);
    int choose() const;

    const Program& program_;
    const Form& margins_;
    FinishOptions options_;
    CellProof proof_;
    int u_ = 0;
    int inputs_ = 0;                             // wide ones
    int nodes_ = 0;
    double work_ = 0.0;
    int width_ = 0;                              // 1 + inputs + u
    std::vector<double> rows_, margin_rows_;     // u x stride, M x stride
    std::vector<double> lower_, upper_, slope_, offset_;
    std::vector<signed char> phase_;
    std::vector<int> path_;
    std::vector<Duals> stack_;                   // by depth
    Duals best_, first_, second_;
    std::vector<double> coefficients_, price_, before_, t_, y_, z_, values_;
};

}  // namespace pydual
