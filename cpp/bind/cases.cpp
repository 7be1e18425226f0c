#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "bind/objects.hpp"
#include "core/threads.hpp"
#include "kernels/buffers.hpp"
#include "kernels/cases.hpp"
#include "kernels/live.hpp"

namespace pydual::bind {
namespace {

using Floats = py::array_t<float, py::array::c_style>;

constexpr int kEndsPerTask = 16;  // at most

// Trees in preorder, one after the other, inactive before active: the unit that is split, or -1 for a case, which has a multiplier
// for each split above it, those above the root included.
struct Trees {
    std::vector<int> splits, split_counts;
    std::vector<float> multipliers;
    std::vector<int> multiplier_counts;
    std::vector<double> searched, proved;  // bounds of the cases

    // `above`: how many splits are above the root.
    void add(std::vector<Case> cases, std::size_t above, const LivePart& live, const std::vector<int>& at) {
        std::sort(cases.begin(), cases.end(), is_before);
        const std::size_t splits_before = splits.size(), multipliers_before = multipliers.size();
        const std::vector<Fixed>* before = nullptr;
        for (const Case& one : cases) {
            std::size_t known = above;  // the splits that the last case is below of, too
            while (before && same((*before)[known], one.path[known])) ++known;
            for (std::size_t d = before ? known + 1 : above; d < one.path.size(); ++d) {
                const Neuron& neuron = one.path[d].neuron;
                splits.push_back(at[neuron.layer] + live.units[neuron.layer][neuron.unit]);
            }
            splits.push_back(-1);
            for (const Fixed& fixed : one.path) multipliers.push_back(static_cast<float>(fixed.multiplier));
            searched.push_back(one.bound);
            proved.push_back(one.proved);
            before = &one.path;
        }
        split_counts.push_back(static_cast<int>(splits.size() - splits_before));
        multiplier_counts.push_back(static_cast<int>(multipliers.size() - multipliers_before));
    }

    void append(const Trees& others) {
        const auto join = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
        join(splits, others.splits);
        join(split_counts, others.split_counts);
        join(multipliers, others.multipliers);
        join(multiplier_counts, others.multiplier_counts);
        join(searched, others.searched);
        join(proved, others.proved);
    }

    static bool same(const Fixed& a, const Fixed& b) { return a.phase == b.phase; }

