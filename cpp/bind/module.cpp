// pydual._core: the compiled kernels. Shapes are checked here, and the GIL is released here, nowhere else.
#include "bind/objects.hpp"
#include "core/blas.hpp"

namespace pydual::bind {
namespace {

void set_dgemm(const py::capsule& capsule) { dgemm_pointer() = reinterpret_cast<Dgemm>(capsule.get_pointer<void>()); }

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_used()) {
    m.doc() = "Kernels of pydual: bounds, dual ascent, primal descent.";
    m.def("set_dgemm", &set_dgemm, "Hands over the capsule of scipy.linalg.cython_blas's dgemm; call once before any kernel.");
    py::class_<HeldForm>(m, "Form").def(py::init(&hold_form), py::arg("bias"), py::arg("terms"));
    py::class_<HeldRegion>(m, "Region")
        .def(py::init<const Doubles&, const Doubles&, const std::string&, const Doubles&, double>(), py::arg("lower"),
             py::arg("upper"), py::arg("norm"), py::arg("center"), py::arg("radius"));
    py::class_<HeldProgram> program(m, "Program");
    program.def(py::init<int, const py::list&>(), py::arg("inputs"), py::arg("layers"))
        .def_readonly("units", &HeldProgram::units)
        .def_property_readonly("inputs", [](const HeldProgram& p) { return p.view.inputs; });
    bind_lines(m);
    bind_bounds(program);
    bind_ascent(program);
    bind_cells(program);
    bind_descent(program);
}

}  // namespace pydual::bind
