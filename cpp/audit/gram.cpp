#include "audit/gram.hpp"

#include <algorithm>

#include "audit/polynomial.hpp"

namespace pydual::audit {
namespace {

constexpr double kMostNumbers = 0x1p27;  // of a polynomial: a gigabyte

enum FactKind : int { kOutput = 0, kSlack = 1, kChord = 2, kRoom = 3 };  // z, z - p, s (p - l) - z, max(u, 0) - z

// Where the numbers of facts begin.
struct Numbering {
    explicit Numbering(const Setting& setting)
        : neurons(1 + 2 * static_cast<std::int64_t>(setting.network->inputs())),
          ball(neurons + 4 * static_cast<std::int64_t>(setting.network->neurons.size())),
          count(ball + (setting.ball && setting.ball->l2)) {}

    bool of_neuron(std::int64_t fact) const { return fact >= neurons && fact < ball; }
    int neuron(std::int64_t fact) const { return static_cast<int>((fact - neurons) / 4); }
    int kind(std::int64_t fact) const { return static_cast<int>((fact - neurons) % 4); }

    std::int64_t neurons, ball, count;
};

// A fact but the last: constant + slope (x - lower) + of_z z + of_p p', low <= constant and neg <= -constant.
struct Fact {
    double low = 0.0, neg = 0.0;
    int input = 0, neuron = -1;
    double slope = 0.0, of_z = 0.0, of_p = 0.0;
};

// A coefficient of a shifted value, that a row begins with.
struct Coefficient {
    int row, value, component;
    double number;
};

// Rows are linear functions: row 0 is that of the leaf, row 1 + j what the output z_j of the j-th kept neuron is multiplied
// with. What they have at inputs x - lower and at kept outputs belongs to the polynomial at once; the rest is written out.
class GramLeaf {
public:
    GramLeaf(const Setting& setting, const Row& leaf, const std::vector<Product>& products, Backward& backward)
        : setting_(setting), net_(*setting.network), leaf_(leaf), numbering_(setting), backward_(backward),
          kept_(kept_neurons(products)), p_(polynomial()), blocks_(kept_.size() / kLanes + 1) {
        backward_.start(&leaf_, 1);
        for (int i = 0; i < net_.inputs(); ++i) p_.range[i] = -(leaf.box->lower[i] - leaf.box->upper[i]);
        for (std::size_t j = 0; j < kept_.size(); ++j) {
            intervals_.push_back(backward_.source_interval(kept_[j]));
            p_.range[net_.inputs() + j] = std::max(-intervals_[j].neg, 0.0);
        }
        for (const Product& product : products) subtract(product);
    }

    double bound(const std::function<void()>& seed) {
        std::vector<double> of_kept(kept_.size() * kLanes);
        for (std::size_t b = 0; b < blocks_.size(); ++b) {
            if (b > 0 && blocks_[b].empty()) continue;
            backward_.start(&leaf_, 1);
            if (b == 0) seed();
            for (const Coefficient& c : blocks_[b])
                backward_.coefficients(c.value)[c.component * kLanes + c.row % kLanes] += c.number;
            backward_.write_out(kept_, of_kept.data());
            const int rows = std::min<int>(kLanes, static_cast<int>(kept_.size() + 1 - b * kLanes));
            for (int lane = 0; lane < rows; ++lane) collect(static_cast<int>(b) * kLanes + lane, of_kept.data() + lane);
        }
        return lower_bound(p_);
    }

private:
    std::vector<int> kept_neurons(const std::vector<Product>& products) const {
        std::vector<int> kept;
        for (const Product& product : products)
            for (const std::int32_t fact : {product.first, product.second})
                if (numbering_.of_neuron(fact)) kept.push_back(numbering_.neuron(fact));
        std::sort(kept.begin(), kept.end());
        kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
        return kept;
    }

    Polynomial polynomial() const {
        const double kept = static_cast<double>(kept_.size());
        if (kept * (kept + net_.inputs()) > kMostNumbers) throw TooManyKept("the leaf keeps too many neurons for this audit.");
        return {net_.inputs(), static_cast<int>(kept_.size())};
    }

    int place(int neuron) const {
        return static_cast<int>(std::lower_bound(kept_.begin(), kept_.end(), neuron) - kept_.begin());
    }

    Fact fact(std::int32_t number) const {
        Fact f;
        if (number == 0) {
            f.low = 1.0;
            f.neg = -1.0;
        } else if (number < numbering_.neurons) {
            f.input = (number - 1) / 2;
            const double lower = leaf_.box->lower[f.input];
            const double upper = leaf_.box->upper[f.input];
            f.slope = number % 2 ? 1.0 : -1.0;
            if (number % 2) return f;
            f.low = upper - lower;
            f.neg = lower - upper;
        } else {
            neuron_fact(numbering_.neuron(number), numbering_.kind(number), f);
        }
        return f;
    }

    void neuron_fact(int number, int kind, Fact& f) const {
        const Neuron& neuron = net_.neurons[number];
        const double shift = setting_.shift->shift[neuron.source][neuron.component];
        const Interval& interval = intervals_[place(number)];
        f.neuron = number;
        f.of_z = kind == kOutput || kind == kSlack ? 1.0 : -1.0;
        if (kind == kSlack) {
            f.of_p = -1.0;
            f.low = -shift;
            f.neg = shift;
        } else if (kind == kRoom) {
            f.low = p_.range[net_.inputs() + place(number)];
            f.neg = -f.low;
        } else if (kind == kChord) {
            const double foot = interval.low >= 0.0 ? 0.0 : interval.low;
            f.of_p = interval.low >= 0.0 ? 1.0 : chord_slope(interval);
            f.low = f.of_p * (shift - foot);
            f.neg = f.of_p * (foot - shift);
        }
    }

