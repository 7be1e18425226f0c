// The Gram dual for Python: many ascents at once, one on each thread.
#include "kernels/gram_ascent.hpp"

#include <algorithm>
#include <cmath>
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

const char* const kNames[] = {"scaled_lambda", "mu", "sigma", "tau", "kappa_kept", "beta", "ball", "kappa_inputs", "rho"};
constexpr int kPlaces = 4, kNumbers = 5;  // of a product

std::vector<GramProduct> gram_products(const GramProblem& p, const Ints& places, const Doubles& numbers) {
    const py::ssize_t count = places.shape(0);
    expect(places, {count, kPlaces}, "places");
    expect(numbers, {count, kNumbers}, "numbers");
    const int ends[] = {p.kept, p.rows(), p.kept, p.inputs};
    std::vector<GramProduct> products;
    for (py::ssize_t k = 0; k < count; ++k) {
        int at[kPlaces];
        for (int i = 0; i < kPlaces; ++i) {
            if (places.at(k, i) < 0 || places.at(k, i) >= ends[i])
                throw std::invalid_argument("places of products are out of range.");
            at[i] = static_cast<int>(places.at(k, i));
        }
        products.push_back({at[0], at[1], at[2], at[3], numbers.at(k, 0), numbers.at(k, 1), numbers.at(k, 2), numbers.at(k, 3),
                            numbers.at(k, 4)});
    }
    return products;
}

GramProblem gram_problem(const Doubles& x, const Doubles& h, const Doubles& constant, const Doubles& half, const Doubles& lower,
                         const Doubles& slope, const Doubles& squares, double ball_constant, const Ints& places,
                         const Doubles& numbers) {
    need_linear_algebra();
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
    p.products = gram_products(p, places, numbers);
    return p;
}

