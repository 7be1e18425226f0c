// Directed rounding: everything in cpp/audit runs between `Downward` guards and computes lower bounds only.
//
// In this mode every sum, product and quotient of doubles is at most the exact one, so a chain of operations that is
// monotone in each operand gives a lower bound. An upper bound of t is kept as a lower bound of -t, named `neg_...`.
// The files here are compiled so that the compiler honors the mode (-frounding-math): -(a * b) is not (-a) * b.
#pragma once

#include <cfenv>
#include <cfloat>
#include <stdexcept>

namespace pydual::audit {

static_assert(FLT_EVAL_METHOD == 0, "doubles must be computed in double precision");

// The mode of the calling thread: default environment (subnormal numbers kept), rounded toward minus infinity.
class Downward {
public:
    Downward() {
        std::fegetenv(&before_);
        std::fesetenv(FE_DFL_ENV);
        if (std::fesetround(FE_DOWNWARD) != 0) throw std::runtime_error("This machine cannot round toward minus infinity.");
    }
    ~Downward() { std::fesetenv(&before_); }
    Downward(const Downward&) = delete;
    Downward& operator=(const Downward&) = delete;

private:
    std::fenv_t before_;
};

// Throws unless sums, products, quotients and the vectorized kernels round downward and keep subnormal numbers.
void check_rounding();

}  // namespace pydual::audit
