// Shape-checked views of numpy arrays; the only place that turns Python objects into pointers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace pydual::bind {

namespace py = pybind11;

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<signed char, py::array::c_style>;
using Ints = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;

// Raises ValueError unless the array has exactly this shape.
inline void expect(const py::array& array, const std::vector<py::ssize_t>& shape, const char* name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t d = 0; fits && d < shape.size(); ++d) fits = array.shape(static_cast<py::ssize_t>(d)) == shape[d];
    if (fits) return;
    std::string text = std::string(name) + " must have the shape (";
    for (const py::ssize_t n : shape) text += std::to_string(n) + ",";
    throw std::invalid_argument(text + ").");
}

inline Doubles doubles(py::ssize_t n) { return Doubles(n); }
inline Doubles doubles(py::ssize_t n, py::ssize_t m) { return Doubles({n, m}); }

}  // namespace pydual::bind
