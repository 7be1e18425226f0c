#include <algorithm>
#include <memory>
#include <optional>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/clip.hpp"
#include "kernels/finish.hpp"
#include "kernels/zonotope.hpp"

namespace pydual::bind {
namespace {

constexpr int kCellsPerTask = 32;

struct CellArrays {
    double *low, *high;
    double *lower, *weight, *x;
    signed char* adaptive;
    std::int32_t *unstable, *nodes;
};

struct CellProofs {
    explicit CellProofs(std::size_t cells) : finished(cells), clips(cells) {}

    std::vector<std::optional<CellProof>> finished;
    std::vector<std::vector<Clip>> clips;
};

// Bounds the cells [first, last), clips them in place, and finishes those that stay open where that is cheap.
void run_cells(const HeldProgram& program, const HeldForm& margins, const FinishOptions& finish, const ClipOptions& clip,
               int first, int last, const CellArrays& a, CellProofs& proofs) {
    const long inputs = program.view.inputs;
    const long rows = margins.view.size;
    ZonotopeSpace space(program.view, margins.view);
    Finisher finisher(program.view, margins.view, finish);
    Clipper clipper(program.view, margins.view, clip);
    for (long b = first; b < last; ++b) {
        double* const low = a.low + b * inputs;
        double* const high = a.high + b * inputs;
        CellResult cell{a.lower + b * rows, a.adaptive + b * rows, a.weight + b * inputs, a.x + b * inputs, 0};
        a.nodes[b] = 0;
        bool bounded = false;
        bool open = true;
        for (int round = 0; round == 0 || (open && clipper.clip(round - 1, cell.weight, low, high, space, proofs.clips[b])); ++round) {
            bounded = bound_cell(program.view, margins.view, low, high, space, cell);
            open = bounded && *std::max_element(cell.lower, cell.lower + rows) <= finish.target;
        }
        a.unstable[b] = cell.unstable;
        if (!bounded) std::fill(cell.lower, cell.lower + rows, -INFINITY);
        if (!open || cell.unstable > finish.unstable || program.view.has_curves()) continue;
        if (finisher.finish(low, high, space)) proofs.finished[b] = finisher.proof();
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

// Columns over all clips, in the order of cells and of clipping.
py::dict as_columns(const std::vector<std::vector<Clip>>& clips) {
    std::vector<std::int32_t> cell, round, input, margin;
    std::vector<signed char> keeps_first, adaptive;
    std::vector<double> threshold;
    for (std::size_t b = 0; b < clips.size(); ++b) {
        for (const Clip& clip : clips[b]) {
            cell.push_back(static_cast<std::int32_t>(b));
            round.push_back(clip.round);
            input.push_back(clip.input);
            margin.push_back(clip.margin);
            keeps_first.push_back(clip.keeps_first);
            adaptive.push_back(clip.adaptive);
            threshold.push_back(clip.threshold);
        }
    }
    py::dict columns;
    columns["cell"] = as_array(cell);
    columns["round"] = as_array(round);
    columns["input"] = as_array(input);
    columns["threshold"] = as_array(threshold);
    columns["keeps_first"] = as_array(keeps_first);
    columns["margin"] = as_array(margin);
    columns["adaptive"] = as_array(adaptive);
    return columns;
}

py::dict bound_cells(const HeldProgram& program, const HeldForm& margins, const Doubles& low, const Doubles& high,
                     const FinishOptions& finish, const ClipOptions& clip, int threads) {
    check_form(program, margins);
    const py::ssize_t count = low.ndim() == 2 ? low.shape(0) : -1;
    const py::ssize_t inputs = program.view.inputs;
    const py::ssize_t rows = margins.view.size;
    expect(low, {count, inputs}, "low");
    expect(high, {count, inputs}, "high");
    Doubles own_low = doubles(count, inputs), own_high = doubles(count, inputs);
    std::copy_n(low.data(), low.size(), own_low.mutable_data());
    std::copy_n(high.data(), high.size(), own_high.mutable_data());
    Doubles lower = doubles(count, rows), weight = doubles(count, inputs), x = doubles(count, inputs);
    Bytes adaptive({count, rows});
    Ints unstable(count), nodes(count);
    const CellArrays arrays{own_low.mutable_data(), own_high.mutable_data(), lower.mutable_data(), weight.mutable_data(), x.mutable_data(),
                            adaptive.mutable_data(), unstable.mutable_data(), nodes.mutable_data()};
    CellProofs proofs(count);
    {
        const py::gil_scoped_release release;
        const int cells = static_cast<int>(count);
        parallel_for((cells + kCellsPerTask - 1) / kCellsPerTask, threads, [&](int task) {
            const int last = std::min(cells, (task + 1) * kCellsPerTask);
            run_cells(program, margins, finish, clip, task * kCellsPerTask, last, arrays, proofs);
        });
    }
    py::dict result;
    result["low"] = own_low;
    result["high"] = own_high;
    result["lower"] = lower;
    result["adaptive"] = adaptive;
    result["weight"] = weight;
    result["x"] = x;
    result["unstable"] = unstable;
    result["nodes"] = nodes;
    result["proofs"] = as_dict(proofs.finished);
    result["clips"] = as_columns(proofs.clips);
    return result;
}

}  // namespace

void bind_cells(py::class_<HeldProgram>& cls) {
    cls.def(
        "bound_cells",
        [](const HeldProgram& program, const HeldForm& margins, const Doubles& low, const Doubles& high, int threads,
           int finish_unstable, double finish_work, int finish_steps, int clip_rounds, double clip_share, double clip_cut) {
            const FinishOptions finish{finish_unstable, finish_work, finish_steps, 1e-9};
            return bound_cells(program, margins, low, high, finish, {clip_rounds, clip_share, clip_cut}, threads);
        },
        py::arg("margins"), py::arg("low"), py::arg("high"), py::arg("threads"), py::arg("finish_unstable") = 0,
        py::arg("finish_work") = 0.0, py::arg("finish_steps") = 0, py::arg("clip_rounds") = 0, py::arg("clip_share") = 0.3,
        py::arg("clip_cut") = 0.5,
        "Margin bounds over boxes given as rows (cells, inputs), see kernels/zonotope.hpp; `proofs` holds, by cell, the trees of\n"
        "kernels/finish.hpp as tuples (neurons, active, split, weights, betas, slopes) where finishing succeeded. With\n"
        "`clip_rounds`, cells are first clipped to `low`, `high`; `clips` are the columns of kernels/clip.hpp, cell by cell.");
}

}  // namespace pydual::bind
