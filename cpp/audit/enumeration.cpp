#include "audit/enumeration.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "audit/cells.hpp"

namespace pydual::audit {
namespace {

constexpr double kMostInteger = 0x1p53;  // up to here, every integer is a double
constexpr std::int64_t kMostPoints = std::int64_t{1} << 40;

}  // namespace

void Lattice::round(Box& box) const {
    for (std::size_t i = 0; i < integer.size(); ++i) {
        if (!integer[i]) continue;
        box.lower[i] = std::ceil(box.lower[i]);
        box.upper[i] = std::floor(box.upper[i]);
        box.empty = box.empty || box.lower[i] > box.upper[i];
    }
}

Points::Points(const Lattice& lattice, const Box& box, const Ball* ball) : lattice_(lattice), box_(box), ball_(ball) {
    if (lattice.listed) {
        count_ = lattice.rows;
        return;
    }
    for (std::size_t i = 0; i < box.lower.size(); ++i) {
        const bool integer = lattice.integer[i] != 0;
        if (!integer && box.lower[i] < box.upper[i])
            throw Rejected("the cell of an enumeration leaf has infinitely many points, as input " + std::to_string(i) + " varies.");
        if (integer && std::max(-box.lower[i], box.upper[i]) > kMostInteger)
            throw Rejected("the integers of an enumeration leaf are too large.");
        widths_.push_back(integer ? static_cast<std::int64_t>(box.upper[i]) - static_cast<std::int64_t>(box.lower[i]) + 1 : 1);
        if (widths_.back() > kMostPoints / count_) throw Rejected("an enumeration leaf has too many points.");
        count_ *= widths_.back();
    }
}

bool Points::write(std::int64_t number, double* x) const {
    const std::size_t inputs = box_.lower.size();
    if (lattice_.listed) {
        const double* row = lattice_.points + number * static_cast<std::int64_t>(inputs);
        std::copy(row, row + inputs, x);
        for (std::size_t i = 0; i < inputs; ++i)
            if (!(box_.lower[i] <= x[i] && x[i] <= box_.upper[i])) return false;
    } else {
        for (std::size_t i = inputs; i-- > 0; number /= widths_[i]) x[i] = box_.lower[i] + static_cast<double>(number % widths_[i]);
    }
    return ball_ == nullptr || in_ball(x);
}

// False only where the distance, rounded downward, is above the radius.
bool Points::in_ball(const double* x) const {
    double distance = 0.0;
    for (std::size_t i = 0; i < ball_->center.size(); ++i) {
        const double c = ball_->center[i];
        const double side = x[i] >= c ? x[i] - c : c - x[i];
        distance += ball_->l2 ? side * side : side;
    }
    const double neg_limit = ball_->l2 ? (-ball_->radius) * ball_->radius : -ball_->radius;
    return distance <= -neg_limit;
}

}  // namespace pydual::audit
