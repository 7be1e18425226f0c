#include "kernels/cases.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/dispatch.hpp"
#include "kernels/ascent.hpp"
#include "kernels/buffers.hpp"

namespace pydual {
namespace {

constexpr double kTie = 0.1;  // what a neuron's intercept counts beside the gap of its relaxation
constexpr double kDecay = 0.98;
constexpr int kColumns = 32;

using Clock = std::chrono::steady_clock;

// A case that belongs to an end, to be bounded.
struct Place {
    int end;
    Case of;
};

// What the relaxation of a neuron costs in each column, where it is free; the best so far, and where it was.
PYDUAL_DISPATCH void score_neuron(double lower, double upper, int unit, const double* price, const double* y, const double* z,
                                  const signed char* phase, int r, double* best, int* at) {
    const double intercept = -lower * (upper / (upper - lower));
    for (int c = 0; c < r; ++c) {
        const double gap = std::fabs(z[c] - (y[c] > 0.0 ? y[c] : 0.0));
        const double score = phase[c] ? 0.0 : std::fabs(price[c]) * (gap + kTie * intercept);
        at[c] = score > best[c] ? unit : at[c];
        best[c] = score > best[c] ? score : best[c];
    }
}

// Columns of cases, one beside the other, as kernels want them.
class Block {
public:
    Block(const EndsQuery& query, const Place* places, int r)
        : alpha(*query.program, r, 1), beta(*query.program, r, 1), row_(r), scale_(*query.program, r, 1), phases_(query.program->depth() + 1), phase_(phases_.size()),
          query_{query.program, query.region, query.form, query.lower, query.upper} {
        const Program& p = *query.program;
        for (int c = 0; c < r; ++c) row_[c] = query.first + places[c].end;
        for (int k = 1; k <= p.depth(); ++k) {
            phases_[k].assign(static_cast<std::size_t>(p.size(k)) * r, 0);
            phase_[k] = phases_[k].data();
            for (int i = 0; i < p.size(k); ++i)
                for (int c = 0; c < r; ++c)
                    alpha[k][static_cast<long>(i) * r + c] = query.alpha[k][static_cast<long>(i) * query.count + places[c].end];
        }
        for (int c = 0; c < r; ++c) {
            for (const Fixed& fixed : places[c].of.path) {
                const long e = static_cast<long>(fixed.neuron.unit) * r + c;
                phases_[fixed.neuron.layer][e] = fixed.phase;
                beta[fixed.neuron.layer][e] = fixed.multiplier;
                scale_[fixed.neuron.layer][e] = fixed.price;
            }
        }
        query_.phase = phase_.data();
        query_.row = row_.data();
        query_.beta_scale = scale_.get();
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    const AscentQuery& query() const { return query_; }
    AscentPoint point() { return {alpha.get(), beta.get()}; }

    Columns alpha, beta;

private:
    std::vector<int> row_;
    Columns scale_;
    std::vector<std::vector<signed char>> phases_;
    std::vector<const signed char*> phase_;
    AscentQuery query_;
};

bool is_better(const Case& a, const Case& b) { return a.bound > b.bound; }  // of a heap whose front is the worst

class Splitting {
public:
    Splitting(const EndsQuery& query, const CaseOptions& options)
        : q_(query), p_(*query.program), o_(options), start_(Clock::now()), cases_(query.count) {}

    std::vector<std::vector<Case>> run() {
        std::vector<Place> places;
        for (int end = 0; end < q_.count; ++end) places.push_back({end, {}});
        while (!places.empty()) {
            settle(places);
            places = children_of_worst();
        }
        return std::move(cases_);
    }

private:
    std::vector<Place> children_of_worst() {
        std::vector<Place> children;
        if (std::chrono::duration<double>(Clock::now() - start_).count() > o_.seconds) return children;
        std::vector<int> chosen;
        for (int end = 0; end < q_.count; ++end)
            if (may_split(end)) chosen.push_back(end);
        for (const int end : chosen) {
            std::pop_heap(cases_[end].begin(), cases_[end].end(), is_better);
            const Case parent = std::move(cases_[end].back());
            cases_[end].pop_back();
            for (const signed char phase : {-1, 1}) {
                Case child{parent.path, 0.0, {}};
                child.path.push_back({parent.next, phase, 0.0, parent.price});
                children.push_back({end, std::move(child)});
            }
        }
        return children;
    }

