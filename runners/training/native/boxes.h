// Boxes, and of those of an image the ones that overlap no better one of their class by much.
#pragma once

#include <algorithm>
#include <cstdint>

#include "arguments.h"

struct Box {
    float left, top, right, bottom;

    float area() const { return std::max(right - left, 0.0f) * std::max(bottom - top, 0.0f); }

    // Intersection over union, 0 where both are empty.
    float overlap(const Box& other) const {
        const float width = std::min(right, other.right) - std::max(left, other.left);
        const float height = std::min(bottom, other.bottom) - std::max(top, other.top);
        if (!(width > 0.0f && height > 0.0f)) return 0.0f;
        return width * height / (area() + other.area() - width * height);
    }
};

// Marks the boxes of each image, which come best first, that no kept one of their class overlaps by more than the limit.
inline void suppress(const Arguments& given) {
    enum { BOXES, LABELS, STARTS, LIMIT, KEPT, COUNT };
    given.require_count(COUNT);
    const auto* boxes = reinterpret_cast<const Box*>(given.floats(BOXES, {ANY, 4}));
    const std::int64_t count = given.size(BOXES, 0);
    const auto *labels = given.integers(LABELS, {count}), *starts = given.integers(STARTS, {ANY});
    const float limit = *given.floats(LIMIT, {1});
    auto* kept = given.bytes(KEPT, {count});
    for (std::int64_t image = 0; image + 1 < given.size(STARTS, 0); ++image) {
        const int first = starts[image], end = starts[image + 1];
        if (first < 0 || end < first || end > count) Arguments::fail("boxes of an image that are not there");
        for (int one = first; one < end; ++one) {
            kept[one] = 1;
            for (int better = first; better < one && kept[one]; ++better)
                kept[one] = !kept[better] || labels[better] != labels[one] || !(boxes[better].overlap(boxes[one]) > limit);
        }
    }
}
