// Convolutions of WIDTH images in a row, those that share parameters, and the levels of a pyramid that are made of them.
#pragma once

#include <memory>
#include <vector>

#include "convolution.h"
#include "images.h"
#include "layers.h"

// A convolution of WIDTH images with its outputs, which may be rectified, and the slopes by them.
struct Stage {
    std::unique_ptr<SummingLayer> convolution;
    ImageSize to;
    bool is_rectified;
    Matrix y, dy;

    template <int KERNEL>
    static Stage made(ImageSize from, ImageSize to, int step, bool is_rectified) {
        const int numbers = int(to.units()) * WIDTH;
        return {std::make_unique<Convolution<KERNEL>>(from, to, step), to, is_rectified, Matrix(1, numbers), Matrix(1, numbers)};
    }

    Parameters& parameters() const { return *convolution->parameters(); }

    void forward(const Matrix& x) {
        convolution->forward(x, y, WIDTH);
        if (!is_rectified) return;
        float* values = y[0];
        // NaN stays NaN.
        for (int n = 0; n < y.columns; ++n) values[n] = values[n] < 0.0f ? 0.0f : values[n];
    }

    // From dy to the slopes by x, unless dx is null, and to the gradient of its parameters, which is added to its sums.
    void backward(const Matrix& x, Matrix* dx) {
        if (is_rectified) {
            const float* values = y[0];
            float* slopes = dy[0];
#pragma GCC ivdep
            for (int n = 0; n < y.columns; ++n) slopes[n] = values[n] > 0.0f ? slopes[n] : 0.0f;
        }
        convolution->add_gradient(vectors(x, 0), vectors(dy, 0), dx ? vectors(*dx, 0) : nullptr);
    }
};

// Stages one after the other.
struct Head {
    std::vector<Stage> stages;

    // From `from` on; each of the `depth` hidden stages keeps the size, or is `shrinks` smaller in each direction.
    Head(ImageSize from, int depth, int outputs, int shrinks = 0) {
        for (int n = 0; n <= depth; ++n) {
            const bool is_last = n == depth;
            const ImageSize to{is_last ? outputs : from.channels, from.height - shrinks, from.width - shrinks};
            stages.push_back(Stage::made<3>(from, to, 1, !is_last));
            from = to;
        }
    }

    Stage& last() { return stages.back(); }
    const Stage& last() const { return stages.back(); }

    void forward(const Matrix& x) {
        for (std::size_t n = 0; n < stages.size(); ++n) stages[n].forward(n ? stages[n - 1].y : x);
    }
    void backward(const Matrix& x, Matrix& dx) {
        for (std::size_t n = stages.size(); n-- > 0;)
            stages[n].backward(n ? stages[n - 1].y : x, n ? &stages[n - 1].dy : &dx);
    }
};

// Convolutions that share parameters: those of the first count, the others follow.
struct Shared {
    std::vector<SummingLayer*> layers;

    explicit Shared(const std::vector<Stage*>& stages) {
        for (const Stage* stage : stages) layers.push_back(stage->convolution.get());
    }

    Parameters& own() const { return *layers.front()->parameters(); }

    // Gives all of them the parameters.
    void spread() {
        for (SummingLayer* each : layers) {
            Matrix& values = each->parameters()->values;
            if (each != layers.front()) std::memcpy(values[0], own().values[0], values.bytes());
        }
    }
    void begin_gradient() {
        for (SummingLayer* each : layers) each->begin_gradient();
    }
    void end_gradient() {
        for (SummingLayer* each : layers)
            if (each != layers.front()) layers.front()->add_sums(*each);
        layers.front()->end_gradient();
    }
};

// A level of the pyramid: where its places lie among those of an image, and its stages.
struct Level {
    int first_place;
    Stage lateral;
    Head classes, boxes;

    const ImageSize& size() const { return lateral.to; }
};

