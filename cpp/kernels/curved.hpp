// ReLUs near an l2 ball's image of the center (PROOFS.md section 4, Ball leaves; SDP-CROWN, Chiu et al. 2025, Theorem 4.2 with
// lambda = 2 curvature): sum w max(p, 0) >= sum alpha w p + sum min (w max(p, 0) - alpha w p + curvature (p - center)^2)
// - curvature radius^2 over the open neurons, those with 0 < slope < 1, with minima over [l, u]. Curvature 0 gives lines.
#pragma once

namespace pydual {

struct Lines;

// Of n ReLUs in r columns. Intervals stand where lines do (lines.hpp).
struct Curved {
    const double* lower = nullptr;
    const double* upper = nullptr;
    const double* center = nullptr;  // n
    double radius = 0.0;             // of their common distance from it; infinite where nothing is known: curvatures are 0 then
    double* alpha = nullptr;         // n x r, those of the lines
    double* curvature = nullptr;     // r
    double* at = nullptr;            // n x r, out: where the minima are, 0 for the others
    int step = 0;
    int ld = 1;
};

// hat = alpha w, and constant += the rest of the bound, n x r. A curvature below zero is replaced by a guess, and the slopes of
// its column where w < 0 by chords; slopes below zero by adaptive ones.
void curved_backward(const Lines& lines, const Curved& curved, const double* w, int n, int r, double* hat, double* constant);

// The play that attains it: z = alpha (y - at) + max(at, 0). n x r.
void curved_forward(const Lines& lines, const Curved& curved, const double* y, int n, int r, double* z);

// out[c] = the derivative of the bound by the curvature, sum (at - center)^2 - radius^2.
void curvature_gradient(const Lines& lines, const Curved& curved, int n, int r, double* out);

}  // namespace pydual
