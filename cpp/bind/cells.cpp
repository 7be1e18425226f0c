#include <algorithm>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/zonotope.hpp"

namespace pydual::bind {
namespace {

constexpr int kCellsPerTask = 64;

py::dict bound_cells(const HeldProgram& program, const HeldForm& margins, const Doubles& low, const Doubles& high, int threads) {
    check_form(program, margins);
    const py::ssize_t count = low.ndim() == 2 ? low.shape(0) : -1;
    const py::ssize_t inputs = program.view.inputs;
    const py::ssize_t rows = margins.view.size;
    expect(low, {count, inputs}, "low");
    expect(high, {count, inputs}, "high");
    Doubles lower = doubles(count, rows), weight({count, inputs, rows}), x = doubles(count, inputs);
    Bytes adaptive({count, rows});
    Ints unstable(count);
    double* const lower_at = lower.mutable_data();
    double* const weight_at = weight.mutable_data();
    double* const x_at = x.mutable_data();
    signed char* const adaptive_at = adaptive.mutable_data();
    std::int32_t* const unstable_at = unstable.mutable_data();
    const double* const low_at = low.data();
    const double* const high_at = high.data();
    {
        const py::gil_scoped_release release;
        const int cells = static_cast<int>(count);
        parallel_for((cells + kCellsPerTask - 1) / kCellsPerTask, threads, [&](int task) {
            ZonotopeSpace space(program.view, margins.view);
            for (int b = task * kCellsPerTask; b < std::min(cells, (task + 1) * kCellsPerTask); ++b) {
                CellResult cell{lower_at + b * rows, adaptive_at + b * rows, weight_at + b * inputs * rows, x_at + b * inputs, 0};
                if (!bound_cell(program.view, margins.view, low_at + b * inputs, high_at + b * inputs, space, cell))
                    std::fill(cell.lower, cell.lower + rows, -INFINITY);
                unstable_at[b] = cell.unstable;
            }
        });
    }
    py::dict result;
    result["lower"] = lower;
    result["adaptive"] = adaptive;
    result["weight"] = weight;
    result["x"] = x;
    result["unstable"] = unstable;
    return result;
}

}  // namespace

void bind_cells(py::class_<HeldProgram>& cls) {
    cls.def("bound_cells", &bound_cells, py::arg("margins"), py::arg("low"), py::arg("high"), py::arg("threads"),
            "Margin bounds over boxes given as rows (cells, inputs); see kernels/zonotope.hpp.");
}

}  // namespace pydual::bind
