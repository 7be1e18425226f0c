#include "kernels/live.hpp"

namespace pydual {

LivePart::LivePart(const Program& whole, const Form& form, const std::vector<std::vector<char>>& live) {
    for (int k = 0; k <= whole.depth(); ++k) {
        kept_.emplace_back(whole.size(k));
        for (int i = 0; i < whole.size(k); ++i)
            if (k == 0 || live[k][i]) kept_[k].add(i);
        units.push_back(kept_[k].units);
    }
    program.inputs = whole.inputs;
    for (int k = 1; k <= whole.depth(); ++k) program.layers.push_back(part(whole.layers[k - 1], kept_[k]));
    Kept all(form.size);
    for (int m = 0; m < form.size; ++m) all.add(m);
    margins = part(form, all);
}

Layer LivePart::part(const Layer& layer, const Kept& rows) {
    Layer kept{layer.kind, static_cast<int>(rows.units.size()), {}, nullptr};
    std::vector<double>& bias = numbers_.emplace_back();
    for (const int i : rows.units) bias.push_back(layer.bias[i]);
    kept.bias = bias.data();
    for (const Term& term : layer.terms) {
        const Kept& columns = kept_[term.source];
        if (!rows.units.empty() && !columns.units.empty()) kept.terms.push_back(part(term, rows, columns));
    }
    return kept;
}

Term LivePart::part(const Term& term, const Kept& rows, const Kept& columns) {
    Term kept;
    kept.source = term.source;
    kept.rows = static_cast<int>(rows.units.size());
    kept.cols = static_cast<int>(columns.units.size());
    if (!term.dense) {
        kept.by_rows = part(term.by_rows, rows, columns);
        kept.by_columns = part(term.by_columns, columns, rows);
        return kept;
    }
    std::vector<double>& values = numbers_.emplace_back();
    values.reserve(rows.units.size() * columns.units.size());
    for (const int i : rows.units)
        for (const int j : columns.units) values.push_back(term.dense[static_cast<long>(i) * term.cols + j]);
    kept.dense = values.data();
    return kept;
}

Sparse LivePart::part(const Sparse& matrix, const Kept& lines, const Kept& others) {
    std::vector<std::int32_t>& starts = indices_.emplace_back(1, 0);
    std::vector<std::int32_t>& indices = indices_.emplace_back();
    std::vector<double>& values = numbers_.emplace_back();
    for (const int i : lines.units) {
        for (int p = matrix.starts[i]; p < matrix.starts[i + 1]; ++p) {
            if (others.place[matrix.indices[p]] < 0) continue;
            indices.push_back(others.place[matrix.indices[p]]);
            values.push_back(matrix.values[p]);
        }
        starts.push_back(static_cast<std::int32_t>(indices.size()));
    }
    std::vector<std::int32_t>& order = indices_.emplace_back();
    std::vector<std::int32_t>& groups = indices_.emplace_back(1, 0);
    for (int g = 0; g < matrix.group_count; ++g) {
        for (int at = matrix.groups[g]; at < matrix.groups[g + 1]; ++at)
            if (lines.place[matrix.order[at]] >= 0) order.push_back(lines.place[matrix.order[at]]);
        if (groups.back() < static_cast<int>(order.size())) groups.push_back(static_cast<std::int32_t>(order.size()));
    }
    const int count = static_cast<int>(groups.size()) - 1;
    return {starts.data(), indices.data(), values.data(), order.data(), groups.data(), count};
}

}  // namespace pydual
