#include "audit/products.hpp"

namespace pydual::audit {
namespace {

// Four rows of R at a time: the lanes of w are loaded once for all four.
PYDUAL_AUDIT_DISPATCH void dense_four(const double* r, int stride, const double* w, const std::int32_t* active, int count,
                                      double* out) {
    double sum[4][kLanes] = {};
    for (int t = 0; t < count; ++t) {
        const std::int32_t i = active[t];
        const double* lanes = w + static_cast<std::ptrdiff_t>(i) * kLanes;
        for (int c = 0; c < 4; ++c) {
            const double m = r[static_cast<std::ptrdiff_t>(c) * stride + i];
            for (int lane = 0; lane < kLanes; ++lane) sum[c][lane] += m * lanes[lane];
        }
    }
    for (int c = 0; c < 4; ++c)
        for (int lane = 0; lane < kLanes; ++lane) out[c * kLanes + lane] += sum[c][lane];
}

PYDUAL_AUDIT_DISPATCH void dense_one(const double* r, const double* w, const std::int32_t* active, int count, double* out) {
    double sum[kLanes] = {};
    for (int t = 0; t < count; ++t) {
        const double m = r[active[t]];
        for (int lane = 0; lane < kLanes; ++lane) sum[lane] += m * w[static_cast<std::ptrdiff_t>(active[t]) * kLanes + lane];
    }
    for (int lane = 0; lane < kLanes; ++lane) out[lane] += sum[lane];
}

PYDUAL_AUDIT_DISPATCH void sparse_rows(const Rows& r, const double* w, double* out) {
    for (int c = 0; c < r.rows; ++c) {
        double sum[kLanes] = {};
        for (std::int64_t p = r.starts[c]; p < r.starts[c + 1]; ++p) {
            const double* lanes = w + static_cast<std::ptrdiff_t>(r.indices[p]) * kLanes;
            for (int lane = 0; lane < kLanes; ++lane) sum[lane] += r.values[p] * lanes[lane];
        }
        for (int lane = 0; lane < kLanes; ++lane) out[static_cast<std::ptrdiff_t>(c) * kLanes + lane] += sum[lane];
    }
}

// With m = up - down, up, down >= 0: m v >= up low_v + down neg_v and -m v >= up neg_v + down low_v.
inline void interval_entry(double m, const double* low_v, const double* neg_v, double* low, double* neg) {
    const double up = m > 0.0 ? m : 0.0;
    const double down = m < 0.0 ? -m : 0.0;
    for (int lane = 0; lane < kLanes; ++lane) {
        low[lane] += up * low_v[lane] + down * neg_v[lane];
        neg[lane] += up * neg_v[lane] + down * low_v[lane];
    }
}

PYDUAL_AUDIT_DISPATCH void image_row(const double* values, const std::int32_t* indices, std::int64_t count,
                                     const double* low_v, const double* neg_v, double* low, double* neg) {
    double lows[kLanes] = {};
    double negs[kLanes] = {};
    for (std::int64_t p = 0; p < count; ++p) {
        const std::ptrdiff_t j = static_cast<std::ptrdiff_t>(indices ? indices[p] : p) * kLanes;
        interval_entry(values[p], low_v + j, neg_v + j, lows, negs);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        low[lane] += lows[lane];
        neg[lane] += negs[lane];
    }
}

PYDUAL_AUDIT_DISPATCH void magnitude_row(const double* values, const std::int32_t* indices, std::int64_t count,
                                         const double* neg_a, const double* neg_b, double* out_a, double* out_b) {
    double a[kLanes] = {};
    double b[kLanes] = {};
    for (std::int64_t p = 0; p < count; ++p) {
        if (values[p] == 0.0) continue;
        const std::ptrdiff_t j = static_cast<std::ptrdiff_t>(indices ? indices[p] : p) * kLanes;
        const double m = values[p] > 0.0 ? values[p] : -values[p];
        for (int lane = 0; lane < kLanes; ++lane) {
            a[lane] += m * neg_a[j + lane];
            b[lane] += m * neg_b[j + lane] + 0x1p-124 * (neg_a[j + lane] - 1.0);
        }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        out_a[lane] += a[lane];
        out_b[lane] += b[lane];
    }
}

// The stored entries of a row: calls row(values, indices or null, count).
template <class Row>
inline void for_row(const Rows& m, int i, const Row& row) {
    const std::ptrdiff_t begin = m.dense ? static_cast<std::ptrdiff_t>(i) * m.columns : m.starts[i];
    row(m.values.data() + begin, m.dense ? nullptr : m.indices.data() + begin, m.dense ? m.columns : m.starts[i + 1] - m.starts[i]);
}

}  // namespace

void add_product(const Rows& r, const double* w, const std::int32_t* active, int active_count, double* out) {
    if (!r.dense) return sparse_rows(r, w, out);
    const std::ptrdiff_t n = r.columns;
    int c = 0;
    for (; c + 4 <= r.rows; c += 4) dense_four(r.values.data() + c * n, r.columns, w, active, active_count, out + c * kLanes);
    for (; c < r.rows; ++c) dense_one(r.values.data() + c * n, w, active, active_count, out + c * kLanes);
}

void add_image(const Rows& m, const double* low_v, const double* neg_v, double* low, double* neg) {
    for (int i = 0; i < m.rows; ++i)
        for_row(m, i, [&](const double* values, const std::int32_t* indices, std::int64_t count) {
            image_row(values, indices, count, low_v, neg_v, low + i * kLanes, neg + i * kLanes);
        });
}

void add_magnitudes(const Rows& m, const double* neg_a, const double* neg_b, double* out_a, double* out_b) {
    for (int i = 0; i < m.rows; ++i)
        for_row(m, i, [&](const double* values, const std::int32_t* indices, std::int64_t count) {
            magnitude_row(values, indices, count, neg_a, neg_b, out_a + i * kLanes, out_b + i * kLanes);
        });
}

}  // namespace pydual::audit
