// Products of a matrix with lanes, rounded downward. No allocation.
#pragma once

#include "audit/lanes.hpp"
#include "audit/network.hpp"

namespace pydual::audit {

// out += R w for the given columns of R only (the rows of w that are not all zero, ascending), where R is M transposed.
void add_product(const Rows& r, const double* w, const std::int32_t* active, int active_count, double* out);

// Interval arithmetic: low += lower bound of (M v), neg += lower bound of -(M v), from low_v <= v and neg_v <= -v.
void add_image(const Rows& m, const double* low_v, const double* neg_v, double* low, double* neg);

// For the magnitudes of float32 (PROOFS.md, section 6), with neg_a <= -A and neg_b <= -B: out_a += lower bound of -|M| A,
// out_b += lower bound of -sum (|M| B + 2^-124 (1 + A)) over the nonzero entries.
void add_magnitudes(const Rows& m, const double* neg_a, const double* neg_b, double* out_a, double* out_b);

}  // namespace pydual::audit
