// Run-time choice between instruction sets for the hot loops of one function.
#pragma once

// Under a sanitizer the resolvers of target_clones would run before its runtime is ready.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define PYDUAL_DISPATCH __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PYDUAL_DISPATCH
#endif

// A part of a dispatched function that must become part of each of its versions.
#if defined(__GNUC__)
#define PYDUAL_INLINE inline __attribute__((always_inline))
#else
#define PYDUAL_INLINE inline
#endif
