// What the box head learns at the anchors on objects.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "detector.h"

// Of the difference d of a delta: d^2 / (2 beta) up to beta, behind it |d| - beta / 2; and the slope by d.
inline float smooth_l1(float d, float beta, float& slope) {
    const float size = std::fabs(d);
    const bool is_near = size < beta;
    slope = is_near ? d / beta : std::copysign(1.0f, d);
    return is_near ? 0.5f * d * d / beta : size - 0.5f * beta;
}

struct ObjectBoxes {
    void clear() {
        objects_.clear();
        sites_.clear();
    }

    // An anchor on an object, and what it is to learn; those of a place come one after the other.
    void put(int lane, const AnchorPlace& at, const float* deltas) {
        const Site site{lane, at.level, at.pixel};
        if (sites_.empty() || !(sites_.back() == site)) sites_.push_back(site);
        objects_.push_back({int(sites_.size()) - 1, at.anchor, deltas});
    }

    // The losses of the boxes times `weight`; adds the slopes by the levels.
    double loss(Detector& detector, float beta, float weight) const {
        Stage& last = detector.sites->head.last();
        double total = 0.0;
        auto object = objects_.begin();
        for (int first = 0; first < int(sites_.size()); first += WIDTH) {
            const int count = std::min(WIDTH, int(sites_.size()) - first);
            detector.sites->forward(detector.levels, &sites_[first], count);
            std::memset(last.dy[0], 0, last.dy.bytes());
            for (; object != objects_.end() && object->site < first + count; ++object)
                for (int k = 0; k < 4; ++k) {
                    const int n = (4 * object->anchor + k) * WIDTH + object->site - first;
                    total += weight * smooth_l1(last.y[0][n] - object->deltas[k], beta, last.dy[0][n]);
                    last.dy[0][n] *= weight;
                }
            detector.sites->backward(detector.levels, &sites_[first], count);
        }
        return total;
    }

  private:
    // Which site of the box head, and the deltas that it is to learn.
    struct Object {
        int site, anchor;
        const float* deltas;
    };
    std::vector<Site> sites_;
    std::vector<Object> objects_;
};
