// Lanes: everything is computed for kLanes rows or cells at once, entry (i, lane) at [i * kLanes + lane].
#pragma once

namespace pydual::audit {

constexpr int kLanes = 8;

}  // namespace pydual::audit

// Run-time choice between instruction sets for hot loops; not under a sanitizer, whose runtime starts after the resolvers.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define PYDUAL_AUDIT_DISPATCH __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PYDUAL_AUDIT_DISPATCH
#endif

// Before a loop over lanes: it is to be vectorized, not unrolled first.
#if defined(__GNUC__) && !defined(__clang__)
#define PYDUAL_AUDIT_LANES _Pragma("GCC unroll 1")
#else
#define PYDUAL_AUDIT_LANES
#endif
