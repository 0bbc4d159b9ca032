// What is minimised: a loss of the softmax with weights of classes and examples, adjusted logits, smoothed labels and mining.
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

// What a member's loss is made of; arrays of the classes have `classes` numbers.
struct Loss {
    int classes;
    // loss = w (q^gamma (-log p) + epsilon q^(gamma + 1)), p being the softmax of the label, q = 1 - p and w its class
    // weight; under smoothed labels the mean over the classes, each with its own weight.
    float gamma, epsilon, smoothing;
    const float* class_weight;
    // Logits z count as scale z + offset, less the margin at the label.
    const float *scale, *offset, *margin;
    Mining mining;
    float share;
};

// One batch: its losses, and the slopes by its logits.
struct Objective {
    const Loss loss;

    // By class and then by example, so that a vector holds examples.
    Matrix by_class, direction;
    std::vector<float> losses, largest, of_label, of_others, logit_of_label, coefficient, weight;
    std::vector<std::uint8_t> is_kept;
    std::vector<int> order;

    Objective(const Loss& loss, int batch_size)
        : loss(loss), by_class(loss.classes, batch_size), direction(loss.classes, batch_size), losses(batch_size),
          largest(batch_size), of_label(batch_size), of_others(batch_size), logit_of_label(batch_size),
          coefficient(batch_size), weight(batch_size), is_kept(batch_size, 1) {
        order.reserve(batch_size);
    }

    // The mean loss of the examples that count; writes its slopes by the logits (examples, classes) into by_logits, or
    // adds them. own_weight: of each example.
    float operator()(const Matrix& logits, const std::int32_t* labels, const float* own_weight, Matrix& by_logits,
                     int examples, bool adds = false) {
        adjust(logits, labels, examples);
        if (loss.smoothing > 0.0f) {
            smoothed(labels, examples);
        } else {
            of_one_label(labels, examples);
        }
        for (int n = 0; n < examples; ++n) {
            // Smoothed, each class has its own weight in the loss already.
            weight[n] = (loss.smoothing > 0.0f ? 1.0f : loss.class_weight[labels[n]]) * own_weight[n];
            losses[n] *= weight[n];
        }
        const int kept = loss.mining == Mining::NONE ? examples : mine(labels, examples);
        float mean = 0.0f;
        for (int n = 0; n < examples; ++n) {
            // Times 0, so that a NaN is seen that mining leaves out.
            const float counts = is_kept[n] ? 1.0f / float(kept) : 0.0f;
            mean += losses[n] * counts;
            coefficient[n] *= weight[n] * counts;
        }
        for (int c = 0; c < loss.classes; ++c)
            for (int n = 0; n < examples; ++n) {
                const float slope = coefficient[n] * direction[c][n] * loss.scale[c];
                by_logits[n][c] = adds ? by_logits[n][c] + slope : slope;
            }
        return mean;
    }

  private:
    // The logits as the loss takes them, by class, and the largest of each example.
    void adjust(const Matrix& logits, const std::int32_t* labels, int examples) {
        std::fill(largest.begin(), largest.end(), -std::numeric_limits<float>::infinity());
        for (int c = 0; c < loss.classes; ++c) {
            float* logit = by_class[c];
            const float scale = loss.scale[c], offset = loss.offset[c], margin = loss.margin[c];
            for (int n = 0; n < examples; ++n)
                logit[n] = logits[n][c] * scale + offset - (labels[n] == c ? margin : 0.0f);
            for (int n = 0; n < examples; ++n) largest[n] = logit[n] > largest[n] ? logit[n] : largest[n];
        }
    }