    // u / (u - l) or more, at most 1; 0 where u <= 0.
    static double chord_slope(const Interval& interval) {
        if (interval.neg >= 0.0) return 0.0;
        const double width = -interval.neg - interval.low;  // at most u - l
        return std::min(1.0, -(interval.neg / width));
    }

    void subtract(const Product& product) {
        const double rho = product.multiplier;
        const std::int32_t f = product.first;
        const std::int32_t g = product.second;
        if (f == 0) {
            g == numbering_.ball ? subtract_ball(rho) : add(0, rho, -rho, -1.0, fact(g));
        } else if (!numbering_.of_neuron(f)) {  // (x - lower) (upper - x) = R (x - lower) - (x - lower)^2
            const int i = (f - 1) / 2;
            p_.squares[i] += rho;
            p_.linear[i] += (-rho) * p_.range[i];
        } else {
            const int j = place(numbering_.neuron(f));
            const double most = p_.range[net_.inputs() + j];
            const bool room = numbering_.kind(f) == kRoom;  // (max(u, 0) - z) g = max(u, 0) g - z g
            if (room) add(0, rho * most, (-rho) * most, -1.0, fact(g));
            const double size = rho < 0.0 ? -rho : rho;
            add(1 + j, size, -size, room || rho < 0.0 ? 1.0 : -1.0, fact(g));
        }
    }

    // With e = lower - c: -r^2 + sum (x - lower)^2 + 2 e (x - lower) + e^2, times rho.
    void subtract_ball(double rho) {
        const Ball& ball = *setting_.ball;
        p_.constant += rho * ((-ball.radius) * ball.radius);
        for (int i = 0; i < net_.inputs(); ++i) {
            const double lower = leaf_.box->lower[i];
            const double distance = lower >= ball.center[i] ? lower - ball.center[i] : ball.center[i] - lower;
            p_.squares[i] += rho;
            p_.linear[i] += rho * (2.0 * (lower - ball.center[i]));
            p_.constant += rho * (distance * distance);
        }
    }

    // Adds sign w f to a row, from below, for a weight w >= 0 with low <= w and neg <= -w.
    void add(int row, double low, double neg, double sign, const Fact& f) {
        const auto times = [&](double t) { return t >= 0.0 ? low * t : neg * (-t); };
        const int j = row - 1;
        (row == 0 ? p_.constant : p_.linear[net_.inputs() + j]) += times(sign > 0.0 ? f.low : f.neg);
        if (f.slope != 0.0) at_input(row, f.input) += times(sign * f.slope);
        if (f.neuron < 0) return;
        at_kept(row, place(f.neuron)) += times(sign * f.of_z);
        const Neuron& neuron = net_.neurons[f.neuron];
        if (f.of_p != 0.0) blocks_[row / kLanes].push_back({row, neuron.source, neuron.component, times(sign * f.of_p)});
    }

    double& at_input(int row, int i) {
        return row == 0 ? p_.linear[i] : p_.mixed[static_cast<std::size_t>(i) * kept_.size() + (row - 1)];
    }

    double& at_kept(int row, int k) {
        return row == 0 ? p_.linear[net_.inputs() + k] : p_.gram[(row - 1) * kept_.size() + static_cast<std::size_t>(k)];
    }

    // Adds a row that has been written out; at the input, w x' = w (x - lower) + w (lower - shift).
    void collect(int row, const double* of_kept) {
        const int lane = row % kLanes;
        const double* w = backward_.coefficients(0) + lane;
        const double* shift = setting_.shift->shift[0].data();
        double& constant = row == 0 ? p_.constant : p_.linear[net_.inputs() + row - 1];
        constant += backward_.constants()[lane];
        for (int i = 0; i < net_.inputs(); ++i) {
            const double c = w[i * kLanes];
            const double lower = leaf_.box->lower[i];
            at_input(row, i) += c;
            constant += c >= 0.0 ? c * (lower - shift[i]) : (-c) * (shift[i] - lower);
        }
        for (std::size_t k = 0; k < kept_.size(); ++k) at_kept(row, static_cast<int>(k)) += of_kept[k * kLanes];
    }

    const Setting& setting_;
    const Network& net_;
    const Row leaf_;
    const Numbering numbering_;
    Backward& backward_;
    const std::vector<int> kept_;      // neurons, ascending
    std::vector<Interval> intervals_;  // of what they read
    Polynomial p_;
    std::vector<std::vector<Coefficient>> blocks_;  // of kLanes rows each
};

}  // namespace

bool is_allowed(const Setting& setting, const Product& product) {
    const Numbering numbering(setting);
    const std::int32_t f = product.first;
    const std::int32_t g = product.second;
    if (f < 0 || g < 0 || f >= numbering.count || g >= numbering.count) return false;
    if (f == 0) return product.multiplier >= 0.0;
    if (f < numbering.neurons) return f % 2 == 1 && g == f + 1 && product.multiplier >= 0.0;
    if (!numbering.of_neuron(f) || g == numbering.ball) return false;
    const int kind = numbering.kind(f);
    if (kind == kOutput && g == f + kSlack) return product.multiplier == product.multiplier;
    return (kind == kOutput || kind == kRoom) && product.multiplier >= 0.0;
}

double polynomial_numbers(const Network& network, std::int64_t products) {
    const double kept = static_cast<double>(std::min<std::int64_t>(2 * products, network.neurons.size()));
    return kept * (kept + network.inputs());
}

double gram_bound(const Setting& setting, const Row& leaf, const std::vector<Product>& products, Backward& backward,
                  const std::function<void()>& seed) {
    return GramLeaf(setting, leaf, products, backward).bound(seed);
}

}  // namespace pydual::audit
