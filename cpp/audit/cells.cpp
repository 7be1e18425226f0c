#include "audit/cells.hpp"

#include <algorithm>
#include <cmath>

#include "audit/backward.hpp"
#include "audit/products.hpp"
#include "audit/threads.hpp"
#include "audit/written_out.hpp"

namespace pydual::audit {
namespace {

constexpr double kUnit = 0x1p-24;       // u of PROOFS.md, section 6
constexpr double kUnderflow = 0x1p-124;
constexpr double kFloatLimit = 0x1p127;

// A row to be bounded: a component of a value in a lane, from below (+) or from above (-), in a case of it, or in all.
struct Side {
    int lane;
    int component;
    bool below;
    const Case* in = nullptr;
};

class Derivation {
public:
    Derivation(const Setting& setting, const std::vector<Cell>& cells, std::vector<Backward>& workspaces, Shift* fill)
        : setting_(setting), net_(*setting.network), cells_(cells), workspaces_(workspaces), fill_(fill),
          block_(std::make_unique<CellBlock>()), neg_a_(net_.values.size()), neg_b_(net_.values.size()),
          roundings_(net_.values.size(), 0) {
        const std::size_t count = net_.values.size();
        block_->low.resize(count);
        block_->neg.resize(count);
        block_->source_low.resize(count);
        block_->source_neg.resize(count);
        block_->neg_error.resize(count);
        block_->curves.resize(count);
        block_->cells = static_cast<int>(cells.size());
        for (int lane = 0; lane < kLanes; ++lane) block_->empty[lane] = lane >= block_->cells || cell(lane).box->empty;
    }

    std::unique_ptr<CellBlock> run() {
        for (int k = 0; k < static_cast<int>(net_.values.size()); ++k) {
            const Value& value = net_.values[k];
            block_->low[k].assign(entries(k), 0.0);
            block_->neg[k].assign(entries(k), 0.0);
            if (value.kind == Kind::input) input();
            if (value.kind == Kind::affine) affine(k);
            if (value.kind == Kind::relu) relu(k);
            if (value.is_curve()) curve_values(k);
            if (setting_.float32 && value.kind != Kind::affine) magnitudes(k);
            check_finite(k, block_->low[k], block_->neg[k]);
            if (fill_) fill_shift(k, block_->low[k]);
            if (net_.first_relu[k] || net_.read_by_curve[k]) source(k);
        }
        return std::move(block_);
    }

private:
    std::size_t entries(int k) const { return static_cast<std::size_t>(net_.size(k)) * kLanes; }
    const Cell& cell(int lane) const { return cells_[lane < block_->cells ? lane : 0]; }
    double* low(int k) { return block_->low[k].data(); }
    double* neg(int k) { return block_->neg[k].data(); }
    double* source_low(int k) { return block_->source_low[k].data(); }
    double* source_neg(int k) { return block_->source_neg[k].data(); }

    void input() {
        for (int lane = 0; lane < kLanes; ++lane)
            for (int i = 0; i < net_.inputs(); ++i) {
                low(0)[i * kLanes + lane] = cell(lane).box->lower[i];
                neg(0)[i * kLanes + lane] = -cell(lane).box->upper[i];
            }
    }

    // The error of float32 is that of the map written out too, whether the sources have been widened by theirs or not.
    void affine(int k) {
        if (net_.written[k].rows.empty()) {
            term_by_term(k);
        } else {
            written_out_image(net_.written[k], block_->low, block_->neg, low(k), neg(k));
        }
        if (!setting_.float32) return;
        float_error(k);
        for (std::size_t e = 0; e < entries(k); ++e) {
            low(k)[e] += block_->neg_error[k][e];
            neg(k)[e] += block_->neg_error[k][e];
        }
    }

    void term_by_term(int k) {
        const Value& value = net_.values[k];
        for (int i = 0; i < value.size; ++i)
            for (int lane = 0; lane < kLanes; ++lane) {
                low(k)[i * kLanes + lane] = value.bias[i];
                neg(k)[i * kLanes + lane] = -value.bias[i];
            }
        for (const Term& term : value.terms) add_image(term.forward, low(term.source), neg(term.source), low(k), neg(k));
    }

