#include "audit/backward.hpp"

#include <algorithm>
#include <limits>

#include "audit/products.hpp"
#include "audit/region.hpp"

namespace pydual::audit {
namespace {

struct Lanes {
    double at[kLanes];
};

Lanes load(const double* p) {
    Lanes lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes.at[lane] = p[lane];
    return lanes;
}

void store(const Lanes& lanes, double* p) {
    for (int lane = 0; lane < kLanes; ++lane) p[lane] = lanes.at[lane];
}

bool any_nonzero(const double* w) {
    double sum = 0.0;
    for (int lane = 0; lane < kLanes; ++lane) sum = std::max(sum, std::max(w[lane], -w[lane]));
    return !(sum == 0.0);
}

// constants += lower bound of w (t - shift) for low <= t, neg <= -t, entry by entry, with the same t for all lanes.
PYDUAL_AUDIT_DISPATCH void add_shared(const double* w, int n, const double* low, const double* neg, const double* shift,
                                      double* constants) {
    Lanes total = load(constants);
    for (int i = 0; i < n; ++i) {
        const double a = low[i];
        const double b = neg[i];
        const double s = shift[i];
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) {
            const double c = w[i * kLanes + lane];
            total.at[lane] += std::max(c, 0.0) * a + std::max(-c, 0.0) * b;
            total.at[lane] += (-c) * s;
        }
    }
    store(total, constants);
}

// constants += lower bound of -w shift.
PYDUAL_AUDIT_DISPATCH void take_shift(const double* w, int n, const double* shift, double* constants) {
    Lanes total = load(constants);
    for (int i = 0; i < n; ++i)
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) total.at[lane] += (-w[i * kLanes + lane]) * shift[i];
    store(total, constants);
}

// total += lower bound of w (x - shift) for x in one box.
PYDUAL_AUDIT_DISPATCH void add_one_box(const double* w, int n, const double* lower, const double* upper, const double* shift,
                                       double* constants) {
    Lanes total = load(constants);
    for (int i = 0; i < n; ++i) {
        const double a = lower[i] - shift[i];
        const double b = shift[i] - upper[i];
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) {
            const double c = w[i * kLanes + lane];
            total.at[lane] += std::max(c, 0.0) * a + std::max(-c, 0.0) * b;
        }
    }
    store(total, constants);
}

// total += lower bound of w (f(v) - shift) for v in [low, -neg], lanes of their own; f is the identity or, clipped, a relu.
PYDUAL_AUDIT_DISPATCH void add_interval(const double* w, int n, const double* low, const double* neg, const double* shift,
                                        bool clipped, double* constants) {
    Lanes total = load(constants);
    const double floor = clipped ? 0.0 : -std::numeric_limits<double>::infinity();
    for (int i = 0; i < n; ++i) {
        const double s = shift[i];
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) {
            const int e = i * kLanes + lane;
            const double l = std::max(low[e], floor);
            const double m = std::min(neg[e], -floor);
            total.at[lane] += std::max(w[e], 0.0) * (l - s) + std::max(-w[e], 0.0) * (m + s);
        }
    }
    store(total, constants);
}

struct LineView {
    const double* below;
    const double* below_constant;
    const double* above;
    const double* above_neg;
    const double* above_shift;
};

// out += the slopes' coefficients of the source's v', constants += what is left. With w = up - down, w v is at least
// (up a) (v' + s) + up c - (down b) (v' + h) - down C, where s is the shift and h is above_shift.
PYDUAL_AUDIT_DISPATCH void replace(const double* w, int n, const LineView& lines, const double* shift, double* __restrict out,
                                   double* constants) {
    Lanes total = load(constants);
    for (int i = 0; i < n; ++i) {
        const double s_up = std::max(shift[i], 0.0);
        const double s_down = std::max(-shift[i], 0.0);
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) {
            const int e = i * kLanes + lane;
            const double up = std::max(w[e], 0.0);
            const double down = std::max(-w[e], 0.0);
            const double h = lines.above_shift[e];
            const double rise = up * lines.below[e];
            const double fall = (-down) * lines.above[e];
            total.at[lane] += up * lines.below_constant[e] + down * lines.above_neg[e];
            total.at[lane] += rise * s_up + ((-up) * lines.below[e]) * s_down;
            total.at[lane] += fall * std::max(h, 0.0) + (down * lines.above[e]) * std::max(-h, 0.0);
            out[e] += rise + fall;
        }
    }
    store(total, constants);
}

