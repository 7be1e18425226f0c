// Bounds by cases: that of a form's row, an end of an interval (PROOFS.md, section 5) or the margin of a node in a search, is the
// least over the phases of neurons before it, with the multipliers of beta-CROWN (Wang et al. 2021, eq. 8). The slopes are those
// of the row in all of its cases.
#pragma once

#include <array>
#include <chrono>
#include <vector>

#include "core/program.hpp"
#include "kernels/region.hpp"
#include "kernels/single.hpp"

namespace pydual {

constexpr int kCandidates = 4;

struct Case {
    std::vector<Fixed> path;  // from the root down
    double bound = 0.0;  // in single precision
    double proved = 0.0;
    std::array<Fixed, kCandidates> candidates{};  // that may be split next, without phases; the first is none where no split helps
};

struct EndsQuery {
    const Program* program = nullptr;      // of the layers before
    RegionView region;
    const double* const* lower = nullptr;  // [k], n_k: intervals of y_k
    const double* const* upper = nullptr;
    const Form* form = nullptr;
    int first = 0;                         // the ends are the form's rows first, first + 1, ..
    int count = 0;
    const double* const* alpha = nullptr;  // [k], n_k x count; below zero: adaptive
    const int* other = nullptr;            // [count]: the other end of the same interval, or the end itself
};

struct CaseOptions {
    int most;        // cases of an end
    int deepest;     // splits above a case
    int steps;       // of ascent in the multipliers of a case
    double rate;     // of multipliers, in units of the neurons' prices
    std::chrono::steady_clock::time_point deadline;  // after it no case is split
};

// Splits each end's worst case, of which there is one at first, until its sign is decided, or it has most cases, all ends in turn.
// Where one end of an interval is positive, both are decided. The cases of an end are in no order. Their bounds are those of
// single precision.
std::vector<std::vector<Case>> split_ends(const EndsQuery& query, const SingleNetwork& network, std::vector<Case> roots,
                                          const CaseOptions& options);

// What each case proves with its multipliers, at the best stage, as audits bound it.
void prove_cases(const EndsQuery& query, std::vector<std::vector<Case>>& cases);

}  // namespace pydual
