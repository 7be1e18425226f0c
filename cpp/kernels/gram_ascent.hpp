// Ascent of a Gram dual along its central path: maximizes bound + weight * barrier for a falling series of weights, by L-BFGS as
// long as its cheap steps are of use, and by Newton's method after that.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "kernels/gram.hpp"
#include "kernels/gram_newton.hpp"
#include "kernels/lbfgs.hpp"

namespace pydual {

struct GramOptions {
    double first_weight;
    double last_weight;
    double decay;
    int steps_per_weight;
    double flatness;  // a weight is done with when ten steps gain less than this part of it
    int cheap_steps;  // of L-BFGS; Newton's method goes on after them
};

class GramAscent {
public:
    // `start` needs positive kappas; the other nonnegative multipliers are raised to a small positive number.
    GramAscent(GramProblem problem, const GramMultipliers& start, std::vector<double> lambda_scale, const GramOptions& options);
    GramAscent(const GramAscent&) = delete;
    GramAscent& operator=(const GramAscent&) = delete;

    // At most `steps` steps, fewer once the bound is above `goal` or the path has ended: at its last weight, or where the
    // central path says that the optimum is below the goal.
    void advance(int steps, double goal);

    bool ended() const { return ended_; }
    double bound() const { return best_bound_; }               // the best so far
    const GramMultipliers& multipliers() const { return best_; }  // which prove it
    GramMultipliers present() const;                              // nearer to the central path
    double weight() const { return weight_; }
    int steps() const { return taken_; }
    bool second_order() const { return taken_ >= options_.cheap_steps; }

    // The relaxed adversary at the present point: the pseudo-mean, in t.
    const std::vector<double>& inputs() const { return dual_.inputs(); }
    const std::vector<double>& kept() const { return dual_.kept(); }
    const GramProblem& problem() const { return problem_; }

private:
    double evaluate(const double* point, double* gradient);
    void read(const double* point, GramMultipliers& into) const;
    bool cheap_step();
    void begin_newton();
    bool newton_step();
    double longest(const std::vector<double>& step) const;
    double move(const std::vector<double>& step, double gain);
    void lower_weight(double goal);
    void keep_best();

    GramProblem problem_;
    GramOptions options_;
    std::vector<double> lambda_scale_;
    GramDual dual_;
    GramMultipliers at_, slopes_, best_;
    Lbfgs minimizer_;
    std::unique_ptr<GramNewton> newton_;  // made once it is wanted, as its matrix is large
    std::vector<double> point_, trial_, gradient_, scale_, own_;
    double weight_, value_ = 0.0;
    double cap_ = std::numeric_limits<double>::infinity();
    double present_bound_, best_bound_;
    double gained_ = 0.0;
    int taken_ = 0, taken_at_weight_ = 0, barriers_ = 0;
    bool ended_ = false, started_ = false, on_path_ = false;
};

}  // namespace pydual
