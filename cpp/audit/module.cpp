// pydual.audit._rounded: the rounded audit's compiled part. It shares nothing with the provers' core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "audit/rounding.hpp"
#include "audit/tree.hpp"
#include "audit/written_out.hpp"

namespace pydual::audit {
namespace {

namespace py = pybind11;
using Doubles = py::array_t<double, py::array::c_style>;

std::vector<double> copied(const Doubles& array) { return {array.data(), array.data() + array.size()}; }

Rows dense_rows(const Doubles& matrix) {
    if (matrix.ndim() != 2) throw std::invalid_argument("A dense matrix must have two dimensions.");
    return {static_cast<int>(matrix.shape(0)), static_cast<int>(matrix.shape(1)), true, copied(matrix), {}, {}};
}

Rows sparse_rows(const py::tuple& parts) {
    const auto starts = py::cast<py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>>(parts[0]);
    const auto indices = py::cast<py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>>(parts[1]);
    const int columns = py::cast<int>(parts[3]);
    Rows rows{static_cast<int>(starts.size()) - 1, columns, false, copied(py::cast<Doubles>(parts[2])),
              {starts.data(), starts.data() + starts.size()}, {indices.data(), indices.data() + indices.size()}};
    if (rows.rows < 0 || rows.starts[0] != 0 || rows.starts.back() != static_cast<std::int64_t>(rows.values.size()) ||
        rows.indices.size() != rows.values.size() || !std::is_sorted(rows.starts.begin(), rows.starts.end()))
        throw std::invalid_argument("A sparse matrix is not one of compressed rows.");
    for (const std::int32_t j : rows.indices)
        if (j < 0 || j >= columns) throw std::invalid_argument("A sparse matrix has an entry outside of its columns.");
    return rows;
}

Value affine_value(const py::tuple& given, const Network& net) {
    Value value;
    value.kind = Kind::affine;
    value.bias = copied(py::cast<Doubles>(given[1]));
    value.size = static_cast<int>(value.bias.size());
    std::vector<int> counts(value.size, 0);
    for (const py::handle item : py::cast<py::list>(given[2])) {
        const auto pair = py::cast<py::tuple>(item);
        const bool sparse = py::isinstance<py::tuple>(pair[1]);
        Term term{py::cast<int>(pair[0]), sparse ? sparse_rows(py::cast<py::tuple>(pair[1])) : dense_rows(py::cast<Doubles>(pair[1])), {}};
        const bool known = term.source >= 0 && term.source < static_cast<int>(net.values.size());
        if (!known || term.forward.rows != value.size || term.forward.columns != net.size(term.source))
            throw std::invalid_argument("A matrix does not fit the values that it maps.");
        count_entries(term.forward, counts);
        for (const double m : term.forward.values) value.largest = std::max(value.largest, std::fabs(m));
        term.backward = transposed(term.forward);
        value.terms.push_back(std::move(term));
    }
    for (const int n : counts) value.longest_row = std::max(value.longest_row, n);
    return value;
}

Value activation_value(const std::string& kind, int source, Network& net) {
    if (source < 0 || source >= static_cast<int>(net.values.size())) throw std::invalid_argument("A source is not defined yet.");
    Value value;
    value.kind = kind == "relu" ? Kind::relu : kind == "sigmoid" ? Kind::sigmoid : kind == "tanh" ? Kind::tanh : Kind::square;
    if (value.kind == Kind::square && kind != "square") throw std::invalid_argument("Unknown primitive '" + kind + "'.");
    value.size = net.size(source);
    value.source = source;
    value.first_neuron = static_cast<int>(net.neurons.size());
    const int number = static_cast<int>(net.values.size());
    if (value.kind == Kind::relu) {
        if (!net.first_relu[source]) net.first_relu[source] = number;
        for (int i = 0; i < value.size; ++i) net.neurons.push_back({number, source, i});
    } else {
        net.read_by_curve[source] = 1;
    }
    return value;
}

// Primitives are ("affine", bias, [(source, matrix)]) with matrices dense or (starts, columns, values, width), or (kind, source).
std::shared_ptr<Network> make_network(int inputs, const py::list& primitives, int output) {
    auto net = std::make_shared<Network>();
    net->values.emplace_back();
    net->values[0].size = inputs;
    net->first_relu.assign(primitives.size() + 1, 0);
    net->read_by_curve.assign(primitives.size() + 1, 0);
    for (const py::handle item : primitives) {
        const auto given = py::cast<py::tuple>(item);
        const auto kind = py::cast<std::string>(given[0]);
        net->values.push_back(kind == "affine" ? affine_value(given, *net) : activation_value(kind, py::cast<int>(given[1]), *net));
    }
    if (output < 0 || output >= static_cast<int>(net->values.size())) throw std::invalid_argument("The output is no value.");
    net->output = output;
    const Downward mode;
    net->written = write_out(*net);
    return net;
}

Numbers numbers(const py::array& array) {
    const char kind = array.dtype().kind();
    const auto type = kind == 'u' ? Numbers::Type::uint8 : array.itemsize() == 4 ? Numbers::Type::float32 : Numbers::Type::float64;
    return {array.data(), type};
}

Slopes slopes_of(const py::array& slopes, const py::array& neurons) {
    if (slopes.ndim() != 2 || neurons.size() != slopes.shape(1)) throw std::invalid_argument("Slopes do not fit their neurons.");
    return {numbers(slopes), slopes.shape(0), slopes.shape(1), static_cast<const std::int32_t*>(neurons.data())};
}

// Arrays (lines, slopes, neurons, case trees, case splits, case multipliers), see cases.hpp.
struct HeldRefinements {
    std::vector<py::array> keep;
    std::vector<Refinement> views;

