// Domain clipping: cuts a cell to where its lines leave room for a catastrophe (feasibility-based bound tightening).
//
// Over a cell, a margin is at least c + a.x, by adaptive or by parallel lines, and a catastrophe needs c + a.x <= 0. With F the
// minimum of c + a.x over the box, attained at the end e_i of every input, this is |a_i| |x_i - e_i| <= -F: what lies
// beyond is closed by a leaf with the same lines (PROOFS.md, section 3).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/zonotope.hpp"

namespace pydual {

struct ClipOptions {
    int rounds = 0;             // at most so many times, a cell is clipped and bounded again
    double least_share = 0.3;  // of its interval that an input must lose
    double least_cut = 0.5;    // of the volume that a cell must lose to be bounded again
};

// Input `input` is split at `threshold`; the side that lies beyond is closed with the lines of one margin.
struct Clip {
    std::int32_t round, input, margin;
    signed char keeps_first;  // 1 where x <= threshold is kept
    signed char adaptive;     // 1 where the lines are the adaptive ones
    double threshold;
};

// Workspace and search; one for each thread.
class Clipper {
public:
    Clipper(const Program& program, const Form& margins, const ClipOptions& options);

    // Clips the box in place, by the lines that bound_cell left in `space` and the `weight` that it gave the inputs. True if the
    // box lost so much that it should be bounded again; otherwise box and `clips` are left as they were.
    bool clip(int round, const double* weight, double* low, double* high, const ZonotopeSpace& space, std::vector<Clip>& clips);

private:
    struct Line {
        double constant = 0.0;
        std::int32_t margin = 0;
        signed char adaptive = 0;
        std::vector<double> coefficients;
    };

    void read_lines(const double* low, const double* high, const ZonotopeSpace& space);
    double cut(const Line& line, int round, double* low, double* high, std::vector<Clip>& clips) const;

    const Form& margins_;
    ClipOptions options_;
    std::vector<Line> lines_;
    std::vector<int> heavy_;  // inputs that are worth a clip
    std::vector<double> low_, high_;
};

}  // namespace pydual
