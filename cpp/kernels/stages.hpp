// Bounds by parallel lines at the stages between interval arithmetic, which is the first, and the input, which is the last
// (PROOFS.md section 4, "At any stage").
#pragma once

#include <vector>

#include "core/program.hpp"
#include "kernels/buffers.hpp"
#include "kernels/intervals.hpp"
#include "kernels/region.hpp"

namespace pydual {

// Workspace, reused between cells; columns for as many units as the widest layer has.
struct Stages {
    explicit Stages(const Program& program);

    // The parallel lines of layer k; to be set in order, before later layers are cut.
    void relax(const Program& program, int k, const double* lower, const double* upper);

    // Cuts the intervals of the given units of y_k.
    void cut(const Program& program, int k, const RegionView& box, const std::vector<int>& units, double* lower, double* upper);

    std::vector<LayerLines> lines;

private:
    void substitute(const Program& program, int k, int r);
    void take(const Program& program, int k, const RegionView& box, int r);

    Columns after_, before_;
    std::vector<double> low_, high_, least_, most_, best_low_, best_high_;
    std::vector<char> read_;
};

}  // namespace pydual