    // eps of section 6 from the intervals of the sources, as a lower bound of -eps.
    void float_error(int k) {
        const Value& value = net_.values[k];
        if (value.largest >= kFloatLimit) throw Rejected("a weight is too large for float32.");
        neg_a_[k].resize(entries(k));
        neg_b_[k].assign(entries(k), -kUnderflow);
        roundings_[k] = value.longest_row + 4;
        int below = 0;
        for (int i = 0; i < value.size; ++i)
            std::fill_n(neg_a_[k].begin() + i * kLanes, kLanes, value.bias[i] > 0.0 ? -value.bias[i] : value.bias[i]);
        for (const Term& term : value.terms) {
            below = std::max(below, roundings_[term.source]);
            add_magnitudes(term.forward, neg_a_[term.source].data(), neg_b_[term.source].data(), neg_a_[k].data(),
                           neg_b_[k].data());
        }
        roundings_[k] += below;
        const double n = (roundings_[k] + below) * kUnit;  // R u, exact
        if (n >= 0.5) throw Rejected("a sum has too many terms for the error bound of float32.");
        const double gamma = -((-n) / (1.0 - n));  // at least R u / (1 - R u)
        block_->neg_error[k].resize(entries(k));
        for (std::size_t e = 0; e < entries(k); ++e) {
            const double error = gamma * neg_a_[k][e] + 2.0 * neg_b_[k][e];
            const int lane = static_cast<int>(e % kLanes);
            if (!block_->empty[lane] && !(neg_a_[k][e] + error > -kFloatLimit)) throw Rejected("a value may overflow float32.");
            block_->neg_error[k][e] = error;
        }
    }

    void magnitudes(int k) {
        neg_a_[k].resize(entries(k));
        neg_b_[k].assign(entries(k), 0.0);
        for (std::size_t e = 0; e < entries(k); ++e) neg_a_[k][e] = std::min({low(k)[e], neg(k)[e], 0.0});
    }

    void relu(int k) {
        const int s = net_.values[k].source;
        for (std::size_t e = 0; e < entries(k); ++e) {
            low(k)[e] = std::max(source_low(s)[e], 0.0);
            neg(k)[e] = std::min(source_neg(s)[e], 0.0);
        }
    }

    void curve_values(int k) {
        const Value& value = net_.values[k];
        const int s = value.source;
        const double error = setting_.float32 ? kCurveError : 0.0;
        for (auto& lines : block_->curves[k]) lines.resize(entries(k));
        for (std::size_t e = 0; e < entries(k); ++e) {
            const int lane = static_cast<int>(e % kLanes);
            if (lane >= block_->cells || block_->empty[lane]) continue;
            const Enclosure ends = curve_ends(value.kind, source_low(s)[e], source_neg(s)[e]);
            low(k)[e] = ends.low - error;
            neg(k)[e] = ends.neg - error;
            for (const bool parallel : {false, true})
                block_->curves[k][parallel][e] = curve_lines(value.kind, source_low(s)[e], source_neg(s)[e], parallel);
        }
    }

    // What a relu or curve reads: bounds by lines where they matter, and the phases.
    void source(int k) {
        block_->source_low[k] = block_->low[k];
        block_->source_neg[k] = block_->neg[k];
        if (!is_exact(k)) refine(k);
        for (int lane = 0; lane < block_->cells; ++lane) cut(k, lane);
        check_finite(k, block_->source_low[k], block_->source_neg[k]);
        if (fill_) fill_shift(k, block_->source_low[k]);
    }

    // Over a box, interval arithmetic is already best for one matrix times the input.
    bool is_exact(int k) const {
        const Value& value = net_.values[k];
        const bool one = k == 0 || (value.kind == Kind::affine && value.terms.size() == 1 && value.terms[0].source == 0);
        return one && !setting_.ball;
    }

    void refine(int k) {
        std::vector<Side> sides;
        for (int lane = 0; lane < block_->cells; ++lane) {
            if (block_->empty[lane] || cell(lane).rule == kIntervalRule) continue;
            for (int i = 0; i < net_.size(k); ++i) {
                const double l = low(k)[i * kLanes + lane];
                const double m = neg(k)[i * kLanes + lane];
                const bool open = net_.read_by_curve[k] ? l < -m : l < 0.0 && m < 0.0;
                if (!open) continue;
                add_sides(k, {lane, i, true}, sides);
                add_sides(k, {lane, i, false}, sides);
            }
        }
        std::vector<double> bounds((sides.size() + kLanes - 1) / kLanes * kLanes);
        const int blocks = static_cast<int>(bounds.size() / kLanes);
        share_out(blocks, static_cast<int>(workspaces_.size()), [&](int b, int worker) {
            const int first = b * kLanes;
            const int count = std::min(kLanes, static_cast<int>(sides.size()) - first);
            bound_sides(k, sides.data() + first, count, workspaces_[worker], bounds.data() + first);
        });
        for (std::size_t t = 0, next; t < sides.size(); t = next) {  // the least of the cases of an end
            double least = bounds[t];
            for (next = t + 1; next < sides.size() && same_end(sides[t], sides[next]); ++next) least = smaller(least, bounds[next]);
            double& bound = (sides[t].below ? source_low(k) : source_neg(k))[sides[t].component * kLanes + sides[t].lane];
            if (least > bound) bound = least;
        }
    }