    HeldRefinements(const std::vector<std::array<py::array, 6>>& given, const Network& network) {
        const auto neurons = static_cast<py::ssize_t>(network.neurons.size());
        for (const auto& [lines, slopes, named, trees, splits, multipliers] : given) {
            const bool fits = lines.size() == 2 * neurons && (trees.size() == 0 || trees.size() == 2 * neurons);
            if (!fits) throw std::invalid_argument("A refinement does not fit the network.");
            const auto* ends = static_cast<const std::int32_t*>(lines.data());
            const auto* numbered = trees.size() ? static_cast<const std::int32_t*>(trees.data()) : nullptr;
            const auto* split = static_cast<const std::int32_t*>(splits.data());
            views.push_back({ends, ends + neurons, slopes_of(slopes, named), numbered, numbered ? numbered + neurons : nullptr,
                             read_cases(split, splits.size(), numbers(multipliers), multipliers.size())});
            const auto last = static_cast<std::int32_t>(views.back().trees.size()) - 1;
            if (std::any_of(numbered, numbered + trees.size(), [&](std::int32_t number) { return number > last; }))
                throw Rejected("a refinement names a tree of cases that does not exist.");
            for (const py::array& array : {lines, slopes, named, trees}) keep.push_back(array);
        }
    }
};

struct HeldRoot {
    std::shared_ptr<HeldRefinements> refinements;
    std::shared_ptr<Network> network;
    std::unique_ptr<Ball> ball;
    std::unique_ptr<Root> root;

    HeldRoot(std::shared_ptr<HeldRefinements> given, std::shared_ptr<Network> net, const Doubles& lower, const Doubles& upper,
             const std::string& norm, const Doubles& center, double radius, bool float32, int anchor, int threads)
        : refinements(std::move(given)), network(std::move(net)) {
        auto box = std::make_shared<Box>(Box{copied(lower), copied(upper), false});
        if (lower.size() != network->inputs() || upper.size() != lower.size()) throw std::invalid_argument("The box does not fit.");
        for (std::size_t i = 0; i < box->lower.size(); ++i) box->empty = box->empty || !(box->lower[i] <= box->upper[i]);
        if (!norm.empty()) ball = std::make_unique<Ball>(Ball{norm == "l2", radius, copied(center)});
        if (ball && ball->center.size() != box->lower.size()) throw std::invalid_argument("The ball's center does not fit.");
        const int number = anchor - kAdaptiveRule - 1;
        if (number >= static_cast<int>(refinements->views.size())) throw std::invalid_argument("There is no such refinement.");
        const Refinement* refinement = number < 0 ? nullptr : &refinements->views[number];
        const py::gil_scoped_release release;
        root = std::make_unique<Root>(*network, std::move(box), ball.get(), float32, anchor, refinement, threads);
    }

