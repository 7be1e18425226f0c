// Limited-memory BFGS with backtracking (Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 3.1).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace pydual {

// Minimizes f from `point` on, step by step. `Function` is called as f(point, gradient) and returns the value, or infinity
// where f is not defined: such steps are shortened.
class Lbfgs {
public:
    Lbfgs(int size, int memory, double longest)
        : size_(size), memory_(memory), longest_(longest), gradient_(size), trial_(size), trial_gradient_(size),
          direction_(size), steps_(static_cast<std::size_t>(size) * memory), changes_(static_cast<std::size_t>(size) * memory),
          products_(memory), shares_(memory) {}

    template <class Function>
    void start(const Function& f, std::vector<double>& point) {
        stored_ = 0;
        newest_ = -1;
        value_ = f(point.data(), gradient_.data());
    }

    // One step; false if none makes f smaller.
    template <class Function>
    bool step(const Function& f, std::vector<double>& point) {
        double slope = find_direction();
        if (!(slope < 0.0)) {
            stored_ = 0;
            slope = find_direction();
        }
        double largest = 0.0;
        for (const double d : direction_) largest = std::max(largest, std::abs(d));
        double length = std::min(1.0, longest_ / largest);
        for (int attempt = 0; attempt < kAttempts; ++attempt, length *= 0.5) {
            for (int i = 0; i < size_; ++i) trial_[i] = point[i] + length * direction_[i];
            const double value = f(trial_.data(), trial_gradient_.data());
            if (!(value <= value_ + kDecrease * length * slope)) continue;
            remember(point);
            decrease_ = value_ - value;
            value_ = value;
            point.swap(trial_);
            gradient_.swap(trial_gradient_);
            return true;
        }
        return false;
    }

    double value() const { return value_; }
    double decrease() const { return decrease_; }  // by the last step
    double largest_slope() const {
        double largest = 0.0;
        for (const double g : gradient_) largest = std::max(largest, std::abs(g));
        return largest;
    }

private:
    static constexpr int kAttempts = 40;
    static constexpr double kDecrease = 1e-4;

    double dot(const double* a, const double* b) const {
        double sum = 0.0;
        for (int i = 0; i < size_; ++i) sum += a[i] * b[i];
        return sum;
    }
    double* step_at(int k) { return steps_.data() + static_cast<std::size_t>(k) * size_; }
    double* change_at(int k) { return changes_.data() + static_cast<std::size_t>(k) * size_; }

    // The two-loop recursion; returns the slope along the direction.
    double find_direction() {
        for (int i = 0; i < size_; ++i) direction_[i] = -gradient_[i];
        for (int k = 0, at = newest_; k < stored_; ++k, at = (at + memory_ - 1) % memory_) {
            shares_[at] = dot(step_at(at), direction_.data()) / products_[at];
            add(-shares_[at], change_at(at));
        }
        double scale = std::min(1.0, kFirst / std::max(largest_slope(), 1e-300));
        if (stored_ > 0) scale = products_[newest_] / dot(change_at(newest_), change_at(newest_));
        for (double& d : direction_) d *= scale;
        for (int k = 0, at = (newest_ + memory_ - stored_ + 1) % memory_; k < stored_; ++k, at = (at + 1) % memory_)
            add(shares_[at] - dot(change_at(at), direction_.data()) / products_[at], step_at(at));
        return dot(gradient_.data(), direction_.data());
    }

    void add(double factor, const double* other) {
        for (int i = 0; i < size_; ++i) direction_[i] += factor * other[i];
    }

    // The step from `point` to the trial point, if f is convex along it.
    void remember(const std::vector<double>& point) {
        double product = 0.0;
        for (int i = 0; i < size_; ++i) product += (trial_[i] - point[i]) * (trial_gradient_[i] - gradient_[i]);
        if (!(product > kCurvature)) return;
        newest_ = (newest_ + 1) % memory_;
        double* const step = step_at(newest_);
        double* const change = change_at(newest_);
        for (int i = 0; i < size_; ++i) {
            step[i] = trial_[i] - point[i];
            change[i] = trial_gradient_[i] - gradient_[i];
        }
        products_[newest_] = product;
        stored_ = std::min(stored_ + 1, memory_);
    }

    static constexpr double kFirst = 0.1;  // the longest first step
    static constexpr double kCurvature = 1e-14;

    int size_;
    int memory_;
    double longest_;
    int stored_ = 0;
    int newest_ = -1;
    double value_ = 0.0;
    double decrease_ = 0.0;
    std::vector<double> gradient_, trial_, trial_gradient_, direction_, steps_, changes_, products_, shares_;
};

}  // namespace pydual
