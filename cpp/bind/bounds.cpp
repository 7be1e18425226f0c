#include "bind/objects.hpp"
#include "kernels/intervals.hpp"

namespace pydual::bind {
namespace {

// Pointers to the layers' parts of one array over all neurons; entry 0 is unused.
template <class T>
std::vector<T*> by_layer(const HeldProgram& program, T* all) {
    const std::vector<int> at = program.offsets();
    std::vector<T*> parts(program.view.depth() + 1, nullptr);
    for (int k = 1; k <= program.view.depth(); ++k) parts[k] = all + at[k];
    return parts;
}

py::tuple intervals(const HeldProgram& program, const HeldRegion& region) {
    check_region(program, region);
    Doubles lower = doubles(program.neurons);
    Doubles upper = doubles(program.neurons);
    const auto low = by_layer(program, lower.mutable_data());
    const auto high = by_layer(program, upper.mutable_data());
    {
        const py::gil_scoped_release release;
        interval_bounds(program.view, region.view, low.data(), high.data());
    }
    return py::make_tuple(lower, upper);
}

py::tuple linear(const HeldProgram& program, const HeldRegion& region, bool parallel, const Bytes& phase, int threads) {
    check_region(program, region);
    expect(phase, {program.neurons}, "phase");
    Doubles lower = doubles(program.neurons);
    Doubles upper = doubles(program.neurons);
    const auto low = by_layer(program, lower.mutable_data());
    const auto high = by_layer(program, upper.mutable_data());
    const auto fixed = by_layer(program, phase.data());
    bool possible = true;
    {
        const py::gil_scoped_release release;
        possible = linear_bounds(program.view, region.view, parallel ? Rule::parallel : Rule::adaptive, fixed.data(), threads,
                                 low.data(), high.data());
    }
    return py::make_tuple(possible, lower, upper);
}

}  // namespace

void bind_bounds(py::class_<HeldProgram>& cls) {
    cls.def("interval_bounds", &intervals, py::arg("region"),
            "Pre-activation intervals (neurons,) by interval arithmetic: a tuple (lower, upper).");
    cls.def("linear_bounds", &linear, py::arg("region"), py::arg("parallel"), py::arg("phase"), py::arg("threads"),
            "Pre-activation intervals by lines: (possible, lower, upper); phase (neurons,) is 1, -1 or 0.");
}

}  // namespace pydual::bind
