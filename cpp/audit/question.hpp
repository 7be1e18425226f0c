// What is asked: regions, and margins as lower bounds (PROOFS.md, section 2).
#pragma once

#include <memory>
#include <vector>

#include "audit/network.hpp"

namespace pydual::audit {

struct Ball {
    bool l2 = false;  // else l1
    double radius = 0.0;
    std::vector<double> center;
};

struct Box {
    std::vector<double> lower;
    std::vector<double> upper;
    bool empty = false;
};

using BoxPointer = std::shared_ptr<const Box>;

// Every value is written v = v' + shift with v' >= 0 in the whole region of a problem. A coefficient of v' may then be
// rounded down for free: a w' <= w gives w' v' <= w v'.
struct Shift {
    std::vector<std::vector<double>> shift;     // of each value
    std::vector<std::vector<double>> bias_low;  // of affine values: b + sum M shift, from below
    std::vector<std::vector<double>> bias_neg;  // and its negative, from below
};

// The margins of a problem as functions of v': coefficients and constants rounded down (harmless, as v' >= 0).
struct Margins {
    int count = 0;
    std::vector<double> constants;          // count
    std::vector<char> strict;               // count
    std::vector<std::vector<double>> x, y;  // [margin][component], dense
};

}  // namespace pydual::audit
