#include "kernels/enumeration.hpp"

#include <algorithm>

#include "bind/objects.hpp"
#include "core/threads.hpp"

namespace pydual::bind {
namespace {

constexpr int kColumns = 64;      // points at a time: their values stay in the cache
constexpr int kPerTask = 1 << 13;  // points for which a workspace is made

using Longs = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

Doubles worst_at(const HeldProgram& program, const HeldForm& margins, const Doubles& lower, const Longs& widths,
                 const Doubles& points, std::int64_t first, std::int64_t count, int threads) {
    check_form(program, margins);
    const int inputs = program.view.inputs;
    expect(lower, {inputs}, "lower");
    expect(widths, {inputs}, "widths");
    expect(points, {points.ndim() == 2 ? points.shape(0) : -1, inputs}, "points");
    const bool listed = points.shape(0) > 0;
    if (first < 0 || count < 0 || (listed && first + count > points.shape(0))) throw std::invalid_argument("No such points.");
    Doubles worst = doubles(count);
    double* const worst_at = worst.mutable_data();
    const Lattice lattice{inputs, listed ? points.data() : nullptr, lower.data(), widths.data()};
    const py::gil_scoped_release release;
    parallel_for(static_cast<int>((count + kPerTask - 1) / kPerTask), threads, [&](int task) {
        const std::int64_t begin = std::int64_t{task} * kPerTask, end = std::min(count, begin + kPerTask);
        const Columns z(program.view, kColumns);
        std::vector<double> values(static_cast<std::size_t>(margins.view.size) * kColumns);
        for (std::int64_t at = begin; at < end; at += kColumns) {
            const int r = static_cast<int>(std::min<std::int64_t>(kColumns, end - at));
            worst_at_points(program.view, margins.view, lattice, first + at, r, z, values.data(), worst_at + at);
        }
    });
    return worst;
}

}  // namespace

void bind_enumeration(py::class_<HeldProgram>& cls) {
    cls.def("worst_at_points", &worst_at, py::arg("margins"), py::arg("lower"), py::arg("widths"), py::arg("points"),
            py::arg("first"), py::arg("count"), py::arg("threads"),
            "The greatest margins (count,) at points `first` on of a list (points, inputs), or, if `points` has no rows, of the\n"
            "lattice lower + digits with digits below `widths`, the last fastest.");
}

}  // namespace pydual::bind
