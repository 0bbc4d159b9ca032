// The second of two stages: the features of regions, and the dense layers that say what is in them.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "boxes.h"
#include "layers.h"
#include "stages.h"

// The pyramid of one of the WIDTH images with the slopes by it: a row a pixel, a column a channel.
struct ImageLevels {
    std::vector<Matrix> values, slopes;

    explicit ImageLevels(const std::vector<Level>& levels) {
        for (const Level& level : levels)
            for (auto* matrices : {&values, &slopes}) matrices->emplace_back(level.size().pixels(), level.size().channels);
    }

    void take(const std::vector<Level>& levels, int lane) {
        for (std::size_t n = 0; n < levels.size(); ++n) {
            const float* from = levels[n].lateral.y[0] + lane;
            for (int channel = 0; channel < values[n].columns; ++channel)
                for (int pixel = 0; pixel < values[n].rows; ++pixel, from += WIDTH) values[n][pixel][channel] = *from;
        }
    }
    void clear_slopes() {
        for (Matrix& each : slopes) std::memset(each[0], 0, each.bytes());
    }
    // Adds the slopes to those of the image.
    void give(std::vector<Level>& levels, int lane) const {
        for (std::size_t n = 0; n < levels.size(); ++n) {
            float* to = levels[n].lateral.dy[0] + lane;
            for (int channel = 0; channel < slopes[n].columns; ++channel)
                for (int pixel = 0; pixel < slopes[n].rows; ++pixel, to += WIDTH) *to += slopes[n][pixel][channel];
        }
    }
};

// RoIAlign with one value at the middle of each cell: a region's features, in the order row, column, channel.
//
// f = sum over the four pixels around the middle of the cell of their share times the pixel; a pixel's middle is at
// (its number + 1/2) stride, and what is beyond the outermost ones counts as there.
struct RegionPooling {
    const int cells;

    // strides: of each level; region_size: the side from which on a region belongs to the second level, twice it to the
    // third, and so on.
    RegionPooling(const std::vector<Level>& levels, std::vector<int> strides, int cells, int region_size)
        : cells(cells), strides_(std::move(strides)), region_size_(region_size), rows_(cells), columns_(cells) {
        for (const Level& level : levels) sizes_.push_back(level.size());
    }

    void forward(const Box& box, const ImageLevels& image, float* to) {
        const int channels = sizes_.front().channels;
        each_cell(box, image.values, [&](const float* const* pixels, const float* shares) {
#pragma GCC ivdep
            for (int c = 0; c < channels; ++c)
                to[c] = shares[0] * pixels[0][c] + shares[1] * pixels[1][c] + shares[2] * pixels[2][c] + shares[3] * pixels[3][c];
            to += channels;
        });
    }

    // Adds the slopes by the pyramid.
    void backward(const Box& box, ImageLevels& image, const float* from) {
        const int channels = sizes_.front().channels;
        each_cell(box, image.slopes, [&](float* const* pixels, const float* shares) {
            // Two of the four may be the same pixel.
            for (int corner = 0; corner < 4; ++corner) {
                float* to = pixels[corner];
#pragma GCC ivdep
                for (int c = 0; c < channels; ++c) to[c] += shares[corner] * from[c];
            }
            from += channels;
        });
    }

  private:
    // Two neighbours in a line, and the share of the second.
    struct Pair {
        int first, second;
        float share;
    };
    const std::vector<int> strides_;
    const int region_size_;
    std::vector<ImageSize> sizes_;
    std::vector<Pair> rows_, columns_;

    int level_of(const Box& box) const {
        int level = 0;
        for (float side = float(region_size_); level + 1 < int(sizes_.size()) && box.area() >= side * side; side *= 2.0f) ++level;
        return level;
    }

