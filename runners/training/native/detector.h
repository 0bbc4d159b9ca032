// RetinaNet in miniature, or the first stage of two, of WIDTH images at a time: a body, a pyramid, and two heads that all of its levels share.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "arguments.h"
#include "parameter_list.h"
#include "site_head.h"
#include "stages.h"

// A detector as a call tells it; behind these numbers come the channels of its body.
struct DetectorRow {
    std::int32_t channels, height, width, levels, pyramid, depth, anchors, classes;
};

// Where an anchor is: the level, the pixel in it, and the anchor of that place.
struct AnchorPlace {
    int level, pixel, anchor;
};

struct Detector {
    // Beyond these an address might leave an int.
    static constexpr int LARGEST_SIZE = 1 << 11, LARGEST_UNITS = 1 << 24;

    const int anchors_of_place, classes;
    const ImageSize size;
    Matrix images;
    std::vector<Stage> body;
    // The finest first.
    std::vector<Level> levels;
    // The box head where there are objects; the levels' own are for prediction.
    std::unique_ptr<SiteHead> sites;
    // Body, pyramid, class head, box head.
    std::vector<Shared> parameters;
    int places = 0;

    // numbers: a DetectorRow and the channels of the body, count in all.
    Detector(const std::int32_t* numbers, std::int64_t count)
        : anchors_of_place(checked(numbers, count).anchors), classes(checked(numbers, count).classes),
          size(size_of(checked(numbers, count))), images(1, int(size.units()) * WIDTH), scratch(1, 1) {
        const DetectorRow& told = checked(numbers, count);
        ImageSize from = size;
        for (const auto* channels = numbers + OF_ROW; channels != numbers + count; ++channels) {
            const ImageSize to{*channels, halved(from.height, 2), halved(from.width, 2)};
            body.push_back(Stage::made<3>(from, to, 2, true));
            from = to;
        }
        first = int(body.size()) - told.levels;
        scratch = Matrix(1, body[first].dy.columns);
        for (int n = first; n < int(body.size()); ++n) {
            const ImageSize of_level{told.pyramid, body[n].to.height, body[n].to.width};
            levels.push_back({places, Stage::made<1>(body[n].to, of_level, 1, false),
                              Head(of_level, told.depth, anchors_of_place * classes),
                              Head(of_level, told.depth, anchors_of_place * 4)});
            places += of_level.pixels();
            if (body[n].dy.columns > scratch.columns) scratch = Matrix(1, body[n].dy.columns);
        }
        sites = std::make_unique<SiteHead>(told.pyramid, told.depth, anchors_of_place * 4);
        for (Stage& stage : body) parameters.emplace_back(std::vector{&stage});
        for (Level& level : levels) parameters.emplace_back(std::vector{&level.lateral});
        for (int n = 0; n <= told.depth; ++n) share(&Level::classes, n, nullptr);
        for (int n = 0; n <= told.depth; ++n) share(&Level::boxes, n, &sites->head.stages[n]);
    }

    int anchors() const { return places * anchors_of_place; }
    int units() const { return images.columns / WIDTH; }

    // The pixels of the image from one place of each level to the next.
    std::vector<int> strides() const {
        std::vector<int> found;
        for (std::size_t n = 0; n < levels.size(); ++n) found.push_back(2 << (first + n));
        return found;
    }

    void list(ParameterList& all) const {
        for (const Shared& each : parameters) all.all.push_back(&each.own());
    }
    // Once the parameters have changed.
    void spread() {
        for (Shared& each : parameters) each.spread();
    }
    // Before the images of a step, and behind them.
    void begin_gradient() {
        spread();
        for (Shared& each : parameters) each.begin_gradient();
    }
    void end_gradient() {
        for (Shared& each : parameters) each.end_gradient();
    }

    AnchorPlace place_of(int anchor) const {
        const int place = anchor / anchors_of_place;
        int level = int(levels.size()) - 1;
        while (levels[level].first_place > place) --level;
        return {level, place - levels[level].first_place, anchor % anchors_of_place};
    }

    // Writes the numbers of an image, `of_anchor` of each anchor, in the order level, row, column, anchor of the place.
    void write_anchors(Head Level::*head, int of_anchor, int lane, float* to) const {
        for (const Level& level : levels) {
            const float* from = (level.*head).last().y[0] + lane;
            const int pixels = level.size().pixels(), channels = of_anchor * anchors_of_place;
            for (int pixel = 0; pixel < pixels; ++pixel)
                for (int channel = 0; channel < channels; ++channel) *to++ = from[(channel * pixels + pixel) * WIDTH];
        }
    }

    // Copies an image into a place of the WIDTH ones.
    void put(int lane, const float* image) {
        float* to = images[0] + lane;
        for (int unit = 0; unit < units(); ++unit) to[unit * WIDTH] = image[unit];
    }

    // The pyramid and the logits of all levels.
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
        for (Level& level : levels) level.classes.forward(level.lateral.y);
    }
    // The deltas of all anchors.
    void forward_boxes() {
        for (Level& level : levels) level.boxes.forward(level.lateral.y);
    }

    // From the slopes by the logits to those by the pyramid, to which `sites` adds others.
    void backward_classes() {
        for (Level& level : levels) level.classes.backward(level.lateral.y, level.lateral.dy);
    }
    // From the slopes by the pyramid on.
    void backward_body() {
        for (std::size_t n = 1; n < levels.size(); ++n) add_halved(levels[n].lateral, levels[n - 1].lateral);
        for (int n = int(body.size()); n-- > 0;) {
            Stage& stage = body[n];
            if (n >= first) {
                const bool is_last = n + 1 == int(body.size());
                levels[n - first].lateral.backward(stage.y, is_last ? &stage.dy : &scratch);
                if (!is_last) add(stage.dy, scratch);
            }
            stage.backward(n ? body[n - 1].y : images, n ? &body[n - 1].dy : nullptr);
        }
    }

  private:
    static constexpr int OF_ROW = sizeof(DetectorRow) / sizeof(std::int32_t);

    // Slopes that are added to others.
    Matrix scratch;
    // The stage of the body that the finest level takes.
    int first;

    void share(Head Level::*head, int stage, Stage* more) {
        std::vector<Stage*> stages;
        for (Level& level : levels) stages.push_back(&(level.*head).stages[stage]);
        if (more) stages.push_back(more);
        parameters.emplace_back(stages);
    }

    static ImageSize size_of(const DetectorRow& told) { return {told.channels, told.height, told.width}; }

    static const DetectorRow& checked(const std::int32_t* numbers, std::int64_t count) {
        if (count <= OF_ROW) Arguments::fail("a detector without a body");
        for (std::int64_t n = 0; n < count; ++n)
            // All but the depth of a head are at least 1.
            if (numbers[n] < (n != 5) || numbers[n] > LARGEST_SIZE)
                Arguments::fail("a size of " + std::to_string(numbers[n]));
        const auto& told = *reinterpret_cast<const DetectorRow*>(numbers);
        if (told.levels > count - OF_ROW) Arguments::fail("more levels than stages of the body");
        if (told.depth > 16) Arguments::fail("a head of " + std::to_string(told.depth) + " convolutions");
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

    static void add(Matrix& to, const Matrix& from) {
        float* sums = to[0];
        const float* added = from[0];
#pragma GCC ivdep
        for (int n = 0; n < to.columns; ++n) sums[n] += added[n];
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
