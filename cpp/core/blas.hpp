// Dense linear algebra through the Fortran functions whose addresses Python hands over (scipy exports BLAS and LAPACK).
#pragma once

#include <algorithm>

namespace pydual {

template <class Real>
using Gemm = void (*)(char* transa, char* transb, int* m, int* n, int* k, Real* alpha, Real* a, int* lda, Real* b, int* ldb,
                      Real* beta, Real* c, int* ldc);

using Dgemv = void (*)(char* trans, int* m, int* n, double* alpha, double* a, int* lda, double* x, int* incx, double* beta,
                       double* y, int* incy);
using Dsyrk = void (*)(char* uplo, char* trans, int* n, int* k, double* alpha, double* a, int* lda, double* beta, double* c,
                       int* ldc);
using Dtrsm = void (*)(char* side, char* uplo, char* transa, char* diag, int* m, int* n, double* alpha, double* a, int* lda,
                       double* b, int* ldb);
using Dpotrf = void (*)(char* uplo, int* n, double* a, int* lda, int* info);
using Dpotri = Dpotrf;

struct LinearAlgebra {
    Gemm<double> dgemm = nullptr;
    Gemm<float> sgemm = nullptr;
    Dgemv dgemv = nullptr;
    Dsyrk dsyrk = nullptr;
    Dtrsm dtrsm = nullptr;
    Dpotrf dpotrf = nullptr;
    Dpotri dpotri = nullptr;
};

// Set once, before any kernel runs that needs them (bind/objects.hpp).
inline LinearAlgebra& linear_algebra() {
    static LinearAlgebra functions;
    return functions;
}

inline Gemm<double> gemm(double) { return linear_algebra().dgemm; }
inline Gemm<float> gemm(float) { return linear_algebra().sgemm; }

// C (m x r, row stride ldc) += A (m x k) * B (k x r, row stride ldb).
template <class Real>
void multiply_add(const Real* a, int m, int k, const Real* b, int ldb, int r, Real* c, int ldc) {
    if (m == 0 || k == 0 || r == 0) return;
    char plain = 'N';
    Real one = 1;
    // Row-major C = A B is column-major C' = B' A'.
    gemm(one)(&plain, &plain, &r, &m, &k, &one, const_cast<Real*>(b), &ldb, const_cast<Real*>(a), &k, &one, c, &ldc);
}

// C (k x r, row stride ldc) += A' * B for A (m x k), B (m x r, row stride ldb).
template <class Real>
void multiply_transposed_add(const Real* a, int m, int k, const Real* b, int ldb, int r, Real* c, int ldc) {
    if (m == 0 || k == 0 || r == 0) return;
    char plain = 'N';
    char transposed = 'T';
    Real one = 1;
    gemm(one)(&plain, &transposed, &r, &k, &m, &one, const_cast<Real*>(b), &ldb, const_cast<Real*>(a), &k, &one, c, &ldc);
}

// y (n) = A' x for A (m x n), x (m).
inline void multiply_transposed(const double* a, int m, int n, const double* x, double* y) {
    std::fill_n(y, n, 0.0);
    if (m == 0 || n == 0) return;
    char plain = 'N';
    double one = 1.0;
    int step = 1;
    linear_algebra().dgemv(&plain, &n, &m, &one, const_cast<double*>(a), &n, const_cast<double*>(x), &step, &one, y, &step);
}

// S (m x m) = A A' for A (m x n), both triangles.
inline void symmetric_square(const double* a, int m, int n, double* s) {
    std::fill_n(s, static_cast<long>(m) * m, 0.0);
    if (m == 0 || n == 0) return;
    char upper = 'U';
    char transposed = 'T';
    double one = 1.0;
    linear_algebra().dsyrk(&upper, &transposed, &m, &n, &one, const_cast<double*>(a), &n, &one, s, &m);
    for (int i = 0; i < m; ++i)  // Fortran's upper triangle is the lower one of a row-major matrix
        for (int j = 0; j < i; ++j) s[static_cast<long>(j) * m + i] = s[static_cast<long>(i) * m + j];
}

// The lower triangle of the row-major matrix S (m x m) becomes L with S = L L'; false if S is not positive definite.
inline bool cholesky(double* s, int m) {
    if (m == 0) return true;
    char upper = 'U';
    int info = 0;
    linear_algebra().dpotrf(&upper, &m, s, &m, &info);
    return info == 0;
}

// The lower triangle of L becomes that of the inverse of L L'.
inline void invert_cholesky(double* l, int m) {
    if (m == 0) return;
    char upper = 'U';
    int info = 0;
    linear_algebra().dpotri(&upper, &m, l, &m, &info);
}

// B (m x n) becomes the solution of L X = B.
inline void solve_lower(const double* l, int m, int n, double* b) {
    if (m == 0 || n == 0) return;
    char right = 'R';
    char upper = 'U';
    char plain = 'N';
    double one = 1.0;
    // Row-major L X = B is column-major X' L' = B', where L' is stored as an upper triangle.
    linear_algebra().dtrsm(&right, &upper, &plain, &plain, &n, &m, &one, const_cast<double*>(l), const_cast<int*>(&m), b, &n);
}

// B (m x n) becomes the solution of L' X = B.
inline void solve_lower_transposed(const double* l, int m, int n, double* b) {
    if (m == 0 || n == 0) return;
    char right = 'R';
    char upper = 'U';
    char plain = 'N';
    char transposed = 'T';
    double one = 1.0;
    linear_algebra().dtrsm(&right, &upper, &transposed, &plain, &n, &m, &one, const_cast<double*>(l), const_cast<int*>(&m), b, &n);
}

}  // namespace pydual
