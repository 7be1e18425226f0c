#include "kernels/cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "core/dispatch.hpp"
#include "kernels/ascent.hpp"
#include "kernels/buffers.hpp"

namespace pydual {
namespace {

constexpr float kTie = 0.1f;  // what a neuron's intercept counts beside the gap of its relaxation
constexpr double kWorseChild = 1e-3;  // counts so much beside the better one
constexpr double kDecay = 0.98;
constexpr int kColumns = 64;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kAbove = 1e-5f;  // of a root's bound: so much above zero is nearly surely positive in double precision

// A case of an end that is to be bounded: a path, and one split more, unless that is of no neuron.
struct Place {
    int end;
    const std::vector<Fixed>* path;
    Fixed last;
};

struct Child {
    int end;
    Case of;
};

// A split that a case may have, and its bound in one of both phases.
struct Trial {
    std::size_t parent;
    Fixed split;
    double bound = 0.0;
};

// The `Count` neurons with the best scores of each column.
template <int Count>
class Best {
public:
    explicit Best(int r) : score_(static_cast<std::size_t>(Count) * r, 0.0), neuron_(score_.size()), r_(r) {}

    bool would_take(int c, double score) const { return score > score_[worst(c)]; }

    void add(int c, double score, Neuron neuron) {
        if (!would_take(c, score)) return;
        int place = Count - 1;
        for (; place > 0 && score > score_[at(place - 1, c)]; --place) {
            score_[at(place, c)] = score_[at(place - 1, c)];
            neuron_[at(place, c)] = neuron_[at(place - 1, c)];
        }
        score_[at(place, c)] = score;
        neuron_[at(place, c)] = neuron;
    }
    Neuron neuron(int place, int c) const { return neuron_[at(place, c)]; }

private:
    std::size_t at(int place, int c) const { return static_cast<std::size_t>(place) * r_ + c; }
    std::size_t worst(int c) const { return at(Count - 1, c); }

    std::vector<double> score_;
    std::vector<Neuron> neuron_;
    int r_;
};

// Scores of a neuron in each column: what its relaxation costs, with a share of the intercept, and what the intercept of its
// upper line costs alone.
PYDUAL_DISPATCH void score_neuron(double lower, double upper, const float* price, const float* y, const float* z, int r,
                                  float* gaps, float* intercepts) {
    const float intercept = static_cast<float>(-lower * (upper / (upper - lower)));
    for (int c = 0; c < r; ++c) {
        const float gap = std::fabs(z[c] - (y[c] > 0.0f ? y[c] : 0.0f));
        gaps[c] = std::fabs(price[c]) * (gap + kTie * intercept);
        intercepts[c] = price[c] > 0.0f ? 0.0f : -price[c] * intercept;
    }
}

// Columns of cases, one beside the other, as the kernels of double precision want them.
class Block {
public:
    Block(const EndsQuery& query, const Place* places, int r)
        : alpha(*query.program, r, 1), beta(*query.program, r, 1), row_(r), phases_(query.program->depth() + 1),
          phase_(phases_.size()), query_{query.program, query.region, query.form, query.lower, query.upper} {
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
            for (const Fixed& fixed : *places[c].path) fix(fixed, r, c);
            if (places[c].last.neuron.layer) fix(places[c].last, r, c);
        }
        query_.phase = phase_.data();
        query_.row = row_.data();
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    const AscentQuery& query() const { return query_; }
    AscentPoint point() { return {alpha.get(), beta.get()}; }

    Columns alpha, beta;

private:
    void fix(const Fixed& fixed, int r, int c) {
        const long e = static_cast<long>(fixed.neuron.unit) * r + c;
        phases_[fixed.neuron.layer][e] = fixed.phase;
        beta[fixed.neuron.layer][e] = fixed.multiplier;
    }

    std::vector<int> row_;
    std::vector<std::vector<signed char>> phases_;
    std::vector<const signed char*> phase_;
    AscentQuery query_;
};

template <class Item, class PlaceOf, class Body>
void for_each_block(std::vector<Item>& items, const PlaceOf& place_of, const Body& body) {
    std::vector<Place> places;
    for (const Item& item : items) places.push_back(place_of(item));
    for (std::size_t begin = 0; begin < items.size(); begin += kColumns)
        body(places.data() + begin, items.data() + begin, static_cast<int>(std::min<std::size_t>(kColumns, items.size() - begin)));
}

bool is_better(const Case& a, const Case& b) { return a.bound > b.bound; }  // of a heap whose front is the worst

class Splitting {
public:
    Splitting(const EndsQuery& query, const SingleNetwork& network, const CaseOptions& options)
        : q_(query), p_(*query.program), o_(options), network_(network), columns_(network, kColumns),
          slopes_(network.slopes(query.alpha, query.count)), cases_(query.count), above_(query.count, -1.0f) {}

