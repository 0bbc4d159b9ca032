// What a detector minimises: a sigmoid focal loss of the classes at the anchors that count, and a smooth L1 loss of the
// boxes at the anchors on objects.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "detector.h"
#include "functions.h"
#include "hard_anchors.h"
#include "object_boxes.h"

// The numbers of a call.
struct DetectionNumbers {
    // loss = w q^gamma (-log p), p being the probability of the truth, q = 1 - p, and w that of a class that is there or
    // is not.
    float gamma, positive_weight, negative_weight;
    // Smooth L1 is a parabola up to beta, and counts box_weight times.
    float beta, box_weight;
    MiningNumbers mining;
};

// An anchor of one of the WIDTH images that is not background: its pixel in its level, and the class that is there or
// IGNORED.
struct Matched {
    int lane, pixel, label;
};

// With z the logit against the truth and q = sigmoid(z): loss = w q^gamma softplus(z), and its slope by z
// w q^gamma (q + gamma (1 - q) softplus(z)).
inline void of_logit(float z, float gamma, float weight, float& loss, float& slope) {
    const float e = exponential(-std::fabs(z)), softplus = (z > 0.0f ? z : 0.0f) + logarithm_of_one_plus(e);
    const float reciprocal = 1.0f / (1.0f + e), q = z > 0.0f ? reciprocal : e * reciprocal;
    const float modulation = weight * exponential(gamma * (z - softplus));
    loss = modulation * softplus;
    slope = modulation * (q + gamma * (1.0f - q) * softplus);
}

struct DetectionLoss {
    const DetectionNumbers numbers;

    // anchors: the A boxes, four numbers each, in the order level, row, column, anchor of the place.
    DetectionLoss(const DetectionNumbers& numbers, const float* anchors, const Detector& detector)
        : numbers(numbers), of_place_(detector.anchors_of_place), by_plane_(detector.levels.size() * of_place_),
          plane_(1, detector.levels.front().size().pixels() * WIDTH) {
        if (numbers.mining.mines()) hard_ = std::make_unique<HardAnchors>(numbers.mining, anchors, detector.anchors());
    }

    // Forgets the images before.
    void clear() {
        for (auto& each : by_plane_) each.clear();
        boxes_.clear();
        if (hard_) hard_->clear();
    }

    // An anchor that is not background; those of a place come one after the other.
    void put(const Detector& detector, int lane, int anchor, int label, const float* deltas) {
        const AnchorPlace at = detector.place_of(anchor);
        by_plane_[at.level * of_place_ + at.anchor].push_back({lane, at.pixel, label});
        if (hard_) hard_->labels[lane][anchor] = label;
        if (label != IGNORED) boxes_.put(lane, at, deltas);
    }

    // The losses of the classes of the first `images` of the WIDTH images, divided by `divisor`; writes the slopes by all
    // logits.
    double of_classes(Detector& detector, int images, float divisor) {
        double total = 0.0;
        for_planes(detector, [&](Level& level, int anchor, const std::vector<Matched>& matched) {
            for (int c = 0; c < detector.classes; ++c)
                total += of_class(level, anchor, c, detector.classes, matched, images, 1.0f / divisor);
        });
        if (!hard_) return total;
        total = hard_->choose(images);
        for_planes(detector, [&](Level& level, int anchor, const std::vector<Matched>&) {
            const Vector* counts = vectors(hard_->counts, 0) + level.first_place * of_place_ + anchor;
            for (int c = 0; c < detector.classes; ++c) {
                Vector* slopes = plane(level.classes.last().dy, level, anchor * detector.classes + c);
                // Times 0, so that a NaN is seen that mining leaves out.
                for (int pixel = 0; pixel < level.size().pixels(); ++pixel) slopes[pixel] *= counts[pixel * of_place_];
            }
        });
        return total;
    }

    // The losses of the boxes, divided by `divisor`; adds the slopes by the levels.
    double of_boxes(Detector& detector, float divisor) const {
        return boxes_.loss(detector, numbers.beta, numbers.box_weight / divisor);
    }

  private:
    const int of_place_;
    // By level and anchor of the place.
    std::vector<std::vector<Matched>> by_plane_;
    ObjectBoxes boxes_;
    // The losses of a class at one anchor of all places of a level.
    Matrix plane_;
    std::unique_ptr<HardAnchors> hard_;

    template <typename Function>
    void for_planes(Detector& detector, Function function) const {
        auto matched = by_plane_.begin();
        for (Level& level : detector.levels)
            for (int anchor = 0; anchor < of_place_; ++anchor) function(level, anchor, *matched++);
    }

    static Vector* plane(Matrix& of, const Level& level, int channel) {
        return vectors(of, 0) + channel * level.size().pixels();
    }

    // The sum of the losses of a class, which mining is given besides.
    double of_class(Level& level, int anchor, int c, int classes, const std::vector<Matched>& matched, int images, float share) {
        const int channel = anchor * classes + c, pixels = level.size().pixels();
        const float* logits = reinterpret_cast<const float*>(plane(level.classes.last().y, level, channel));
        float *slopes = reinterpret_cast<float*>(plane(level.classes.last().dy, level, channel)), *losses = plane_[0];
        const float gamma = numbers.gamma, weight = share * numbers.negative_weight;
#pragma GCC ivdep
        for (int n = 0; n < pixels * WIDTH; ++n) of_logit(logits[n], gamma, weight, losses[n], slopes[n]);
        for (const Matched& each : matched) {
            const int n = each.pixel * WIDTH + each.lane;
            if (each.label == IGNORED) losses[n] = slopes[n] = 0.0f;
            if (each.label != c) continue;
            of_logit(-logits[n], gamma, share * numbers.positive_weight, losses[n], slopes[n]);
            slopes[n] = -slopes[n];
        }
        // Places without an image.
        for (int lane = images; lane < WIDTH; ++lane)
            for (int n = lane; n < pixels * WIDTH; n += WIDTH) losses[n] = slopes[n] = 0.0f;
        const Vector* of_pixels = vectors(plane_, 0);
        if (!hard_) return sum_of(total(pixels, [&](int pixel) { return of_pixels[pixel]; }));
        Vector* of_anchors = vectors(hard_->losses, 0) + level.first_place * of_place_ + anchor;
        for (int pixel = 0; pixel < pixels; ++pixel) of_anchors[pixel * of_place_] += of_pixels[pixel];
        return 0.0;
    }
};