    Doubles shift(int k) const {
        const std::vector<double>& values = root->shift.shift.at(k);
        return Doubles(static_cast<py::ssize_t>(values.size()), values.data());
    }
};

// Of an l2 ball, with a guess for the norm of each matrix.
struct HeldSurroundings {
    std::unique_ptr<Surroundings> around;

    HeldSurroundings(const Network& network, const Doubles& center, double radius, const Doubles& norms) {
        std::size_t matrices = 0;
        for (const Value& value : network.values) matrices += value.terms.size();
        if (center.size() != network.inputs() || norms.size() != static_cast<py::ssize_t>(matrices))
            throw std::invalid_argument("The ball or the norms do not fit the network.");
        const Ball ball{true, radius, copied(center)};
        const std::vector<double> guesses = copied(norms);
        const py::gil_scoped_release release;
        const Downward mode;
        around = std::make_unique<Surroundings>(network, ball, guesses.data());
    }

    py::list radii() const {
        py::list found;
        for (const double neg : around->neg_radius) found.append(-neg);
        return found;
    }
};

// Arrays are little-endian, C-contiguous and of the format's types: the caller has checked them.
struct HeldTree {
    std::shared_ptr<HeldRoot> root;
    std::shared_ptr<HeldSurroundings> around;
    std::vector<py::array> keep;
    std::unique_ptr<TreeAudit> audit;

    HeldTree(std::shared_ptr<HeldRoot> at, const Doubles& constants, const std::vector<bool>& strict,
             const std::vector<std::vector<double>>& x, const std::vector<std::vector<double>>& y, const py::dict& tree,
             const std::vector<bool>& integer, const std::optional<Doubles>& points, std::shared_ptr<HeldSurroundings> surroundings,
             int threads)
        : root(std::move(at)), around(std::move(surroundings)) {
        const auto column = [&](const char* name) -> const py::array& {
            keep.push_back(py::cast<py::array>(tree[name]));
            return keep.back();
        };
        keep.reserve(16);
        Columns c;
        c.lattice.integer = {integer.begin(), integer.end()};
        if (static_cast<int>(integer.size()) != root->network->inputs()) throw std::invalid_argument("The mask does not fit.");
        if (points) {
            if (points->ndim() != 2 || points->shape(1) != root->network->inputs()) throw std::invalid_argument("The points do not fit.");
            keep.push_back(*points);
            c.lattice.listed = true;
            c.lattice.rows = points->shape(0);
            c.lattice.points = points->data();
        }
        const py::array& kind = column("kind");
        const py::array& index = column("index");
        const py::array& threshold = column("threshold");
        const py::array& lines = column("lines");
        const py::array& slopes = column("slopes");
        const py::array& betas = column("split_multipliers");
        const py::array& multipliers = column("multipliers");
        const py::array& anchor = column("anchor");
        const py::array& slope_neurons = column("slope_neurons");
        const py::array& products = column("products");
        const py::array& product_multipliers = column("product_multipliers");
        const py::array& product_counts = column("product_counts");
        c.nodes = kind.size();
        c.splits = index.size();
        c.thresholds = threshold.size();
        c.leaves = lines.size();
        c.betas = betas.size();
        c.products = product_multipliers.size();
        c.gram_leaves = product_counts.size();
        const py::array& curvatures = column("curvatures");
        c.ball_leaves = curvatures.shape(0);
        c.relus = curvatures.shape(1);
        const auto relus = std::count_if(root->network->values.begin(), root->network->values.end(),
                                         [](const Value& value) { return value.kind == Kind::relu; });
        if (c.ball_leaves && (!around || c.relus != relus)) throw std::invalid_argument("The curvatures do not fit the network.");
        c.curvatures = numbers(curvatures);
        if (around) c.around = around->around.get();
        const auto margins = static_cast<py::ssize_t>(strict.size());
        if (anchor.size() != kind.size() || multipliers.size() != lines.size() * margins || constants.size() != margins ||
            products.size() != 2 * product_multipliers.size())
            throw std::invalid_argument("The columns do not fit together.");
        c.kind = static_cast<const std::uint8_t*>(kind.data());
        c.anchor = static_cast<const std::uint8_t*>(anchor.data());
        c.index = static_cast<const std::int32_t*>(index.data());
        c.threshold = static_cast<const double*>(threshold.data());
        c.lines = static_cast<const std::int32_t*>(lines.data());
        c.slopes = slopes_of(slopes, slope_neurons);
        c.refinements = &root->refinements->views;
        c.multipliers = numbers(multipliers);
        c.split_multipliers = numbers(betas);
        c.product_facts = static_cast<const std::int32_t*>(products.data());
        c.product_multipliers = numbers(product_multipliers);
        c.product_counts = static_cast<const std::int32_t*>(product_counts.data());
        Margins m{static_cast<int>(margins), copied(constants), {strict.begin(), strict.end()}, x, y};
        audit = std::make_unique<TreeAudit>(*root->root, std::move(m), c, threads);
    }

