// Optimizers: one step of all parameters of a layer. Their coefficients come from the host for every step, so that
// schedules, decay and bias corrections are data, computed in float64.
#pragma once

#include <cmath>
#include <cstdint>

#include "layers.h"

enum class OptimizerKind : std::int32_t { ADAMW = 0, SGD = 1, NESTEROV = 2, ADAM = 3 };

// The sum of squares of a gradient.
inline float square_of_norm(const Parameters& of) {
    const float* gradient = of.gradient[0];
    Vector sums{};
    for (int n = 0; n < of.gradient.rows * of.gradient.stride; n += WIDTH) {
        const Vector part = load(gradient + n);
        sums += part * part;
    }
    float total = 0.0f;
    for (int n = 0; n < WIDTH; ++n) total += sums[n];
    return total;
}

inline void scale_gradient(Parameters& of, float factor) {
    float* gradient = of.gradient[0];
    for (int n = 0; n < of.gradient.rows * of.gradient.stride; ++n) gradient[n] *= factor;
}

// Moments without their factors: M = beta1 M + g, V = beta2 V + g^2, x = (1 - decay) x - size M / (sqrt(V) + epsilon);
// of Adam, which is not decoupled, g = gradient + decay x, x = x - size M / (sqrt(V) + epsilon).
inline void step_adam(Parameters& of, float beta1, float beta2, bool is_decoupled, float size, float epsilon, float decay) {
    float *x = of.values[0], *first = of.first_moment[0], *second = of.second_moment[0];
    const float* gradient = of.gradient[0];
    const float kept = is_decoupled ? 1.0f - decay : 1.0f;
    for (int n = 0; n < of.values.rows * of.values.stride; ++n) {
        const float g = is_decoupled ? gradient[n] : gradient[n] + decay * x[n];
        first[n] = beta1 * first[n] + g;
        second[n] = beta2 * second[n] + g * g;
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
