#include "audit/ball.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "audit/cases.hpp"
#include "audit/curve.hpp"
#include "audit/norm.hpp"

namespace pydual::audit {
namespace {

constexpr double kUnknown = -std::numeric_limits<double>::infinity();
constexpr double kLargest = 0x1p500;  // of all numbers here: their sums and products of two are finite, and nothing is NaN

// Adds lower bounds of M v and of -M v for v in [low, -neg].
void add_image(const Rows& matrix, const std::vector<double>& low, const std::vector<double>& neg, std::vector<double>& out_low,
               std::vector<double>& out_neg) {
    for (int i = 0; i < matrix.rows; ++i) {
        const std::int64_t first = matrix.dense ? std::int64_t{i} * matrix.columns : matrix.starts[i];
        const std::int64_t last = matrix.dense ? first + matrix.columns : matrix.starts[i + 1];
        for (std::int64_t t = first; t < last; ++t) {
            const double m = matrix.values[t];
            const std::int64_t j = matrix.dense ? t - first : matrix.indices[t];
            out_low[i] += m >= 0.0 ? m * low[j] : (-m) * neg[j];
            out_neg[i] += m >= 0.0 ? m * neg[j] : (-m) * low[j];
        }
    }
}

// A lower bound of w p - g p + curvature (p - c)^2 at an end of a piece, and so with t a linear function of p below it.
double at_end(double w, double g, double p, double curvature, double t, const OpenNeuron& neuron) {
    const double side = t >= 0.0 ? (2.0 * t) * (p + neuron.center_neg) : (-2.0 * t) * (neuron.center_low - p);
    return w * p + (-g) * p + curvature * (side + (-t) * t);
}

// The same for all p in [low, high]: (p - c)^2 >= 2 t (p - c) - t^2 for any t; the best one is that of the minimizer.
double piece(double w, double g, double low, double high, double curvature, const OpenNeuron& neuron) {
    double t = curvature > 0.0 ? std::min(std::max((g - w) / (2.0 * curvature), low - neuron.center_low), high - neuron.center_low) : 0.0;
    if (!(std::fabs(t) <= kLargest)) t = 0.0;
    return std::min(at_end(w, g, low, curvature, t, neuron), at_end(w, g, high, curvature, t, neuron));
}

}  // namespace

Surroundings::Surroundings(const Network& network, const Ball& ball, const double* norms)
    : center_low{ball.center}, neg_radius{-ball.radius}, relu{0} {
    std::vector<double> negated;
    for (const double c : ball.center) negated.push_back(-c);
    center_neg.push_back(std::move(negated));
    int relus = 0;
    for (int k = 1; k < static_cast<int>(network.values.size()); ++k) {
        const Value& value = network.values[k];
        relu.push_back(relus);
        relus += value.kind == Kind::relu;
        if (value.kind == Kind::relu) known.push_back(std::isfinite(neg_radius[value.source]));
        value.kind == Kind::affine ? affine(value, k, norms) : activation(value, k);
        for (const auto* column : {&center_low[k], &center_neg[k]})
            for (const double number : *column)
                if (!std::isfinite(number)) throw Rejected("the network is not finite at the ball's center.");
    }
}

void Surroundings::affine(const Value& value, int k, const double*& norms) {
    center_low.push_back(value.bias);
    center_neg.emplace_back(value.size);
    for (int i = 0; i < value.size; ++i) center_neg[k][i] = -value.bias[i];
    double neg = 0.0;
    for (const Term& term : value.terms) {
        add_image(term.forward, center_low[term.source], center_neg[term.source], center_low[k], center_neg[k]);
        neg += neg_norm(term, *norms++) * -neg_radius[term.source];
    }
    neg_radius.push_back(std::isfinite(neg) ? neg : kUnknown);
}

void Surroundings::activation(const Value& value, int k) {
    center_low.emplace_back(value.size);
    center_neg.emplace_back(value.size);
    for (int i = 0; i < value.size; ++i) {
        const double low = center_low[value.source][i], neg = center_neg[value.source][i];
        const Enclosure ends = value.is_curve() ? curve_ends(value.kind, low, neg) : Enclosure{std::max(low, 0.0), std::min(neg, 0.0)};
        center_low[k][i] = ends.low;
        center_neg[k][i] = ends.neg;
    }
    const double neg = neg_radius[value.source];
    neg_radius.push_back(value.kind == Kind::square ? kUnknown : value.kind == Kind::sigmoid ? 0.25 * neg : neg);
}

double curved_least(double weight, double rise, double curvature, const OpenNeuron& neuron) {
    for (const double number : {weight, rise, neuron.low, neuron.neg, neuron.center_low, neuron.center_neg})
        if (!(std::fabs(number) <= kLargest)) return kUnknown;
    return std::min(piece(weight, rise, 0.0, -neuron.neg, curvature, neuron), piece(0.0, rise, neuron.low, 0.0, curvature, neuron));
}

}  // namespace pydual::audit
