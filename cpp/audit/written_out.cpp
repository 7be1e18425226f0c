#include "audit/written_out.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace pydual::audit {
namespace {

using Row = std::vector<Entry>;

class Writer {
public:
    explicit Writer(const Network& network)
        : net_(network), reach_(network.values.size()), written_(network.values.size()), overflows_(network.values.size(), 0) {}

    std::vector<WrittenOut> run() {
        for (int k = 0; k < static_cast<int>(net_.values.size()); ++k) {
            find_reach(k);
            if (may_meet(k) && !write(k)) written_[k] = {};
        }
        return std::move(written_);
    }

private:
    bool is_affine(int k) const { return net_.values[k].kind == Kind::affine; }

    // The values that are not affine and that value k depends on, through affine ones only.
    void find_reach(int k) {
        if (!is_affine(k)) {
            reach_[k] = {k};
            return;
        }
        for (const Term& term : net_.values[k].terms) {
            reach_[k].insert(reach_[k].end(), reach_[term.source].begin(), reach_[term.source].end());
            overflows_[k] = overflows_[k] || overflows_[term.source];
        }
        std::sort(reach_[k].begin(), reach_[k].end());
        reach_[k].erase(std::unique(reach_[k].begin(), reach_[k].end()), reach_[k].end());
    }

    // Whether a variable may meet itself in a row of the map: two terms with a common reach, or two entries of an affine one.
    bool may_meet(int k) const {
        if (!is_affine(k)) return false;
        const std::vector<Term>& terms = net_.values[k].terms;
        if (overflows_[k]) return false;
        for (std::size_t t = 0; t < terms.size(); ++t) {
            if (is_affine(terms[t].source) && has_wide_row(terms[t].forward)) return true;
            for (std::size_t s = 0; s < t; ++s)
                if (meet(terms[s].source, terms[t].source)) return true;
        }
        return false;
    }

    bool meet(int a, int b) const {
        return std::find_first_of(reach_[a].begin(), reach_[a].end(), reach_[b].begin(), reach_[b].end()) != reach_[a].end();
    }

    static bool has_wide_row(const Rows& m) {
        std::vector<int> counts(m.rows, 0);
        count_entries(m, counts);
        return std::any_of(counts.begin(), counts.end(), [](int n) { return n > 1; });
    }

    // Writes value k out; false if no variable met itself, or an entry overflows.
    bool write(int k) {
        const Value& value = net_.values[k];
        WrittenOut& out = written_[k];
        bool met = false;
        for (int i = 0; i < value.size; ++i) {
            double low = value.bias[i];
            double neg = -value.bias[i];
            Row row;
            for (const Term& term : value.terms)
                for_entries(term.forward, i, [&](int j, double m) { add(term.source, j, m, -m, row, low, neg); });
            met = collect(row) || met;
            if (!is_finite(row, low, neg)) {
                overflows_[k] = 1;
                return false;
            }
            out.rows.push_back(std::move(row));
            out.bias_low.push_back(low);
            out.bias_neg.push_back(neg);
        }
        return met;
    }

    static bool is_finite(const Row& row, double low, double neg) {
        return std::isfinite(low) && std::isfinite(neg) &&
               std::all_of(row.begin(), row.end(), [](const Entry& e) { return std::isfinite(e.low) && std::isfinite(e.neg); });
    }

    // Adds m times component j of value s, where low <= m and neg <= -m.
    void add(int s, int j, double low, double neg, Row& row, double& bias_low, double& bias_neg) const {
        if (!is_affine(s)) {
            row.push_back({s, j, low, neg});
            return;
        }
        if (!written_[s].rows.empty()) {
            const WrittenOut& inner = written_[s];
            for (const Entry& e : inner.rows[j]) row.push_back({e.value, e.index, least(low, neg, e.low, e.neg), least(neg, low, e.low, e.neg)});
            bias_low += least(low, neg, inner.bias_low[j], inner.bias_neg[j]);
            bias_neg += least(neg, low, inner.bias_low[j], inner.bias_neg[j]);
            return;
        }
        const Value& value = net_.values[s];
        bias_low += least(low, neg, value.bias[j], -value.bias[j]);
        bias_neg += least(neg, low, value.bias[j], -value.bias[j]);
        for (const Term& term : value.terms)
            for_entries(term.forward, j, [&](int i, double m) {
                add(term.source, i, least(low, neg, m, -m), least(neg, low, m, -m), row, bias_low, bias_neg);
            });
    }

