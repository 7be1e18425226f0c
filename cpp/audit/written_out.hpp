// Affine values written out over the input and the outputs of activations: their intervals are those of one map
// (PROOFS.md, section 5). To be called between `Downward` guards.
#pragma once

#include <vector>

#include "audit/lanes.hpp"
#include "audit/network.hpp"

namespace pydual::audit {

// By value; without rows where interval arithmetic through the terms gives the same, as no variable meets itself in a row.
std::vector<WrittenOut> write_out(const Network& network);

// Interval arithmetic with the values' intervals [low, -neg], in lanes.
void written_out_image(const WrittenOut& map, const std::vector<std::vector<double>>& low, const std::vector<std::vector<double>>& neg,
                       double* out_low, double* out_neg);

}  // namespace pydual::audit