    std::vector<std::vector<Case>> run(std::vector<Case> roots) {
        std::vector<Child> cases;
        for (int end = 0; end < q_.count; ++end) cases.push_back({end, std::move(roots[end])});
        while (!cases.empty()) {
            for_each_block(cases, [](const Child& child) { return Place{child.end, &child.of.path, {}}; },
                           [this](const Place* places, Child* children, int r) { settle(places, children, r); });
            cases = children_of(worst_cases());
        }
        return std::move(cases_);
    }

private:
    void load(const Place* places, int r) {
        ends_.clear();
        rows_.clear();
        for (int c = 0; c < r; ++c) {
            ends_.push_back(places[c].end);
            rows_.push_back(q_.first + places[c].end);
        }
        columns_.begin(r, rows_.data(), slopes_, q_.count, ends_.data());
        for (int c = 0; c < r; ++c) {
            for (const Fixed& fixed : *places[c].path) columns_.fix(c, fixed);
            if (places[c].last.neuron.layer) columns_.fix(c, places[c].last);
        }
    }

    // One of each end that is open, or several, so that a block is full.
    std::vector<Child> worst_cases() {
        std::vector<Child> worst;
        if (std::chrono::steady_clock::now() > o_.deadline) return worst;
        std::vector<int> open;
        for (int end = 0; end < q_.count; ++end)
            if (may_split(end, 0)) open.push_back(end);
        const int each = open.empty() ? 0 : std::max(1, kColumns / 2 / static_cast<int>(open.size()));
        for (const int end : open) {
            for (int split = 0; split < each && may_split(end, 2 * split); ++split) {
                std::pop_heap(cases_[end].begin(), cases_[end].end(), is_better);
                worst.push_back({end, std::move(cases_[end].back())});
                cases_[end].pop_back();
            }
        }
        return worst;
    }

    // `apart`: cases of the end that are not in its heap.
    bool may_split(int end, int apart) const {
        return !cases_[end].empty() && !is_positive(end) && !is_positive(q_.other[end]) &&
               static_cast<int>(cases_[end].size()) + apart < o_.most && cases_[end].front().candidates[0].neuron.layer > 0;
    }

    bool is_positive(int end) const { return !cases_[end].empty() && cases_[end].front().bound > above_[end]; }

    std::vector<Child> children_of(const std::vector<Child>& parents) {
        const std::vector<Fixed> splits = look_ahead(parents);
        std::vector<Child> children;
        for (std::size_t n = 0; n < parents.size(); ++n) {
            for (const signed char phase : {-1, 1}) {
                Case child{parents[n].of.path};
                child.path.push_back(splits[n]);
                child.path.back().phase = phase;
                children.push_back({parents[n].end, std::move(child)});
            }
        }
        return children;
    }

    // Of each case's candidates the one whose better child has the best bound, clipped at 0, by the multipliers of the case.
    std::vector<Fixed> look_ahead(const std::vector<Child>& parents) {
        std::vector<Trial> trials;
        for (std::size_t n = 0; n < parents.size(); ++n) {
            const auto& candidates = parents[n].of.candidates;
            if (!candidates[1].neuron.layer) continue;
            for (const Fixed& split : candidates)
                if (split.neuron.layer)
                    for (const signed char phase : {-1, 1}) trials.push_back({n, {split.neuron, phase, 0.0, split.price}});
        }
        bound_trials(parents, trials);
        std::vector<Fixed> chosen;
        for (const Child& parent : parents) chosen.push_back(parent.of.candidates[0]);
        std::vector<double> best(parents.size(), -kInfinity);
        for (std::size_t t = 0; t < trials.size(); t += 2) {
            const auto [worse, better] = std::minmax(trials[t].bound, trials[t + 1].bound);
            const double value = better + kWorseChild * worse;
            if (!(value > best[trials[t].parent])) continue;
            best[trials[t].parent] = value;
            chosen[trials[t].parent] = trials[t].split;
        }
        return chosen;
    }

    // Where most products are those with inputs' weights, at their parents' inputs, without these: a guess that few inputs, which
    // follow a split, make a bad one.
    void bound_trials(const std::vector<Child>& parents, std::vector<Trial>& trials) {
        const auto place_of = [&](const Trial& trial) {
            return Place{parents[trial.parent].end, &parents[trial.parent].of.path, trial.split};
        };
        const bool at_inputs = network_.mostly_reads_inputs();
        const Inputs inputs = at_inputs ? inputs_of(parents) : Inputs(p_, 0);
        std::vector<int> places_of_inputs;
        for_each_block(trials, place_of, [&](const Place* places, Trial* of_block, int r) {
            load(places, r);
            places_of_inputs.clear();
            for (int c = 0; c < r; ++c) places_of_inputs.push_back(static_cast<int>(of_block[c].parent));
            at_inputs ? columns_.evaluate_at(inputs, places_of_inputs.data()) : columns_.evaluate();
            for (int c = 0; c < r; ++c) of_block[c].bound = std::min<double>(columns_.bound()[c], 0.0);
        });
    }

