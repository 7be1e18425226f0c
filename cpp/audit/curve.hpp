// Sigmoid, tanh and square, enclosed and between lines (PROOFS.md, section 4). To be called between `Downward` guards.
#pragma once

#include "audit/network.hpp"

namespace pydual::audit {

// low <= t and neg <= -t.
struct Enclosure {
    double low;
    double neg;
};

Enclosure exponential(double x);  // of finite x
Enclosure curve(Kind kind, double p);
Enclosure curve_ends(Kind kind, double low, double neg);  // of all values on [low, -neg]

// a p + c <= f(p) <= A p + C on an interval; neg_upper <= -C.
struct CurveLines {
    double slope_below = 0.0;      // a
    double intercept_below = 0.0;  // c
    double slope_above = 0.0;      // A
    double neg_above = 0.0;        // at most -C
};

// Lines on [low, -neg], finite, low <= -neg: with one slope for both (parallel), or tangents and chords.
CurveLines curve_lines(Kind kind, double low, double neg, bool parallel);

}  // namespace pydual::audit