    // A lower bound of x y for x in [a, -na] and y in [b, -nb]: the least of the products of ends. NaN where one overflows.
    static double least(double a, double na, double b, double nb) {
        const double p = a * b;
        const double q = (-a) * nb;
        const double r = (-na) * b;
        const double s = na * nb;
        if (!std::isfinite(p + q + r + s)) return std::numeric_limits<double>::quiet_NaN();
        return std::min(std::min(p, q), std::min(r, s));
    }

    // Sums the entries of one variable; whether there were several.
    static bool collect(Row& row) {
        std::sort(row.begin(), row.end(), [](const Entry& a, const Entry& b) {
            return std::make_pair(a.value, a.index) < std::make_pair(b.value, b.index);
        });
        std::size_t kept = 0;
        for (std::size_t t = 0; t < row.size(); ++t) {
            if (kept && row[kept - 1].value == row[t].value && row[kept - 1].index == row[t].index) {
                row[kept - 1].low += row[t].low;
                row[kept - 1].neg += row[t].neg;
            } else {
                row[kept++] = row[t];
            }
        }
        const bool met = kept < row.size();
        row.resize(kept);
        return met;
    }

    template <class Visit>
    static void for_entries(const Rows& m, int i, const Visit& visit) {
        const std::int64_t begin = m.dense ? static_cast<std::int64_t>(i) * m.columns : m.starts[i];
        const std::int64_t end = m.dense ? begin + m.columns : m.starts[i + 1];
        for (std::int64_t p = begin; p < end; ++p)
            if (m.values[p] != 0.0) visit(static_cast<int>(m.dense ? p - begin : m.indices[p]), m.values[p]);
    }

    const Network& net_;
    std::vector<std::vector<int>> reach_;
    std::vector<WrittenOut> written_;
    std::vector<char> overflows_;  // not written out, nor what reads it: entries that are not summed up double each time
};

}  // namespace

std::vector<WrittenOut> write_out(const Network& network) { return Writer(network).run(); }

// m v >= low v + (m - low) v, and 0 <= m - low <= -(low + neg); the same for -m.
void written_out_image(const WrittenOut& map, const std::vector<std::vector<double>>& low, const std::vector<std::vector<double>>& neg,
                       double* out_low, double* out_neg) {
    for (std::size_t i = 0; i < map.rows.size(); ++i) {
        double* to_low = out_low + i * kLanes;
        double* to_neg = out_neg + i * kLanes;
        std::fill_n(to_low, kLanes, map.bias_low[i]);
        std::fill_n(to_neg, kLanes, map.bias_neg[i]);
        for (const Entry& e : map.rows[i]) {
            const double* l = low[e.value].data() + static_cast<std::ptrdiff_t>(e.index) * kLanes;
            const double* n = neg[e.value].data() + static_cast<std::ptrdiff_t>(e.index) * kLanes;
            const double up = std::max(e.low, 0.0);
            const double down = std::max(-e.low, 0.0);
            const double neg_up = std::max(e.neg, 0.0);
            const double neg_down = std::max(-e.neg, 0.0);
            const double slack = e.low + e.neg;  // at most -(width of the enclosure of m)
            for (int lane = 0; lane < kLanes; ++lane) {
                const double below_zero = slack * std::max(-l[lane], 0.0);
                to_low[lane] += up * l[lane] + down * n[lane] + below_zero;
                to_neg[lane] += neg_up * l[lane] + neg_down * n[lane] + below_zero;
            }
        }
    }
}

}  // namespace pydual::audit
