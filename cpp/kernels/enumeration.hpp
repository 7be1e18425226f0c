// The worst margins at the points of a finite region, which are written down block by block and forgotten.
#pragma once

#include <cstdint>

#include "core/program.hpp"
#include "kernels/buffers.hpp"

namespace pydual {

// Listed points (rows of `points`), or all points lower + digits where digit i runs from 0 to widths[i] - 1, the last fastest.
struct Lattice {
    int inputs = 0;
    const double* points = nullptr;
    const double* lower = nullptr;
    const std::int64_t* widths = nullptr;
};

// Writes `r` points from number `first` on as columns: x (inputs x r).
void write_points(const Lattice& lattice, std::int64_t first, int r, double* x);

// worst[c] = max_m margins_m at point first + c, for r points at most as many as z and values (margins x r) have columns.
void worst_at_points(const Program& program, const Form& margins, const Lattice& lattice, std::int64_t first, int r,
                     const Columns& z, double* values, double* worst);

}  // namespace pydual