    void set_pairs(std::vector<Pair>& pairs, float start, float end, int stride, int pixels) const {
        const float last = float(pixels - 1);
        for (int cell = 0; cell < cells; ++cell) {
            const float middle = (float(cell) + 0.5f) / float(cells);
            float place = (start + middle * (end - start)) / float(stride) - 0.5f;
            // In this order NaN is 0 too.
            place = place > 0.0f ? place : 0.0f;
            place = place < last ? place : last;
            const int first = int(place);
            pairs[cell] = {first, std::min(first + 1, pixels - 1), place - float(first)};
        }
    }

    // Applies a function to the four pixels around the middle of each cell and to their shares.
    template <typename Matrices, typename Function>
    void each_cell(const Box& box, Matrices& matrices, Function function) {
        const int level = level_of(box), width = sizes_[level].width;
        set_pairs(rows_, box.top, box.bottom, strides_[level], sizes_[level].height);
        set_pairs(columns_, box.left, box.right, strides_[level], width);
        auto& pixels = matrices[level];
        using Pointer = decltype(&pixels[0][0]);
        for (const Pair& row : rows_)
            for (const Pair& column : columns_) {
                const Pointer corners[4] = {pixels[row.first * width + column.first], pixels[row.first * width + column.second],
                                            pixels[row.second * width + column.first], pixels[row.second * width + column.second]};
                const float shares[4] = {(1.0f - row.share) * (1.0f - column.share), (1.0f - row.share) * column.share,
                                         row.share * (1.0f - column.share), row.share * column.share};
                function(corners, shares);
            }
    }
};

// Dense layers, all but the last rectified, of the regions of WIDTH images; gradients are summed over several calls.
struct RegionHead {
    // Before each layer, and behind the last: a row a region.
    std::vector<Matrix> activations, slopes;

    RegionHead(int most_regions, const std::vector<int>& widths) {
        for (const int width : widths)
            for (auto* matrices : {&activations, &slopes}) matrices->emplace_back(most_regions, width);
        for (std::size_t n = 0; n + 1 < widths.size(); ++n) {
            layers_.push_back(std::make_unique<Dense>(widths[n], widths[n + 1]));
            sums_.emplace_back(widths[n] + 1, widths[n + 1]);
        }
    }

    void list(ParameterList& all) const {
        for (const auto& each : layers_) all.all.push_back(each->parameters());
    }

    void forward(int regions) {
        for (std::size_t n = 0; n < layers_.size(); ++n) {
            layers_[n]->forward(activations[n], activations[n + 1], regions);
            if (n + 1 == layers_.size()) break;
            float* values = activations[n + 1][0];
            // NaN stays NaN.
            for (int k = 0; k < regions * activations[n + 1].stride; ++k) values[k] = values[k] < 0.0f ? 0.0f : values[k];
        }
    }

    void begin_gradient() {
        for (Matrix& each : sums_) std::memset(each[0], 0, each.bytes());
    }
    // From the slopes by what the last layer gives to those by the features.
    void backward(int regions) {
        for (std::size_t n = layers_.size(); n-- > 0;) {
            layers_[n]->backward(activations[n], activations[n + 1], slopes[n + 1], &slopes[n], regions);
            add(sums_[n], layers_[n]->own.gradient);
            if (!n) break;
            const float* values = activations[n][0];
            float* of = slopes[n][0];
#pragma GCC ivdep
            for (int k = 0; k < regions * slopes[n].stride; ++k) of[k] = values[k] > 0.0f ? of[k] : 0.0f;
        }
    }
    void end_gradient() {
        for (std::size_t n = 0; n < layers_.size(); ++n)
            std::memcpy(layers_[n]->own.gradient[0], sums_[n][0], sums_[n].bytes());
    }

  private:
    std::vector<std::unique_ptr<Dense>> layers_;
    std::vector<Matrix> sums_;

    static void add(Matrix& to, const Matrix& from) {
        float* sums = to[0];
        const float* added = from[0];
#pragma GCC ivdep
        for (int n = 0; n < to.rows * to.stride; ++n) sums[n] += added[n];
    }
};
