// The points of a finite cell (PROOFS.md, section 3, enumeration leaves).
#pragma once

#include <cstdint>
#include <vector>

#include "audit/question.hpp"

namespace pydual::audit {

// Which inputs are integers, and the list of points, row by row, if there is one.
struct Lattice {
    std::vector<char> integer;
    bool listed = false;
    std::int64_t rows = 0;
    const double* points = nullptr;

    // Rounds the bounds of integers inward.
    void round(Box& box) const;
};

class Points {
public:
    // Throws Rejected if the cell has infinitely many points, or too many to be counted.
    Points(const Lattice& lattice, const Box& box, const Ball* ball);

    std::int64_t count() const { return count_; }
    // Writes down a point; whether it counts: it lies in the box and perhaps in the ball.
    bool write(std::int64_t number, double* x) const;

private:
    bool in_ball(const double* x) const;

    const Lattice& lattice_;
    Box box_;
    const Ball* ball_;
    std::vector<std::int64_t> widths_;
    std::int64_t count_ = 1;
};

}  // namespace pydual::audit
