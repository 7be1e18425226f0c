#include "audit/tree.hpp"

#include <algorithm>
#include <string>

#include "audit/threads.hpp"

namespace pydual::audit {
namespace {

enum NodeKind : int { kLeaf = 0, kInputSplit = 1, kNeuronSplit = 2, kGramLeaf = 3, kEnumerationLeaf = 5, kBallLeaf = 6 };

constexpr std::size_t kBatchNumbers = std::size_t{1} << 23;  // doubles held by a batch
constexpr std::size_t kBatchLeaves = 4096;
constexpr std::int64_t kBatchPoints = 1 << 15;

[[noreturn]] void reject(std::int64_t node, const std::string& complaint) {
    throw Rejected("node " + std::to_string(node) + ": " + complaint);
}

}  // namespace

Root::Root(const Network& network, BoxPointer at, const Ball* ball, bool float32, int given_anchor, const Refinement* refinement,
           int threads)
    : setting{&network, &shift, ball, float32}, box(std::move(at)), anchor(given_anchor) {
    const Downward mode;
    std::vector<Backward> workspaces;
    for (int t = 0; t < std::max(threads, 1); ++t) workspaces.emplace_back(setting);
    block = derive_root(setting, {box, {}, std::min<int>(anchor, kAdaptiveRule), refinement}, workspaces, shift);
}

TreeAudit::TreeAudit(const Root& root, Margins margins, const Columns& columns, int threads)
    : root_(root), net_(*root.setting.network), margins_(std::move(margins)), columns_(columns),
      threads_(std::max(threads, 1)), on_path_(net_.neurons.size(), 0) {
    for (int t = 0; t < threads_; ++t) {
        workspaces_.push_back({Backward(root.setting), std::vector<std::vector<double>>(kLanes), std::vector<std::vector<double>>(kLanes)});
        alone_.emplace_back(1, Backward(root.setting));
        together_.emplace_back(root.setting);
    }
    stack_.push_back({root.box, nullptr, 0, false, {}});
}

// A chain of a million anchors is not to be destroyed one inside the other.
TreeAudit::~TreeAudit() {
    for (const std::shared_ptr<Anchor>& anchor : anchors_) anchor->above.reset();
}

bool TreeAudit::advance() {
    if (!enumerations_.empty()) {
        check_points();
        if (!more()) finish();
        return more();
    }
    while (node_ < columns_.nodes && !batch_full()) read_node();
    const Downward mode;
    derive_anchors();
    check_leaves();
    anchors_.clear();
    leaves_.clear();
    batch_numbers_ = 0;
    if (!more()) finish();
    return more();
}

bool TreeAudit::more() const { return node_ < columns_.nodes || !enumerations_.empty(); }

bool TreeAudit::batch_full() const { return leaves_.size() >= kBatchLeaves || batch_numbers_ >= kBatchNumbers; }

void TreeAudit::finish() {
    if (!stack_.empty()) throw Rejected("the tree ends before it covers the region.");
    const bool used = split_ == columns_.splits && threshold_ == columns_.thresholds && leaf_ == columns_.leaves &&
                      beta_ == columns_.betas && product_ == columns_.products && gram_leaf_ == columns_.gram_leaves &&
                      ball_leaf_ == columns_.ball_leaves;
    if (!used) throw Rejected("a column is longer than the tree needs.");
}

void TreeAudit::read_node() {
    if (stack_.empty()) reject(node_, "the tree has ended before this node.");
    Open node = std::move(stack_.back());
    stack_.pop_back();
    enter(node);
    if (const int anchor = columns_.anchor[node_]) {
        node.anchor = std::make_shared<Anchor>(Anchor{anchored_cell(node, anchor), node.anchor, node_, nullptr});
        if (node_ == 0 && anchor == root_.anchor) node.anchor->block = root_.block;
        if (node.anchor->block || node.box->empty) {
            find_empty(*node.anchor);
        } else {
            anchors_.push_back(node.anchor);
            for (const Value& value : net_.values) batch_numbers_ += 2 * value.size;
        }
    }
    switch (columns_.kind[node_]) {
        case kLeaf:
        case kGramLeaf:
        case kBallLeaf:
        case kEnumerationLeaf: read_leaf(node, columns_.kind[node_]); break;
        case kInputSplit: split_input(node); break;
        default: split_neuron(node);
    }
    ++node_;
}

Cell TreeAudit::anchored_cell(const Open& node, int anchor) const {
    const int number = anchor - kAdaptiveRule - 1;
    if (number >= static_cast<int>(columns_.refinements->size())) reject(node_, "the anchor names a refinement that does not exist.");
    return {node.box, path_, std::min<int>(anchor, kAdaptiveRule), number < 0 ? nullptr : &(*columns_.refinements)[number]};
}

// Goes to a node: the path becomes that of the node.
void TreeAudit::enter(const Open& node) {
    while (path_.size() > node.depth) {
        on_path_[path_.back().neuron] = 0;
        path_.pop_back();
    }
    if (!node.has_phase) return;
    path_.push_back(node.phase);
    on_path_[node.phase.neuron] = 1;
}

void TreeAudit::split_input(const Open& node) {
    if (split_ >= columns_.splits || threshold_ >= columns_.thresholds) reject(node_, "a column ends before this split.");
    const std::int32_t i = columns_.index[split_++];
    const double t = columns_.threshold[threshold_++];
    if (i < 0 || i >= net_.inputs()) reject(node_, "the split names an input that the network does not have.");
    auto first = std::make_shared<Box>(*node.box);
    auto second = std::make_shared<Box>(*node.box);
    first->upper[i] = std::min(first->upper[i], t);
    second->lower[i] = std::max(second->lower[i], t);
    for (const auto& box : {first, second}) {
        box->empty = box->empty || box->lower[i] > box->upper[i];
        columns_.lattice.round(*box);
    }
    batch_numbers_ += 4 * first->lower.size();
    stack_.push_back({second, node.anchor, path_.size(), false, {}});
    stack_.push_back({first, node.anchor, path_.size(), false, {}});
}

void TreeAudit::split_neuron(const Open& node) {
    if (split_ >= columns_.splits) reject(node_, "'index' ends before this split.");
    const std::int32_t neuron = columns_.index[split_++];
    if (neuron < 0 || neuron >= static_cast<std::int32_t>(net_.neurons.size()))
        reject(node_, "the split names a neuron that the network does not have.");
    if (on_path_[neuron]) reject(node_, "neuron " + std::to_string(neuron) + " is split twice on one path.");
    stack_.push_back({node.box, node.anchor, path_.size(), true, {neuron, true}});
    stack_.push_back({node.box, node.anchor, path_.size(), true, {neuron, false}});
}

void TreeAudit::read_leaf(const Open& node, std::uint8_t kind) {
    if (leaf_ >= columns_.leaves) reject(node_, "'lines' ends before this leaf.");
    if (!node.anchor) reject(node_, "the leaf has no anchor above it.");
    const std::int64_t depth = static_cast<std::int64_t>(path_.size());
    const std::int32_t rule = columns_.lines[leaf_];
    if (rule < -kAdaptiveRule || rule >= columns_.slopes.rows) reject(node_, "'lines' names a row that does not exist.");
    if (beta_ + depth > columns_.betas) reject(node_, "'split_multipliers' is too short.");
    leaves_.push_back({node_, leaf_, beta_, rule, kind, 0, 0, -1, node.box, node.anchor, path_});
    if (kind == kGramLeaf) read_products(leaves_.back());
    if (kind == kBallLeaf) {
        if (ball_leaf_ >= columns_.ball_leaves || !columns_.around) reject(node_, "'curvatures' ends before this leaf.");
        leaves_.back().ball = ball_leaf_++;
    }
    batch_numbers_ += 8 + path_.size();
    ++leaf_;
    beta_ += depth;
}

void TreeAudit::read_products(Leaf& leaf) {
    if (gram_leaf_ >= columns_.gram_leaves) reject(node_, "'product_counts' ends before this leaf.");
    leaf.products = columns_.product_counts[gram_leaf_++];
    if (leaf.products < 0 || leaf.products > columns_.products - product_) reject(node_, "'products' does not fit its counts.");
    leaf.first_product = product_;
    product_ += leaf.products;
    for (std::int64_t t = leaf.first_product; t < product_; ++t)
        if (!is_allowed(root_.setting, product(t)))
            reject(node_, "a product of facts is not allowed, or its multiplier is negative.");
    batch_numbers_ += static_cast<std::size_t>(std::min(polynomial_numbers(net_, leaf.products), 1e9));  // that is, work
}

Product TreeAudit::product(std::int64_t number) const {
    const std::int32_t* facts = columns_.product_facts + 2 * number;
    return {facts[0], facts[1], columns_.product_multipliers[number]};
}

// Many anchors: a block for each thread in turn. Few: the threads share out the rows of each block.
void TreeAudit::derive_anchors() {
    const int blocks = static_cast<int>((anchors_.size() + kLanes - 1) / kLanes);
    if (blocks < threads_)
        for (int b = 0; b < blocks; ++b) derive_block(b * kLanes, together_);
    else
        share_out(blocks, threads_, [&](int b, int worker) { derive_block(b * kLanes, alone_[worker]); });
    for (const std::shared_ptr<Anchor>& anchor : anchors_) find_empty(*anchor);  // in preorder: those above come first
}

void TreeAudit::derive_block(int first, std::vector<Backward>& workspaces) {
    const int count = std::min(kLanes, static_cast<int>(anchors_.size()) - first);
    std::vector<Cell> cells;
    for (int lane = 0; lane < count; ++lane) cells.push_back(anchors_[first + lane]->cell);
    try {
        const std::shared_ptr<const CellBlock> block = derive(root_.setting, cells, workspaces);
        for (int lane = 0; lane < count; ++lane) {
            anchors_[first + lane]->block = block;
            anchors_[first + lane]->lane = lane;
        }
    } catch (const Rejected& error) {
        reject(anchors_[first]->node, error.what());
    }
}

void TreeAudit::check_leaves() {
    std::vector<const Leaf*> open, gram;
    for (const Leaf& leaf : leaves_) {
        if (is_empty(leaf)) continue;
        if (leaf.kind == kEnumerationLeaf)
            enumerate(leaf);
        else
            (leaf.kind == kGramLeaf ? gram : open).push_back(&leaf);
    }
    std::vector<double> bounds((open.size() + kLanes - 1) / kLanes * kLanes);
    share_out(static_cast<int>(bounds.size() / kLanes), threads_, [&](int b, int worker) {
        const int first = b * kLanes;
        const int count = std::min(kLanes, static_cast<int>(open.size()) - first);
        check_rows(open.data() + first, count, workspaces_[worker], bounds.data() + first);
    });
    std::vector<double> gram_bounds(gram.size());
    share_out(static_cast<int>(gram.size()), threads_,
              [&](int t, int worker) { gram_bounds[t] = check_gram(*gram[t], workspaces_[worker]); });
    for (std::size_t t = 0; t < open.size(); ++t) margin_ = std::min(margin_, proven_margin(*open[t], bounds[t]));
    for (std::size_t t = 0; t < gram.size(); ++t) margin_ = std::min(margin_, proven_margin(*gram[t], gram_bounds[t]));
}

void TreeAudit::enumerate(const Leaf& leaf) {
    try {
        enumerations_.push_back({leaf.node, 0, Points(columns_.lattice, *leaf.box, root_.setting.ball), leaf.anchor});
    } catch (const Rejected& error) {
        reject(leaf.node, error.what());
    }
}

// The next points of the first enumeration leaf, a few lanes for each thread in turn.
void TreeAudit::check_points() {
    const Downward mode;
    Enumeration& leaf = enumerations_.front();
    const std::int64_t first = leaf.next, last = std::min(first + kBatchPoints, leaf.points.count());
    const int blocks = static_cast<int>((last - first + kLanes - 1) / kLanes);
    std::vector<double> least(blocks);
    share_out(blocks, threads_, [&](int b, int worker) {
        const std::int64_t begin = first + std::int64_t{b} * kLanes;
        least[b] = least_margin(leaf, begin, std::min(begin + kLanes, last), worker);
    });
    for (const double margin : least) margin_ = std::min(margin_, margin);
    leaf.next = last;
    if (last == leaf.points.count()) enumerations_.pop_front();
}

// A lower bound of the least, over points that count, of the greatest margin. Throws Rejected where none excludes a point.
double TreeAudit::least_margin(const Enumeration& leaf, std::int64_t first, std::int64_t last, int worker) {
    std::vector<Cell> cells;
    for (std::int64_t number = first; number < last; ++number) {
        auto box = std::make_shared<Box>();
        box->lower.resize(net_.inputs());
        if (!leaf.points.write(number, box->lower.data())) continue;
        box->upper = box->lower;
        cells.push_back({std::move(box), {}, kIntervalRule, nullptr});
    }
    double best[kLanes], least = std::numeric_limits<double>::infinity();
    bool holds[kLanes] = {};
    try {
        if (!cells.empty()) best_margins(cells, worker, best, holds);
    } catch (const Rejected& error) {
        reject(leaf.node, error.what());
    }
    for (std::size_t lane = 0; lane < cells.size(); ++lane) {
        if (!holds[lane]) reject(leaf.node, "a point of the enumeration leaf is not excluded.");
        least = std::min(least, best[lane]);
    }
    return least;
}

// By interval arithmetic at points: the greatest margin from below, and whether one of them excludes a catastrophe.
void TreeAudit::best_margins(const std::vector<Cell>& cells, int worker, double* best, bool* holds) {
    const std::unique_ptr<CellBlock> block = derive(root_.setting, cells, alone_[worker]);
    const int count = static_cast<int>(cells.size());
    Backward& backward = workspaces_[worker].backward;
    Row rows[kLanes];
    for (int lane = 0; lane < count; ++lane) {
        rows[lane] = {block.get(), lane, cells[lane].box.get(), nullptr, kIntervalRule, nullptr};
        best[lane] = -std::numeric_limits<double>::infinity();
    }
    for (int r = 0; r < margins_.count; ++r) {
        double bounds[kLanes];
        backward.start(rows, count);
        for (int lane = 0; lane < count; ++lane) add_margin(r, 1.0, lane, backward);
        backward.bound(bounds);
        for (int lane = 0; lane < count; ++lane) {
            if (!(bounds[lane] > 0.0 || (margins_.strict[r] && bounds[lane] == 0.0))) continue;
            holds[lane] = true;
            best[lane] = std::max(best[lane], bounds[lane]);
        }
    }
}

void TreeAudit::find_empty(Anchor& anchor) const {
    anchor.empty = anchor.cell.box->empty || anchor.block->empty[anchor.lane];
    if (anchor.above) anchor.empty = anchor.empty || contradicted(*anchor.above, anchor.cell.phases);
    anchor.above.reset();
}

// Whether an anchor is empty, or is once its intervals are cut by these phases.
bool TreeAudit::contradicted(const Anchor& anchor, const Phases& phases) const {
    if (anchor.empty) return true;
    for (const Phase& phase : phases) {
        const Neuron& neuron = net_.neurons[phase.neuron];
        const std::size_t e = static_cast<std::size_t>(neuron.component) * kLanes + anchor.lane;
        const CellBlock& block = *anchor.block;
        if ((phase.active ? block.source_neg : block.source_low)[neuron.source][e] > 0.0) return true;  // u < 0, or l > 0
    }
    return false;
}

bool TreeAudit::is_empty(const Leaf& leaf) const { return leaf.box->empty || contradicted(*leaf.anchor, leaf.phases); }

void TreeAudit::check_rows(const Leaf* const* leaves, int count, Workspace& space, double* bounds) const {
    Row rows[kLanes];
    for (int lane = 0; lane < count; ++lane) rows[lane] = row_of(*leaves[lane], space, lane);
    space.backward.start(rows, count);
    for (int lane = 0; lane < count; ++lane) seed(*leaves[lane], lane, space.backward);
    space.backward.bound(bounds);
}

Row TreeAudit::row_of(const Leaf& leaf, Workspace& space, int lane) const {
    return {leaf.anchor->block.get(), leaf.anchor->lane, leaf.box.get(), &leaf.phases,
            leaf.rule < 0 ? -leaf.rule : kAdaptiveRule, slopes_of(leaf, space.slopes[lane]),
            curvatures_of(leaf, space.curvatures[lane]), columns_.around};
}

const double* TreeAudit::curvatures_of(const Leaf& leaf, std::vector<double>& curvatures) const {
    if (leaf.ball < 0) return nullptr;
    curvatures.resize(columns_.relus);
    for (std::int64_t k = 0; k < columns_.relus; ++k) {
        curvatures[k] = columns_.curvatures[leaf.ball * columns_.relus + k];
        if (!(curvatures[k] >= 0.0)) reject(leaf.node, "a curvature is negative or no number.");
        if (curvatures[k] > 0.0 && !columns_.around->known[k]) reject(leaf.node, "a curvature where nothing is known of the distance.");
    }
    return curvatures.data();
}

double TreeAudit::check_gram(const Leaf& leaf, Workspace& space) const {
    std::vector<Product> products;
    for (std::int32_t t = 0; t < leaf.products; ++t) products.push_back(product(leaf.first_product + t));
    const Row row = row_of(leaf, space, 0);
    try {
        return gram_bound(root_.setting, row, products, space.backward, [&] { seed(leaf, 0, space.backward); });
    } catch (const TooManyKept& error) {
        reject(leaf.node, error.what());
    }
}

const double* TreeAudit::slopes_of(const Leaf& leaf, std::vector<double>& slopes) const {
    if (leaf.rule < 0) return nullptr;
    slopes.resize(net_.neurons.size(), -1.0);
    if (!columns_.slopes.write_row(leaf.rule, slopes.data())) reject(leaf.node, "a slope is outside [0, 1].");
    return slopes.data();
}

// sum_r lambda_r m_r and the splits' terms, as a function of the shifted values.
void TreeAudit::seed(const Leaf& leaf, int lane, Backward& backward) const {
    for (int r = 0; r < margins_.count; ++r) {
        const double weight = columns_.multipliers[leaf.number * margins_.count + r];
        if (weight == 0.0) continue;
        if (!(weight > 0.0)) reject(leaf.node, "a multiplier is negative or no number.");
        add_margin(r, weight, lane, backward);
    }
    for (std::size_t t = 0; t < leaf.phases.size(); ++t) {
        const double beta = columns_.split_multipliers[leaf.first_beta + static_cast<std::int64_t>(t)];
        if (beta == 0.0) continue;
        if (!(beta > 0.0)) reject(leaf.node, "a split multiplier is negative or no number.");
        backward.add_split(leaf.phases[t], beta, lane);
    }
}

void TreeAudit::add_margin(int r, double weight, int lane, Backward& backward) const {
    backward.constants()[lane] += weight * margins_.constants[r];
    for (const bool at_input : {true, false}) {
        const std::vector<double>& row = at_input ? margins_.x[r] : margins_.y[r];
        if (row.empty()) continue;
        double* out = backward.coefficients(at_input ? 0 : net_.output);
        for (std::size_t i = 0; i < row.size(); ++i) out[i * kLanes + lane] += weight * row[i];
    }
}

double TreeAudit::proven_margin(const Leaf& leaf, double bound) const {
    bool strict = false;
    double neg_total = 0.0;
    for (int r = 0; r < margins_.count; ++r) {
        const double weight = columns_.multipliers[leaf.number * margins_.count + r];
        strict = strict || (weight > 0.0 && margins_.strict[r]);
        neg_total -= weight;
    }
    if (!(bound > 0.0 || (strict && bound == 0.0)))
        reject(leaf.node, "the leaf's bound F = " + std::to_string(bound) + " is not positive.");
    return neg_total < 0.0 ? bound / -neg_total : std::numeric_limits<double>::infinity();
}

}  // namespace pydual::audit
