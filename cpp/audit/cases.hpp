// Trees of cases as a refinement gives them (PROOFS.md, section 5).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "audit/slopes.hpp"

namespace pydual::audit {

// The certificate cannot be accepted; the message says why.
struct Rejected : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Phase {
    int neuron = 0;
    bool active = false;
};

using Phases = std::vector<Phase>;

// The splits above a case, and a multiplier for each.
struct Case {
    Phases phases;
    std::vector<double> multipliers;
};

using CaseTree = std::vector<Case>;

// Trees in preorder, one after the other: the neuron that is split, its inactive case first, or -1 for a case; multipliers
// for each case, in order, from the root down. Throws Rejected where they do not fit.
std::vector<CaseTree> read_cases(const std::int32_t* splits, std::int64_t entries, const Numbers& multipliers, std::int64_t count);

// For each neuron the lines that bound its source component from below and from above: a rule (negative), or a row of slopes;
// and the trees of cases that the bounds are the least of, -1 for none. Without `trees_below`, none has a tree.
struct Refinement {
    const std::int32_t* below = nullptr;
    const std::int32_t* above = nullptr;
    Slopes slopes;
    const std::int32_t* trees_below = nullptr;
    const std::int32_t* trees_above = nullptr;
    std::vector<CaseTree> trees;
};

}  // namespace pydual::audit
