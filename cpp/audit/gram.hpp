// Gram leaves: a linear function less products of facts, as a polynomial (PROOFS.md, sections 3 and 4).
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "audit/backward.hpp"

namespace pydual::audit {

// Two facts by their numbers, and the multiplier of their product.
struct Product {
    std::int32_t first = 0;
    std::int32_t second = 0;
    double multiplier = 0.0;
};

struct TooManyKept : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Whether the rules allow a product.
bool is_allowed(const Setting& setting, const Product& product);

// Numbers that the polynomial of a leaf with so many products may have.
double polynomial_numbers(const Network& network, std::int64_t products);

// The bound F of a leaf, whose products are allowed, for the function that `seed` adds to lane 0; -infinity where nothing is
// known. Throws TooManyKept.
double gram_bound(const Setting& setting, const Row& leaf, const std::vector<Product>& products, Backward& backward,
                  const std::function<void()>& seed);

}  // namespace pydual::audit
