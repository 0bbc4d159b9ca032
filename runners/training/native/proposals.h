// The boxes of an image that the first of two stages hands on to the second.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "boxes.h"
#include "detector.h"
#include "functions.h"

// The box that four deltas, times `scales`, say from another one, cut at the edges of the image.
inline Box decoded(const Box& from, const float* deltas, float width, float height) {
    // As boxes.py has it.
    constexpr float LARGEST_GROWTH = 4.135166556742356f;
    const float wide = from.right - from.left, high = from.bottom - from.top;
    const float x = 0.5f * (from.left + from.right) + deltas[0] * wide, y = 0.5f * (from.top + from.bottom) + deltas[1] * high;
    const float half_wide = 0.5f * wide * exponential(std::min(deltas[2], LARGEST_GROWTH));
    const float half_high = 0.5f * high * exponential(std::min(deltas[3], LARGEST_GROWTH));
    auto cut = [](float place, float end) { return std::min(std::max(place, 0.0f), end); };
    return {cut(x - half_wide, width), cut(y - half_high, height), cut(x + half_wide, width), cut(y + half_high, height)};
}

struct Proposals {
    static constexpr float MOST_OVERLAP = 0.7f, LEAST_SIDE = 1.0f;

    // The best first.
    std::vector<Box> boxes;

    Proposals(const float* anchors, int count)
        : anchors_(reinterpret_cast<const Box*>(anchors)), logits_(count), deltas_(4 * std::size_t(count)) {}

    // The best boxes of an image, as many as `most` if there are, of which none overlaps a better one by much.
    void find(const Detector& detector, int lane, int most) {
        detector.write_anchors(&Level::classes, 1, lane, logits_.data());
        detector.write_anchors(&Level::boxes, 4, lane, deltas_.data());
        order_.clear();
        for (int anchor = 0; anchor < int(logits_.size()); ++anchor) {
            // NaN proposes nothing.
            if (logits_[anchor] == logits_[anchor]) order_.push_back(anchor);
        }
        auto is_worse = [this](int a, int b) { return logits_[a] != logits_[b] ? logits_[a] < logits_[b] : a > b; };
        std::make_heap(order_.begin(), order_.end(), is_worse);
        boxes.clear();
        const float width = float(detector.size.width), height = float(detector.size.height);
        while (!order_.empty() && int(boxes.size()) < most) {
            std::pop_heap(order_.begin(), order_.end(), is_worse);
            const int anchor = order_.back();
            order_.pop_back();
            const Box box = decoded(anchors_[anchor], &deltas_[4 * std::size_t(anchor)], width, height);
            if (!(box.right - box.left >= LEAST_SIDE && box.bottom - box.top >= LEAST_SIDE)) continue;
            const bool is_new = std::none_of(boxes.begin(), boxes.end(),
                                             [&](const Box& better) { return better.overlap(box) > MOST_OVERLAP; });
            if (is_new) boxes.push_back(box);
        }
    }

  private:
    const Box* anchors_;
    std::vector<float> logits_, deltas_;
    std::vector<int> order_;
};