    bool advance() {
        const py::gil_scoped_release release;
        return audit->advance();
    }
};

}  // namespace

PYBIND11_MODULE(_rounded, m, py::mod_gil_used()) {
    m.doc() = "The rounded audit: PROOFS.md with directed rounding. Its classes take arguments that pydual.audit.rounded has checked.";
    py::register_exception<Rejected>(m, "Rejected");
    m.def("check_rounding", &check_rounding, "Raises RuntimeError unless arithmetic here rounds downward.");
    py::class_<Network, std::shared_ptr<Network>>(m, "Network")
        .def(py::init(&make_network), py::arg("inputs"), py::arg("primitives"), py::arg("output"));
    py::class_<HeldRefinements, std::shared_ptr<HeldRefinements>>(m, "Refinements")
        .def(py::init<const std::vector<std::array<py::array, 6>>&, const Network&>(), py::arg("refinements"), py::arg("network"));
    py::class_<HeldRoot, std::shared_ptr<HeldRoot>>(m, "Root")
        .def(py::init<std::shared_ptr<HeldRefinements>, std::shared_ptr<Network>, const Doubles&, const Doubles&, const std::string&,
                      const Doubles&, double, bool, int, int>(),
             py::arg("refinements"), py::arg("network"), py::arg("lower"), py::arg("upper"), py::arg("norm"), py::arg("center"),
             py::arg("radius"), py::arg("float32"), py::arg("anchor"), py::arg("threads"))
        .def("shift", &HeldRoot::shift, py::arg("value"));
    py::class_<HeldSurroundings, std::shared_ptr<HeldSurroundings>>(m, "Surroundings")
        .def(py::init<const Network&, const Doubles&, double, const Doubles&>(), py::arg("network"), py::arg("center"), py::arg("radius"),
             py::arg("norms"))
        .def_property_readonly("radii", &HeldSurroundings::radii);
    py::class_<HeldTree>(m, "Tree")
        .def(py::init<std::shared_ptr<HeldRoot>, const Doubles&, const std::vector<bool>&, const std::vector<std::vector<double>>&,
                      const std::vector<std::vector<double>>&, const py::dict&, const std::vector<bool>&, const std::optional<Doubles>&,
                      std::shared_ptr<HeldSurroundings>, int>(),
             py::arg("root"), py::arg("constants"), py::arg("strict"), py::arg("x"), py::arg("y"), py::arg("columns"),
             py::arg("integers"), py::arg("points").none(true), py::arg("around").none(true), py::arg("threads"))
        .def("advance", &HeldTree::advance)
        .def_property_readonly("margin", [](const HeldTree& t) { return t.audit->margin(); });
}

}  // namespace pydual::audit