    // Those that attain the cases' bounds.
    Inputs inputs_of(const std::vector<Child>& cases) {
        Inputs inputs(p_, static_cast<int>(cases.size()));
        std::vector<const Child*> all;
        for (const Child& one : cases) all.push_back(&one);
        int first = 0;
        for_each_block(all, [](const Child* child) { return Place{child->end, &child->of.path, {}}; },
                       [&](const Place* places, const Child**, int r) {
                           load(places, r);
                           columns_.evaluate();
                           columns_.read_inputs(inputs, first);
                           first += r;
                       });
        return inputs;
    }

    void settle(const Place* places, Child* children, int r) {
        load(places, r);
        targets_.clear();
        for (const int end : ends_) targets_.push_back(std::max(above_[end], 0.0f));
        columns_.ascend({o_.steps, o_.rate, kDecay}, targets_.data());
        for (int c = 0; c < r; ++c) {
            Case& found = children[c].of;
            found.bound = columns_.bound()[c];
            for (std::size_t d = 0; d < found.path.size(); ++d) found.path[d].multiplier = columns_.multiplier(c, static_cast<int>(d));
            float& above = above_[children[c].end];
            if (above < 0.0f) above = kAbove * static_cast<float>(std::fabs(found.bound));
        }
        find_candidates(children, r);
        for (int c = 0; c < r; ++c) {
            std::vector<Case>& of_end = cases_[children[c].end];
            of_end.push_back(std::move(children[c].of));
            std::push_heap(of_end.begin(), of_end.end(), is_better);
        }
    }

    // Half of them are the neurons whose relaxations cost most, half those whose upper lines' intercepts do.
    void find_candidates(Child* children, int r) {
        constexpr int kHalf = kCandidates / 2;
        Best<kHalf> by_gap(r);
        Best<kCandidates> by_intercept(r);  // among which those by gap may be
        std::vector<float> gaps(r), intercepts(r);
        for (int k = 1; k <= p_.depth(); ++k) {
            if (p_.kind(k) != Kind::relu) continue;
            for (int i = 0; i < p_.size(k); ++i) {
                const double lower = q_.lower[k][i], upper = q_.upper[k][i];
                const Neuron neuron{k, i};
                if (!(lower < 0.0 && upper > 0.0)) continue;
                score_neuron(lower, upper, columns_.price(neuron), columns_.y(neuron), columns_.z(neuron), r, gaps.data(), intercepts.data());
                for (int c = 0; c < r; ++c) {
                    if (!by_gap.would_take(c, gaps[c]) && !by_intercept.would_take(c, intercepts[c])) continue;
                    if (columns_.is_fixed(c, neuron)) continue;
                    by_gap.add(c, gaps[c], neuron);
                    by_intercept.add(c, intercepts[c], neuron);
                }
            }
        }
        for (int c = 0; c < r; ++c) {
            Case& found = children[c].of;
            if (static_cast<int>(found.path.size()) >= o_.deepest || !std::isfinite(found.bound)) continue;
            int count = 0;
            const auto add = [&](const Neuron& neuron) {
                for (int other = 0; other < count; ++other) {
                    const Neuron& before = found.candidates[other].neuron;
                    if (before.layer == neuron.layer && before.unit == neuron.unit) return;
                }
                if (!neuron.layer || count == kCandidates) return;
                found.candidates[count++] = {neuron, 0, 0.0, std::fabs(columns_.price(neuron)[c])};
            };
            for (int place = 0; place < kHalf; ++place) add(by_gap.neuron(place, c));
            for (int place = 0; place < kCandidates; ++place) add(by_intercept.neuron(place, c));
        }
    }

    const EndsQuery& q_;
    const Program& p_;
    const CaseOptions& o_;
    const SingleNetwork& network_;
    SingleColumns columns_;
    std::vector<std::vector<float>> slopes_;  // [k], n_k x count
    std::vector<std::vector<Case>> cases_;    // heaps
    std::vector<float> above_, targets_;      // what is positive
    std::vector<int> ends_, rows_;
};

}  // namespace

std::vector<std::vector<Case>> split_ends(const EndsQuery& query, const SingleNetwork& network, std::vector<Case> roots,
                                          const CaseOptions& options) {
    return Splitting(query, network, options).run(std::move(roots));
}

void prove_cases(const EndsQuery& query, std::vector<std::vector<Case>>& cases) {
    struct Proved {
        int end;
        Case* of;
    };
    std::vector<Proved> proved;
    for (int end = 0; end < query.count; ++end)
        for (Case& one : cases[end]) proved.push_back({end, &one});
    for_each_block(proved, [](const Proved& one) { return Place{one.end, &one.of->path, {}}; },
                   [&](const Place* places, Proved* of_block, int r) {
                       Block block(query, places, r);
                       std::vector<double> bound(r);
                       evaluate_stages(block.query(), r, block.point(), bound.data());
                       for (int c = 0; c < r; ++c) of_block[c].of->proved = bound[c] > -kInfinity ? bound[c] : -kInfinity;  // so is NaN
                   });
}

}  // namespace pydual
