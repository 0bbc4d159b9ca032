// A detector of two stages: what it learns of WIDTH images at a time, and what it says of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "detection_loss.h"
#include "detector.h"
#include "proposals.h"
#include "regions.h"
#include "sampling.h"

// The numbers of a call.
struct SampledNumbers {
    // Of each image, how many are drawn, and how many of them on objects at most.
    float anchors, positive_anchors, regions, positive_regions;
    // Of the smooth L1 of the first stage, and what those of both count.
    float beta, box_weight;
};

// The second stage as a call tells it; behind these come the units of its hidden layers.
struct RegionRow {
    std::int32_t classes, cells, region_size, proposals;
};

struct SecondStage {
    // As sampling.py and regions.py have them.
    static constexpr float REGION_OVERLAP = 0.5f, SCALES[4] = {10.0f, 10.0f, 5.0f, 5.0f}, BETA = 1.0f;
    static constexpr int LARGEST_COUNT = 1 << 12;

    const int classes, most_proposals;
    Proposals proposals;
    RegionPooling pooling;
    ImageLevels image;
    RegionHead head;

    // numbers: a RegionRow and the units of hidden layers, count in all; regions: of an image at most.
    SecondStage(const Detector& detector, const float* anchors, const std::int32_t* numbers, std::int64_t count, int regions)
        : classes(checked(detector, numbers, count).classes), most_proposals(checked(detector, numbers, count).proposals),
          proposals(anchors, detector.anchors()),
          pooling(detector.levels, detector.strides(), checked(detector, numbers, count).cells, checked(detector, numbers, count).region_size),
          image(detector.levels), head(WIDTH * regions, widths(detector, numbers, count)) {}

    int outputs() const { return classes + 5; }

  private:
    static constexpr int OF_ROW = sizeof(RegionRow) / sizeof(std::int32_t);

    static const RegionRow& checked(const Detector& detector, const std::int32_t* numbers, std::int64_t count) {
        if (count < OF_ROW) Arguments::fail("no second stage");
        for (std::int64_t n = 0; n < count; ++n)
            if (numbers[n] < 1 || numbers[n] > LARGEST_COUNT) Arguments::fail("a number of " + std::to_string(numbers[n]) + " of regions");
        if (detector.classes != 1) Arguments::fail("a first stage of " + std::to_string(detector.classes) + " classes");
        const auto& told = *reinterpret_cast<const RegionRow*>(numbers);
        const std::int64_t features = std::int64_t(told.cells) * told.cells * detector.levels.front().size().channels;
        if (features > LARGEST) Arguments::fail("regions of " + std::to_string(features) + " features");
        return told;
    }

    static std::vector<int> widths(const Detector& detector, const std::int32_t* numbers, std::int64_t count) {
        const RegionRow& told = checked(detector, numbers, count);
        std::vector<int> found{told.cells * told.cells * detector.levels.front().size().channels};
        found.insert(found.end(), numbers + OF_ROW, numbers + count);
        found.push_back(told.classes + 5);
        return found;
    }
};

// Both losses of both stages, of examples that are drawn by chance.
struct SampledLoss {
    const SampledNumbers numbers;

    explicit SampledLoss(const SampledNumbers& numbers) : numbers(numbers) {}

    // Forgets the images before.
    void clear(Detector& detector) {
        for (Level& level : detector.levels) std::memset(level.classes.last().dy[0], 0, level.classes.last().dy.bytes());
        boxes_.clear();
        regions_.clear();
    }

    // Draws anchors of an image; returns the losses of their objectness, times `share`, and writes the slopes.
    //
    // matched: count times an anchor on an object, 0, or one that is ignored, and that number; deltas: of each.
    double of_anchors(Detector& detector, int lane, const std::int32_t* matched, const float* deltas, int count, std::uint32_t seed, float share) {
        sampler_.clear();
        const int anchors = detector.anchors();
        const auto* next = matched;
        for (int anchor = 0; anchor < anchors; ++anchor) {
            const bool is_matched = next != matched + 2 * count && next[0] == anchor;
            const std::uint32_t key = random_key(seed, std::uint32_t(anchor));
            if (!is_matched) sampler_.negatives.push_back({key, anchor});
            // One on an object is drawn by its place among the matched ones.
            else if (next[1] != IGNORED) sampler_.positives.push_back({key, int(next - matched) / 2});
            if (is_matched) next += 2;
        }
        sampler_.draw(std::size_t(numbers.positive_anchors), std::size_t(numbers.anchors));
        double total = 0.0;
        for (const auto& [key, place] : sampler_.positives) {
            const AnchorPlace at = detector.place_of(matched[2 * place]);
            total += of_objectness(detector, lane, at, true, share);
            boxes_.put(lane, at, deltas + 4 * place);
        }
        for (const auto& [key, anchor] : sampler_.negatives) total += of_objectness(detector, lane, detector.place_of(anchor), false, share);
        return total;
    }