// Slopes of relus by interval: below and above; see PROOFS.md, section 4.
PYDUAL_AUDIT_DISPATCH void relu_slopes(const double* low, const double* neg, int n, const double* shift, const double* parallel,
                                       double* __restrict below, double* __restrict above, double* __restrict above_shift) {
    for (int i = 0; i < n; ++i) {
        const double s = shift[i];
        PYDUAL_AUDIT_LANES for (int lane = 0; lane < kLanes; ++lane) {
            const int e = i * kLanes + lane;
            const double l = low[e];
            const double m = neg[e];  // -u
            const double width = -m - l;  // at most u - l
            const double chord = std::min(1.0, -(m / width));
            const double adaptive = m < l ? 1.0 : 0.0;
            const double rise = parallel[lane] > 0.0 ? chord : adaptive;
            const double foot = -(l - s);
            const double open_above = m >= 0.0 ? 0.0 : chord;
            const double open_below = m >= 0.0 ? 0.0 : rise;
            const double open_shift = m >= 0.0 ? 0.0 : foot;
            below[e] = l >= 0.0 ? 1.0 : open_below;
            above[e] = l >= 0.0 ? 1.0 : open_above;
            above_shift[e] = l >= 0.0 ? s : open_shift;
        }
    }
}

}  // namespace

Backward::Backward(const Setting& setting)
    : setting_(setting), net_(*setting.network), pending_(net_.values.size()), used_(net_.values.size(), 0),
      gathered_(net_.values.size()) {}

void Backward::start(const Row* rows, int count) {
    for (int lane = 0; lane < kLanes; ++lane) rows_[lane] = rows[lane < count ? lane : 0];
    std::fill(used_.begin(), used_.end(), 0);
    for (Gathered& g : gathered_) g.fresh = false;
    constant_.fill(0.0);
}

double* Backward::coefficients(int k) {
    if (!used_[k]) {
        pending_[k].assign(static_cast<std::size_t>(net_.size(k)) * kLanes, 0.0);
        used_[k] = 1;
    }
    return pending_[k].data();
}

void Backward::bound(double* best) {
    std::fill(best, best + kLanes, -std::numeric_limits<double>::infinity());
    int top = static_cast<int>(net_.values.size()) - 1;
    while ((top = replace_affine(top)) > 0) {
        stage(best);
        activation(top);
        used_[top] = 0;
    }
    input(best);
}

void Backward::write_out(const std::vector<int>& kept, double* out) {
    std::fill(out, out + kept.size() * kLanes, 0.0);
    int top = static_cast<int>(net_.values.size()) - 1;
    while ((top = replace_affine(top)) > 0) {
        keep(top, kept, out);
        activation(top);
        used_[top] = 0;
    }
}

void Backward::keep(int k, const std::vector<int>& kept, double* out) {
    for (std::size_t t = 0; t < kept.size(); ++t) {
        const Neuron& neuron = net_.neurons[kept[t]];
        if (neuron.value != k) continue;
        double* w = pending_[k].data() + static_cast<std::ptrdiff_t>(neuron.component) * kLanes;
        std::copy(w, w + kLanes, out + t * kLanes);
        std::fill(w, w + kLanes, 0.0);
    }
}

Interval Backward::source_interval(int neuron) {
    const Neuron& at = net_.neurons[neuron];
    const Gathered& g = intervals(at.source);
    const std::size_t e = static_cast<std::size_t>(at.component) * kLanes;
    return {g.low[e], g.neg[e]};
}

// Replaces the affine values up to number `top`; the number of the last activation that is left, or 0.
int Backward::replace_affine(int top) {
    int last = 0;
    for (int k = top; k >= 1; --k) {
        if (!used_[k]) continue;
        if (net_.values[k].is_activation()) {
            last = std::max(last, k);
            continue;
        }
        affine(k);
        used_[k] = 0;
    }
    return last;
}

void Backward::affine(int k) {
    const Value& value = net_.values[k];
    const double* w = pending_[k].data();
    const Shift& shift = *setting_.shift;
    add_shared(w, value.size, shift.bias_low[k].data(), shift.bias_neg[k].data(), shift.shift[k].data(), constant_.data());
    if (setting_.float32) charge_error(k);
    active_.clear();
    for (int i = 0; i < value.size; ++i)
        if (any_nonzero(w + i * kLanes)) active_.push_back(i);
    if (active_.empty()) return;
    for (const Term& term : value.terms)
        add_product(term.backward, w, active_.data(), static_cast<int>(active_.size()), coefficients(term.source));
}

void Backward::charge_error(int k) {
    const double* w = pending_[k].data();
    for (int lane = 0; lane < kLanes; ++lane) {
        const double* error = rows_[lane].block->neg_error[k].data() + rows_[lane].lane;
        for (int i = 0; i < net_.size(k); ++i) {
            const double c = w[i * kLanes + lane];
            constant_[lane] += (c < 0.0 ? -c : c) * error[i * kLanes];
        }
    }
}