    bool may_split(int end) const {
        const bool decided = worst(end).bound > 0.0 || worst(end ^ 1).bound > 0.0;
        return !decided && static_cast<int>(cases_[end].size()) < o_.most && worst(end).next.layer > 0;
    }

    const Case& worst(int end) const { return cases_[end].front(); }

    void settle(std::vector<Place>& places) {
        for (std::size_t begin = 0; begin < places.size(); begin += kColumns)
            settle(places.data() + begin, static_cast<int>(std::min<std::size_t>(kColumns, places.size() - begin)));
    }

    void settle(Place* places, int r) {
        Block block(q_, places, r);
        Columns y(p_, r, 1), z(p_, r, 1), price(p_, r, 1);
        std::vector<double> bound(r), x(static_cast<std::size_t>(p_.inputs) * r);
        AscentOptions options;
        options.steps = o_.steps;
        options.alpha_rate = 0.0;
        options.beta_rate = o_.rate;
        options.decay = kDecay;
        ascend(block.query(), options, r, block.point(), {bound.data(), x.data(), y.get(), z.get(), price.get()});
        const std::vector<Neuron> next = next_splits(block, y, z, price, r);
        for (int c = 0; c < r; ++c) {
            Case& found = places[c].of;
            for (Fixed& fixed : found.path) fixed.multiplier = block.beta[fixed.neuron.layer][static_cast<long>(fixed.neuron.unit) * r + c];
            found.bound = bound[c];
            if (static_cast<int>(found.path.size()) < o_.deepest) found.next = next[c];
            if (found.next.layer) found.price = std::fabs(price[found.next.layer][static_cast<long>(found.next.unit) * r + c]);
            std::vector<Case>& of_end = cases_[places[c].end];
            of_end.push_back(std::move(found));
            std::push_heap(of_end.begin(), of_end.end(), is_better);
        }
    }

    // The neurons whose relaxations cost most.
    std::vector<Neuron> next_splits(const Block& block, const Columns& y, const Columns& z, const Columns& price, int r) const {
        std::vector<Neuron> next(r);
        std::vector<double> best(r, 0.0);
        std::vector<int> at(r);
        for (int k = 1; k <= p_.depth(); ++k) {
            std::fill(at.begin(), at.end(), -1);
            for (int i = 0; i < p_.size(k); ++i) {
                const double lower = q_.lower[k][i], upper = q_.upper[k][i];
                const long e = static_cast<long>(i) * r;
                if (lower < 0.0 && upper > 0.0)
                    score_neuron(lower, upper, i, price[k] + e, y[k] + e, z[k] + e, block.query().phase[k] + e, r, best.data(), at.data());
            }
            for (int c = 0; c < r; ++c)
                if (at[c] >= 0) next[c] = {k, at[c]};
        }
        return next;
    }

    const EndsQuery& q_;
    const Program& p_;
    const CaseOptions& o_;
    Clock::time_point start_;
    std::vector<std::vector<Case>> cases_;  // heaps
};

}  // namespace

std::vector<std::vector<Case>> split_ends(const EndsQuery& query, const CaseOptions& options) {
    return Splitting(query, options).run();
}

std::vector<double> bound_ends(const EndsQuery& query, const std::vector<std::vector<Case>>& cases) {
    std::vector<Place> places;
    for (int end = 0; end < query.count; ++end)
        for (const Case& one : cases[end]) places.push_back({end, one});
    std::vector<double> bounds(query.count, std::numeric_limits<double>::infinity());
    for (std::size_t begin = 0; begin < places.size(); begin += kColumns) {
        const int r = static_cast<int>(std::min<std::size_t>(kColumns, places.size() - begin));
        Block block(query, places.data() + begin, r);
        std::vector<double> bound(r);
        evaluate_stages(block.query(), r, block.point(), bound.data());
        for (int c = 0; c < r; ++c) bounds[places[begin + c].end] = std::min(bounds[places[begin + c].end], bound[c]);
    }
    return bounds;
}

}  // namespace pydual
