// N neighbors in memory as one value, whose arithmetic is that of each.
#pragma once

#include <cstring>

namespace pydual {

#if defined(__GNUC__)
template <int N, class Real>
struct Packed {
    typedef Real type __attribute__((vector_size(N * sizeof(Real))));
};
template <class Real>
struct Packed<1, Real> {
    typedef Real type;
};
template <int N, class Real = double>
using Pack = typename Packed<N, Real>::type;
#else
template <int N, class Real = double>
struct Pack {
    Real at[N];
};
template <int N, class Real>
Pack<N, Real> operator*(Real a, const Pack<N, Real>& x) {
    Pack<N, Real> y;
    for (int c = 0; c < N; ++c) y.at[c] = a * x.at[c];
    return y;
}
template <int N, class Real>
Pack<N, Real> operator*(const Pack<N, Real>& a, const Pack<N, Real>& x) {
    Pack<N, Real> y;
    for (int c = 0; c < N; ++c) y.at[c] = a.at[c] * x.at[c];
    return y;
}
template <int N, class Real>
Pack<N, Real>& operator+=(Pack<N, Real>& y, const Pack<N, Real>& x) {
    for (int c = 0; c < N; ++c) y.at[c] += x.at[c];
    return y;
}
#endif

}  // namespace pydual