const Backward::Gathered& Backward::intervals(int source) {
    Gathered& g = gathered_[source];
    if (g.fresh) return g;
    const int n = net_.size(source);
    g.low.resize(static_cast<std::size_t>(n) * kLanes);
    g.neg.resize(static_cast<std::size_t>(n) * kLanes);
    for (int lane = 0; lane < kLanes; ++lane) {
        const double* low = rows_[lane].block->source_low[source].data() + rows_[lane].lane;
        const double* neg = rows_[lane].block->source_neg[source].data() + rows_[lane].lane;
        for (int i = 0; i < n; ++i) {
            g.low[i * kLanes + lane] = low[i * kLanes];
            g.neg[i * kLanes + lane] = neg[i * kLanes];
        }
    }
    cut(source, g);
    g.fresh = true;
    return g;
}

void Backward::cut(int source, Gathered& g) {
    for (int lane = 0; lane < kLanes; ++lane) {
        if (!rows_[lane].phases) continue;
        for (const Phase& phase : *rows_[lane].phases) {
            const Neuron& neuron = net_.neurons[phase.neuron];
            if (neuron.source != source) continue;
            double& bound = (phase.active ? g.low : g.neg)[neuron.component * kLanes + lane];
            bound = std::max(bound, 0.0);
        }
    }
}

void Backward::add_split(const Phase& phase, double multiplier, int lane) {
    const Neuron& neuron = net_.neurons[phase.neuron];
    const double factor = phase.active ? -multiplier : multiplier;
    coefficients(neuron.source)[neuron.component * kLanes + lane] += factor;
    constant_[lane] += factor * setting_.shift->shift[neuron.source][neuron.component];
}

void Backward::activation(int k) {
    const Value& value = net_.values[k];
    const Gathered& g = intervals(value.source);
    const std::size_t entries = static_cast<std::size_t>(value.size) * kLanes;
    for (auto* column : {&below_, &above_, &above_shift_}) column->resize(entries);
    below_constant_.assign(entries, 0.0);
    above_neg_.assign(entries, 0.0);
    value.kind == Kind::relu ? relu_lines(k, g) : curve_lines(k, g);
    for (int lane = 0; lane < kLanes; ++lane)
        if (rows_[lane].rule == kIntervalRule)
            flat_lines(k, g, lane);
        else if (rows_[lane].curvatures && value.kind == Kind::relu)
            replace_open(k, g, lane);
    apply_lines(k);
}

// In a ball leaf: takes open neurons out of the coefficients, before lines replace the others.
void Backward::replace_open(int k, const Gathered& g, int lane) {
    const Value& value = net_.values[k];
    const Surroundings& around = *rows_[lane].around;
    const double curvature = rows_[lane].curvatures[around.relu[k]];
    const double radius = -around.neg_radius[value.source];
    double* w = pending_[k].data();
    double* out = coefficients(value.source);
    bool any = false;
    for (int i = 0; i < value.size; ++i) any = any || w[i * kLanes + lane] != 0.0;
    if (!any) return;  // only other lanes have coefficients here
    any = false;
    for (int i = 0; i < value.size; ++i) {
        const int e = i * kLanes + lane;
        if (!(g.low[e] < 0.0 && g.neg[e] < 0.0)) continue;
        const double rise = w[e] * below_[e];  // p = p' + shift, p' >= 0
        const double shift = setting_.shift->shift[value.source][i];
        const OpenNeuron neuron{g.low[e], g.neg[e], around.center_low[value.source][i], around.center_neg[value.source][i]};
        constant_[lane] += curved_least(w[e], rise, curvature, neuron);
        constant_[lane] += rise * shift;
        out[e] += rise;
        w[e] = 0.0;
        any = true;
    }
    if (any && curvature > 0.0) constant_[lane] += curvature * ((-radius) * radius);
}

void Backward::relu_lines(int k, const Gathered& g) {
    const Value& value = net_.values[k];
    double parallel[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) parallel[lane] = rows_[lane].rule == kParallelRule ? 1.0 : 0.0;
    relu_slopes(g.low.data(), g.neg.data(), value.size, setting_.shift->shift[value.source].data(), parallel, below_.data(),
                above_.data(), above_shift_.data());
    for (int lane = 0; lane < kLanes; ++lane) {
        if (!rows_[lane].slopes) continue;
        const double* slopes = rows_[lane].slopes + value.first_neuron;
        for (int i = 0; i < value.size; ++i) {
            const int e = i * kLanes + lane;
            if (slopes[i] >= 0.0 && g.low[e] < 0.0 && g.neg[e] < 0.0) below_[e] = slopes[i];
        }
    }
}

