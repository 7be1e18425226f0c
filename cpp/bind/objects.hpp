// The Python classes that kernels run on: they own references to the arrays that the views point into.
#pragma once

#include "bind/arrays.hpp"
#include "core/program.hpp"
#include "kernels/region.hpp"

namespace pydual::bind {

// Loads BLAS and LAPACK unless they are there. To be called, with the GIL, by what makes an object whose kernels use them.
void need_linear_algebra();

// A stack of affine functions of the input and the layers' outputs, with the arrays that it points into.
struct HeldForm {
    Form view;
    std::vector<py::object> keep;
};

// `terms`: pairs (source, matrix); a matrix is a float64 array, or a tuple (indptr, indices, data, columns).
HeldForm hold_form(const Doubles& bias, const py::list& terms);

struct HeldProgram {
    Program view;
    int units = 0;  // components of all layers
    std::vector<HeldForm> layers;

    // `layers`: tuples (kind, bias, terms); kind is "relu", "sigmoid" or "tanh".
    HeldProgram(int inputs, const py::list& layers);
    std::vector<int> offsets() const;  // where the units of layer k begin, k = 1..K+1
};

struct HeldRegion {
    RegionView view;
    std::vector<Doubles> keep;

    HeldRegion(const Doubles& lower, const Doubles& upper, const std::string& norm, const Doubles& center, double radius);
};

void check_form(const HeldProgram& program, const HeldForm& form);
void check_region(const HeldProgram& program, const HeldRegion& region);

Kind kind_of(const std::string& name);

void bind_lines(py::module_& m);
void bind_gram(py::module_& m);
void bind_bounds(py::class_<HeldProgram>& cls);
void bind_ascent(py::class_<HeldProgram>& cls);
void bind_cases(py::module_& m, py::class_<HeldProgram>& cls);
void bind_cells(py::class_<HeldProgram>& cls);
void bind_descent(py::class_<HeldProgram>& cls);
void bind_enumeration(py::class_<HeldProgram>& cls);

}  // namespace pydual::bind
