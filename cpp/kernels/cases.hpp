// Bounds by cases (PROOFS.md, section 5): that of a form's row, an end of an interval, is the least over the phases of neurons
// before it, with the multipliers of beta-CROWN (Wang et al. 2021, eq. 8). The slopes are those of the row in all of its cases.
#pragma once

#include <vector>

#include "core/program.hpp"
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

struct Case {
    std::vector<Fixed> path;  // from the root down
    double bound = 0.0;
    Neuron next;  // to split
    double price = 0.0;  // of that
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
};

struct CaseOptions {
    int most;        // cases of an end
    int deepest;     // splits above a case
    int steps;       // of ascent in the multipliers of a case
    double rate;     // of multipliers, in units of the neurons' prices
    double seconds;  // after them no case is split
};

// Splits each end's worst case until its sign is decided, or it has most cases, each end in turn. Ends 2e and 2e + 1 are those
// of one interval: where one of them is positive, both are decided. The cases of an end are in no order.
std::vector<std::vector<Case>> split_ends(const EndsQuery& query, const CaseOptions& options);

// What each end's cases prove with their multipliers, at the best stage, as audits bound them.
std::vector<double> bound_ends(const EndsQuery& query, const std::vector<std::vector<Case>>& cases);

}  // namespace pydual