void Backward::curve_lines(int k, const Gathered&) {
    const Value& value = net_.values[k];
    const double* shift = setting_.shift->shift[value.source].data();
    for (int lane = 0; lane < kLanes; ++lane) {
        const Row& row = rows_[lane];
        const CurveLines* lines = row.block->curves[k][row.rule == kParallelRule].data() + row.lane;
        for (int i = 0; i < value.size; ++i) {
            const CurveLines& line = lines[i * kLanes];
            const int e = i * kLanes + lane;
            below_[e] = line.slope_below;
            below_constant_[e] = line.intercept_below;
            above_[e] = line.slope_above;
            above_neg_[e] = line.neg_above;
            above_shift_[e] = shift[i];
        }
    }
}

void Backward::flat_lines(int k, const Gathered& g, int lane) {
    const Value& value = net_.values[k];
    const Row& row = rows_[lane];
    const bool relu = value.kind == Kind::relu;
    for (int i = 0; i < value.size; ++i) {
        const int e = i * kLanes + lane;
        below_[e] = above_[e] = above_shift_[e] = 0.0;
        below_constant_[e] = relu ? std::max(g.low[e], 0.0) : row.block->low[k][i * kLanes + row.lane];
        above_neg_[e] = relu ? std::min(g.neg[e], 0.0) : row.block->neg[k][i * kLanes + row.lane];
    }
}

void Backward::apply_lines(int k) {
    const Value& value = net_.values[k];
    const double* w = pending_[k].data();
    const Shift& shift = *setting_.shift;
    const LineView lines{below_.data(), below_constant_.data(), above_.data(), above_neg_.data(), above_shift_.data()};
    replace(w, value.size, lines, shift.shift[value.source].data(), coefficients(value.source), constant_.data());
    if (!value.is_curve()) return;
    take_shift(w, value.size, shift.shift[k].data(), constant_.data());
    if (!setting_.float32) return;
    for (int lane = 0; lane < kLanes; ++lane) {
        if (rows_[lane].rule == kIntervalRule) continue;  // flat lines are those of the widened interval
        for (int i = 0; i < value.size; ++i) {
            const double c = w[i * kLanes + lane];
            constant_[lane] += (c < 0.0 ? c : -c) * kCurveError;
        }
    }
}

void Backward::stage(double* best) {
    std::array<double, kLanes> total = constant_;
    for (std::size_t k = 0; k < used_.size(); ++k)
        if (used_[k]) stage_value(static_cast<int>(k), total.data());
    for (int lane = 0; lane < kLanes; ++lane)
        if (total[lane] > best[lane]) best[lane] = total[lane];
}

void Backward::stage_value(int k, double* total) {
    if (k == 0) return add_box(total);  // of the cell: that of the anchor above may be larger
    const Value& value = net_.values[k];
    const double* w = pending_[k].data();
    const double* shift = setting_.shift->shift[k].data();
    if (value.kind == Kind::relu) {
        const Gathered& g = intervals(value.source);
        return add_interval(w, value.size, g.low.data(), g.neg.data(), shift, true, total);
    }
    const std::size_t entries = static_cast<std::size_t>(value.size) * kLanes;
    below_.resize(entries);
    above_.resize(entries);
    for (std::size_t e = 0; e < entries; ++e) {
        const Row& row = rows_[e % kLanes];
        below_[e] = row.block->low[k][e - e % kLanes + row.lane];
        above_[e] = row.block->neg[k][e - e % kLanes + row.lane];
    }
    add_interval(w, value.size, below_.data(), above_.data(), shift, false, total);
}

void Backward::add_box(double* total) {
    const double* w = pending_[0].data();
    const double* shift = setting_.shift->shift[0].data();
    const Box& first = *rows_[0].box;
    if (std::all_of(rows_.begin(), rows_.end(), [&](const Row& row) { return row.box == &first; }))
        return add_one_box(w, net_.inputs(), first.lower.data(), first.upper.data(), shift, total);
    for (int lane = 0; lane < kLanes; ++lane) {
        const Box& box = *rows_[lane].box;
        for (int i = 0; i < net_.inputs(); ++i) {
            const double c = w[i * kLanes + lane];
            total[lane] += c >= 0.0 ? c * (box.lower[i] - shift[i]) : (-c) * (shift[i] - box.upper[i]);
        }
    }
}

void Backward::input(double* best) {
    std::array<double, kLanes> total = constant_;
    const double* w = coefficients(0);
    const double* shift = setting_.shift->shift[0].data();
    add_box(total.data());
    for (int lane = 0; lane < kLanes; ++lane) {
        if (setting_.ball) {
            double taken = 0.0;  // -w shift: the ball's bound is one of w x
            for (int i = 0; i < net_.inputs(); ++i) taken += (-w[i * kLanes + lane]) * shift[i];
            const double round = constant_[lane] + taken + ball_minimum(w + lane, kLanes, *rows_[lane].box, *setting_.ball);
            if (round > total[lane]) total[lane] = round;
        }
        if (total[lane] > best[lane]) best[lane] = total[lane];
    }
}

}  // namespace pydual::audit
