#include "kernels/descent.hpp"

#include <algorithm>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/buffers.hpp"

namespace pydual::bind {
namespace {

constexpr int kStartsPerTask = 32;
constexpr int kPointsPerTask = 128;

// Transposes rows [first, first + r) of (count x n) into n x r and back.
void gather(const double* rows, int n, int r, double* columns) {
    for (int c = 0; c < r; ++c)
        for (int i = 0; i < n; ++i) columns[static_cast<long>(i) * r + c] = rows[static_cast<long>(c) * n + i];
}

void scatter(const double* columns, int n, int r, double* rows) {
    for (int c = 0; c < r; ++c)
        for (int i = 0; i < n; ++i) rows[static_cast<long>(c) * n + i] = columns[static_cast<long>(i) * r + c];
}

py::tuple descend_all(const HeldProgram& program, const HeldForm& margins, const HeldRegion& region, const Doubles& starts,
                      const DescentOptions& options, int threads) {
    check_form(program, margins);
    check_region(program, region);
    const int inputs = program.view.inputs;
    const py::ssize_t count = starts.ndim() == 2 ? starts.shape(0) : -1;
    expect(starts, {count, inputs}, "starts");
    Doubles x = doubles(count, inputs), value = doubles(count);
    double* const x_at = x.mutable_data();
    double* const value_at = value.mutable_data();
    const double* const start_at = starts.data();
    {
        const py::gil_scoped_release release;
        const int rows = static_cast<int>(count);
        const int size = std::max(1, std::min(kStartsPerTask, (rows + threads - 1) / std::max(1, threads)));
        parallel_for((rows + size - 1) / size, threads, [&](int task) {
            const int first = task * size;
            const int r = std::min(size, rows - first);
            std::vector<double> columns(static_cast<std::size_t>(inputs) * r);
            gather(start_at + static_cast<long>(first) * inputs, inputs, r, columns.data());
            descend(program.view, margins.view, region.view, options, r, columns.data(), value_at + first);
            scatter(columns.data(), inputs, r, x_at + static_cast<long>(first) * inputs);
        });
    }
    return py::make_tuple(x, value);
}

void margins_of_rows(const Program& program, const Form& margins, const double* rows, int r, double* values) {
    Columns z(program, r);
    std::vector<double> columns(static_cast<std::size_t>(margins.size) * r);
    gather(rows, program.inputs, r, z[0]);
    for (int k = 1; k <= program.depth(); ++k) {
        evaluate(program.layers[k - 1], z.get(), r, z[k]);
        activate(program.kind(k), z[k], static_cast<long>(program.size(k)) * r, z[k]);
    }
    evaluate(margins, z.get(), r, columns.data());
    scatter(columns.data(), margins.size, r, values);
}

Doubles margins_at(const HeldProgram& program, const HeldForm& margins, const Doubles& points, int threads) {
    check_form(program, margins);
    const int inputs = program.view.inputs;
    const py::ssize_t count = points.ndim() == 2 ? points.shape(0) : -1;
    expect(points, {count, inputs}, "points");
    Doubles values = doubles(count, margins.view.size);
    double* const values_at = values.mutable_data();
    const double* const point_at = points.data();
    {
        const py::gil_scoped_release release;
        parallel_for((static_cast<int>(count) + kPointsPerTask - 1) / kPointsPerTask, threads, [&](int task) {
            const long first = static_cast<long>(task) * kPointsPerTask;
            const int r = static_cast<int>(std::min<long>(kPointsPerTask, count - first));
            margins_of_rows(program.view, margins.view, point_at + first * inputs, r, values_at + first * margins.view.size);
        });
    }
    return values;
}

}  // namespace

void bind_descent(py::class_<HeldProgram>& cls) {
    cls.def(
        "descend",
        [](const HeldProgram& program, const HeldForm& margins, const HeldRegion& region, const Doubles& starts, int steps,
           double first_step, double decay, double goal, int threads) {
            return descend_all(program, margins, region, starts, {steps, first_step, decay, goal}, threads);
        },
        py::arg("margins"), py::arg("region"), py::arg("starts"), py::kw_only(), py::arg("steps"), py::arg("first_step"),
        py::arg("decay"), py::arg("goal"), py::arg("threads"),
        "Projected gradient descent on the worst margin from the rows of `starts`: a tuple (points, values).");
    cls.def("margins_at", &margins_at, py::arg("margins"), py::arg("points"), py::kw_only(), py::arg("threads"),
            "The margins (points, M) of the real network at the rows of `points`, in float64.");
}

}  // namespace pydual::bind
