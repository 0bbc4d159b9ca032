// A list of layers with the activations and slopes of a batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arguments.h"
#include "convolution.h"
#include "images.h"
#include "layers.h"

enum class LayerKind : std::int32_t {
    DENSE = 0,
    RELU = 1,
    GELU = 2,
    LAYER_NORMALISATION = 3,
    DROPOUT = 4,
    IMAGE = 5,
    CONVOLUTION = 6,
    MAX_POOL = 7,
    AVERAGE_POOL = 8,
    GROUP_NORMALISATION = 9,
    GLOBAL_AVERAGE = 10,
    FLATTEN = 11,
    SCALE = 12,
    SHORTCUT = 13
};

// A layer as a call tells it; behind its outputs is what it needs where it takes images, else zeros. A shortcut is past so
// many layers.
struct LayerRow {
    std::int32_t kind, inputs, outputs, channels, height, width, kernel, stride, groups, past;

    ImageSize image() const { return {channels, height, width}; }
};
constexpr int ROW_NUMBERS = sizeof(LayerRow) / sizeof(std::int32_t);

struct Network {
    const int features;
    std::vector<std::unique_ptr<Layer>> layers;
    std::vector<Dropout*> dropouts;
    // Where the image comes from that a layer adds, and the layer.
    struct Past {
        std::size_t source, place;
        Shortcut* shortcut;
    };
    std::vector<Past> shortcuts;
    // Before each layer, and behind the last.
    std::vector<Matrix> activations, slopes;
    // The first layer that has parameters: no slopes are wanted before it.
    std::size_t first = 0;

    // numbers: count times those of a LayerRow.
    Network(const std::int32_t* numbers, std::int64_t count, std::int64_t features, int most_examples)
        : features(checked_size(features)) {
        const auto* rows = reinterpret_cast<const LayerRow*>(numbers);
        int width = this->features, lanes = 1;
        add_matrices(most_examples, width, lanes);
        for (const LayerRow* row = rows; row != rows + count; ++row) {
            const auto kind = LayerKind(row->kind);
            if (kind < LayerKind::DENSE || kind > LayerKind::SHORTCUT) Arguments::fail("an unknown kind of layer");
            if (is_of_images(kind))
                for (const int size : {row->channels, row->height, row->width}) checked_size(size);
            const bool fits = row->inputs == width && (!is_of_images(kind) || row->image().units() == width);
            if (!fits || takes_images(kind, lanes) != (lanes > 1))
                Arguments::fail("layer " + std::to_string(row - rows) + " does not fit the one before it");
            checked_size(row->outputs);
            layers.push_back(kind == LayerKind::SHORTCUT ? made_shortcut(rows, row) : made(*row, lanes, most_examples));
            if (row->outputs != layers.back()->outputs) Arguments::fail("a layer is told of other outputs than it has");
            width = row->outputs;
            lanes = gives_images(kind, lanes) ? WIDTH : 1;
            add_matrices(most_examples, width, lanes);
            if (auto* dropout = dynamic_cast<Dropout*>(layers.back().get())) dropouts.push_back(dropout);
        }
        while (first < layers.size() && !layers[first]->parameters()) ++first;
        if (first == layers.size()) Arguments::fail("no layer has parameters");
        if (lanes > 1) Arguments::fail("the logits are an image");
    }

    int classes() const { return layers.back()->outputs; }

    // How many parameters there are, without the places that fill up rows.
    std::int64_t size() const {
        std::int64_t total = 0;
        for (const auto& layer : layers)
            if (auto* own = layer->parameters()) total += std::int64_t(own->values.rows) * own->values.columns;
        return total;
    }

    // Applies `copy` to each row of a matrix of every layer's parameters, and to its place in a buffer of size().
    template <typename Copy>
    void with_rows(float* buffer, Matrix Parameters::*matrix, Copy copy) {
        for (const auto& layer : layers) {
            auto* own = layer->parameters();
            if (!own) continue;
            Matrix& part = own->*matrix;
            for (int row = 0; row < part.rows; ++row, buffer += part.columns) copy(part[row], buffer, part.columns);
        }
    }

    void read(float* buffer, Matrix Parameters::*matrix) {
        with_rows(buffer, matrix, [](float* row, float* from, int n) { std::memcpy(row, from, n * sizeof(float)); });
    }
    void write(float* buffer, Matrix Parameters::*matrix) {
        with_rows(buffer, matrix, [](float* row, float* to, int n) { std::memcpy(to, row, n * sizeof(float)); });
    }

    // Copies a row of features into the batch.
    void put(int example, const float* row) { std::memcpy(activations[0][example], row, features * sizeof(float)); }

    // Mixes a row of the batch with another one, of which 1 - share is taken.
    void mix(int example, float share, const float* other) {
        float* row = activations[0][example];
        for (int n = 0; n < features; ++n) row[n] = share * row[n] + (1.0f - share) * other[n];
    }

    // The logits (examples, classes) of the examples that were put into the batch.
    const Matrix& forward(int examples) {
        for (std::size_t n = 0; n < layers.size(); ++n) {
            layers[n]->forward(activations[n], activations[n + 1], examples);
            for (const Past& each : shortcuts)
                if (each.place == n) each.shortcut->add(activations[each.source], activations[n + 1], examples);
        }
        return activations.back();
    }

