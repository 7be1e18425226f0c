// The greatest singular value of a matrix, from above (PROOFS.md, section 4, Norms). To be called between `Downward` guards.
#pragma once

#include "audit/network.hpp"

namespace pydual::audit {

// At most the negated norm of the term's matrix; -infinity where nothing is known. `guess`: any number; one a little above the
// norm gives a tight bound, 0 one by sums of magnitudes at once.
double neg_norm(const Term& term, double guess);

}  // namespace pydual::audit
