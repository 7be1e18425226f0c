// N neighbors in memory as one value, whose arithmetic is that of each.
#pragma once

#include <cstring>

namespace pydual {

#if defined(__GNUC__)
template <int N>
struct Packed {
    typedef double type __attribute__((vector_size(N * sizeof(double))));
};
template <>
struct Packed<1> {
    typedef double type;
};
template <int N>
using Pack = typename Packed<N>::type;
#else
template <int N>
struct Pack {
    double at[N];
};
template <int N>
Pack<N> operator*(double a, const Pack<N>& x) {
    Pack<N> y;
    for (int c = 0; c < N; ++c) y.at[c] = a * x.at[c];
    return y;
}
template <int N>
Pack<N> operator*(const Pack<N>& a, const Pack<N>& x) {
    Pack<N> y;
    for (int c = 0; c < N; ++c) y.at[c] = a.at[c] * x.at[c];
    return y;
}
template <int N>
Pack<N>& operator+=(Pack<N>& y, const Pack<N>& x) {
    for (int c = 0; c < N; ++c) y.at[c] += x.at[c];
    return y;
}
#endif

}  // namespace pydual
