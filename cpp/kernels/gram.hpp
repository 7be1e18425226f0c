// The dual of the order-1 sum-of-squares relaxation with inputs eliminated (Raghunathan, Steinhardt, Liang, NeurIPS 2018, in
// the form of their dual problem; the elimination of inputs uses that they meet in products with hidden variables only).
//
// Variables are t in [-1, 1]: x_i = center + radius t_i for the n inputs, z_j = h_j (1 + t_j) for the m kept neurons. Linear
// functions are rows (constant; inputs x; hidden h). Rows are, in order: the slacks z_j - y_j of the m kept neurons; cuts that
// are >= 0 (phases of split neurons); for an l2 ball the linear part of its square; and the objective. With
// multipliers mu, sigma, tau, kappa >= 0 and free lambda,
//
//     objective - sum mu_j z_j - sum sigma_j (z_j - y_j) - sum tau_j (s_j (y_j - l_j) - z_j) + sum lambda_j z_j (z_j - y_j)
//               - sum beta_c cut_c - ball (r^2 - |x - c|^2) - sum kappa_i (1 - t_i^2)  >=  bound   for all t,
//
// so the objective is at least `bound` wherever the network's relaxation allows t. Products of two linear facts (Sherali and
// Adams, 1990), the first of a kept neuron, may be subtracted, too, with multipliers rho >= 0: as inputs are multiplied with kept
// neurons only, they are eliminated as before.
#pragma once

#include <vector>

namespace pydual {

// (1 + sign t_kept) (row_factor * row + other_factor t_other + input_factor t_input + constant), with sign 1 or -1.
struct GramProduct {
    int kept, row, other, input;
    double sign, row_factor, other_factor, input_factor, constant;
};

struct GramProblem {
    int inputs = 0;  // n
    int kept = 0;    // m
    int cuts = 0;
    bool ball = false;
    std::vector<double> x, h, constant;  // rows x inputs, rows x kept, rows
    std::vector<double> half;            // h_j = u_j / 2
    std::vector<double> lower, slope;    // l_j, s_j
    std::vector<double> squares;         // of the radii of inputs, with a ball
    double ball_constant = 0.0;          // |center - c|^2 - r^2
    std::vector<GramProduct> products;

    int rows() const { return kept + cuts + (ball ? 1 : 0) + 1; }
    int ball_row() const { return kept + cuts; }
};

// Multipliers in the scaled variables: lambda_j h_j, the nonnegative ones, and kappa of kept neurons and of inputs.
struct GramMultipliers {
    std::vector<double> scaled_lambda, mu, sigma, tau, kappa_kept, beta, ball, kappa_inputs, rho;
    explicit GramMultipliers(const GramProblem& problem);
};

// Of t under the relaxed adversary: the pseudo-mean (of rows, too), and for weight 1 the covariances with kept neurons.
struct GramMoments {
    std::vector<double> inputs, kept, rows;
    std::vector<double> inputs_kept, kept_kept, rows_kept;  // inputs x kept, kept x kept, rows x kept
    explicit GramMoments(const GramProblem& problem);
};

class GramDual {
public:
    explicit GramDual(const GramProblem& problem);

    // The bound, or -infinity if the multipliers prove none; fills what the gradient needs.
    double bound(const GramMultipliers& at);

    // About how much too large the last bound may be by rounding: much, where multipliers are huge or the matrix nearly singular.
    double uncertainty() const { return uncertainty_; }

    // log det of the matrix whose positivity proves the bound, without what depends on inputs alone.
    double log_determinant() const { return log_determinant_; }
    double log_curvatures() const;  // of inputs, their sum

    // The derivatives of bound + weight * (log det T + sum log kappa of inputs, with the ball's share) at the last point.
    void gradient(const GramMultipliers& at, double weight, GramMultipliers& out);

    // At the last point, instead of the gradient there.
    void moments(const GramMultipliers& at, GramMoments& out);

    // After `moments`: K, and Y (kept x inputs), as the comment on `bound` names them.
    const std::vector<double>& curvature() const { return curvature_; }
    const std::vector<double>& meeting() const { return meeting_; }

    // The pseudo-mean of the relaxed adversary, in t.
    const std::vector<double>& inputs() const { return t_inputs_; }
    const std::vector<double>& kept() const { return t_kept_; }

private:
    void couple(const GramMultipliers& at);
    void combine(const GramMultipliers& at);
    void pull(const std::vector<double>& weights);
    double solve(const GramMultipliers& at);
    double largest_meeting(const GramMultipliers& at) const;
    void attain(const GramMultipliers& at);
    void differentiate_products(double weight, GramMultipliers& out) const;
    void differentiate_inputs(double weight, GramMultipliers& out);
    double covariance(int row, int kept) const;

    const GramProblem& problem_;
    int n_, m_, rows_;
    double log_determinant_ = 0.0, constant_ = 0.0, uncertainty_ = 0.0;
    std::vector<double> curvature_, inverse_root_;  // of inputs: kappa plus the ball's share; 1 / root of it
    std::vector<double> shared_, scaled_;           // W = X K^-1 X', X K^-1/2
    std::vector<double> meeting_, coupled_;         // Y = Omega X + E and X K^-1 Y'
    std::vector<double> omega_, e_;                 // the entries of Omega and E, one for each product
    std::vector<double> added_, factor_, inverse_;
    std::vector<double> weights_, extra_, beyond_, pull_;  // q, e, K^-1 e, K^-1 p
    std::vector<double> linear_, along_, rest_, share_;    // g, X K^-1 p, r
    std::vector<double> t_inputs_, t_kept_, values_, spread_;
};

}  // namespace pydual