    static bool same_end(const Side& a, const Side& b) {
        return a.lane == b.lane && a.component == b.component && a.below == b.below;
    }

    // NaN, which says nothing, stays.
    static double smaller(double a, double b) { return a <= b || std::isnan(a) ? a : b; }

    // The cases of an end that are possible. With none, the end keeps its bound by interval arithmetic.
    void add_sides(int k, const Side& end, std::vector<Side>& sides) const {
        const Cell& at = cell(end.lane);
        const CaseTree* tree = at.refinement && net_.first_relu[k] ? tree_of(*at.refinement, k, end) : nullptr;
        if (!tree) sides.push_back(end);
        for (std::size_t c = 0; tree && c < tree->size(); ++c)
            if (is_possible((*tree)[c], k, end.lane)) sides.push_back({end.lane, end.component, end.below, &(*tree)[c]});
    }

    const CaseTree* tree_of(const Refinement& refinement, int k, const Side& end) const {
        const std::int32_t* const trees = end.below ? refinement.trees_below : refinement.trees_above;
        const std::int32_t number = trees ? trees[net_.values[net_.first_relu[k]].first_neuron + end.component] : -1;
        return number < 0 ? nullptr : &refinement.trees[number];
    }

    bool is_possible(const Case& in, int k, int lane) const {
        for (const Phase& phase : in.phases) {
            const Neuron& neuron = net_.neurons[phase.neuron];
            if (neuron.source >= k) throw Rejected("a case splits a neuron that does not come before its end.");
            const std::vector<double>& bound = (phase.active ? block_->source_neg : block_->source_low)[neuron.source];
            if (bound[neuron.component * kLanes + lane] > 0.0) return false;
        }
        return true;
    }

    void bound_sides(int k, const Side* sides, int count, Backward& backward, double* bounds) {
        Row rows[kLanes];
        std::array<std::vector<double>, kLanes> slopes;
        for (int r = 0; r < count; ++r) {
            const Cell& at = cell(sides[r].lane);
            rows[r] = {block_.get(), sides[r].lane, at.box.get(), sides[r].in ? &sides[r].in->phases : nullptr, at.rule, nullptr};
            if (at.refinement && net_.first_relu[k]) choose_lines(*at.refinement, k, sides[r], rows[r], slopes[r]);
        }
        backward.start(rows, count);
        for (int r = 0; r < count; ++r) seed(k, sides[r], r, backward);
        backward.bound(bounds);
    }

    // The lines that the refinement names for this end; `slopes` is where a row of them may be written.
    void choose_lines(const Refinement& refinement, int k, const Side& side, Row& row, std::vector<double>& slopes) const {
        const int neuron = net_.values[net_.first_relu[k]].first_neuron + side.component;
        const std::int32_t lines = (side.below ? refinement.below : refinement.above)[neuron];
        row.rule = lines < 0 ? -lines : kAdaptiveRule;
        if (lines < 0) return;
        if (lines >= refinement.slopes.rows) throw Rejected("a refinement names a row of slopes that does not exist.");
        slopes.assign(net_.neurons.size(), -1.0);
        if (!refinement.slopes.write_row(lines, slopes.data())) throw Rejected("a slope of a refinement is outside [0, 1].");
        row.slopes = slopes.data();
    }

