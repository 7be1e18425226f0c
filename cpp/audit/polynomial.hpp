// The least value of a polynomial of degree 2, from below: squares are subtracted (PROOFS.md, section 4, Gram leaves).
#pragma once

#include <vector>

namespace pydual::audit {

// a + sum b v + sum B_ij x_i z_j + sum C_jk z_j z_k + sum d_i x_i^2 of inputs x and kept outputs z, with 0 <= v <= range. As
// all variables are nonnegative, each coefficient may be below the true one.
struct Polynomial {
    Polynomial(int inputs, int kept);

    int inputs, kept;
    double constant = 0.0;        // a
    std::vector<double> linear;   // b: inputs, then kept outputs
    std::vector<double> squares;  // d >= 0
    std::vector<double> mixed;    // B: [input][kept]
    std::vector<double> gram;     // C: [kept][kept]
    std::vector<double> range;    // inputs, then kept outputs
};

// -infinity where nothing is known. The polynomial is used up.
double lower_bound(Polynomial& polynomial);

}  // namespace pydual::audit
