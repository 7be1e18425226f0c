#include "audit/polynomial.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "audit/lanes.hpp"

namespace pydual::audit {
namespace {

constexpr double kLargest = 0x1p500;     // of a hint: its square is finite
constexpr double kLeastPivot = 0x1p-40;  // of the coefficient that it was at first

double hint(double value) { return std::fabs(value) <= kLargest ? value : 0.0; }

// s >= 0 with s s <= d.
double root_below(double d) {
    const double s = d > 0.0 ? hint(std::sqrt(d)) : 0.0;
    return (-s) * s >= -d ? s : 0.0;
}

// The least of e v for 0 <= v <= range, where e may be NaN: so is the result.
double charge(double e, double range) { return std::min(e, 0.0) * range; }

// form[k] = row[k] / 2 root, as far as its square is covered by that of z_k.
PYDUAL_AUDIT_DISPATCH void choose_form(const double* row, const double* most, double root, int first, int count, double* form) {
    const double factor = root > 0.0 ? 0.5 / root : 0.0;
    for (int k = first; k < count; ++k) {
        const double entry = row[k] * factor;
        form[k] = entry * entry <= most[k] ? entry : 0.0;
    }
}

// out += w form, entry by entry.
PYDUAL_AUDIT_DISPATCH void add_multiple(double w, const double* form, int first, int count, double* out) {
    for (int k = first; k < count; ++k) out[k] += w * form[k];
}

// Subtracts (sum_k form[k] z_k)^2 from sum_{l <= k} gram[l][k] z_l z_k.
PYDUAL_AUDIT_DISPATCH void subtract_square(const double* form, int first, int count, double* gram) {
    for (int l = first; l < count; ++l) {
        if (form[l] == 0.0) continue;
        double* row = gram + static_cast<std::ptrdiff_t>(l) * count;
        const double w = -2.0 * form[l];
        row[l] += (-form[l]) * form[l];
        for (int k = l + 1; k < count; ++k) row[k] += w * form[k];
    }
}

// Takes the variables in order: for each, a square (root v + sum_k form[k] z_k + shift)^2 over the kept outputs after it. What
// is left of the monomials with v is charged then. Roots, forms and shifts are hints, which are finite; each coefficient is
// what is left of it or less. So sums can become -infinity, but not infinity. Shifts are chosen in two ways, and the better one
// counts: those that leave no linear terms are what provers count on, those that keep to where a form may vanish are often better.
class Elimination {
public:
    explicit Elimination(Polynomial& p)
        : p_(p), total_(p.constant), form_(p.kept, 0.0), most_(p.kept), ways_{{{false, 0.0, p.linear}, {true, 0.0, p.linear}}} {
        for (int j = 0; j < p.kept; ++j) {
            for (int k = j + 1; k < p.kept; ++k) row(j)[k] += row(k)[j];
            most_[j] = p.range[p.inputs + j] > 0.0 ? std::min(std::max(row(j)[j], 0.0), kLargest) : 0.0;
        }
    }

    double run() {
        for (int i = 0; i < p_.inputs; ++i)
            variable(i, root_of(i, p_.squares[i]), 0, p_.mixed.data() + static_cast<std::ptrdiff_t>(i) * p_.kept);
        for (int j = 0; j < p_.kept; ++j) {
            const double pivot = row(j)[j];
            const double range = p_.range[p_.inputs + j];
            total_ += charge(pivot, range) * range;
            variable(p_.inputs + j, pivot > most_[j] * kLeastPivot ? root_of(p_.inputs + j, pivot) : 0.0, j + 1, row(j));
        }
        return total_ + std::max(ways_[0].total, ways_[1].total);
    }

private:
    struct Way {
        bool vanishing;
        double total;
        std::vector<double> linear;
    };

    double* row(int j) { return p_.gram.data() + static_cast<std::ptrdiff_t>(j) * p_.kept; }

    // No square for a variable that is 0: it would only take from the others.
    double root_of(int v, double square) const { return p_.range[v] > 0.0 ? root_below(square) : 0.0; }

    // `products` are the coefficients of v z_k, for k >= first.
    void variable(int v, double root, int first, double* products) {
        const double* ranges = p_.range.data() + p_.inputs;
        choose_form(products, most_.data(), root, first, p_.kept, form_.data());
        add_multiple(-2.0 * root, form_.data(), first, p_.kept, products);
        for (int k = first; k < p_.kept; ++k) total_ += charge(products[k], p_.range[v]) * ranges[k];
        for (Way& way : ways_) {
            const double shift = choose_shift(way, v, root, first);
            way.total += charge(way.linear[v] + (-2.0 * root) * shift, p_.range[v]);
            way.total += (-shift) * shift;
            if (root > 0.0) add_multiple(-2.0 * shift, form_.data(), first, p_.kept, way.linear.data() + p_.inputs);
        }
        if (root == 0.0) return;
        subtract_square(form_.data(), first, p_.kept, p_.gram.data());
    }

    // What makes the square's linear term that of v; what is nearest to it, where the form may vanish.
    double choose_shift(const Way& way, int v, double root, int first) const {
        if (root == 0.0) return 0.0;
        const double whole = way.linear[v] * (0.5 / root);
        if (!way.vanishing) return hint(whole);
        double most = 0.0;
        double least = -root * p_.range[v];
        for (int k = first; k < p_.kept; ++k) {
            const double value = form_[k] * p_.range[p_.inputs + k];
            most -= std::min(value, 0.0);
            least -= std::max(value, 0.0);
        }
        return hint(std::min(std::max(whole, least), most));
    }

    Polynomial& p_;
    double total_;
    std::vector<double> form_;  // of the variable in turn, from the first kept output after it on
    std::vector<double> most_;  // the greatest squares of a form's entries
    std::array<Way, 2> ways_;
};

bool all_finite(const std::vector<double>& numbers) {
    return std::all_of(numbers.begin(), numbers.end(), [](double v) { return std::isfinite(v); });
}

}  // namespace

Polynomial::Polynomial(int inputs_, int kept_)
    : inputs(inputs_), kept(kept_), linear(static_cast<std::size_t>(inputs) + kept, 0.0), squares(inputs, 0.0),
      mixed(static_cast<std::size_t>(inputs) * kept, 0.0), gram(static_cast<std::size_t>(kept) * kept, 0.0),
      range(static_cast<std::size_t>(inputs) + kept, 0.0) {}

double lower_bound(Polynomial& p) {
    constexpr double nothing = -std::numeric_limits<double>::infinity();
    for (const auto* numbers : {&p.linear, &p.squares, &p.mixed, &p.gram, &p.range})
        if (!all_finite(*numbers)) return nothing;
    const double total = Elimination(p).run();
    return std::isfinite(total) ? total : nothing;
}

}  // namespace pydual::audit
