// The part of a program that can be nonzero: without the ReLUs that are inactive wherever it is used.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "core/program.hpp"

namespace pydual {

class LivePart {
public:
    // `live`: for each layer k = 1..K, which of its units to keep. All rows of the margins are kept.
    LivePart(const Program& whole, const Form& form, const std::vector<std::vector<char>>& live);
    LivePart(const LivePart&) = delete;
    LivePart& operator=(const LivePart&) = delete;

    Program program;
    Form margins;
    std::vector<std::vector<int>> units;  // [0..K] the units of each value that are kept, ascending

private:
    // The units of one value that are kept, and the place of each, or -1.
    struct Kept {
        std::vector<int> units, place;
        explicit Kept(int size) : place(size, -1) {}
        void add(int unit) {
            place[unit] = static_cast<int>(units.size());
            units.push_back(unit);
        }
    };

    Layer part(const Layer& layer, const Kept& rows);
    Term part(const Term& term, const Kept& rows, const Kept& columns);
    Sparse part(const Sparse& matrix, const Kept& lines, const Kept& others);

    std::vector<Kept> kept_;  // [0..K]
    std::deque<std::vector<double>> numbers_;
    std::deque<std::vector<std::int32_t>> indices_;
};

}  // namespace pydual
