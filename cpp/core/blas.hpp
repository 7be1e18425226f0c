// Row-major matrix products through the Fortran dgemm whose address Python hands over (scipy exports it).
#pragma once

namespace pydual {

using Dgemm = void (*)(char* transa, char* transb, int* m, int* n, int* k, double* alpha, double* a, int* lda, double* b,
                       int* ldb, double* beta, double* c, int* ldc);

// Set once, before any kernel runs.
inline Dgemm& dgemm_pointer() {
    static Dgemm pointer = nullptr;
    return pointer;
}

// C (m x r, row stride ldc) += A (m x k) * B (k x r, row stride ldb).
inline void multiply_add(const double* a, int m, int k, const double* b, int ldb, int r, double* c, int ldc) {
    if (m == 0 || k == 0 || r == 0) return;
    char plain = 'N';
    double one = 1.0;
    // Row-major C = A B is column-major C' = B' A'.
    dgemm_pointer()(&plain, &plain, &r, &m, &k, &one, const_cast<double*>(b), &ldb, const_cast<double*>(a), &k, &one, c, &ldc);
}

// C (k x r, row stride ldc) += A' * B for A (m x k), B (m x r, row stride ldb).
inline void multiply_transposed_add(const double* a, int m, int k, const double* b, int ldb, int r, double* c, int ldc) {
    if (m == 0 || k == 0 || r == 0) return;
    char plain = 'N';
    char transposed = 'T';
    double one = 1.0;
    dgemm_pointer()(&plain, &transposed, &r, &k, &m, &one, const_cast<double*>(b), &ldb, const_cast<double*>(a), &k, &one, c,
                    &ldc);
}

}  // namespace pydual
