// A proof tree, read in preorder and checked batch by batch (PROOFS.md, section 3), in memory that depends on its depth only.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <vector>

#include "audit/backward.hpp"
#include "audit/cells.hpp"
#include "audit/enumeration.hpp"
#include "audit/gram.hpp"
#include "audit/slopes.hpp"

namespace pydual::audit {

// The columns of a tree, whose types, lengths and ranges have been checked, but not that they fit together.
struct Columns {
    std::int64_t nodes = 0, splits = 0, thresholds = 0, leaves = 0, betas = 0, products = 0, gram_leaves = 0, ball_leaves = 0, relus = 0;
    const std::uint8_t* kind = nullptr;
    const std::uint8_t* anchor = nullptr;
    const std::int32_t* index = nullptr;
    const double* threshold = nullptr;
    const std::int32_t* lines = nullptr;
    Slopes slopes;
    Numbers multipliers, split_multipliers;
    const std::int32_t* product_facts = nullptr;  // two for each product
    Numbers product_multipliers;
    const std::int32_t* product_counts = nullptr;
    Numbers curvatures;                     // of ball leaves: one for each relu
    const Surroundings* around = nullptr;   // where there are ball leaves
    const std::vector<Refinement>* refinements = nullptr;
    Lattice lattice;
};

// The intervals of the root of a region, and the shift: shared by all problems of the region.
struct Root {
    Root(const Network& network, BoxPointer box, const Ball* ball, bool float32, int anchor, const Refinement* refinement,
         int threads);
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;

    Shift shift;
    Setting setting;
    BoxPointer box;
    int anchor;
    std::shared_ptr<const CellBlock> block;
};

class TreeAudit {
public:
    TreeAudit(const Root& root, Margins margins, const Columns& columns, int threads);
    ~TreeAudit();

    // Checks the next batch of leaves; whether there are more. Throws Rejected.
    bool advance();

    // A lower bound of the least proven margin of the leaves so far.
    double margin() const { return margin_; }

private:
    struct Anchor {
        Cell cell;
        std::shared_ptr<const Anchor> above;  // until `empty` is known: then its block may be dropped
        std::int64_t node = 0;
        std::shared_ptr<const CellBlock> block;
        int lane = 0;
        bool empty = false;
    };

    struct Open {  // a node that is still to be read
        BoxPointer box;
        std::shared_ptr<Anchor> anchor;
        std::size_t depth = 0;  // of neuron splits above it, without `phase`
        bool has_phase = false;
        Phase phase;
    };

    struct Leaf {
        std::int64_t node = 0;
        std::int64_t number = 0;
        std::int64_t first_beta = 0;
        std::int32_t rule = 0;  // for lines, or a row of slopes
        std::uint8_t kind = 0;
        std::int64_t first_product = 0;
        std::int32_t products = 0;
        std::int64_t ball = -1;  // its number among ball leaves
        BoxPointer box;
        std::shared_ptr<const Anchor> anchor;
        Phases phases;
    };

    struct Enumeration {  // the points of a leaf, those before `next` checked
        std::int64_t node = 0, next = 0;
        Points points;
        std::shared_ptr<const Anchor> anchor;
    };

    struct Workspace {
        Backward backward;
        std::vector<std::vector<double>> slopes;      // of each lane, by neuron
        std::vector<std::vector<double>> curvatures;  // of each lane, by relu
    };

    void read_node();
    Cell anchored_cell(const Open& node, int anchor) const;
    void enter(const Open& node);
    void split_input(const Open& node);
    void split_neuron(const Open& node);
    void read_leaf(const Open& node, std::uint8_t kind);
    void read_products(Leaf& leaf);
    Product product(std::int64_t number) const;
    bool more() const;
    void finish();
    bool batch_full() const;
    void derive_anchors();
    void derive_block(int first, std::vector<Backward>& workspaces);
    void check_leaves();
    void enumerate(const Leaf& leaf);
    void check_points();
    double least_margin(const Enumeration& leaf, std::int64_t first, std::int64_t last, int worker);
    void best_margins(const std::vector<Cell>& cells, int worker, double* best, bool* holds);
    void find_empty(Anchor& anchor) const;
    bool contradicted(const Anchor& anchor, const Phases& phases) const;
    bool is_empty(const Leaf& leaf) const;
    void check_rows(const Leaf* const* leaves, int count, Workspace& space, double* bounds) const;
    double check_gram(const Leaf& leaf, Workspace& space) const;
    Row row_of(const Leaf& leaf, Workspace& space, int lane) const;
    const double* curvatures_of(const Leaf& leaf, std::vector<double>& curvatures) const;
    void seed(const Leaf& leaf, int lane, Backward& backward) const;
    void add_margin(int r, double weight, int lane, Backward& backward) const;
    const double* slopes_of(const Leaf& leaf, std::vector<double>& slopes) const;
    double proven_margin(const Leaf& leaf, double bound) const;

    const Root& root_;
    const Network& net_;
    Margins margins_;
    Columns columns_;
    int threads_;
    std::vector<Workspace> workspaces_;
    std::vector<Backward> together_;            // for one block of anchors at a time
    std::vector<std::vector<Backward>> alone_;  // for a block of anchors each

    std::vector<Open> stack_;
    Phases path_;
    std::vector<char> on_path_;
    std::int64_t node_ = 0, split_ = 0, threshold_ = 0, leaf_ = 0, beta_ = 0, product_ = 0, gram_leaf_ = 0, ball_leaf_ = 0;
    std::vector<std::shared_ptr<Anchor>> anchors_;
    std::vector<Leaf> leaves_;
    std::deque<Enumeration> enumerations_;
    std::size_t batch_numbers_ = 0;
    double margin_ = std::numeric_limits<double>::infinity();
};

}  // namespace pydual::audit
