#include "kernels/backward.hpp"

#include "core/dispatch.hpp"
#include "kernels/affine.hpp"

namespace pydual {
namespace {

PYDUAL_DISPATCH void add(const double* x, long n, double* y) {
    for (long e = 0; e < n; ++e) y[e] += x[e];
}

PYDUAL_DISPATCH void add_bias(const double* hat, const double* bias, int n, int r, double* constant) {
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < r; ++c) constant[c] += bias[i] * hat[static_cast<long>(i) * r + c];
}

}  // namespace

void substitute_layer(const Program& program, int k, const Lines* lines, const double* const* split, int r, const Adjoints& a) {
    const Layer& layer = program.layers[k - 1];
    double* hat = a.before[k];
    relax_backward(lines[k], a.after[k], layer.size, r, hat, a.constant);
    if (split && split[k]) add(split[k], static_cast<long>(layer.size) * r, hat);
    add_bias(hat, layer.bias, layer.size, r, a.constant);
    for (const Term& term : layer.terms) apply_transposed(term, hat, r, r, a.after[term.source], r);
}

void back_substitute(const Program& program, int top, const Lines* lines, const double* const* split, int r,
                     const Adjoints& a) {
    for (int k = top; k >= 1; --k) substitute_layer(program, k, lines, split, r, a);
}

void play_forward(const Program& program, int top, const Lines* lines, const double* const* after, int r, double* const* y,
                  double* const* z) {
    for (int k = 1; k <= top; ++k) {
        const Layer& layer = program.layers[k - 1];
        evaluate(layer, z, r, y[k]);
        relax_forward(lines[k], after[k], y[k], layer.size, r, z[k]);
    }
}

}  // namespace pydual
