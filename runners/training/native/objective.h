// What is minimised: the focal loss of the softmax, gamma 0 being cross-entropy, with weights of classes and examples,
// and mining.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "functions.h"
#include "matrix.h"

enum class Mining : std::int32_t { NONE = 0, FRACTION = 1, RATIO = 2 };

// What a count is scaled by before it is rounded up: 0.3 of 10 examples are 3, though float32 says 3.0000001.
constexpr float ROUNDING = 1.0f - 1.0f / (1 << 22);

// How many examples a share of so many are.
inline int share_of(float share, int examples) {
    const float wanted = std::ceil(share * float(examples) * ROUNDING);
    return wanted < float(examples) ? int(wanted) : examples;
}

// One batch: its losses, and the slopes by its logits.
struct Objective {
    const int classes;
    const float gamma;
    const float* class_weight;
    const Mining mining;
    const float share;

    // By class and then by example, so that a vector holds examples.
    Matrix by_class, others;
    std::vector<float> losses, largest, of_label, of_others, logit_of_label, coefficient, weight;
    std::vector<std::uint8_t> is_kept;
    std::vector<int> order;

    Objective(int classes, int batch_size, float gamma, const float* class_weight, Mining mining, float share)
        : classes(classes), gamma(gamma), class_weight(class_weight), mining(mining), share(share),
          by_class(classes, batch_size), others(classes, batch_size), losses(batch_size), largest(batch_size),
          of_label(batch_size), of_others(batch_size), logit_of_label(batch_size), coefficient(batch_size),
          weight(batch_size), is_kept(batch_size, 1) {
        order.reserve(batch_size);
    }

    // The mean loss of the examples that count; writes its slopes by the logits (examples, classes) into by_logits.
    float operator()(const Matrix& logits, const std::int32_t* labels, const float* own_weight, Matrix& by_logits,
                     int examples) {
        focal(logits, labels, examples);
        for (int n = 0; n < examples; ++n) {
            weight[n] = class_weight[labels[n]] * own_weight[n];
            losses[n] *= weight[n];
        }
        const int kept = mining == Mining::NONE ? examples : mine(labels, examples);
        float mean = 0.0f;
        for (int n = 0; n < examples; ++n) {
            // Times 0, so that a NaN is seen that mining leaves out.
            const float counts = is_kept[n] ? 1.0f / float(kept) : 0.0f;
            mean += losses[n] * counts;
            coefficient[n] *= weight[n] * counts;
        }
        for (int c = 0; c < classes; ++c)
            for (int n = 0; n < examples; ++n)
                by_logits[n][c] = coefficient[n] * (labels[n] == c ? -of_others[n] : others[c][n]);
        return mean;
    }

  private:
    // loss = -q^gamma log p, slope of logit j = q^gamma (1 - gamma p log(p) / q) (p_j - y_j), with q = 1 - p summed from
    // the other classes, so that it is exact where p rounds to 1; the coefficient is the slope's first two factors.
    void focal(const Matrix& logits, const std::int32_t* labels, int examples) {
        std::fill(largest.begin(), largest.end(), -std::numeric_limits<float>::infinity());
        std::fill(of_label.begin(), of_label.end(), 0.0f);
        std::fill(of_others.begin(), of_others.end(), 0.0f);
        std::fill(logit_of_label.begin(), logit_of_label.end(), 0.0f);
        for (int c = 0; c < classes; ++c) {
            float* logit = by_class[c];
            for (int n = 0; n < examples; ++n) logit[n] = logits[n][c];
            for (int n = 0; n < examples; ++n) largest[n] = logit[n] > largest[n] ? logit[n] : largest[n];
        }
        for (int c = 0; c < classes; ++c) {
            float *logit = by_class[c], *other = others[c];
#pragma GCC ivdep
            for (int n = 0; n < examples; ++n) {
                const float shifted = logit[n] - largest[n], e = exponential(shifted);
                const bool is_label = labels[n] == c;
                other[n] = is_label ? 0.0f : e;
                of_others[n] += is_label ? 0.0f : e;
                of_label[n] += is_label ? e : 0.0f;
                logit_of_label[n] += is_label ? shifted : 0.0f;
            }
        }
#pragma GCC ivdep
        for (int n = 0; n < examples; ++n) {
            // of_label is 1 where the label has the largest logit: small others keep their digits.
            const float beyond_one = (of_label[n] - 1.0f) + of_others[n], reciprocal = 1.0f / (beyond_one + 1.0f);
            const float cross_entropy = logarithm_of_one_plus(beyond_one) - logit_of_label[n];
            const float smallest = std::numeric_limits<float>::min(), rest = of_others[n] * reciprocal;
            const float q = rest < smallest ? smallest : rest;
            const float modulation = exponential(gamma * logarithm(q));
            losses[n] = modulation * cross_entropy;
            coefficient[n] =
                modulation * reciprocal * (1.0f + gamma * of_label[n] * reciprocal * cross_entropy / q);
        }
    }

    // Marks the hardest examples; returns how many count.
    int mine(const std::int32_t* labels, int examples) {
        order.clear();
        for (int n = 0; n < examples; ++n) {
            const bool is_positive = mining == Mining::RATIO && labels[n] == 1;
            is_kept[n] = is_positive;
            if (!is_positive) order.push_back(n);
        }
        const int candidates = int(order.size()), positives = examples - candidates;
        int count = share_of(share, examples);
        if (mining == Mining::RATIO) {
            const float wanted = std::ceil(share * float(positives) * ROUNDING);
            count = wanted < float(candidates) ? std::max(1, int(wanted)) : candidates;
        }
        count = std::min(count, candidates);
        // NaN counts as the highest loss; of equal ones the earlier is harder.
        auto hardness = [this](int n) {
            return losses[n] == losses[n] ? losses[n] : std::numeric_limits<float>::infinity();
        };
        std::nth_element(order.begin(), order.begin() + count, order.end(), [&](int a, int b) {
            return hardness(a) != hardness(b) ? hardness(a) > hardness(b) : a < b;
        });
        for (int n = 0; n < count; ++n) is_kept[order[n]] = 1;
        return positives + count;
    }
};
