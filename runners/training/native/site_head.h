// The box head at WIDTH places at a time, of any images and levels: only where there are objects it has something to learn.
#pragma once

#include <vector>

#include "stages.h"

// A place of one of the WIDTH images.
struct Site {
    int lane, level, pixel;

    bool operator==(const Site& other) const {
        return lane == other.lane && level == other.level && pixel == other.pixel;
    }
};

struct SiteHead {
    // What the head sees of a level around a place.
    const ImageSize seen;
    Head head;
    Matrix x, dx;

    SiteHead(int channels, int depth, int outputs)
        : seen{channels, 2 * depth + 3, 2 * depth + 3}, head(seen, depth, outputs, 2), x(1, int(seen.units()) * WIDTH),
          dx(1, int(seen.units()) * WIDTH) {}

    // The deltas of so many sites, a vector of sites each.
    void forward(const std::vector<Level>& levels, const Site* sites, int count) {
        std::memset(x[0], 0, x.bytes());
        for (int site = 0; site < count; ++site) {
            const Stage& lateral = levels[sites[site].level].lateral;
            const float* from = lateral.y[0] + sites[site].lane;
            float* to = x[0] + site;
            each_pixel(seen, lateral.to, sites[site].pixel, [&](int pixel, int of_level) {
                if (of_level < 0) return;
                for (int channel = 0; channel < seen.channels; ++channel)
                    to[(channel * seen.pixels() + pixel) * WIDTH] = from[(channel * lateral.to.pixels() + of_level) * WIDTH];
            });
        }
        const Matrix* last = &x;
        for (Stage& stage : head.stages) {
            stage.forward(*last);
            last = &stage.y;
            if (stage.is_rectified) clear_outside(stage, levels, sites, count);
        }
    }

    // From the slopes by the deltas; adds those by the levels.
    void backward(std::vector<Level>& levels, const Site* sites, int count) {
        head.backward(x, dx);
        for (int site = 0; site < count; ++site) {
            Stage& lateral = levels[sites[site].level].lateral;
            float* to = lateral.dy[0] + sites[site].lane;
            const float* from = dx[0] + site;
            each_pixel(seen, lateral.to, sites[site].pixel, [&](int pixel, int of_level) {
                if (of_level < 0) return;
                for (int channel = 0; channel < seen.channels; ++channel)
                    to[(channel * lateral.to.pixels() + of_level) * WIDTH] += from[(channel * seen.pixels() + pixel) * WIDTH];
            });
        }
    }

  private:
    // Applies `pair` to each pixel around a place and to that of the level, which is -1 beyond its edges.
    template <typename Function>
    static void each_pixel(const ImageSize& around, const ImageSize& level, int place, Function pair) {
        const int top = place / level.width - around.height / 2, left = place % level.width - around.width / 2;
        for (int row = 0; row < around.height; ++row)
            for (int column = 0; column < around.width; ++column) {
                const int r = top + row, c = left + column;
                const bool is_inside = r >= 0 && r < level.height && c >= 0 && c < level.width;
                pair(row * around.width + column, is_inside ? r * level.width + c : -1);
            }
    }

    // Beyond the edges of a level all is zero.
    static void clear_outside(Stage& stage, const std::vector<Level>& levels, const Site* sites, int count) {
        for (int site = 0; site < count; ++site)
            each_pixel(stage.to, levels[sites[site].level].size(), sites[site].pixel, [&](int pixel, int of_level) {
                if (of_level >= 0) return;
                for (int channel = 0; channel < stage.to.channels; ++channel)
                    stage.y[0][(channel * stage.to.pixels() + pixel) * WIDTH + site] = 0.0f;
            });
    }
};
