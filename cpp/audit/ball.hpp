// How far values are from those at an l2 ball's center, and relus bounded by that (PROOFS.md, section 4, Ball leaves). To be
// called between `Downward` guards.
#pragma once

#include <vector>

#include "audit/question.hpp"

namespace pydual::audit {

// Of each value the image of the ball's center, in [center_low, -center_neg], and how far from it the ball's images are at
// most: neg_radius is at most the negated distance, -infinity where nothing is known. `relu`: the number among relus; `known`:
// for each relu, whether something is known of what it reads.
struct Surroundings {
    // `norms`: for each matrix of the affine values, in order, a guess of its norm. Throws Rejected where a number is not finite.
    Surroundings(const Network& network, const Ball& ball, const double* norms);

    std::vector<std::vector<double>> center_low, center_neg;
    std::vector<double> neg_radius;
    std::vector<int> relu;
    std::vector<char> known;

private:
    void affine(const Value& value, int k, const double*& norms);
    void activation(const Value& value, int k);
};

// An open neuron: p in [low, -neg], low < 0 < -neg, and the center's image c in [center_low, -center_neg].
struct OpenNeuron {
    double low, neg, center_low, center_neg;
};

// A lower bound of weight max(p, 0) - rise p + curvature (p - c)^2.
double curved_least(double weight, double rise, double curvature, const OpenNeuron& neuron);

}  // namespace pydual::audit
