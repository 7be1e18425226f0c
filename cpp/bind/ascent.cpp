#include <algorithm>
#include <numeric>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/ascent.hpp"
#include "kernels/buffers.hpp"
#include "kernels/live.hpp"

namespace pydual::bind {
namespace {

constexpr int kColumnsPerTask = 32;

// Python sees one row per query (rows, units); kernels want one column per query in each layer.
struct Rows {
    const double* alpha;
    const double* beta;
    const double* lambda;
    const signed char* phase;
    const signed char* allowed;
    const double* lower;
    const double* upper;
    bool shared;
    const double* curvature = nullptr;  // (rows, layers), with centers (units,) and radii (layers,); or null
    const double* center = nullptr;
    const double* radius = nullptr;
};

struct Outputs {
    double *alpha, *beta, *lambda, *bound, *x, *y, *z, *price, *curvature;
};

// The given units of r queries, rows first.. of an array with `stride` numbers a row, as columns.
template <class From>
void to_columns(const From* rows, long stride, const std::vector<int>& units, int r, From* columns) {
    for (int c = 0; c < r; ++c)
        for (std::size_t i = 0; i < units.size(); ++i) columns[static_cast<long>(i) * r + c] = rows[c * stride + units[i]];
}

void to_rows(const double* columns, long stride, const std::vector<int>& units, int r, double* rows) {
    for (int c = 0; c < r; ++c)
        for (std::size_t i = 0; i < units.size(); ++i) rows[c * stride + units[i]] = columns[static_cast<long>(i) * r + c];
}

// A ReLU whose intervals are never positive does nothing, unless some query has fixed its phase.
std::vector<std::vector<char>> live_units(const HeldProgram& program, const Rows& in, int count) {
    std::vector<std::vector<char>> live(program.view.depth() + 1);
    std::vector<char> any(program.units, 0);
    for (int c = 0; c < count; ++c)
        for (long e = 0; e < program.units; ++e) any[e] |= in.phase[c * static_cast<long>(program.units) + e] != 0;
    for (int c = 0; c < (in.shared ? 1 : count); ++c)
        for (long e = 0; e < program.units; ++e) any[e] |= in.upper[c * static_cast<long>(program.units) + e] > 0.0;
    const std::vector<int> at = program.offsets();
    for (int k = 1; k <= program.view.depth(); ++k) {
        live[k].assign(any.begin() + at[k], any.begin() + at[k + 1]);
        if (program.view.kind(k) != Kind::relu) live[k].assign(live[k].size(), 1);
    }
    return live;
}

// What the ascent does not see: a neuron that is inactive in all queries costs nothing.
void fill_rest(const Rows& in, long units, int count, const Outputs& out) {
    for (long c = 0; c < count; ++c) {
        const double* upper = in.upper + (in.shared ? 0 : c * units);
        for (long e = 0; e < units; ++e) {
            const long at = c * units + e;
            out.alpha[at] = out.beta[at] = out.z[at] = out.price[at] = 0.0;
            out.y[at] = upper[e];
        }
    }
}

void ascend_rows(const LivePart& live, const std::vector<int>& at, long units, const HeldRegion& region,
                 const AscentOptions& options, const Rows& in, int first, int r, const Outputs& out) {
    const Program& p = live.program;
    const int rows = live.margins.size;
    Columns alpha(p, r, 1), beta(p, r, 1), y(p, r, 1), z(p, r, 1), price(p, r, 1), lower(p, in.shared ? 1 : r, 1), upper(p, in.shared ? 1 : r, 1);
    std::vector<std::vector<signed char>> phases(p.depth() + 1);
    std::vector<const signed char*> phase(p.depth() + 1, nullptr);
    std::vector<double> lambda(static_cast<std::size_t>(rows) * r), bound(r), x(static_cast<std::size_t>(p.inputs) * r);
    std::vector<signed char> allowed(static_cast<std::size_t>(rows) * r);
    std::vector<int> margins(rows);
    std::iota(margins.begin(), margins.end(), 0);
    for (int k = 1; k <= p.depth(); ++k) {
        const std::vector<int>& kept = live.units[k];
        const long begin = static_cast<long>(first) * units + at[k];
        to_columns(in.alpha + begin, units, kept, r, alpha[k]);
        to_columns(in.beta + begin, units, kept, r, beta[k]);
        phases[k].resize(kept.size() * r);
        to_columns(in.phase + begin, units, kept, r, phases[k].data());
        phase[k] = phases[k].data();
        const long interval = in.shared ? at[k] : begin;
        to_columns(in.lower + interval, units, kept, in.shared ? 1 : r, lower[k]);
        to_columns(in.upper + interval, units, kept, in.shared ? 1 : r, upper[k]);
    }
    to_columns(in.lambda + static_cast<long>(first) * rows, rows, margins, r, lambda.data());
    to_columns(in.allowed + static_cast<long>(first) * rows, rows, margins, r, allowed.data());
    const int depth = p.depth();
    Columns center(p, in.curvature ? 1 : 0, 1);
    std::vector<double> radius(depth + 1), curvature(static_cast<std::size_t>(depth + 1) * r);
    std::vector<double*> curvatures(depth + 1);
    for (int k = 1; in.curvature && k <= depth; ++k) {
        to_columns(in.center + at[k], units, live.units[k], 1, center[k]);
        radius[k] = in.radius[k - 1];
        curvatures[k] = curvature.data() + static_cast<long>(k) * r;
        for (int c = 0; c < r; ++c) curvatures[k][c] = in.curvature[static_cast<long>(first + c) * depth + k - 1];
    }
    const AscentQuery query{&p, region.view, &live.margins, lower.get(), upper.get(), in.shared ? 0 : 1, phase.data(), allowed.data(),
                            in.curvature ? center.get() : nullptr, radius.data()};
    ascend(query, options, r, {alpha.get(), beta.get(), lambda.data(), curvatures.data()}, {bound.data(), x.data(), y.get(), z.get(), price.get()});
    for (int k = 1; k <= p.depth(); ++k) {
        const std::vector<int>& kept = live.units[k];
        const long begin = static_cast<long>(first) * units + at[k];
        to_rows(alpha[k], units, kept, r, out.alpha + begin);
        to_rows(beta[k], units, kept, r, out.beta + begin);
        to_rows(y[k], units, kept, r, out.y + begin);
        to_rows(z[k], units, kept, r, out.z + begin);
        to_rows(price[k], units, kept, r, out.price + begin);
    }
    for (int k = 1; in.curvature && k <= depth; ++k)
        for (int c = 0; c < r; ++c) {
            const double found = p.kind(k) == Kind::relu ? curvatures[k][c] : 0.0;
            out.curvature[static_cast<long>(first + c) * depth + k - 1] = found;
        }
    to_rows(lambda.data(), rows, margins, r, out.lambda + static_cast<long>(first) * rows);
    to_rows(x.data(), p.inputs, live.units[0], r, out.x + static_cast<long>(first) * p.inputs);
    std::copy(bound.begin(), bound.end(), out.bound + first);
}

py::dict ascend_all(const HeldProgram& program, const HeldForm& margins, const HeldRegion& region, const Doubles& lower,
                    const Doubles& upper, const Bytes& phase, const Bytes& allowed, const Doubles& alpha, const Doubles& beta,
                    const Doubles& lambda, const Doubles& center, const Doubles& radius, const Doubles& curvature,
                    const AscentOptions& options, int threads) {
    check_form(program, margins);
    check_region(program, region);
    const py::ssize_t count = phase.ndim() == 2 ? phase.shape(0) : -1;
    const py::ssize_t units = program.units;
    const bool shared = lower.ndim() == 1;
    for (const Doubles* interval : {&lower, &upper})
        expect(*interval, shared ? std::vector<py::ssize_t>{units} : std::vector<py::ssize_t>{count, units}, "intervals");
    expect(phase, {count, units}, "phase");
    expect(alpha, {count, units}, "alpha");
    expect(beta, {count, units}, "beta");
    expect(allowed, {count, margins.view.size}, "allowed");
    expect(lambda, {count, margins.view.size}, "weights");
    const py::ssize_t layers = curvature.size() ? program.view.depth() : 0;
    if (layers) expect(curvature, {count, layers}, "curvature");
    expect(center, {layers ? units : center.size()}, "center");
    expect(radius, {layers ? layers : radius.size()}, "radius");
    Doubles new_alpha = doubles(count, units), new_beta = doubles(count, units), y = doubles(count, units),
            z = doubles(count, units), price = doubles(count, units), bound = doubles(count), x = doubles(count, program.view.inputs),
            new_lambda = doubles(count, margins.view.size), new_curvature = doubles(count, layers);
    const Rows in{alpha.data(), beta.data(), lambda.data(), phase.data(), allowed.data(), lower.data(), upper.data(), shared,
                  layers ? curvature.data() : nullptr, center.data(), radius.data()};
    const Outputs out{new_alpha.mutable_data(), new_beta.mutable_data(), new_lambda.mutable_data(), bound.mutable_data(),
                      x.mutable_data(), y.mutable_data(), z.mutable_data(), price.mutable_data(), new_curvature.mutable_data()};
    const int rows = static_cast<int>(count);
    {
        const py::gil_scoped_release release;
        const int size = std::max(1, std::min(kColumnsPerTask, (rows + threads - 1) / std::max(1, threads)));
        const LivePart live(program.view, margins.view, live_units(program, in, rows));
        fill_rest(in, units, rows, out);
        parallel_for((rows + size - 1) / size, threads, [&](int task) {
            ascend_rows(live, program.offsets(), units, region, options, in, task * size, std::min(size, rows - task * size), out);
        });
    }
    py::dict result;
    result["bound"] = bound;
    result["x"] = x;
    result["alpha"] = new_alpha;
    result["beta"] = new_beta;
    result["weights"] = new_lambda;
    result["y"] = y;
    result["z"] = z;
    result["price"] = price;
    result["curvature"] = new_curvature;
    return result;
}

// What a look ahead sees: for each pair of a row and a unit, the row with the unit fixed to either phase.
struct Pairs {
    const std::int32_t* row;
    const std::int32_t* unit;
};

void bound_children(const LivePart& live, const std::vector<int>& at, long units, const HeldRegion& region, const Rows& in,
                    const Pairs& pairs, int first, int n, double* bound) {
    const Program& p = live.program;
    const int r = 2 * n;
    const int rows = live.margins.size;
    Columns alpha(p, r, 1), beta(p, r, 1), lower(p, 1, 1), upper(p, 1, 1);
    std::vector<std::vector<signed char>> phases(p.depth() + 1);
    std::vector<const signed char*> phase(p.depth() + 1, nullptr);
    std::vector<double> lambda(static_cast<std::size_t>(rows) * r);
    for (int k = 1; k <= p.depth(); ++k) {
        phases[k].resize(live.units[k].size() * r);
        for (std::size_t i = 0; i < live.units[k].size(); ++i) {
            const int unit = at[k] + live.units[k][i];
            lower[k][i] = in.lower[unit];
            upper[k][i] = in.upper[unit];
            for (int c = 0; c < r; ++c) {
                const long from = pairs.row[first + c / 2] * units + unit;
                const long to = static_cast<long>(i) * r + c;
                alpha[k][to] = in.alpha[from];
                beta[k][to] = in.beta[from];
                phases[k][to] = pairs.unit[first + c / 2] == unit ? (c % 2 ? 1 : -1) : in.phase[from];
            }
        }
        phase[k] = phases[k].data();
    }
    for (int m = 0; m < rows; ++m)
        for (int c = 0; c < r; ++c)
            lambda[static_cast<long>(m) * r + c] = in.lambda[static_cast<long>(pairs.row[first + c / 2]) * rows + m];
    const AscentQuery query{&p, region.view, &live.margins, lower.get(), upper.get(), 0, phase.data(), nullptr};
    evaluate_bounds(query, r, {alpha.get(), beta.get(), lambda.data()}, bound + 2L * first);
}

Doubles look_ahead(const HeldProgram& program, const HeldForm& margins, const HeldRegion& region, const Doubles& lower,
                   const Doubles& upper, const Bytes& phase, const Doubles& alpha, const Doubles& beta, const Doubles& lambda,
                   const Ints& row, const Ints& unit, int threads) {
    check_form(program, margins);
    check_region(program, region);
    const py::ssize_t count = phase.ndim() == 2 ? phase.shape(0) : -1;
    const py::ssize_t pairs = row.ndim() == 1 ? row.shape(0) : -1;
    const py::ssize_t units = program.units;
    for (const Doubles* interval : {&lower, &upper}) expect(*interval, {units}, "intervals");
    expect(phase, {count, units}, "phase");
    expect(alpha, {count, units}, "alpha");
    expect(beta, {count, units}, "beta");
    expect(lambda, {count, margins.view.size}, "weights");
    expect(row, {pairs}, "row");
    expect(unit, {pairs}, "unit");
    for (py::ssize_t i = 0; i < pairs; ++i)
        if (row.at(i) < 0 || row.at(i) >= count || unit.at(i) < 0 || unit.at(i) >= units)
            throw std::invalid_argument("A row or unit is out of range.");
    Doubles bound = doubles(pairs, 2);
    const Rows in{alpha.data(), beta.data(), lambda.data(), phase.data(), nullptr, lower.data(), upper.data(), true};
    double* found = bound.mutable_data();
    {
        const py::gil_scoped_release release;
        const int n = static_cast<int>(pairs), size = kColumnsPerTask / 2;
        const LivePart live(program.view, margins.view, live_units(program, in, static_cast<int>(count)));
        parallel_for((n + size - 1) / size, threads, [&](int task) {
            bound_children(live, program.offsets(), units, region, in, {row.data(), unit.data()}, task * size,
                           std::min(size, n - task * size), found);
        });
    }
    return bound;
}

}  // namespace

void bind_ascent(py::class_<HeldProgram>& cls) {
    cls.def(
        "ascend",
        [](const HeldProgram& program, const HeldForm& margins, const HeldRegion& region, const Doubles& lower,
           const Doubles& upper, const Bytes& phase, const Bytes& allowed, const Doubles& alpha, const Doubles& beta,
           const Doubles& weights, const Doubles& center, const Doubles& radius, const Doubles& curvature, int steps, double alpha_rate, double beta_rate, double weight_rate, double curvature_rate, double decay,
           double target, int threads) {
            return ascend_all(program, margins, region, lower, upper, phase, allowed, alpha, beta, weights,
                              center, radius, curvature,
                              {steps, alpha_rate, beta_rate, weight_rate, curvature_rate, decay, target}, threads);
        },
        py::arg("margins"), py::arg("region"), py::arg("lower"), py::arg("upper"), py::arg("phase"), py::arg("allowed"),
        py::arg("alpha"), py::arg("beta"), py::arg("weights"), py::arg("center") = Doubles(0), py::arg("radius") = Doubles(0),
        py::arg("curvature") = Doubles(0), py::kw_only(), py::arg("steps"), py::arg("alpha_rate"), py::arg("beta_rate"), py::arg("weight_rate"),
        py::arg("curvature_rate") = 0.1, py::arg("decay"), py::arg("target"), py::arg("threads"),
        "Dual ascent for one query a row; see kernels/ascent.hpp. Arrays over units have the shape (rows, units). "
        "``center`` (units,), ``radius`` (layers,) and ``curvature`` (rows, layers) are left out, or empty, without curvatures.");
    cls.def("look_ahead", &look_ahead, py::arg("margins"), py::arg("region"), py::arg("lower"), py::arg("upper"),
            py::arg("phase"), py::arg("alpha"), py::arg("beta"), py::arg("weights"), py::arg("row"), py::arg("unit"),
            py::kw_only(), py::arg("threads"),
            "The bounds (pairs, 2) of the rows ``row`` with one more unit fixed, inactive and active, at the duals as they are.");
}

}  // namespace pydual::bind
