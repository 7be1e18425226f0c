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
// so the objective is at least `bound` wherever the network's relaxation allows t.
#pragma once

#include <vector>

namespace pydual {

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

    int rows() const { return kept + cuts + (ball ? 1 : 0) + 1; }
    int slack_rows() const { return kept; }
    int ball_row() const { return kept + cuts; }
};

// Multipliers in the scaled variables: lambda_j h_j, the nonnegative ones, and kappa of kept neurons and of inputs.
struct GramMultipliers {
    std::vector<double> scaled_lambda, mu, sigma, tau, kappa_kept, beta, ball, kappa_inputs;
    explicit GramMultipliers(const GramProblem& problem);
};

class GramDual {
public:
    explicit GramDual(const GramProblem& problem);

    // The bound, or -infinity if the multipliers prove none; fills what the gradient needs.
    double bound(const GramMultipliers& at);

    // log det of the matrix whose positivity proves the bound, without what depends on inputs alone.
    double log_determinant() const { return log_determinant_; }
    double log_curvatures() const;  // of inputs, their sum

    // The derivatives of bound + weight * (log det T + sum log kappa of inputs, with the ball's share) at the last point.
    void gradient(const GramMultipliers& at, double weight, GramMultipliers& out);

    // The pseudo-mean of the relaxed adversary, in t.
    const std::vector<double>& inputs() const { return t_inputs_; }
    const std::vector<double>& kept() const { return t_kept_; }

private:
    void combine(const GramMultipliers& at);
    double solve(const GramMultipliers& at);
    void attain();

    const GramProblem& problem_;
    int n_, m_, rows_;
    double log_determinant_ = 0.0;
    std::vector<double> curvature_, inverse_root_;  // of inputs: kappa plus the ball's share; 1 / root of it
    std::vector<double> weights_, products_, scaled_, factor_, inverse_, rest_, t_inputs_, t_kept_;
    std::vector<double> linear_, mixed_, values_, whitened_, spread_, combined_;
};

}  // namespace pydual
