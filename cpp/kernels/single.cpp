#include "kernels/single.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/dispatch.hpp"
#include "kernels/activation.hpp"
#include "kernels/affine.hpp"
#include "kernels/lines.hpp"

namespace pydual {
namespace {

PYDUAL_INLINE float positive(float x) { return x > 0.0f ? x : 0.0f; }

PYDUAL_DISPATCH void backward_open(const float* alpha, float slope, float offset, const float* w, int r, float* hat,
                                   float* constant) {
    for (int c = 0; c < r; ++c) {
        const float up = positive(w[c]), down = w[c] - up;
        hat[c] = alpha[c] * up + slope * down;
        constant[c] += offset * down;
    }
}

PYDUAL_DISPATCH void backward_curve(float alpha, float below, float slope, float offset, const float* w, int r, float* hat,
                                    float* constant) {
    for (int c = 0; c < r; ++c) {
        const float up = positive(w[c]), down = w[c] - up;
        hat[c] = alpha * up + slope * down;
        constant[c] += below * up + offset * down;
    }
}

PYDUAL_DISPATCH void forward_open(const float* alpha, float slope, float offset, const float* w, const float* y, int r, float* z) {
    for (int c = 0; c < r; ++c) z[c] = w[c] >= 0.0f ? alpha[c] * y[c] : slope * y[c] + offset;
}

PYDUAL_DISPATCH void forward_curve(float alpha, float below, float slope, float offset, const float* w, const float* y, int r,
                                   float* z) {
    for (int c = 0; c < r; ++c) z[c] = w[c] >= 0.0f ? alpha * y[c] + below : slope * y[c] + offset;
}

PYDUAL_DISPATCH void add_multiple(float factor, const float* x, int r, float* sum) {
    for (int c = 0; c < r; ++c) sum[c] += factor * x[c];
}

PYDUAL_DISPATCH void box_row(float low, float high, const float* w, int r, float* bound, float* x) {
    for (int c = 0; c < r; ++c) {
        x[c] = w[c] > 0.0f ? low : high;
        bound[c] += w[c] * x[c];
    }
}

long entries(const Term& t) { return t.dense ? static_cast<long>(t.rows) * t.cols : t.by_rows.starts[t.rows]; }

PYDUAL_DISPATCH void gather_row(const float* from, const int* places, int r, float* to) {
    for (int c = 0; c < r; ++c) to[c] = from[places[c]];
}

}  // namespace

const float* SingleNetwork::rounded(const double* numbers, std::size_t count) {
    std::vector<float>& held = numbers_.emplace_back();
    held.assign(numbers, numbers + count);
    return held.data();
}

TermOf<float> SingleNetwork::rounded(const Term& t) {
    TermOf<float> term;
    term.source = t.source;
    term.rows = t.rows;
    term.cols = t.cols;
    if (t.dense)
        term.dense = rounded(t.dense, static_cast<std::size_t>(t.rows) * t.cols);
    else {
        term.by_rows = rounded(t.by_rows, t.rows);
        term.by_columns = rounded(t.by_columns, t.cols);
    }
    return term;
}

SparseOf<float> SingleNetwork::rounded(const Sparse& m, int lines) {
    return {m.starts, m.indices, rounded(m.values, m.starts[lines]), m.order, m.groups, m.group_count};
}

SingleNetwork::SingleNetwork(const Program& program, const Form& form, const RegionView& region, const double* const* lower,
                             const double* const* upper)
    : program_(program), form_(form), region_(region), units_(program.depth() + 1) {
    center(region);
    long all = 0, of_inputs = 0;
    for (int k = 1; k <= program.depth(); ++k) {
        add_layer(k, lower[k], upper[k]);
        for (const Term& t : program.layers[k - 1].terms) {
            all += entries(t);
            of_inputs += t.source == 0 ? entries(t) : 0;
        }
    }
    mostly_reads_inputs_ = 2 * of_inputs >= all;
    form_bias_ = at_middle(form);
}

void SingleNetwork::center(const RegionView& region) {
    const auto minus_middle = [this](const double* x) {
        std::vector<double> shifted(middle_.size());
        std::transform(middle_.begin(), middle_.end(), x, shifted.begin(), [](double m, double of_x) { return of_x - m; });
        return shifted;
    };
    for (int i = 0; i < program_.inputs; ++i) {
        const double middle = 0.5 * region.lower[i] + 0.5 * region.upper[i];
        middle_.push_back(std::isfinite(middle) ? middle : 0.0);
    }
    lower_ = minus_middle(region.lower);
    upper_ = minus_middle(region.upper);
    region_.lower = lower_.data();
    region_.upper = upper_.data();
    if (region.norm == Norm::none) return;
    center_ = minus_middle(region.center);
    region_.center = center_.data();
}

// What a layer reads if all other values are 0.
std::vector<double> SingleNetwork::at_middle(const Layer& layer) const {
    std::vector<double> value(layer.bias, layer.bias + layer.size);
    for (const Term& t : layer.terms)
        for (int i = 0; t.source == 0 && i < layer.size; ++i)
            for_each_entry(t, i, [&](int j, double entry) { value[i] += entry * middle_[j]; });
    return value;
}

void SingleNetwork::add_layer(int k, const double* lower, const double* upper) {
    const Layer& layer = program_.layers[k - 1];
    Units& units = units_[k];
    for (const Term& term : layer.terms) units.terms.push_back(rounded(term));
    const std::vector<double> bias = at_middle(layer);
    std::vector<double> alpha(layer.size), below(layer.size, 0.0), slope(layer.size), offset(layer.size);
    if (layer.kind == Kind::relu)
        relu_lines(lower, upper, layer.size, Rule::adaptive, alpha.data(), slope.data(), offset.data());
    else
        curve_lines(layer.kind, lower, upper, layer.size, Rule::adaptive, alpha.data(), below.data(), slope.data(), offset.data());
    for (int i = 0; i < layer.size; ++i) {
        const bool open = lower[i] < 0.0 && upper[i] > 0.0, on = lower[i] >= 0.0;
        const Shape of_relu = open ? Shape::open : on ? Shape::identity : Shape::dead;
        units.shape.push_back(layer.kind == Kind::relu ? of_relu : Shape::curve);
    }
    units.bias.assign(bias.begin(), bias.end());
    units.alpha.assign(alpha.begin(), alpha.end());
    units.below.assign(below.begin(), below.end());
    units.slope.assign(slope.begin(), slope.end());
    units.offset.assign(offset.begin(), offset.end());
}

std::vector<std::vector<float>> SingleNetwork::slopes(const double* const* alpha, int count) const {
    std::vector<std::vector<float>> slopes(units_.size());
    for (int k = 1; k <= program_.depth(); ++k) {
        for (long e = 0; e < static_cast<long>(program_.size(k)) * count; ++e) {
            const double given = alpha[k][e];
            slopes[k].push_back(given >= 0.0 ? static_cast<float>(std::min(given, 1.0)) : units_[k].alpha[e / count]);
        }
    }
    return slopes;
}

SingleColumns::SingleColumns(const SingleNetwork& network, int most)
    : network_(network), p_(network.program_), after_(p_, most), before_(p_, most, 1), alpha_(p_, most, 1), y_(p_, most, 1),
      z_(p_, most), constant_(most), bound_(most), best_(most), entries_(p_.depth() + 1), places_(most), better_(most),
      wide_(network.region_.norm == Norm::none ? 0 : static_cast<std::size_t>(p_.inputs) * most), x_(wide_.size()),
      scratch_(wide_.empty() ? 0 : 4L * p_.inputs), sums_(wide_.empty() ? 0 : 2L * most) {}

void SingleColumns::begin(int r, const int* rows, const std::vector<std::vector<float>>& alpha, int count, const int* ends) {
    r_ = r;
    rows_.assign(rows, rows + r);
    for (auto& of_layer : entries_) of_layer.clear();
    for (int c = 0; c < r; ++c) places_[c].clear();
    for (int k = 1; k <= p_.depth(); ++k)
        for (int i = 0; i < p_.size(k); ++i)
            if (network_.units_[k].shape[i] == SingleNetwork::Shape::open)
                gather_row(alpha[k].data() + static_cast<long>(i) * count, ends, r, alpha_[k] + static_cast<long>(i) * r);
}

void SingleColumns::fix(int column, const Fixed& fixed) {
    std::vector<Entry>& of_layer = entries_[fixed.neuron.layer];
    places_[column].push_back({fixed.neuron.layer, static_cast<int>(of_layer.size())});
    const double most = std::numeric_limits<float>::max();
    const auto beta = static_cast<float>(std::clamp(fixed.multiplier, 0.0, most));
    const auto phase = static_cast<float>(fixed.phase), scale = static_cast<float>(std::min(fixed.price, most));
    of_layer.push_back({fixed.neuron.unit, column, phase, scale, beta, beta, 0.0, 0.0});
}

bool SingleColumns::is_fixed(int column, const Neuron& neuron) const {
    for (const Place& place : places_[column])
        if (place.layer == neuron.layer && entries_[place.layer][place.index].unit == neuron.unit) return true;
    return false;
}

void SingleColumns::read_inputs(Inputs& inputs, int first) const {
    std::vector<float> read;
    for (int k = 1; k <= p_.depth(); ++k) {
        const SingleNetwork::Units& units = network_.units_[k];
        read.assign(static_cast<std::size_t>(p_.size(k)) * r_, 0.0f);
        for (const TermOf<float>& term : units.terms)
            if (term.source == 0) apply(term, z_[0], r_, r_, read.data(), r_);
        for (int i = 0; i < p_.size(k); ++i)
            for (int c = 0; c < r_; ++c)
                inputs.read[k][static_cast<long>(i) * inputs.count + first + c] = read[static_cast<long>(i) * r_ + c] + units.bias[i];
    }
    for (const Term& term : network_.form_.terms)
        for (int c = 0; c < r_ && term.source == 0; ++c)
            for_each_entry(term, rows_[c], [&](int j, double value) {
                inputs.form[first + c] += static_cast<float>(value) * z_[0][static_cast<long>(j) * r_ + c];
            });
}

void SingleColumns::evaluate_at(const Inputs& inputs, const int* places) {
    start();
    for (int c = 0; c < r_; ++c) constant_[c] += inputs.form[places[c]];
    for (int k = p_.depth(); k >= 1; --k) {
        relax(k);
        for (int i = 0; i < p_.size(k); ++i) {
            const float* hat = before_[k] + static_cast<long>(i) * r_;
            const float* read = inputs.read[k] + static_cast<long>(i) * inputs.count;
            for (int c = 0; c < r_; ++c) constant_[c] += read[places[c]] * hat[c];
        }
        for (const TermOf<float>& term : network_.units_[k].terms)
            if (term.source > 0) apply_transposed(term, before_[k], r_, r_, after_[term.source], r_);
    }
    std::copy(constant_.begin(), constant_.begin() + r_, bound_.begin());
}

void SingleColumns::substitute(int k) {
    relax(k);
    const SingleNetwork::Units& units = network_.units_[k];
    for (int i = 0; i < p_.size(k); ++i)
        add_multiple(units.bias[i], before_[k] + static_cast<long>(i) * r_, r_, constant_.data());
    for (const TermOf<float>& term : units.terms) apply_transposed(term, before_[k], r_, r_, after_[term.source], r_);
}

void SingleColumns::relax(int k) {
    using Shape = SingleNetwork::Shape;
    const SingleNetwork::Units& units = network_.units_[k];
    const int n = p_.size(k);
    float* const constant = constant_.data();
    for (int i = 0; i < n; ++i) {
        const long row = static_cast<long>(i) * r_;
        const float* w = after_[k] + row;
        float* hat = before_[k] + row;
        switch (units.shape[i]) {
            case Shape::dead: std::fill(hat, hat + r_, 0.0f); break;
            case Shape::identity: std::copy(w, w + r_, hat); break;
            case Shape::open: backward_open(alpha_[k] + row, units.slope[i], units.offset[i], w, r_, hat, constant); break;
            case Shape::curve:
                backward_curve(units.alpha[i], units.below[i], units.slope[i], units.offset[i], w, r_, hat, constant);
                break;
        }
    }
    for (const Entry& entry : entries_[k]) {
        const long e = static_cast<long>(entry.unit) * r_ + entry.column;
        const float w = after_[k][e];
        if (units.shape[entry.unit] == Shape::open) constant[entry.column] -= units.offset[entry.unit] * (w - positive(w));
        before_[k][e] = (entry.phase > 0.0f ? w : 0.0f) - entry.phase * entry.beta;
    }
}

void SingleColumns::concretize() {
    std::copy(constant_.begin(), constant_.begin() + r_, bound_.begin());
    if (network_.region_.norm == Norm::none) {
        for (int i = 0; i < p_.inputs; ++i) {
            const long row = static_cast<long>(i) * r_;
            const auto low = static_cast<float>(network_.lower_[i]), high = static_cast<float>(network_.upper_[i]);
            box_row(low, high, after_[0] + row, r_, bound_.data(), z_[0] + row);
        }
        return;
    }
    const long count = static_cast<long>(p_.inputs) * r_;
    std::copy(after_[0], after_[0] + count, wide_.begin());
    std::copy(constant_.begin(), constant_.begin() + r_, sums_.begin());
    pydual::concretize(network_.region_, wide_.data(), sums_.data(), r_, sums_.data() + r_, x_.data(), scratch_.data());
    for (int c = 0; c < r_; ++c) bound_[c] = static_cast<float>(sums_[r_ + c]);
    for (long e = 0; e < count; ++e) z_[0][e] = static_cast<float>(x_[e]);
}

void SingleColumns::evaluate() {
    start();
    for (int k = p_.depth(); k >= 1; --k) substitute(k);
    concretize();
}

void SingleColumns::start() {
    for (int k = 0; k <= p_.depth(); ++k) std::fill_n(after_[k], static_cast<long>(p_.size(k)) * r_, 0.0f);
    std::fill(constant_.begin(), constant_.end(), 0.0f);
    const Form& form = network_.form_;
    for (int c = 0; c < r_; ++c) {
        const int row = rows_[c];
        constant_[c] = static_cast<float>(network_.form_bias_[row]);
        for (const Term& t : form.terms)
            for_each_entry(t, row, [&](int j, double value) {
                after_[t.source][static_cast<long>(j) * r_ + c] += static_cast<float>(value);
            });
    }
}

void SingleColumns::play() {
    using Shape = SingleNetwork::Shape;
    for (int k = 1; k <= p_.depth(); ++k) {
        const SingleNetwork::Units& units = network_.units_[k];
        for (int i = 0; i < p_.size(k); ++i) std::fill_n(y_[k] + static_cast<long>(i) * r_, r_, units.bias[i]);
        for (const TermOf<float>& term : units.terms) apply(term, z_[term.source], r_, r_, y_[k], r_);
        for (int i = 0; i < p_.size(k); ++i) {
            const long row = static_cast<long>(i) * r_;
            const float *w = after_[k] + row, *y = y_[k] + row;
            float* z = z_[k] + row;
            switch (units.shape[i]) {
                case Shape::dead: std::fill(z, z + r_, 0.0f); break;
                case Shape::identity: std::copy(y, y + r_, z); break;
                case Shape::open: forward_open(alpha_[k] + row, units.slope[i], units.offset[i], w, y, r_, z); break;
                case Shape::curve:
                    forward_curve(units.alpha[i], units.below[i], units.slope[i], units.offset[i], w, y, r_, z);
                    break;
            }
        }
        for (const Entry& entry : entries_[k]) {
            const long e = static_cast<long>(entry.unit) * r_ + entry.column;
            z_[k][e] = entry.phase > 0.0f ? y_[k][e] : 0.0f;
        }
    }
}

bool SingleColumns::keep_best(const float* targets) {
    bool all = true;
    for (int c = 0; c < r_; ++c) {
        better_[c] = bound_[c] > best_[c];
        if (better_[c]) best_[c] = bound_[c];
        all = all && best_[c] > targets[c];
    }
    for (auto& of_layer : entries_)
        for (Entry& entry : of_layer)
            if (better_[entry.column]) entry.best = entry.beta;
    return all;
}

// d bound / d beta = -y (active), y (inactive).
void SingleColumns::move(int step, double rate) {
    const double correct1 = 1.0 / (1.0 - std::pow(0.9, step));
    const double correct2 = 1.0 / (1.0 - std::pow(0.999, step));
    for (int k = 1; k <= p_.depth(); ++k) {
        for (Entry& entry : entries_[k]) {
            const double g = -entry.phase * y_[k][static_cast<long>(entry.unit) * r_ + entry.column];
            entry.first = 0.9 * entry.first + 0.1 * g;
            entry.second = 0.999 * entry.second + 0.001 * g * g;
            const double change = entry.first * correct1 / (std::sqrt(entry.second * correct2) + 1e-150);
            entry.beta = positive(entry.beta + static_cast<float>(rate * entry.scale * change));
        }
    }
}

void SingleColumns::ascend(const Steps& steps, const float* targets) {
    std::fill(best_.begin(), best_.end(), -std::numeric_limits<float>::infinity());
    double rate = steps.rate;
    for (int step = 0;; ++step) {
        evaluate();
        play();
        if (keep_best(targets) || step >= steps.count) break;
        move(step + 1, rate);
        rate *= steps.decay;
    }
    std::copy(best_.begin(), best_.begin() + r_, bound_.begin());
}

}  // namespace pydual
