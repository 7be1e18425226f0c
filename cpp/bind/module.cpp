// pydual._core: the compiled kernels. Shapes are checked here, and the GIL is released here, nowhere else.
#include "bind/objects.hpp"
#include "core/blas.hpp"

namespace pydual::bind {
namespace {

template <class Function>
Function pointer_in(const py::dict& capsules, const char* name) {
    return reinterpret_cast<Function>(capsules[name].cast<py::capsule>().get_pointer<void>());
}

py::object& loader() {
    static auto* held = new py::object();  // never destroyed: the interpreter ends before
    return *held;
}

}  // namespace

void need_linear_algebra() {
    if (linear_algebra().dgemm) return;
    if (!loader()) throw std::runtime_error("There is no linear algebra; import pydual.relax.engine.");
    const auto capsules = loader()().cast<py::dict>();
    if (linear_algebra().dgemm) return;  // set by another thread, while this one loaded it too
    linear_algebra() = {pointer_in<Gemm<double>>(capsules, "dgemm"), pointer_in<Gemm<float>>(capsules, "sgemm"), pointer_in<Dgemv>(capsules, "dgemv"),
                        pointer_in<Dsyrk>(capsules, "dsyrk"),   pointer_in<Dtrsm>(capsules, "dtrsm"),
                        pointer_in<Dpotrf>(capsules, "dpotrf"), pointer_in<Dpotri>(capsules, "dpotri")};
}

PYBIND11_MODULE(_core, m, py::mod_gil_used()) {
    m.doc() = "Kernels of pydual: bounds, dual ascent, primal descent.";
    m.def("set_linear_algebra", [](py::object load) { loader() = std::move(load); }, py::arg("load"),
          "load() returns the capsules of scipy.linalg.cython_blas and cython_lapack by name; called once, if they are needed.");
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
    bind_cases(m, program);
    bind_cells(program);
    bind_descent(program);
    bind_enumeration(program);
}

}  // namespace pydual::bind
