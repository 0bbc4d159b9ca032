// Online hard example mining of anchors: those that overlap a harder one are left out, and of the others the hardest count.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "boxes.h"
#include "images.h"
#include "objective.h"

constexpr int IGNORED = -2, BACKGROUND = -1;

struct MiningNumbers {
    // Anchors that overlap a harder one by more are left out; how many are kept of an image, 0 for all; and how many
    // negatives for each positive, 0 for any.
    float iou_threshold, examples, negatives_per_positive;

    bool mines() const { return examples > 0.0f || negatives_per_positive > 0.0f; }
};

struct HardAnchors {
    static constexpr int MOST = 1 << 14;

    const MiningNumbers numbers;
    // Of each anchor of WIDTH images: the loss, and 1 or 0 whether it counts.
    Matrix losses, counts;
    // Of each image and anchor: a class, BACKGROUND or IGNORED.
    std::vector<std::vector<std::int32_t>> labels;

    HardAnchors(const MiningNumbers& numbers, const float* anchors, int count)
        : numbers(numbers), losses(1, count * WIDTH), counts(1, count * WIDTH),
          labels(WIDTH, std::vector<std::int32_t>(count, BACKGROUND)), count_(count), starts_(count + 1), loss_(count),
          is_left_(count) {
        if (numbers.iou_threshold >= 1.0f) return;
        // Each is compared with each.
        if (count > MOST) Arguments::fail("suppression among " + std::to_string(count) + " anchors");
        const auto* boxes = reinterpret_cast<const Box*>(anchors);
        for (int one = 0; one < count; ++one) {
            for (int other = 0; other < count; ++other)
                if (boxes[one].overlap(boxes[other]) > numbers.iou_threshold && one != other) neighbours_.push_back(other);
            starts_[one + 1] = int(neighbours_.size());
        }
    }

    void clear() {
        std::memset(losses[0], 0, losses.bytes());
        for (auto& each : labels) std::fill(each.begin(), each.end(), BACKGROUND);
    }

    // Chooses the anchors of each image that count; returns the sum of their losses.
    double choose(int images) {
        std::memset(counts[0], 0, counts.bytes());
        double total = 0.0;
        for (int lane = 0; lane < images; ++lane) {
            for (int anchor = 0; anchor < count_; ++anchor) {
                const float loss = losses[0][anchor * WIDTH + lane];
                // NaN counts as the highest loss.
                loss_[anchor] = loss == loss ? loss : std::numeric_limits<float>::infinity();
            }
            choose_of(labels[lane]);
            for (int anchor : kept_) {
                counts[0][anchor * WIDTH + lane] = 1.0f;
                total += losses[0][anchor * WIDTH + lane];
            }
        }
        return total;
    }

  private:
    const int count_;
    // Which anchors each one leaves out.
    std::vector<int> starts_, neighbours_;
    // Of one image.
    std::vector<float> loss_;
    std::vector<std::uint8_t> is_left_;
    std::vector<int> order_, kept_;

    int most() const { return numbers.examples > 0.0f ? int(std::min(numbers.examples, float(count_))) : count_; }

    // From the hardest to the easiest, of equal ones the earlier first, as far as that can matter.
    void choose_of(const std::vector<std::int32_t>& label) {
        const bool has_ratio = numbers.negatives_per_positive > 0.0f;
        // Of a ratio the batch has room for so many positives.
        const int most_positives = has_ratio ? int(float(most()) / (1.0f + numbers.negatives_per_positive)) : count_;
        auto is_easier = [this](int a, int b) { return loss_[a] != loss_[b] ? loss_[a] < loss_[b] : a > b; };
        order_.clear();
        kept_.clear();
        // Positives that may still come.
        int coming = 0, positives = 0, negatives = 0;
        for (int anchor = 0; anchor < count_; ++anchor) {
            is_left_[anchor] = label[anchor] != IGNORED;
            if (is_left_[anchor]) order_.push_back(anchor);
            coming += label[anchor] >= 0;
        }
        std::make_heap(order_.begin(), order_.end(), is_easier);
        auto leave = [&](int anchor) {
            if (is_left_[anchor] && label[anchor] >= 0) --coming;
            is_left_[anchor] = 0;
        };
        auto wanted_negatives = [&] {
            const float wanted = std::ceil(numbers.negatives_per_positive * float(positives) * ROUNDING);
            // NaN, infinitely many for none, is 1 too.
            return wanted >= 1.0f ? int(std::min(wanted, float(count_))) : 1;
        };
        while (!order_.empty()) {
            if (has_ratio ? !coming && negatives >= wanted_negatives() : int(kept_.size()) == most()) break;
            std::pop_heap(order_.begin(), order_.end(), is_easier);
            const int anchor = order_.back();
            order_.pop_back();
            if (!is_left_[anchor]) continue;
            leave(anchor);
            for (int n = starts_[anchor]; n < starts_[anchor + 1]; ++n) leave(neighbours_[n]);
            const bool is_positive = label[anchor] >= 0;
            if (has_ratio && is_positive && positives == most_positives) continue;
            ++(is_positive ? positives : negatives);
            kept_.push_back(anchor);
        }
        if (!has_ratio) return;
        // Those that were kept before it was known how many there are to be.
        int room = wanted_negatives();
        kept_.erase(std::remove_if(kept_.begin(), kept_.end(),
                                   [&](int anchor) { return label[anchor] < 0 && room-- <= 0; }),
                    kept_.end());
    }
};
