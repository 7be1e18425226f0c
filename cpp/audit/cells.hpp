// The intervals of eight cells at once (PROOFS.md, section 5), and how they are derived.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "audit/cases.hpp"
#include "audit/curve.hpp"
#include "audit/lanes.hpp"
#include "audit/question.hpp"

namespace pydual::audit {

enum Rule : int { kIntervalRule = 1, kParallelRule = 2, kAdaptiveRule = 3 };

constexpr double kCurveError = 0x1p-20;  // of a float32 sigmoid or tanh: PROOFS.md, section 6

// A cell whose intervals are to be derived: an anchor.
struct Cell {
    BoxPointer box;
    Phases phases;
    int rule = kIntervalRule;
    const Refinement* refinement = nullptr;  // lines of its own for each end, or null
};

// Up to eight cells. [low, -neg] of every value is by interval arithmetic; [source_low, -source_neg] is what relus and curves
// read, bounded by lines and cut by the phases too. `empty` where an interval is empty or a box is.
struct CellBlock {
    std::vector<std::vector<double>> low;
    std::vector<std::vector<double>> neg;
    std::vector<std::vector<double>> source_low;
    std::vector<std::vector<double>> source_neg;
    std::vector<std::vector<double>> neg_error;                  // of affine values in float32: at most -eps
    std::vector<std::array<std::vector<CurveLines>, 2>> curves;  // of curves: [parallel or not]
    std::array<bool, kLanes> empty{};
    int cells = 0;
};

struct Setting {
    const Network* network = nullptr;
    const Shift* shift = nullptr;
    const Ball* ball = nullptr;  // or null
    bool float32 = false;
};

class Backward;

// Derives the intervals of up to kLanes cells. Rows are shared out to the workspaces, one a thread; each belongs to `setting`.
// Throws Rejected where an interval is not finite or float32 overflows.
std::unique_ptr<CellBlock> derive(const Setting& setting, const std::vector<Cell>& cells, std::vector<Backward>& workspaces);

// The same for one cell, the root of a region, filling in the shift that `setting` points to on the way: lower bounds of
// all values.
std::unique_ptr<CellBlock> derive_root(const Setting& setting, const Cell& root, std::vector<Backward>& workspaces, Shift& shift);

}  // namespace pydual::audit