    // The function p, or -p, where p is a component of value k: by the rows of its matrices, which are exact.
    void seed(int k, const Side& side, int r, Backward& backward) {
        for (std::size_t t = 0; side.in && t < side.in->phases.size(); ++t)
            if (side.in->multipliers[t] != 0.0) backward.add_split(side.in->phases[t], side.in->multipliers[t], r);
        const Value& value = net_.values[k];
        const Shift& shift = *setting_.shift;
        const double sign = side.below ? 1.0 : -1.0;
        const int i = side.component;
        if (value.kind != Kind::affine) {
            backward.coefficients(k)[i * kLanes + r] += sign;
            backward.constants()[r] += sign * shift.shift[k][i];
            return;
        }
        backward.constants()[r] += side.below ? shift.bias_low[k][i] : shift.bias_neg[k][i];
        if (setting_.float32) backward.constants()[r] += block_->neg_error[k][i * kLanes + side.lane];
        for (const Term& term : value.terms) {
            double* out = backward.coefficients(term.source);
            const Rows& m = term.forward;
            const std::int64_t begin = m.dense ? static_cast<std::int64_t>(i) * m.columns : m.starts[i];
            const std::int64_t end = m.dense ? begin + m.columns : m.starts[i + 1];
            for (std::int64_t p = begin; p < end; ++p)
                out[(m.dense ? p - begin : m.indices[p]) * kLanes + r] += sign * m.values[p];
        }
    }

    void cut(int k, int lane) {
        for (const Phase& phase : cell(lane).phases) {
            const Neuron& neuron = net_.neurons[phase.neuron];
            if (neuron.source != k) continue;
            double& bound = (phase.active ? source_low(k) : source_neg(k))[neuron.component * kLanes + lane];
            bound = std::max(bound, 0.0);
        }
        for (int i = 0; i < net_.size(k); ++i)
            if (source_low(k)[i * kLanes + lane] + source_neg(k)[i * kLanes + lane] > 0.0) block_->empty[lane] = true;
    }

    void check_finite(int k, const std::vector<double>& low, const std::vector<double>& neg) const {
        for (std::size_t e = 0; e < entries(k); ++e) {
            const bool finite = std::isfinite(low[e]) && std::isfinite(neg[e]);
            if (!finite && !block_->empty[e % kLanes]) throw Rejected("an interval overflows double precision.");
        }
    }

    void fill_shift(int k, const std::vector<double>& low) {
        const Value& value = net_.values[k];
        std::vector<double>& shift = fill_->shift[k];
        shift.resize(value.size);
        for (int i = 0; i < value.size; ++i) shift[i] = std::isfinite(low[i * kLanes]) ? low[i * kLanes] : 0.0;
        if (value.kind == Kind::relu) std::fill(shift.begin(), shift.end(), 0.0);
        if (value.kind == Kind::affine && fill_->bias_low[k].empty()) shifted_bias(value, fill_->bias_low[k], fill_->bias_neg[k]);
    }

    // b + sum M shift, between bias_low and -bias_neg.
    void shifted_bias(const Value& value, std::vector<double>& bias_low, std::vector<double>& bias_neg) const {
        std::vector<double> lows(static_cast<std::size_t>(value.size) * kLanes, 0.0);
        std::vector<double> negs = lows;
        for (const Term& term : value.terms) {
            std::vector<double> at(entries(term.source));
            std::vector<double> neg_at(at.size());
            for (std::size_t e = 0; e < at.size(); ++e) {
                at[e] = fill_->shift[term.source][e / kLanes];
                neg_at[e] = -at[e];
            }
            add_image(term.forward, at.data(), neg_at.data(), lows.data(), negs.data());
        }
        bias_low.resize(value.size);
        bias_neg.resize(value.size);
        for (int i = 0; i < value.size; ++i) {
            bias_low[i] = lows[static_cast<std::size_t>(i) * kLanes] + value.bias[i];
            bias_neg[i] = negs[static_cast<std::size_t>(i) * kLanes] - value.bias[i];
        }
    }

    const Setting& setting_;
    const Network& net_;
    const std::vector<Cell>& cells_;
    std::vector<Backward>& workspaces_;
    Shift* fill_;
    std::unique_ptr<CellBlock> block_;
    std::vector<std::vector<double>> neg_a_, neg_b_;  // magnitudes and underflows of float32, negated
    std::vector<int> roundings_;
};

}  // namespace

std::unique_ptr<CellBlock> derive(const Setting& setting, const std::vector<Cell>& cells, std::vector<Backward>& workspaces) {
    return Derivation(setting, cells, workspaces, nullptr).run();
}

std::unique_ptr<CellBlock> derive_root(const Setting& setting, const Cell& root, std::vector<Backward>& workspaces, Shift& shift) {
    const std::size_t count = setting.network->values.size();
    shift.shift.resize(count);
    shift.bias_low.resize(count);
    shift.bias_neg.resize(count);
    return Derivation(setting, {root}, workspaces, &shift).run();
}

}  // namespace pydual::audit
