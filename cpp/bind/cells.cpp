#include <algorithm>
#include <memory>
#include <optional>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/finish.hpp"
#include "kernels/zonotope.hpp"

namespace pydual::bind {
namespace {

constexpr int kCellsPerTask = 32;

struct CellArrays {
    const double *low, *high;
    double *lower, *weight, *x;
    signed char* adaptive;
    std::int32_t *unstable, *nodes;
};

// Bounds the cells [first, last), and finishes those that stay open where that is cheap.
void run_cells(const HeldProgram& program, const HeldForm& margins, const FinishOptions& options, int first, int last,
               const CellArrays& a, std::vector<std::optional<CellProof>>& proofs) {
    const long inputs = program.view.inputs;
    const long rows = margins.view.size;
    ZonotopeSpace space(program.view, margins.view);
    Finisher finisher(program.view, margins.view, options);
    for (long b = first; b < last; ++b) {
        CellResult cell{a.lower + b * rows, a.adaptive + b * rows, a.weight + b * inputs, a.x + b * inputs, 0};
        const bool bounded = bound_cell(program.view, margins.view, a.low + b * inputs, a.high + b * inputs, space, cell);
        a.unstable[b] = cell.unstable;
        a.nodes[b] = 0;
        if (!bounded) {
            std::fill(cell.lower, cell.lower + rows, -INFINITY);
            continue;
        }
        if (*std::max_element(cell.lower, cell.lower + rows) > 0.0 || cell.unstable > options.unstable) continue;
        if (program.view.has_curves()) continue;
        if (finisher.finish(a.low + b * inputs, a.high + b * inputs, space)) proofs[b] = finisher.proof();
        a.nodes[b] = finisher.nodes();
    }
}

template <class T>
py::array_t<T> as_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::dict as_dict(const std::vector<std::optional<CellProof>>& proofs) {
    py::dict found;
    for (std::size_t b = 0; b < proofs.size(); ++b) {
        if (!proofs[b]) continue;
        const CellProof& p = *proofs[b];
        found[py::int_(b)] = py::make_tuple(as_array(p.neurons), as_array(p.active), as_array(p.split), as_array(p.weights),
                                            as_array(p.betas), as_array(p.slopes));
    }
    return found;
}

py::dict bound_cells(const HeldProgram& program, const HeldForm& margins, const Doubles& low, const Doubles& high,
                     const FinishOptions& options, int threads) {
    check_form(program, margins);
    const py::ssize_t count = low.ndim() == 2 ? low.shape(0) : -1;
    const py::ssize_t inputs = program.view.inputs;
    const py::ssize_t rows = margins.view.size;
    expect(low, {count, inputs}, "low");
    expect(high, {count, inputs}, "high");
    Doubles lower = doubles(count, rows), weight = doubles(count, inputs), x = doubles(count, inputs);
    Bytes adaptive({count, rows});
    Ints unstable(count), nodes(count);
    const CellArrays arrays{low.data(), high.data(), lower.mutable_data(), weight.mutable_data(), x.mutable_data(),
                            adaptive.mutable_data(), unstable.mutable_data(), nodes.mutable_data()};
    std::vector<std::optional<CellProof>> proofs(count);
    {
        const py::gil_scoped_release release;
        const int cells = static_cast<int>(count);
        parallel_for((cells + kCellsPerTask - 1) / kCellsPerTask, threads, [&](int task) {
            run_cells(program, margins, options, task * kCellsPerTask, std::min(cells, (task + 1) * kCellsPerTask), arrays, proofs);
        });
    }
    py::dict result;
    result["lower"] = lower;
    result["adaptive"] = adaptive;
    result["weight"] = weight;
    result["x"] = x;
    result["unstable"] = unstable;
    result["nodes"] = nodes;
    result["proofs"] = as_dict(proofs);
    return result;
}

}  // namespace

void bind_cells(py::class_<HeldProgram>& cls) {
    cls.def(
        "bound_cells",
        [](const HeldProgram& program, const HeldForm& margins, const Doubles& low, const Doubles& high, int threads,
           int finish_unstable, double finish_work, int finish_steps) {
            return bound_cells(program, margins, low, high, {finish_unstable, finish_work, finish_steps, 1e-9}, threads);
        },
        py::arg("margins"), py::arg("low"), py::arg("high"), py::arg("threads"), py::arg("finish_unstable") = 0,
        py::arg("finish_work") = 0.0, py::arg("finish_steps") = 0,
        "Margin bounds over boxes given as rows (cells, inputs), see kernels/zonotope.hpp; `proofs` holds, by cell, the trees of\n"
        "kernels/finish.hpp as tuples (neurons, active, split, weights, betas, slopes) where finishing succeeded.");
}

}  // namespace pydual::bind