    // The losses of the boxes of the anchors that were drawn, times `share`; adds the slopes by the levels.
    double of_boxes(Detector& detector, float share) const { return boxes_.loss(detector, numbers.beta, numbers.box_weight * share); }

    // Draws regions of an image among its proposals and objects, and takes their features.
    void put_regions(const Detector& detector, SecondStage& second, int lane, const Box* objects, const std::int32_t* labels, int count, std::uint32_t seed) {
        second.proposals.find(detector, lane, second.most_proposals);
        std::vector<Box>& boxes = second.proposals.boxes;
        boxes.insert(boxes.end(), objects, objects + count);
        sampler_.clear();
        object_.assign(boxes.size(), -1);
        for (int n = 0; n < int(boxes.size()); ++n) {
            float largest = 0.0f;
            for (int object = 0; object < count; ++object) {
                const float overlap = boxes[n].overlap(objects[object]);
                if (!(overlap > largest)) continue;
                largest = overlap;
                object_[n] = object;
            }
            if (largest < SecondStage::REGION_OVERLAP) object_[n] = -1;
            auto& drawn = object_[n] < 0 ? sampler_.negatives : sampler_.positives;
            drawn.push_back({random_key(seed, std::uint32_t(detector.anchors() + n)), n});
        }
        sampler_.draw(std::size_t(numbers.positive_regions), std::size_t(numbers.regions));
        second.image.take(detector.levels, lane);
        for (const auto* drawn : {&sampler_.positives, &sampler_.negatives})
            for (const auto& [key, n] : *drawn) {
                const int object = object_[n];
                Region region{lane, boxes[n], object < 0 ? second.classes : labels[object], {}};
                if (object >= 0) encode(objects[object], boxes[n], region.deltas);
                second.pooling.forward(boxes[n], second.image, second.head.activations[0][int(regions_.size())]);
                regions_.push_back(region);
            }
    }

    // The losses of the classes and boxes of the regions, times `share`; adds the slopes by the levels.
    void of_regions(Detector& detector, SecondStage& second, float share, double* totals) {
        const int count = int(regions_.size());
        if (!count) return;
        second.head.forward(count);
        for (int n = 0; n < count; ++n) of_region(second, n, share, totals);
        second.head.backward(count);
        for (int n = 0; n < count;) {
            const int lane = regions_[n].lane;
            second.image.clear_slopes();
            for (; n < count && regions_[n].lane == lane; ++n)
                second.pooling.backward(regions_[n].box, second.image, second.head.slopes[0][n]);
            second.image.give(detector.levels, lane);
        }
    }

  private:
    struct Region {
        int lane;
        Box box;
        int label;
        float deltas[4];
    };
    Sampler sampler_;
    ObjectBoxes boxes_;
    std::vector<Region> regions_;
    // Of each box the object that it is on, or -1.
    std::vector<int> object_;

    static float of_objectness(Detector& detector, int lane, const AnchorPlace& at, bool is_object, float share) {
        Stage& last = detector.levels[at.level].classes.last();
        const int n = (at.anchor * last.to.pixels() + at.pixel) * WIDTH + lane;
        const float sign = is_object ? -1.0f : 1.0f;
        float loss;
        of_logit(sign * last.y[0][n], 0.0f, share, loss, last.dy[0][n]);
        last.dy[0][n] *= sign;
        return loss;
    }

    void of_region(SecondStage& second, int n, float share, double* totals) const {
        const Region& region = regions_[n];
        const float* said = second.head.activations.back()[n];
        float* slopes = second.head.slopes.back()[n];
        const int logits = second.classes + 1;
        float highest = said[0], sum = 0.0f;
        for (int c = 1; c < logits; ++c) highest = std::max(highest, said[c]);
        for (int c = 0; c < logits; ++c) sum += slopes[c] = exponential(said[c] - highest);
        for (int c = 0; c < logits; ++c) slopes[c] = share * (slopes[c] / sum - float(c == region.label));
        totals[0] += share * (logarithm(sum) - (said[region.label] - highest));
        for (int k = 0; k < 4; ++k) {
            float& slope = slopes[logits + k];
            slope = 0.0f;
            if (region.label == second.classes) continue;
            const float weight = numbers.box_weight * share;
            totals[1] += weight * smooth_l1(said[logits + k] - region.deltas[k], SecondStage::BETA, slope);
            slope *= weight;
        }
    }

    // The deltas from one box to another, scaled.
    static void encode(const Box& to, const Box& from, float* deltas) {
        const float wide = from.right - from.left, high = from.bottom - from.top;
        deltas[0] = SecondStage::SCALES[0] * (0.5f * (to.left + to.right) - 0.5f * (from.left + from.right)) / wide;
        deltas[1] = SecondStage::SCALES[1] * (0.5f * (to.top + to.bottom) - 0.5f * (from.top + from.bottom)) / high;
        deltas[2] = SecondStage::SCALES[2] * logarithm((to.right - to.left) / wide);
        deltas[3] = SecondStage::SCALES[3] * logarithm((to.bottom - to.top) / high);
    }
};
