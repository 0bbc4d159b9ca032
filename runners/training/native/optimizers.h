// Optimizers: one step of all parameters of a layer. Their coefficients come from the host for every step, so that
// schedules, decay and bias corrections are data, computed in float64.
#pragma once

#include <cmath>
#include <cstdint>

#include "layers.h"

enum class OptimizerKind : std::int32_t { ADAMW = 0, SGD = 1, NESTEROV = 2 };

// Moments without their factors: M = beta1 M + g, V = beta2 V + g^2, x = (1 - decay) x - size M / (sqrt(V) + epsilon).
inline void step_adamw(Parameters& of, float beta1, float beta2, float size, float epsilon, float decay) {
    float *x = of.values[0], *first = of.first_moment[0], *second = of.second_moment[0];
    const float* gradient = of.gradient[0];
    const float kept = 1.0f - decay;
    for (int n = 0; n < of.values.rows * of.values.stride; ++n) {
        first[n] = beta1 * first[n] + gradient[n];
        second[n] = beta2 * second[n] + gradient[n] * gradient[n];
        x[n] = kept * x[n] - size * (first[n] / (std::sqrt(second[n]) + epsilon));
    }
}

// g = gradient + decay x, M = momentum M + g, x = x - rate M, or with Nesterov's look ahead x - rate (g + momentum M).
inline void step_sgd(Parameters& of, float momentum, bool is_nesterov, float rate, float decay) {
    float *x = of.values[0], *first = of.first_moment[0];
    const float* gradient = of.gradient[0];
    for (int n = 0; n < of.values.rows * of.values.stride; ++n) {
        const float g = gradient[n] + decay * x[n];
        first[n] = momentum * first[n] + g;
        x[n] -= rate * (is_nesterov ? g + momentum * first[n] : first[n]);
    }
}