    // Where two cases part, they have the same neuron in different phases.
    static bool is_before(const Case& a, const Case& b) {
        const auto phase = [](const Fixed& x, const Fixed& y) { return x.phase < y.phase; };
        return std::lexicographical_compare(a.path.begin(), a.path.end(), b.path.begin(), b.path.end(), phase);
    }
};

template <class Array, class Number>
Array array_of(const std::vector<Number>& numbers) {
    return Array(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}

// Reads trees; every node is seen once, and `on_case` gets its path of units and phases, and where its multipliers begin.
class Reader {
public:
    Reader(const Ints& splits, const Floats& multipliers, int units, int deepest)
        : splits_(splits.data()), multipliers_(multipliers.data()), size_(splits.size()), available_(multipliers.size()),
          units_(units), deepest_(deepest) {}

    bool at_end() const { return next_ == size_; }
    py::ssize_t splits_read() const { return next_; }
    py::ssize_t multipliers_read() const { return used_; }

    template <class OnCase>
    void read(const OnCase& on_case) {
        std::vector<std::vector<std::pair<int, signed char>>> pending(1);
        while (!pending.empty()) {
            if (at_end()) throw std::invalid_argument("A tree of cases does not end.");
            std::vector<std::pair<int, signed char>> path = std::move(pending.back());
            pending.pop_back();
            const int unit = splits_[next_++];
            if (unit < 0) {
                if (used_ + static_cast<py::ssize_t>(path.size()) > available_) throw std::invalid_argument("Cases lack multipliers.");
                for (std::size_t d = 0; d < path.size(); ++d)
                    if (!std::isfinite(multipliers_[used_ + static_cast<py::ssize_t>(d)]))
                        throw std::invalid_argument("A case has a multiplier that is not finite.");
                on_case(path, used_);
                used_ += static_cast<py::ssize_t>(path.size());
                continue;
            }
            if (unit >= units_) throw std::invalid_argument("A case splits a neuron that does not come before its end.");
            if (static_cast<int>(path.size()) == deepest_) throw std::invalid_argument("A case has too many splits above it.");
            path.emplace_back(unit, static_cast<signed char>(1));
            pending.push_back(path);
            path.back().second = -1;
            pending.push_back(std::move(path));
        }
    }

private:
    const int* splits_;
    const float* multipliers_;
    py::ssize_t size_, available_, next_ = 0, used_ = 0;
    int units_, deepest_;
};

// Splits and multipliers of each tree.
py::tuple count_trees(const Ints& splits, const Floats& multipliers, int units, int deepest) {
    std::vector<int> split_counts, multiplier_counts;
    Reader reader(splits, multipliers, units, deepest);
    while (!reader.at_end()) {
        const py::ssize_t split = reader.splits_read(), multiplier = reader.multipliers_read();
        reader.read([](const auto&, py::ssize_t) {});
        split_counts.push_back(static_cast<int>(reader.splits_read() - split));
        multiplier_counts.push_back(static_cast<int>(reader.multipliers_read() - multiplier));
    }
    if (reader.multipliers_read() != multipliers.size()) throw std::invalid_argument("There are more multipliers than cases have.");
    return py::make_tuple(array_of<Ints>(split_counts), array_of<Ints>(multiplier_counts));
}

// What all tasks share.
struct Ends {
    Ends(const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower, const Doubles& upper,
         const Doubles& alpha, bool paired, const std::vector<char>& named)
        : units(program.units), count(form.view.size), pairs(paired), at(program.offsets()), region(region.view), alpha(alpha.data()),
          live(program.view, form.view, live_units(program, upper.data(), named)), low(live.program, 1, 1), high(live.program, 1, 1) {
        for (int k = 1; k <= live.program.depth(); ++k) {
            for (std::size_t i = 0; i < live.units[k].size(); ++i) {
                low[k][i] = lower.data()[at[k] + live.units[k][i]];
                high[k][i] = upper.data()[at[k] + live.units[k][i]];
            }
        }
    }

    // A ReLU whose interval is never positive does nothing, unless a case names it.
    static std::vector<std::vector<char>> live_units(const HeldProgram& program, const double* upper, const std::vector<char>& named) {
        std::vector<std::vector<char>> live(program.view.depth() + 1);
        int unit = 0;
        for (int k = 1; k <= program.view.depth(); ++k)
            for (int i = 0; i < program.view.size(k); ++i, ++unit)
                live[k].push_back(program.view.kind(k) != Kind::relu || upper[unit] > 0.0 || named[unit]);
        return live;
    }

    // The query of the ends first..first + n; `columns` is filled with their slopes, `other` with the other ends of intervals.
    EndsQuery query(int first, int n, Columns& columns, std::vector<int>& other) const {
        for (int e = 0; e < n; ++e) other.push_back(pairs ? e ^ 1 : e);
        for (int k = 1; k <= live.program.depth(); ++k)
            for (std::size_t i = 0; i < live.units[k].size(); ++i)
                for (int e = 0; e < n; ++e)
                    columns[k][static_cast<long>(i) * n + e] = alpha[static_cast<long>(first + e) * units + at[k] + live.units[k][i]];
        return {&live.program, region, low.get(), high.get(), &live.margins, first, n, columns.get(), other.data()};
    }

    // Both ends of an interval are in one task.
    template <class Body>
    void for_each_task(int threads, const Body& body) const {
        const int share = (count + threads - 1) / std::max(threads, 1);
        const int each = std::max(1, std::min(kEndsPerTask, pairs ? share + share % 2 : share));
        parallel_for((count + each - 1) / each, threads, [&](int task) {
            const int first = task * each, n = std::min(each, count - first);
            Columns columns(live.program, n, 1);
            std::vector<int> other;
            body(query(first, n, columns, other));
        });
    }

    // The trees below the roots, one by one: cases take far more memory.
    std::vector<Trees> split(const std::vector<Case>& roots, const CaseOptions& options, int threads) const {
        std::vector<Trees> trees(count);
        const SingleNetwork network(live.program, live.margins, region, low.get(), high.get());
        for_each_task(threads, [&](const EndsQuery& query) {
            const auto begin = roots.begin() + query.first;
            std::vector<std::vector<Case>> found = split_ends(query, network, {begin, begin + query.count}, options);
            prove_cases(query, found);
            for (int e = 0; e < query.count; ++e) trees[query.first + e].add(std::move(found[e]), begin[e].path.size(), live, at);
        });
        return trees;
    }

    // Where each unit is among the live ones.
    std::vector<Neuron> places() const {
        std::vector<Neuron> place(units);
        for (int k = 1; k <= live.program.depth(); ++k)
            for (std::size_t i = 0; i < live.units[k].size(); ++i) place[at[k] + live.units[k][i]] = {k, static_cast<int>(i)};
        return place;
    }

    int units, count;
    bool pairs;  // whether rows 2i and 2i + 1 are both ends of an interval
    std::vector<int> at;
    RegionView region;
    const double* alpha;
    LivePart live;
    Columns low, high;
};

std::chrono::steady_clock::time_point after(double seconds) {
    using namespace std::chrono;
    return steady_clock::now() + duration_cast<steady_clock::duration>(duration<double>(std::clamp(seconds, 0.0, 1e8)));
}

void check_ends(const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower, const Doubles& upper,
                const Doubles& alpha) {
    check_form(program, form);
    check_region(program, region);
    for (const Doubles* interval : {&lower, &upper}) expect(*interval, {program.units}, "intervals");
    expect(alpha, {form.view.size, program.units}, "alpha");
}

py::dict columns_of(const Trees& trees) {
    py::dict result;
    result["splits"] = array_of<Ints>(trees.splits);
    result["split_counts"] = array_of<Ints>(trees.split_counts);
    result["multipliers"] = array_of<Floats>(trees.multipliers);
    result["multiplier_counts"] = array_of<Ints>(trees.multiplier_counts);
    return result;
}

double least_bound(const std::vector<Case>& cases) {
    double least = std::numeric_limits<double>::infinity();
    for (const Case& one : cases) least = std::min(least, one.proved);
    return least;
}

py::dict split_ends_of(const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower,
                       const Doubles& upper, const Doubles& alpha, const CaseOptions& options, int threads) {
    check_ends(program, form, region, lower, upper, alpha);
    if (form.view.size % 2) throw std::invalid_argument("Ends come in pairs.");
    Doubles bounds = doubles(form.view.size);
    double* bound = bounds.mutable_data();
    Trees trees;
    {
        const py::gil_scoped_release release;
        const Ends ends(program, form, region, lower, upper, alpha, true, std::vector<char>(program.units, 0));
        for (const Trees& of_end : ends.split(std::vector<Case>(form.view.size), options, threads)) {
            *bound++ = *std::min_element(of_end.proved.begin(), of_end.proved.end());
            trees.append(of_end);
        }
    }
    py::dict result = columns_of(trees);
    result["bound"] = bounds;
    return result;
}

py::dict split_nodes(const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower, const Doubles& upper,
                     const Doubles& alpha, const Ints& path, const Ints& path_counts, const py::array_t<signed char, py::array::c_style>& phase,
                     const Doubles& beta, const Doubles& price, const CaseOptions& options, int threads) {
    check_ends(program, form, region, lower, upper, alpha);
    const int count = form.view.size;
    expect(path_counts, {count}, "path_counts");
    expect(phase, {count, program.units}, "phase");
    for (const Doubles* numbers : {&beta, &price}) expect(*numbers, {count, program.units}, "beta and price");
    py::ssize_t splits = 0;
    for (int e = 0; e < count; ++e) splits += path_counts.data()[e];
    expect(path, {splits}, "path");
    std::vector<char> named(program.units, 0);
    for (py::ssize_t n = 0; n < splits; ++n) {
        const int unit = path.data()[n];
        if (unit < 0 || unit >= program.units) throw std::invalid_argument("A path has a unit that the program lacks.");
        named[unit] = 1;
    }
    Trees trees;
    {
        const py::gil_scoped_release release;
        const Ends nodes(program, form, region, lower, upper, alpha, false, named);
        const std::vector<Neuron> place = nodes.places();
        std::vector<Case> roots(count);
        const int* next = path.data();
        for (int e = 0; e < count; ++e) {
            for (int d = 0; d < path_counts.data()[e]; ++d, ++next) {
                const long at = static_cast<long>(e) * program.units + *next;
                roots[e].path.push_back({place[*next], phase.data()[at], beta.data()[at], std::fabs(price.data()[at])});
            }
        }
        for (const Trees& of_node : nodes.split(roots, options, threads)) trees.append(of_node);
    }
    py::dict result = columns_of(trees);
    result["bound"] = array_of<Doubles>(trees.proved);
    result["searched"] = array_of<Doubles>(trees.searched);
    return result;
}

// The cases of the next tree.
std::vector<Case> read_cases(Reader& reader, const float* multipliers, const std::vector<Neuron>& place) {
    std::vector<Case> cases;
    reader.read([&](const auto& path, py::ssize_t from) {
        Case one;
        for (const auto& [unit, phase] : path) one.path.push_back({place[unit], phase, multipliers[from++]});
        cases.push_back(std::move(one));
    });
    return cases;
}

Doubles bound_ends_by(const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower,
                      const Doubles& upper, const Doubles& alpha, const Ints& splits, const Floats& multipliers, int deepest, int threads) {
    check_ends(program, form, region, lower, upper, alpha);
    Doubles bounds = doubles(form.view.size);
    double* bound = bounds.mutable_data();
    Reader reader(splits, multipliers, program.units, deepest);
    std::vector<char> named(program.units, 0);
    for (py::ssize_t n = 0; n < splits.size(); ++n)
        if (splits.data()[n] >= 0 && splits.data()[n] < program.units) named[splits.data()[n]] = 1;
    const Ends ends(program, form, region, lower, upper, alpha, true, named);
    const std::vector<Neuron> place = ends.places();
    std::vector<std::vector<Case>> cases;
    for (int e = 0; e < form.view.size; ++e) cases.push_back(read_cases(reader, multipliers.data(), place));
    if (!reader.at_end()) throw std::invalid_argument("There are more trees of cases than ends.");
    const py::gil_scoped_release release;
    ends.for_each_task(threads, [&](const EndsQuery& query) {
        std::vector<std::vector<Case>> of_task(cases.begin() + query.first, cases.begin() + query.first + query.count);
        prove_cases(query, of_task);
        std::transform(of_task.begin(), of_task.end(), bound + query.first, least_bound);
    });
    return bounds;
}

}  // namespace

void bind_cases(py::module_& m, py::class_<HeldProgram>& cls) {
    m.def("count_cases", &count_trees, py::arg("splits"), py::arg("multipliers"), py::arg("units"), py::kw_only(), py::arg("deepest"),
          "How many splits (cases, -1, included) and multipliers each tree of cases has. Raises ValueError where they do not fit together.");
    cls.def(
        "split_ends",
        [](const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower, const Doubles& upper,
           const Doubles& alpha, int most, int deepest, int steps, double rate, double seconds, int threads) {
            return split_ends_of(program, form, region, lower, upper, alpha, {most, deepest, steps, rate, after(seconds)}, threads);
        },
        py::arg("form"), py::arg("region"), py::arg("lower"), py::arg("upper"), py::arg("alpha"), py::kw_only(),
        py::arg("most"), py::arg("deepest"), py::arg("steps"), py::arg("rate"), py::arg("seconds"), py::arg("threads"),
        "Splits each row of the form by cases, up to ``most``; rows 2i and 2i + 1 are both ends of an interval. Slopes ``alpha`` "
        "(rows, units). Returns bounds and trees in preorder (kernels/cases.hpp).");
    cls.def(
        "split_nodes",
        [](const HeldProgram& program, const HeldForm& form, const HeldRegion& region, const Doubles& lower, const Doubles& upper,
           const Doubles& alpha, const Ints& path, const Ints& path_counts, const py::array_t<signed char, py::array::c_style>& phase,
           const Doubles& beta, const Doubles& price, int most, int deepest, int steps, double rate, double seconds, int threads) {
            return split_nodes(program, form, region, lower, upper, alpha, path, path_counts, phase, beta, price,
                               {most, deepest, steps, rate, after(seconds)}, threads);
        },
        py::arg("form"), py::arg("region"), py::arg("lower"), py::arg("upper"), py::arg("alpha"), py::arg("path"), py::arg("path_counts"),
        py::arg("phase"), py::arg("beta"), py::arg("price"), py::kw_only(), py::arg("most"), py::arg("deepest"), py::arg("steps"),
        py::arg("rate"), py::arg("seconds"), py::arg("threads"),
        "Splits the cell of each row of the form by cases, up to ``most``: where the units of its path have their phases, from their "
        "multipliers on. Returns trees as split_ends does, multipliers of the path included, and the bound of each case: as proved, "
        "and as searched, in single precision and without stages.");
    cls.def("bound_ends", &bound_ends_by, py::arg("form"), py::arg("region"), py::arg("lower"), py::arg("upper"), py::arg("alpha"),
            py::arg("splits"), py::arg("multipliers"), py::kw_only(), py::arg("deepest"), py::arg("threads"),
            "The bound (rows,) of each row by its tree of cases, at the best stage.");
}

}  // namespace pydual::bind
