// RetinaNet in miniature, of WIDTH images at a time: a body, a pyramid, and two heads that all of its levels share.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "arguments.h"
#include "convolution.h"
#include "images.h"
#include "layers.h"

// A detector as a call tells it; behind these numbers come the channels of its body.
struct DetectorRow {
    std::int32_t channels, height, width, levels, pyramid, depth, anchors, classes;
};

// A convolution of WIDTH images with its outputs, which may be rectified, and the slopes by them.
struct Stage {
    std::unique_ptr<Layer> convolution;
    ImageSize to;
    bool is_rectified;
    Matrix y, dy;

    template <int KERNEL>
    static Stage made(ImageSize from, int channels, int step, bool is_rectified) {
        auto convolution = std::make_unique<Convolution<KERNEL>>(from, channels, step);
        const ImageSize to = convolution->to;
        const int numbers = int(to.units()) * WIDTH;
        return {std::move(convolution), to, is_rectified, Matrix(1, numbers), Matrix(1, numbers)};
    }

    Parameters& parameters() const { return *convolution->parameters(); }

    void forward(const Matrix& x) {
        convolution->forward(x, y, WIDTH);
        if (!is_rectified) return;
        float* values = y[0];
        // NaN stays NaN.
        for (int n = 0; n < y.columns; ++n) values[n] = values[n] < 0.0f ? 0.0f : values[n];
    }

    // From dy to the gradient of its parameters, and to the slopes by x unless dx is null.
    void backward(const Matrix& x, Matrix* dx) {
        if (is_rectified) {
            const float* values = y[0];
            float* slopes = dy[0];
#pragma GCC ivdep
            for (int n = 0; n < y.columns; ++n) slopes[n] = values[n] > 0.0f ? slopes[n] : 0.0f;
        }
        convolution->backward(x, y, dy, dx, WIDTH);
    }
};

inline void add(float* to, const float* from, int count) {
#pragma GCC ivdep
    for (int n = 0; n < count; ++n) to[n] += from[n];
}

// Parameters that convolutions of several levels share: those of the first count, the others follow.
struct Shared {
    std::vector<Parameters*> of_levels;
    // The gradient over several calls of `backward`.
    Matrix sum;

    explicit Shared(std::vector<Parameters*> of_levels)
        : of_levels(std::move(of_levels)), sum(own().values.rows, own().values.columns) {}

    Parameters& own() const { return *of_levels.front(); }

    void spread() {
        for (Parameters* each : of_levels)
            if (each != &own()) std::memcpy(each->values[0], own().values[0], sum.bytes());
    }
    void add_gradients() {
        for (const Parameters* each : of_levels) add(sum[0], each->gradient[0], sum.rows * sum.stride);
    }
    // Makes the sum the gradient, and begins another one.
    void take_sum() {
        std::swap(sum, own().gradient);
        std::memset(sum[0], 0, sum.bytes());
    }
};

// A level of the pyramid: where its places lie among those of an image, and its stages.
struct Level {
    int first_place;
    Stage lateral;
    std::vector<Stage> classes, boxes;

    const ImageSize& size() const { return lateral.to; }
    Stage& logits() { return classes.back(); }
    Stage& deltas() { return boxes.back(); }
};

struct Detector {
    // Beyond these an address might leave an int.
    static constexpr int LARGEST_SIZE = 1 << 11, LARGEST_UNITS = 1 << 24;

    const int anchors_of_place, classes;
    Matrix images;
    std::vector<Stage> body;
    // The finest first.
    std::vector<Level> levels;
    std::vector<Shared> parameters;
    int places = 0;

