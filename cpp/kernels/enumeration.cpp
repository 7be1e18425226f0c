#include "kernels/enumeration.hpp"

#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/descent.hpp"

namespace pydual {

void write_points(const Lattice& lattice, std::int64_t first, int r, double* x) {
    const int n = lattice.inputs;
    if (lattice.points) {
        const double* row = lattice.points + first * n;
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < r; ++c) x[static_cast<long>(i) * r + c] = row[static_cast<long>(c) * n + i];
        return;
    }
    for (int c = 0; c < r; ++c) {
        std::int64_t number = first + c;
        for (int i = n - 1; i >= 0; number /= lattice.widths[i], --i)
            x[static_cast<long>(i) * r + c] = lattice.lower[i] + static_cast<double>(number % lattice.widths[i]);
    }
}

void worst_at_points(const Program& program, const Form& margins, const Lattice& lattice, std::int64_t first, int r,
                     const Columns& z, double* values, double* worst) {
    write_points(lattice, first, r, z[0]);
    for (int k = 1; k <= program.depth(); ++k) {
        evaluate(program.layers[k - 1], z.get(), r, z[k]);
        activate(program.kind(k), z[k], static_cast<long>(program.size(k)) * r, z[k]);
    }
    worst_margins(margins, r, z.get(), values, worst, nullptr);
}

}  // namespace pydual
