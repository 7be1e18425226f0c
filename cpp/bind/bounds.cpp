#include "bind/objects.hpp"
#include "kernels/activation.hpp"
#include "kernels/intervals.hpp"

namespace pydual::bind {
namespace {

// Pointers to the layers' parts of one array over all units; entry 0 is unused.
template <class T>
std::vector<T*> by_layer(const HeldProgram& program, T* all) {
    const std::vector<int> at = program.offsets();
    std::vector<T*> parts(program.view.depth() + 1, nullptr);
    for (int k = 1; k <= program.view.depth(); ++k) parts[k] = all + at[k];
    return parts;
}

py::tuple intervals(const HeldProgram& program, const HeldRegion& region) {
    check_region(program, region);
    Doubles lower = doubles(program.units);
    Doubles upper = doubles(program.units);
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
    expect(phase, {program.units}, "phase");
    Doubles lower = doubles(program.units);
    Doubles upper = doubles(program.units);
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

py::tuple lines_of_curve(const std::string& kind, const Doubles& lower, const Doubles& upper, bool parallel) {
    const py::ssize_t n = lower.size();
    expect(lower, {n}, "lower");
    expect(upper, {n}, "upper");
    if (kind_of(kind) == Kind::relu) throw std::invalid_argument("A ReLU is no curve.");
    Doubles alpha = doubles(n), below = doubles(n), slope = doubles(n), offset = doubles(n);
    curve_lines(kind_of(kind), lower.data(), upper.data(), n, parallel ? Rule::parallel : Rule::adaptive, alpha.mutable_data(),
                below.mutable_data(), slope.mutable_data(), offset.mutable_data());
    return py::make_tuple(alpha, below, slope, offset);
}

}  // namespace

void bind_lines(py::module_& m) {
    m.def("curve_lines", &lines_of_curve, py::arg("kind"), py::arg("lower"), py::arg("upper"), py::arg("parallel"),
          "Lines of curves on intervals, by PROOFS.md section 4: (alpha, below, slope, offset), each (n,), with\n"
          "alpha p + below <= f(p) <= slope p + offset.");
}

void bind_bounds(py::class_<HeldProgram>& cls) {
    cls.def("interval_bounds", &intervals, py::arg("region"),
            "Pre-activation intervals (units,) by interval arithmetic: a tuple (lower, upper).");
    cls.def("linear_bounds", &linear, py::arg("region"), py::arg("parallel"), py::arg("phase"), py::arg("threads"),
            "Pre-activation intervals by lines: (possible, lower, upper); phase (units,) is 1, -1 or 0.");
}

}  // namespace pydual::bind