    // numbers: a DetectorRow and the channels of the body, count in all.
    Detector(const std::int32_t* numbers, std::int64_t count)
        : anchors_of_place(checked(numbers, count).anchors), classes(checked(numbers, count).classes),
          images(1, int(size_of(checked(numbers, count)).units()) * WIDTH), scratch(1, largest(numbers, count) * WIDTH) {
        const DetectorRow& told = checked(numbers, count);
        ImageSize size = size_of(told);
        for (const auto* channels = numbers + OF_ROW; channels != numbers + count; ++channels) {
            body.push_back(Stage::made<3>(size, *channels, 2, true));
            size = body.back().to;
        }
        first = int(body.size()) - told.levels;
        for (int level = 0; level < told.levels; ++level) {
            Stage lateral = Stage::made<1>(body[first + level].to, told.pyramid, 1, false);
            const ImageSize of_level = lateral.to;
            levels.push_back({places, std::move(lateral), head(of_level, told.depth, anchors_of_place * classes),
                              head(of_level, told.depth, anchors_of_place * 4)});
            places += of_level.pixels();
        }
        for (Stage& stage : body) parameters.emplace_back(std::vector{&stage.parameters()});
        for (Level& level : levels) parameters.emplace_back(std::vector{&level.lateral.parameters()});
        for (auto stages : {&Level::classes, &Level::boxes})
            for (int n = 0; n <= told.depth; ++n) {
                std::vector<Parameters*> of_levels;
                for (Level& level : levels) of_levels.push_back(&(level.*stages)[n].parameters());
                parameters.emplace_back(std::move(of_levels));
            }
    }

    int anchors() const { return places * anchors_of_place; }
    int units() const { return images.columns / WIDTH; }

    // How many parameters there are, without the places that fill up rows.
    std::int64_t size() const {
        std::int64_t total = 0;
        for (const Shared& each : parameters) total += std::int64_t(each.sum.rows) * each.sum.columns;
        return total;
    }

    // Applies `copy` to each row of a matrix of all parameters, and to its place in a buffer of size().
    template <typename Copy>
    void with_rows(float* buffer, Matrix Parameters::*matrix, Copy copy) {
        for (const Shared& each : parameters) {
            Matrix& part = each.own().*matrix;
            for (int row = 0; row < part.rows; ++row, buffer += part.columns) copy(part[row], buffer, part.columns);
        }
    }
    void read(float* buffer, Matrix Parameters::*matrix) {
        with_rows(buffer, matrix, [](float* row, float* from, int n) { std::memcpy(row, from, n * sizeof(float)); });
    }
    void write(float* buffer, Matrix Parameters::*matrix) {
        with_rows(buffer, matrix, [](float* row, float* to, int n) { std::memcpy(to, row, n * sizeof(float)); });
    }

    // Copies an image into a place of the WIDTH ones.
    void put(int lane, const float* image) {
        float* to = images[0] + lane;
        for (int unit = 0; unit < units(); ++unit) to[unit * WIDTH] = image[unit];
    }

    // The logits and deltas of all levels.
    void forward() {
        const Matrix* x = &images;
        for (Stage& stage : body) {
            stage.forward(*x);
            x = &stage.y;
        }
        for (int n = int(levels.size()); n-- > 0;) {
            levels[n].lateral.forward(body[first + n].y);
            if (n + 1 < int(levels.size())) add_doubled(levels[n].lateral, levels[n + 1].lateral);
        }
        for (Level& level : levels)
            for (auto* stages : {&level.classes, &level.boxes}) {
                const Matrix* from = &level.lateral.y;
                for (Stage& stage : *stages) {
                    stage.forward(*from);
                    from = &stage.y;
                }
            }
    }

    // From the slopes by the logits and deltas of all levels to the gradient, which is added to the sums.
    void backward() {
        for (std::size_t n = 0; n < levels.size(); ++n) {
            Level& level = levels[n];
            backward_of_head(level.classes, level.lateral, level.lateral.dy);
            backward_of_head(level.boxes, level.lateral, scratch);
            add(level.lateral.dy[0], scratch[0], level.lateral.dy.columns);
            if (n) add_halved(level.lateral, levels[n - 1].lateral);
        }
        for (int n = int(body.size()); n-- > 0;) {
            Stage& stage = body[n];
            if (n >= first) {
                const bool is_last = n + 1 == int(body.size());
                levels[n - first].lateral.backward(stage.y, is_last ? &stage.dy : &scratch);
                if (!is_last) add(stage.dy[0], scratch[0], stage.dy.columns);
            }
            stage.backward(n ? body[n - 1].y : images, n ? &body[n - 1].dy : nullptr);
        }
        for (Shared& each : parameters) each.add_gradients();
    }