std::vector<std::vector<double>*> parts(GramMultipliers& m) {
    std::vector<std::vector<double>*> all = {&m.scaled_lambda, &m.mu,   &m.sigma, &m.tau,
                                             &m.kappa_kept,    &m.beta, &m.ball,  &m.kappa_inputs};
    if (!m.rho.empty()) all.push_back(&m.rho);
    return all;
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

Doubles matrix(const std::vector<double>& values, int columns) {
    const py::ssize_t size = static_cast<py::ssize_t>(values.size());
    return array(values).reshape({size / std::max(columns, 1), static_cast<py::ssize_t>(columns)});
}

py::object moments(const GramProblem& problem, const py::dict& multipliers) {
    GramDual dual(problem);
    const GramMultipliers at = gram_multipliers(problem, multipliers);
    if (!std::isfinite(dual.bound(at))) return py::none();
    GramMoments found(problem);
    dual.moments(at, found);
    py::dict result;
    result["inputs"] = array(found.inputs);
    result["kept"] = array(found.kept);
    result["rows"] = array(found.rows);
    result["inputs_kept"] = matrix(found.inputs_kept, problem.kept);
    result["kept_kept"] = matrix(found.kept_kept, problem.kept);
    result["rows_kept"] = matrix(found.rows_kept, problem.kept);
    return result;
}

std::vector<double> joined(GramMultipliers& m) {
    std::vector<double> all;
    for (const std::vector<double>* part : parts(m)) all.insert(all.end(), part->begin(), part->end());
    return all;
}

py::dict newton_step(const GramProblem& problem, const py::dict& multipliers, double weight) {
    GramDual dual(problem);
    GramNewton newton(problem);
    GramMultipliers at = gram_multipliers(problem, multipliers), slopes(problem);
    if (!std::isfinite(dual.bound(at))) throw std::invalid_argument("The multipliers prove no bound.");
    dual.gradient(at, weight, slopes);
    std::vector<double> scale = joined(at), own(scale.size(), 1.0), gradient = joined(slopes);
    std::fill_n(scale.begin(), problem.kept, 1.0);
    std::fill_n(own.begin(), problem.kept, 0.0);
    for (std::size_t k = 0; k < scale.size(); ++k) gradient[k] = gradient[k] * scale[k] + weight * own[k];
    dual.bound(at);
    if (newton.find(dual, at, weight, scale, own, gradient) < 0.0) throw std::invalid_argument("There is no step.");
    auto value = newton.step().begin();
    auto unit = scale.begin();
    for (std::vector<double>* part : parts(slopes))
        for (double& s : *part) s = *value++ * *unit++;
    return as_dict(slopes);
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
             py::arg("lower"), py::arg("slope"), py::arg("squares"), py::arg("ball_constant"),
             py::arg("places") = Ints(std::vector<py::ssize_t>{0, kPlaces}),
             py::arg("numbers") = Doubles(std::vector<py::ssize_t>{0, kNumbers}),
             "Products of facts: `places` (products, 4) names the kept neuron, row, other kept neuron and input of each; "
             "`numbers` (products, 5) has the sign, the factors of the latter three, and the constant.")
        .def("bound", [](const GramProblem& problem, const py::dict& multipliers) {
            GramDual dual(problem);
            const double bound = dual.bound(gram_multipliers(problem, multipliers));
            return bound - dual.uncertainty();
        }, "What the multipliers prove, less an allowance for rounding.")
        .def("differentiate", [](const GramProblem& problem, const py::dict& multipliers, double weight) {
            GramDual dual(problem);
            const GramMultipliers at = gram_multipliers(problem, multipliers);
            GramMultipliers slopes(problem);
            const double bound = dual.bound(at);
            dual.gradient(at, weight, slopes);
            return py::make_tuple(bound + weight * (dual.log_determinant() + dual.log_curvatures()), as_dict(slopes));
        }, py::arg("multipliers"), py::arg("weight"),
             "The bound plus `weight` times the logarithm of the determinant of the matrix that proves it, and its derivatives; "
             "for multipliers that prove a bound.")
        .def("newton_step", &newton_step, py::arg("multipliers"), py::arg("weight"),
             "The step to the maximum of the second-order model of the bound plus `weight` times the logarithms of that determinant "
             "and of every nonnegative multiplier; for multipliers that prove a bound.")
        .def("moments", &moments,
             "The pseudo-mean of t and of the rows, and covariances for weight 1, where the multipliers prove a bound; else None.");
    py::class_<GramAscent>(m, "GramAscent")
        .def(py::init([](const GramProblem& problem, const py::dict& start, const Doubles& lambda_scale, double first_weight,
                         double last_weight, double decay, int steps_per_weight, double flatness, int cheap_steps) {
                 return std::make_unique<GramAscent>(problem, gram_multipliers(problem, start),
                                                     held(lambda_scale, {problem.kept}, "lambda_scale"),
                                                     GramOptions{first_weight, last_weight, decay, steps_per_weight, flatness, cheap_steps});
             }),
             py::arg("problem"), py::arg("start"), py::arg("lambda_scale"), py::kw_only(), py::arg("first_weight"),
             py::arg("last_weight"), py::arg("decay"), py::arg("steps_per_weight"), py::arg("flatness"), py::arg("cheap_steps"))
        .def_property_readonly("bound", &GramAscent::bound)
        .def_property_readonly("ended", &GramAscent::ended)
        .def_property_readonly("weight", &GramAscent::weight)
        .def_property_readonly("steps", &GramAscent::steps)
        .def_property_readonly("second_order", &GramAscent::second_order)
        .def_property_readonly("multipliers", [](const GramAscent& a) { return as_dict(a.multipliers()); })
        .def_property_readonly("present", [](const GramAscent& a) { return as_dict(a.present()); })
        .def_property_readonly("inputs", [](const GramAscent& a) { return array(a.inputs()); })
        .def_property_readonly("kept", [](const GramAscent& a) { return array(a.kept()); });
    m.def("advance_grams", &advance_all, py::arg("ascents"), py::kw_only(), py::arg("steps"), py::arg("goal"), py::arg("threads"),
          "Advances each of the ascents by at most `steps` steps, until its bound is above `goal` or its path has ended.");
}

}  // namespace pydual::bind
