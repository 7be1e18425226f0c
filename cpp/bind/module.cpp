// pydual._core: the compiled kernels. Shapes are checked here, and the GIL is released here, nowhere else.
#include "bind/objects.hpp"
#include "core/blas.hpp"

namespace pydual::bind {
namespace {

template <class Function>
Function pointer_in(const py::dict& capsules, const char* name) {
    return reinterpret_cast<Function>(capsules[name].cast<py::capsule>().get_pointer<void>());
}

void set_linear_algebra(const py::dict& capsules) {
    linear_algebra() = {pointer_in<Dgemm>(capsules, "dgemm"),   pointer_in<Dgemv>(capsules, "dgemv"),
                        pointer_in<Dsyrk>(capsules, "dsyrk"),   pointer_in<Dtrsm>(capsules, "dtrsm"),
                        pointer_in<Dpotrf>(capsules, "dpotrf"), pointer_in<Dpotri>(capsules, "dpotri")};
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_used()) {
    m.doc() = "Kernels of pydual: bounds, dual ascent, primal descent.";
    m.def("set_linear_algebra", &set_linear_algebra,
          "Hands over the capsules of scipy.linalg.cython_blas and cython_lapack by name; call once before any kernel.");
    py::class_<HeldForm>(m, "Form").def(py::init(&hold_form), py::arg("bias"), py::arg("terms"));
    py::class_<HeldRegion>(m, "Region")
        .def(py::init<const Doubles&, const Doubles&, const std::string&, const Doubles&, double>(), py::arg("lower"),
             py::arg("upper"), py::arg("norm"), py::arg("center"), py::arg("radius"));
    py::class_<HeldProgram> program(m, "Program");
    program.def(py::init<int, const py::list&>(), py::arg("inputs"), py::arg("layers"))
        .def_readonly("units", &HeldProgram::units)
        .def_property_readonly("inputs", [](const HeldProgram& p) { return p.view.inputs; });
    bind_lines(m);
    bind_gram(m);
    bind_bounds(program);
    bind_ascent(program);
    bind_cells(program);
    bind_descent(program);
    bind_enumeration(program);
}

}  // namespace pydual::bind
