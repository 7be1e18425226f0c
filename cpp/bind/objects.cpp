#include "bind/objects.hpp"

#include <algorithm>

#include "kernels/small_products.hpp"
#include "kernels/sparse_products.hpp"

namespace pydual::bind {
namespace {

// The same entries by columns, in order of rows.
Sparse by_columns(const Sparse& by_rows, int rows, int cols, std::vector<py::object>& keep) {
    const int count = by_rows.starts[rows];
    Ints starts(cols + 1), indices(count);
    Doubles values = doubles(count);
    std::int32_t* begin = starts.mutable_data();
    std::int32_t* lines = indices.mutable_data();
    double* entries = values.mutable_data();
    std::vector<int> next(cols + 1, 0);
    for (int p = 0; p < count; ++p) ++next[by_rows.indices[p] + 1];
    for (int j = 0; j < cols; ++j) next[j + 1] += next[j];
    std::copy(next.begin(), next.end(), begin);
    for (int i = 0; i < rows; ++i)
        for (int p = by_rows.starts[i]; p < by_rows.starts[i + 1]; ++p) {
            const int at = next[by_rows.indices[p]]++;
            lines[at] = i;
            entries[at] = by_rows.values[p];
        }
    keep.insert(keep.end(), {starts, indices, values});
    return {begin, lines, entries};
}

void group(Sparse& m, int lines, std::vector<py::object>& keep) {
    const LineGroups found = group_lines(m.starts, m.indices, lines);
    const Ints order(lines, found.order.data()), groups(static_cast<py::ssize_t>(found.starts.size()), found.starts.data());
    keep.insert(keep.end(), {order, groups});
    m.order = order.data();
    m.groups = groups.data();
    m.group_count = static_cast<int>(found.starts.size()) - 1;
}

Term sparse_term(const py::tuple& parts, int rows, std::vector<py::object>& keep) {
    const auto indptr = py::cast<Ints>(parts[0]);
    const auto indices = py::cast<Ints>(parts[1]);
    const auto data = py::cast<Doubles>(parts[2]);
    Term term;
    term.rows = rows;
    term.cols = py::cast<int>(parts[3]);
    expect(indptr, {rows + 1}, "indptr");
    expect(data, {indices.size()}, "data");
    Sparse& m = term.by_rows;
    m.starts = indptr.data();
    m.indices = indices.data();
    m.values = data.data();
    if (m.starts[0] != 0 || m.starts[rows] != indices.size()) throw std::invalid_argument("indptr does not fit indices.");
    for (int i = 0; i < rows; ++i)
        if (m.starts[i] > m.starts[i + 1]) throw std::invalid_argument("indptr must not decrease.");
    for (py::ssize_t p = 0; p < indices.size(); ++p)
        if (m.indices[p] < 0 || m.indices[p] >= term.cols) throw std::invalid_argument("A column index is out of range.");
    keep.insert(keep.end(), {indptr, indices, data});
    term.by_columns = by_columns(m, rows, term.cols, keep);
    group(term.by_rows, rows, keep);
    group(term.by_columns, term.cols, keep);
    return term;
}

Term dense_term(const Doubles& matrix, int rows, std::vector<py::object>& keep) {
    expect(matrix, {rows, matrix.ndim() == 2 ? matrix.shape(1) : -1}, "a dense matrix");
    Term term;
    term.rows = rows;
    term.cols = static_cast<int>(matrix.shape(1));
    term.dense = matrix.data();
    if (!is_small(term)) need_linear_algebra();
    keep.push_back(matrix);
    return term;
}

void check_layer(const Layer& layer, int below, const Program& program) {
    for (const Term& term : layer.terms) {
        if (term.source < 0 || term.source > below) throw std::invalid_argument("A layer may only use earlier values.");
        if (term.cols != program.size(term.source)) throw std::invalid_argument("A matrix does not fit the size of its source.");
    }
}

}  // namespace

Kind kind_of(const std::string& name) {
    if (name == "relu") return Kind::relu;
    if (name == "sigmoid") return Kind::sigmoid;
    if (name == "tanh") return Kind::tanh;
    if (name == "square") return Kind::square;
    throw std::invalid_argument("The kind of a layer is relu, sigmoid or tanh.");
}

HeldForm hold_form(const Doubles& bias, const py::list& terms) {
    HeldForm form;
    form.view.size = static_cast<int>(bias.size());
    form.view.bias = bias.data();
    form.keep.push_back(bias);
    for (const py::handle item : terms) {
        const auto pair = py::cast<py::tuple>(item);
        Term term = py::isinstance<py::tuple>(pair[1]) ? sparse_term(py::cast<py::tuple>(pair[1]), form.view.size, form.keep)
                                                       : dense_term(py::cast<Doubles>(pair[1]), form.view.size, form.keep);
        term.source = py::cast<int>(pair[0]);
        form.view.terms.push_back(term);
    }
    return form;
}

HeldProgram::HeldProgram(int inputs, const py::list& given) {
    view.inputs = inputs;
    for (const py::handle item : given) {
        const auto parts = py::cast<py::tuple>(item);
        layers.push_back(hold_form(py::cast<Doubles>(parts[1]), py::cast<py::list>(parts[2])));
        layers.back().view.kind = kind_of(py::cast<std::string>(parts[0]));
        check_layer(layers.back().view, view.depth(), view);
        view.layers.push_back(layers.back().view);
        units += layers.back().view.size;
    }
}

std::vector<int> HeldProgram::offsets() const {
    std::vector<int> at(view.depth() + 2, 0);
    for (int k = 1; k <= view.depth(); ++k) at[k + 1] = at[k] + view.size(k);
    return at;
}

HeldRegion::HeldRegion(const Doubles& lower, const Doubles& upper, const std::string& norm, const Doubles& center,
                       double radius) {
    expect(upper, {lower.size()}, "upper");
    view.inputs = static_cast<int>(lower.size());
    view.lower = lower.data();
    view.upper = upper.data();
    view.norm = norm == "l1" ? Norm::l1 : norm == "l2" ? Norm::l2 : Norm::none;
    if (view.norm != Norm::none) expect(center, {lower.size()}, "center");
    view.center = center.data();
    view.radius = radius;
    keep = {lower, upper, center};
}

void check_form(const HeldProgram& program, const HeldForm& form) {
    check_layer(form.view, program.view.depth(), program.view);
}

void check_region(const HeldProgram& program, const HeldRegion& region) {
    if (region.view.inputs != program.view.inputs) throw std::invalid_argument("The region does not fit the program's inputs.");
}

}  // namespace pydual::bind
