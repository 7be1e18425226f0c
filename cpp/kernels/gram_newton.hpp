// Newton's direction for the smoothed Gram dual, bound + weight * (log det S + logarithms of multipliers), a self-concordant
// barrier problem (Nesterov and Nemirovskii, Interior-Point Polynomial Algorithms, 1994).
//
// The bound is the least value of the quadratic function q = q_0 + sum_k theta_k q_k of t, with the squares S = sum_k theta_k A_k.
// With P = S^-1 and the minimizer t, the derivatives by theta_k and theta_l are
//
//     of the bound:    -q_k'(t) P q_l'(t) / 2,        of log det S:    -trace(P A_k P A_l).
//
// Every q_k' is a combination of a few vectors, the rows of the problem and unit vectors, and A_k is 0 or u v' made symmetric
// with a unit vector u and such a combination v. So all entries come from one matrix: what P makes of pairs of these vectors.
#pragma once

#include <vector>

#include "kernels/gram.hpp"

namespace pydual {

// In the order in which GramMultipliers has them.
int count_variables(const GramProblem& problem);

class GramNewton {
public:
    explicit GramNewton(const GramProblem& problem);

    // Where theta moves by scale * step, the step that maximizes the smoothed dual's second-order model, which has `gradient` by
    // the steps, and -weight * own as the part of the diagonal that the multipliers' own barriers have. `dual` has been at `at`
    // last, for its bound. Returns the product of gradient and step, or a negative number if rounding leaves no step.
    double find(GramDual& dual, const GramMultipliers& at, double weight, const std::vector<double>& scale,
                const std::vector<double>& own, const std::vector<double>& gradient);

    const std::vector<double>& step() const { return step_; }

private:
    static constexpr int kTerms = 4;
    struct Combination {  // of vectors: rows, then units of inputs, then units of kept neurons
        int size = 0;
        int vector[kTerms];
        double factor[kTerms];
        void add(int v, double f) {
            vector[size] = v;
            factor[size++] = f;
        }
    };
    struct Variable {
        Combination slope, square;  // q' and v
        int unit = -1;              // u, none if A is 0
    };

    int of_input(int i) const { return rows_ + i; }
    int of_kept(int j) const { return rows_ + n_ + j; }
    void meet(GramDual& dual);
    void describe(const GramMultipliers& at);
    void describe_product(const GramProduct& p, Variable& v) const;
    void fill(double weight);
    void combine(const Combination& c, std::vector<double>& out) const;
    void add_ball();

    const GramProblem& problem_;
    int n_, m_, rows_, vectors_, variables_, first_input_, ball_;
    GramMoments moments_;
    std::vector<double> pairs_;                      // vectors x vectors
    std::vector<double> inputs_, rows_inputs_, pull_;  // P of inputs, of rows and inputs; K^-1 Y'
    std::vector<Variable> all_;
    std::vector<double> matrix_, along_, across_, step_;
};

}  // namespace pydual
