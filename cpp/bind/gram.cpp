// The Gram dual for Python: many ascents at once, one on each thread.
#include "kernels/gram_ascent.hpp"

#include <memory>

#include "bind/objects.hpp"
#include "core/threads.hpp"

namespace pydual::bind {
namespace {

std::vector<double> held(const Doubles& array, const std::vector<py::ssize_t>& shape, const char* name) {
    expect(array, shape, name);
    return {array.data(), array.data() + array.size()};
}

Doubles array(const std::vector<double>& values) {
    Doubles result = doubles(static_cast<py::ssize_t>(values.size()));
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
}

GramProblem gram_problem(const Doubles& x, const Doubles& h, const Doubles& constant, const Doubles& half, const Doubles& lower,
                         const Doubles& slope, const Doubles& squares, double ball_constant) {
    GramProblem p;
    if (x.ndim() != 2 || h.ndim() != 2) throw std::invalid_argument("x and h must be matrices.");
    p.inputs = static_cast<int>(x.shape(1));
    p.kept = static_cast<int>(h.shape(1));
    p.ball = squares.size() > 0;
    p.cuts = static_cast<int>(x.shape(0)) - p.kept - 1 - (p.ball ? 1 : 0);
    if (p.cuts < 0) throw std::invalid_argument("x has too few rows.");
    p.x = held(x, {p.rows(), p.inputs}, "x");
    p.h = held(h, {p.rows(), p.kept}, "h");
    p.constant = held(constant, {p.rows()}, "constant");
    p.half = held(half, {p.kept}, "half");
    p.lower = held(lower, {p.kept}, "lower");
    p.slope = held(slope, {p.kept}, "slope");
    p.squares = held(squares, {p.ball ? p.inputs : 0}, "squares");
    p.ball_constant = ball_constant;
    return p;
}

const char* const kNames[] = {"scaled_lambda", "mu", "sigma", "tau", "kappa_kept", "beta", "ball", "kappa_inputs"};

std::vector<std::vector<double>*> parts(GramMultipliers& m) {
    return {&m.scaled_lambda, &m.mu, &m.sigma, &m.tau, &m.kappa_kept, &m.beta, &m.ball, &m.kappa_inputs};
}

GramMultipliers gram_multipliers(const GramProblem& problem, const py::dict& given) {
    GramMultipliers m(problem);
    int k = 0;
    for (std::vector<double>* part : parts(m)) {
        const char* name = kNames[k++];
        *part = held(given[name].cast<Doubles>(), {static_cast<py::ssize_t>(part->size())}, name);
    }
    return m;
}

py::dict as_dict(GramMultipliers m) {
    py::dict result;
    int k = 0;
    for (const std::vector<double>* part : parts(m)) result[kNames[k++]] = array(*part);
    return result;
}

void advance_all(const py::list& ascents, int steps, double goal, int threads) {
    std::vector<GramAscent*> all;
    for (const py::handle& ascent : ascents) all.push_back(ascent.cast<GramAscent*>());
    const py::gil_scoped_release release;
    parallel_for(static_cast<int>(all.size()), threads, [&](int i) { all[i]->advance(steps, goal); });
}

}  // namespace

void bind_gram(py::module_& m) {
    py::class_<GramProblem>(m, "GramProblem")
        .def(py::init(&gram_problem), py::kw_only(), py::arg("x"), py::arg("h"), py::arg("constant"), py::arg("half"),
             py::arg("lower"), py::arg("slope"), py::arg("squares"), py::arg("ball_constant"))
        .def("bound", [](const GramProblem& problem, const py::dict& multipliers) {
            GramDual dual(problem);
            return dual.bound(gram_multipliers(problem, multipliers));
        })
        .def("differentiate", [](const GramProblem& problem, const py::dict& multipliers, double weight) {
            GramDual dual(problem);
            const GramMultipliers at = gram_multipliers(problem, multipliers);
            GramMultipliers slopes(problem);
            const double bound = dual.bound(at);
            dual.gradient(at, weight, slopes);
            return py::make_tuple(bound + weight * (dual.log_determinant() + dual.log_curvatures()), as_dict(slopes));
        }, py::arg("multipliers"), py::arg("weight"),
             "The bound plus `weight` times the logarithm of the determinant of the matrix that proves it, and its derivatives; "
             "for multipliers that prove a bound.");
    py::class_<GramAscent>(m, "GramAscent")
        .def(py::init([](const GramProblem& problem, const py::dict& start, const Doubles& lambda_scale, double first_weight,
                         double last_weight, double decay, int steps_per_weight, double flatness) {
                 return std::make_unique<GramAscent>(problem, gram_multipliers(problem, start),
                                                     held(lambda_scale, {problem.kept}, "lambda_scale"),
                                                     GramOptions{first_weight, last_weight, decay, steps_per_weight, flatness});
             }),
             py::arg("problem"), py::arg("start"), py::arg("lambda_scale"), py::kw_only(), py::arg("first_weight"),
             py::arg("last_weight"), py::arg("decay"), py::arg("steps_per_weight"), py::arg("flatness"))
        .def_property_readonly("bound", &GramAscent::bound)
        .def_property_readonly("ended", &GramAscent::ended)
        .def_property_readonly("weight", &GramAscent::weight)
        .def_property_readonly("steps", &GramAscent::steps)
        .def_property_readonly("multipliers", [](const GramAscent& a) { return as_dict(a.multipliers()); })
        .def_property_readonly("inputs", [](const GramAscent& a) { return array(a.inputs()); })
        .def_property_readonly("kept", [](const GramAscent& a) { return array(a.kept()); });
    m.def("advance_grams", &advance_all, py::arg("ascents"), py::kw_only(), py::arg("steps"), py::arg("goal"), py::arg("threads"),
          "Advances each of the ascents by at most `steps` steps, until its bound is above `goal` or its path has ended.");
}

}  // namespace pydual::bind
