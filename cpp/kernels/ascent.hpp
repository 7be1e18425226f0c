// Ascent on the dual variables of the triangle relaxation (Xu et al. 2021, alpha-CROWN; Wang et al. 2021, beta-CROWN, eq. 8).
//
// A column is one query: margins weighted by lambda (a point of the simplex), slopes alpha in [0, 1] below unstable ReLUs,
// and a multiplier beta >= 0 for every ReLU whose phase is fixed. In an l2 ball, layers of ReLUs may have a curvature >= 0 (curved.hpp). Curves have adaptive lines, whatever their alpha and beta. Every point gives a valid bound; ascent makes it better.
#pragma once

#include "core/program.hpp"
#include "kernels/region.hpp"

namespace pydual {

struct AscentQuery {
    const Program* program = nullptr;
    RegionView region;
    const Form* margins = nullptr;             // M rows
    const double* const* lower = nullptr;      // [k], intervals of y_k
    const double* const* upper = nullptr;
    int step = 0;                              // 0: n_k intervals shared by all columns; 1: n_k x r
    const signed char* const* phase = nullptr; // [k], n_k x r: 1 active, -1 inactive, 0 free
    const signed char* allowed = nullptr;      // M x r: margins that the column may weigh
    const double* const* center = nullptr;     // [k], n_k: y_k at the ball's center; or null, without curvatures
    const double* radius = nullptr;            // [k]: of y_k around it, infinity where nothing is known
    const int* row = nullptr;                  // [r]: the one margin of each column, without weights, for evaluate_stages; or null
};

struct AscentOptions {
    int steps = 20;
    double alpha_rate = 0.1;
    double beta_rate = 0.05;
    double lambda_rate = 0.5;
    double curvature_rate = 0.1;  // of their logarithms
    double decay = 0.98;
    double target = 0.0;  // stop when every column's bound is above
};

// In: the start (alpha < 0 means the adaptive slope). Out: the best point found.
struct AscentPoint {
    double* const* alpha = nullptr;  // [k], n_k x r
    double* const* beta = nullptr;   // [k], n_k x r
    double* lambda = nullptr;        // M x r; or null where columns have one margin
    double* const* curvature = nullptr;  // [k], r (below zero: a guess); or null
};

// At the best point: the bound, its minimizing input, and for each neuron the relaxed play and its price.
struct AscentResult {
    double* bound = nullptr;         // [r]
    double* x = nullptr;             // inputs x r
    double* const* y = nullptr;      // [k] relaxed pre-activations, n_k x r
    double* const* z = nullptr;      // [k] relaxed outputs of the activations, n_k x r
    double* const* price = nullptr;  // [k] coefficients of z_k in the Lagrangian, n_k x r
};

void ascend(const AscentQuery& query, const AscentOptions& options, int r, const AscentPoint& point, const AscentResult& result);

// Only the bounds of the point itself, which stays as it is.
void evaluate_bounds(const AscentQuery& query, int r, const AscentPoint& point, double* bound);

// The same at the best stage (PROOFS.md section 4), as the audits bound, cases of refinements included; intervals shared by
// all columns.
void evaluate_stages(const AscentQuery& query, int r, const AscentPoint& point, double* bound);

}  // namespace pydual
