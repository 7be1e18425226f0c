// Bounds for small boxes of few inputs: an affine form pushed forward through parallel lines (DeepZ, Singh et al. 2018).
//
// With parallel lines the forward form and the back-substitution of PROOFS.md section 4 give the same bound, but the forward
// form bounds every neuron on the way at the cost of one evaluation a generator.
#pragma once

#include <optional>
#include <vector>

#include "core/program.hpp"
#include "kernels/buffers.hpp"
#include "kernels/lines.hpp"
#include "kernels/stages.hpp"

namespace pydual {

struct CellResult {
    double* lower = nullptr;         // [M] bounds of the margins over the cell, the better of parallel and adaptive lines
    signed char* adaptive = nullptr; // [M] 1 where the adaptive lines gave it
    double* weight = nullptr;        // inputs: how much of the unstable neurons' and curves' intervals is due to each input
    double* x = nullptr;             // inputs: the minimizer for the best margin
    int unstable = 0;
};

// Workspace for one thread, reused between cells.
// Affine forms: row i of value k is (center, generators...), `stride` doubles apart; generators are numbered through, first
// those of `wide`, the inputs whose intervals are not negligible beside the widest.
struct ZonotopeSpace {
    ZonotopeSpace(const Program& program, const Form& margins)
        : stride(1 + program.inputs + hidden(program)), lower(program, 1, 1), upper(program, 1, 1), alpha(program, 1, 1),
          slope(program, 1, 1), offset(program, 1, 1), after(program, margins.size), before(program, margins.size, 1),
          lines(program.depth() + 1), forms(program.depth() + 1), below(program.depth() + 1), widths(program.depth() + 1, 0),
          result(static_cast<std::size_t>(margins.size) * stride), identity(static_cast<std::size_t>(margins.size) * margins.size),
          constant(margins.size), bound(margins.size), x(static_cast<std::size_t>(program.inputs) * margins.size), spread(hidden(program)) {
        if (program.has_curves() || program.depth() > 2) stages.emplace(program);
        for (int k = 0; k <= program.depth(); ++k) forms[k].resize(static_cast<std::size_t>(program.size(k)) * stride);
        for (int m = 0; m < margins.size; ++m) identity[static_cast<std::size_t>(m) * margins.size + m] = 1.0;
        for (int k = 1; k <= program.depth(); ++k) {
            if (program.kind(k) != Kind::relu) below[k].resize(program.size(k));
            lines[k] = {alpha[k], slope[k], offset[k], below[k].empty() ? nullptr : below[k].data(), 0, 1};
        }
    }

    static int hidden(const Program& program) {
        int total = 0;
        for (const Layer& layer : program.layers) total += layer.size;
        return total;
    }

    int stride;
    Columns lower, upper, alpha, slope, offset, after, before;
    std::vector<Lines> lines;
    std::vector<std::vector<double>> forms, below;
    std::vector<int> widths, wide;
    std::vector<double> result, identity, constant, bound, x, spread;
    std::optional<Stages> stages;  // where there are any; with curves always, for their parallel lines
};

// The inputs of the box as affine forms: center, and one generator each where they are wide.
void start_forms(const Program& program, const double* low, const double* high, ZonotopeSpace& space);

// The forms of a layer, or of the margins, from those of the values below; `width` columns of `out` are written.
void affine_forms(const Layer& layer, int width, ZonotopeSpace& space, double* out);

// Bounds the margins over the box [low, high]. Returns false if the margins cannot be bounded (a value overflowed).
bool bound_cell(const Program& program, const Form& margins, const double* low, const double* high, ZonotopeSpace& space,
                CellResult& result);

}  // namespace pydual
