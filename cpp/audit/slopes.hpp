// Slopes below relus as a certificate gives them (PROOFS.md, sections 4, 5 and 7).
#pragma once

#include <cstdint>
#include <vector>

namespace pydual::audit {

// Numbers of one of the types of the format; they may lie in a mapped file.
struct Numbers {
    enum class Type { uint8, float32, float64 };
    const void* data = nullptr;
    Type type = Type::float64;

    double operator[](std::int64_t i) const {
        switch (type) {
            case Type::uint8: return static_cast<const std::uint8_t*>(data)[i];
            case Type::float32: return static_cast<const float*>(data)[i];
            default: return static_cast<const double*>(data)[i];
        }
    }
};

// Rows of slopes, whose columns belong to `neurons`.
struct Slopes {
    Numbers numbers;
    std::int64_t rows = 0, columns = 0;
    const std::int32_t* neurons = nullptr;

    // Writes a row to its neurons' places in `out`; false if a slope is outside [0, 1].
    bool write_row(std::int64_t row, double* out) const {
        const double unit = numbers.type == Numbers::Type::uint8 ? 0x1p-7 : 1.0;
        for (std::int64_t c = 0; c < columns; ++c) {
            const double slope = numbers[row * columns + c] * unit;
            if (!(slope >= 0.0 && slope <= 1.0)) return false;
            out[neurons[c]] = slope;
        }
        return true;
    }
};

}  // namespace pydual::audit
