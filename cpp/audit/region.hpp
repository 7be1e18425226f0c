// The least value of a linear function over a box and a ball, from below (PROOFS.md, section 4).
#pragma once

#include "audit/question.hpp"

namespace pydual::audit {

// A lower bound of sum_i w[i * stride] x_i over the box and the ball, by the terms with kappa; -infinity where there is none.
double ball_minimum(const double* w, int stride, const Box& box, const Ball& ball);

}  // namespace pydual::audit
