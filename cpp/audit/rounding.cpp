#include "audit/rounding.hpp"

#include <vector>

#include "audit/products.hpp"

namespace pydual::audit {
namespace {

// 1 + tiny and -1 - tiny through a kernel: the exact sums lie strictly between doubles.
bool kernel_rounds_down() {
    volatile double tiny = 0x1p-60;
    const Rows dense{4, 2, true, std::vector<double>(8, 1.0), {}, {}};
    std::vector<double> w(2 * kLanes), out(4 * kLanes, 0.0);
    for (int lane = 0; lane < kLanes; ++lane) {
        w[lane] = lane % 2 ? 1.0 : -1.0;
        w[kLanes + lane] = lane % 2 ? tiny : -tiny;
    }
    const std::int32_t active[] = {0, 1};
    add_product(dense, w.data(), active, 2, out.data());
    for (int e = 0; e < 4 * kLanes; ++e)
        if (out[e] != (e % 2 ? 1.0 : -1.0 - 0x1p-52)) return false;
    return true;
}

bool scalars_round_down() {
    volatile double one = 1.0, tiny = 0x1p-60, three = 3.0, small = 0x1p-1050;
    const double sum = one + tiny, difference = -one - tiny;
    const double quotient = one / three, neg_quotient = -one / three;
    const double product = (one + 0x1p-52) * (one + 0x1p-52), neg_product = -(one + 0x1p-52) * (one + 0x1p-52);
    const double half = small / 2.0;
    return sum == 1.0 && difference < -1.0 && quotient < -neg_quotient && product < -neg_product && half > 0.0;
}

}  // namespace

void check_rounding() {
    const Downward mode;
    if (!scalars_round_down() || !kernel_rounds_down())
        throw std::runtime_error("This machine or build does not round toward minus infinity; use the exact audit.");
}

}  // namespace pydual::audit
