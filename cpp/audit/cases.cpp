#include "audit/cases.hpp"

namespace pydual::audit {
namespace {

constexpr std::size_t kMostSplits = 256;  // above a case

}  // namespace

std::vector<CaseTree> read_cases(const std::int32_t* splits, std::int64_t entries, const Numbers& multipliers, std::int64_t count) {
    std::vector<CaseTree> trees;
    std::vector<Phases> open;
    std::int64_t used = 0;
    for (std::int64_t e = 0; e < entries; ++e) {
        if (open.empty()) {
            trees.emplace_back();
            open.emplace_back();
        }
        Phases path = std::move(open.back());
        open.pop_back();
        if (splits[e] >= 0) {
            if (path.size() == kMostSplits) throw Rejected("a case has more than 256 splits above it.");
            path.push_back({splits[e], true});
            open.push_back(path);
            path.back().active = false;
            open.push_back(std::move(path));
            continue;
        }
        if (static_cast<std::int64_t>(path.size()) > count - used) throw Rejected("the multipliers of cases are too few.");
        Case found{std::move(path), {}};
        for (std::size_t t = 0; t < found.phases.size(); ++t) found.multipliers.push_back(multipliers[used++]);
        trees.back().push_back(std::move(found));
    }
    if (!open.empty()) throw Rejected("the splits of cases end inside of a tree.");
    if (used != count) throw Rejected("there are more multipliers of cases than splits above them.");
    return trees;
}

}  // namespace pydual::audit