    // From the slopes by the logits, slopes.back(), to the gradient of all parameters.
    void backward(int examples) {
        for (std::size_t n = layers.size(); n-- > first;) {
            layers[n]->backward(activations[n], activations[n + 1], slopes[n + 1], n > first ? &slopes[n] : nullptr, examples);
            // Now that the layer has written its slopes, to which those by the shortcuts come.
            for (const Past& each : shortcuts)
                if (each.source == n && n > first) each.shortcut->add_slopes(slopes[each.place + 1], slopes[n], examples);
        }
    }

  private:
    // Of the activations before a layer, or behind the last.
    void add_matrices(int most_examples, int width, int lanes) {
        for (auto* matrices : {&activations, &slopes}) matrices->emplace_back(rows_of(most_examples, lanes), width * lanes);
    }

    static bool is_of_images(LayerKind kind) {
        return (kind > LayerKind::IMAGE && kind <= LayerKind::FLATTEN) || kind == LayerKind::SHORTCUT;
    }
    static bool takes_images(LayerKind kind, int lanes) {
        const bool takes_any = kind == LayerKind::RELU || kind == LayerKind::GELU || kind == LayerKind::DROPOUT;
        return takes_any ? lanes > 1 : is_of_images(kind);
    }
    static bool gives_images(LayerKind kind, int lanes) {
        return kind == LayerKind::IMAGE || (lanes > 1 && kind != LayerKind::GLOBAL_AVERAGE && kind != LayerKind::FLATTEN);
    }

    static int checked_size(std::int64_t size) {
        if (size < 1 || size > LARGEST) Arguments::fail("a size of " + std::to_string(size));
        return int(size);
    }

    static std::unique_ptr<Layer> made(const LayerRow& row, int lanes, int most_examples) {
        const int inputs = row.inputs;
        const ImageSize image = row.image();
        switch (LayerKind(row.kind)) {
            case LayerKind::DENSE: return std::make_unique<Dense>(inputs, row.outputs);
            case LayerKind::RELU: return std::make_unique<Relu>(inputs, lanes);
            case LayerKind::GELU: return std::make_unique<Gelu>(inputs, lanes);
            case LayerKind::LAYER_NORMALISATION: return std::make_unique<LayerNormalisation>(inputs, most_examples);
            case LayerKind::DROPOUT: return std::make_unique<Dropout>(inputs, lanes, most_examples);
            case LayerKind::IMAGE: return std::make_unique<ToImages>(inputs);
            case LayerKind::CONVOLUTION: return made_convolution(row);
            case LayerKind::MAX_POOL: return std::make_unique<MaxPool>(image);
            case LayerKind::AVERAGE_POOL: return std::make_unique<AveragePool>(image);
            case LayerKind::GROUP_NORMALISATION:
                if (row.groups < 1 || image.channels % row.groups) Arguments::fail("groups that do not divide the channels");
                return std::make_unique<GroupNormalisation>(image, row.groups, most_examples);
            case LayerKind::GLOBAL_AVERAGE: return std::make_unique<GlobalAverage>(image);
            case LayerKind::FLATTEN: return std::make_unique<Flatten>(inputs);
            case LayerKind::SCALE: return std::make_unique<Scale>(inputs);
            case LayerKind::SHORTCUT: break;
        }
        Arguments::fail("an unknown kind of layer");
    }

    // rows: of all layers; row: its own.
    std::unique_ptr<Layer> made_shortcut(const LayerRow* rows, const LayerRow* row) {
        const std::int64_t place = row - rows, source = place - row->past;
        if (row->past < 1 || source < 0) Arguments::fail("a shortcut past " + std::to_string(row->past) + " layers");
        const ImageSize to = row->image(), from = rows[source].image();
        for (const int size : {from.channels, from.height, from.width}) checked_size(size);
        const auto fits = [&](int step) { return halved(from.height, step) == to.height && halved(from.width, step) == to.width; };
        if (activations[source].columns != from.units() * WIDTH || from.channels > to.channels || !(fits(1) || fits(2)))
            Arguments::fail("layer " + std::to_string(place) + " adds what does not fit");
        auto shortcut = std::make_unique<Shortcut>(from, to);
        shortcuts.push_back({std::size_t(source), std::size_t(place), shortcut.get()});
        return shortcut;
    }

    static std::unique_ptr<Layer> made_convolution(const LayerRow& row) {
        if (row.stride < 1 || row.stride > 2) Arguments::fail("a stride of " + std::to_string(row.stride));
        const int pixels = halved(row.height, row.stride) * halved(row.width, row.stride);
        const ImageSize image = row.image();
        switch (row.kernel) {
            case 1: return std::make_unique<Convolution<1>>(image, row.outputs / pixels, row.stride);
            case 3: return std::make_unique<Convolution<3>>(image, row.outputs / pixels, row.stride);
            case 5: return std::make_unique<Convolution<5>>(image, row.outputs / pixels, row.stride);
        }
        Arguments::fail("a kernel of " + std::to_string(row.kernel));
    }
};