  private:
    static constexpr int OF_ROW = sizeof(DetectorRow) / sizeof(std::int32_t);

    // Slopes that are added to others.
    Matrix scratch;
    // The stage of the body that the finest level takes.
    int first;

    static ImageSize size_of(const DetectorRow& told) { return {told.channels, told.height, told.width}; }

    static const DetectorRow& checked(const std::int32_t* numbers, std::int64_t count) {
        if (count <= OF_ROW) Arguments::fail("a detector without a body");
        for (std::int64_t n = 0; n < count; ++n)
            // All but the depth of a head are at least 1.
            if (numbers[n] < (n != 5) || numbers[n] > LARGEST_SIZE)
                Arguments::fail("a size of " + std::to_string(numbers[n]));
        const auto& told = *reinterpret_cast<const DetectorRow*>(numbers);
        if (told.levels > count - OF_ROW) Arguments::fail("more levels than stages of the body");
        if (told.depth > 64) Arguments::fail("a head of " + std::to_string(told.depth) + " convolutions");
        std::int64_t height = told.height, width = told.width, most = size_of(told).units();
        for (std::int64_t n = OF_ROW; n < count; ++n) {
            height = halved(int(height), 2);
            width = halved(int(width), 2);
            std::int64_t channels = numbers[n];
            if (count - n <= told.levels)
                for (std::int64_t of_head : {told.pyramid, told.anchors * told.classes, told.anchors * 4})
                    channels = std::max(channels, of_head);
            most = std::max(most, channels * height * width);
        }
        if (most > LARGEST_UNITS) Arguments::fail("layers of " + std::to_string(most) + " numbers an image");
        return told;
    }

    // The most numbers of an image between two layers that slopes are added by.
    static int largest(const std::int32_t* numbers, std::int64_t count) {
        const DetectorRow& told = checked(numbers, count);
        int height = told.height, width = told.width, most = 0;
        for (std::int64_t n = OF_ROW; n < count; ++n) {
            height = halved(height, 2);
            width = halved(width, 2);
            if (count - n <= told.levels) most = std::max(most, std::max(numbers[n], told.pyramid) * height * width);
        }
        return most;
    }

    static std::vector<Stage> head(ImageSize size, int depth, int outputs) {
        std::vector<Stage> stages;
        for (int n = 0; n < depth; ++n) stages.push_back(Stage::made<3>(size, size.channels, 1, true));
        stages.push_back(Stage::made<3>(size, outputs, 1, false));
        return stages;
    }

    static void backward_of_head(std::vector<Stage>& stages, const Stage& lateral, Matrix& dx) {
        for (std::size_t n = stages.size(); n-- > 0;)
            stages[n].backward(n ? stages[n - 1].y : lateral.y, n ? &stages[n - 1].dy : &dx);
    }

    // Applies `pair` to each pixel of the finer level and that of the coarser one which it lies in.
    template <typename Function>
    static void each_pixel(const ImageSize& fine, const ImageSize& coarse, Function pair) {
        for (int channel = 0; channel < fine.channels; ++channel)
            for (int row = 0; row < fine.height; ++row)
                for (int column = 0; column < fine.width; ++column)
                    pair((channel * fine.height + row) * fine.width + column,
                         (channel * coarse.height + row / 2) * coarse.width + column / 2);
    }
    static void add_doubled(Stage& fine, const Stage& coarse) {
        Vector* to = vectors(fine.y, 0);
        const Vector* from = vectors(coarse.y, 0);
        each_pixel(fine.to, coarse.to, [&](int pixel, int of_coarse) { to[pixel] += from[of_coarse]; });
    }
    static void add_halved(Stage& coarse, const Stage& fine) {
        Vector* to = vectors(coarse.dy, 0);
        const Vector* from = vectors(fine.dy, 0);
        each_pixel(fine.to, coarse.to, [&](int pixel, int of_coarse) { to[of_coarse] += from[pixel]; });
    }
};