    // loss = q^gamma (epsilon q - log p), slope of logit j = q^gamma (1 - gamma p log(p) / q + epsilon (gamma + 1) p)
    // (p_j - y_j), with q = 1 - p summed from the other classes, so that it is exact where p rounds to 1; the coefficient
    // is all of the slope but its last factor, the direction.
    void of_one_label(const std::int32_t* labels, int examples) {
        std::fill(of_label.begin(), of_label.end(), 0.0f);
        std::fill(of_others.begin(), of_others.end(), 0.0f);
        std::fill(logit_of_label.begin(), logit_of_label.end(), 0.0f);
        for (int c = 0; c < loss.classes; ++c) {
            float *logit = by_class[c], *other = direction[c];
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
        const float gamma = loss.gamma, epsilon = loss.epsilon;
#pragma GCC ivdep
        for (int n = 0; n < examples; ++n) {
            // of_label is 1 where the label has the largest logit: small others keep their digits.
            const float beyond_one = (of_label[n] - 1.0f) + of_others[n], reciprocal = 1.0f / (beyond_one + 1.0f);
            const float cross_entropy = logarithm_of_one_plus(beyond_one) - logit_of_label[n];
            const float q = at_least_smallest(of_others[n] * reciprocal), p = of_label[n] * reciprocal;
            const float modulation = exponential(gamma * logarithm(q));
            losses[n] = modulation * (cross_entropy + epsilon * q);
            coefficient[n] = modulation * reciprocal *
                             (1.0f + gamma * of_label[n] * reciprocal * cross_entropy / q + epsilon * (gamma + 1.0f) * p);
        }
        for (int n = 0; n < examples; ++n) direction[labels[n]][n] = -of_others[n];
    }

    // The mean of the loss over what the label may be: itself with 1 - e, and every class with e / C. With the slope
    // factor k_c of a class as above times its share, the slope of logit j is p_j sum_c k_c - k_j.
    void smoothed(const std::int32_t* labels, int examples) {
        const float of_each = loss.smoothing / float(loss.classes), gamma = loss.gamma, epsilon = loss.epsilon;
        auto &total = of_others, &sum = of_label;
        std::fill(total.begin(), total.end(), 0.0f);
        std::fill(sum.begin(), sum.end(), 0.0f);
        std::fill(losses.begin(), losses.end(), 0.0f);
        for (int c = 0; c < loss.classes; ++c)
            for (int n = 0; n < examples; ++n) total[n] += exponential(by_class[c][n] - largest[n]);
        for (int c = 0; c < loss.classes; ++c)
            for (int n = 0; n < examples; ++n) {
                const float shifted = by_class[c][n] - largest[n], p = exponential(shifted) / total[n];
                const float cross_entropy = logarithm(total[n]) - shifted, q = at_least_smallest(1.0f - p);
                const float modulation = exponential(gamma * logarithm(q));
                const float share = loss.class_weight[c] * (of_each + (labels[n] == c ? 1.0f - loss.smoothing : 0.0f));
                const float factor =
                    share * modulation * (1.0f + gamma * p * cross_entropy / q + epsilon * (gamma + 1.0f) * p);
                losses[n] += share * modulation * (cross_entropy + epsilon * q);
                sum[n] += factor;
                direction[c][n] = -factor;
            }
        for (int c = 0; c < loss.classes; ++c)
            for (int n = 0; n < examples; ++n)
                direction[c][n] += sum[n] * exponential(by_class[c][n] - largest[n]) / total[n];
        std::fill(coefficient.begin(), coefficient.end(), 1.0f);
    }

    // Below the smallest normal number the logarithm would be -inf, and gamma 0 times it NaN.
    static float at_least_smallest(float q) {
        const float smallest = std::numeric_limits<float>::min();
        return q < smallest ? smallest : q;
    }

    // Marks the hardest examples; returns how many count.
    int mine(const std::int32_t* labels, int examples) {
        order.clear();
        for (int n = 0; n < examples; ++n) {
            const bool is_positive = loss.mining == Mining::RATIO && labels[n] == 1;
            is_kept[n] = is_positive;
            if (!is_positive) order.push_back(n);
        }
        const int candidates = int(order.size()), positives = examples - candidates;
        int count = share_of(loss.share, examples);
        if (loss.mining == Mining::RATIO) {
            const float wanted = std::ceil(loss.share * float(positives) * ROUNDING);
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
