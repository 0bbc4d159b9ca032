// A list of layers with the activations and slopes of a batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arguments.h"
#include "layers.h"

enum class LayerKind : std::int32_t { DENSE = 0, RELU = 1, GELU = 2, LAYER_NORMALISATION = 3, DROPOUT = 4 };

// A limit of sizes, so that no product of two of them leaves an int.
constexpr int LARGEST = 1 << 15;

struct Network {
    const int features;
    std::vector<std::unique_ptr<Layer>> layers;
    std::vector<Dropout*> dropouts;
    // Before each layer, and behind the last.
    std::vector<Matrix> activations, slopes;
    // The first layer that has parameters: no slopes are wanted before it.
    std::size_t first = 0;

    // rows: count times the kind of a layer, its inputs and its outputs.
    Network(const std::int32_t* rows, std::int64_t count, std::int64_t features, int most_examples)
        : features(checked_size(features)) {
        int width = this->features;
        for (std::int64_t n = 0; n < count; ++n, rows += 3) {
            if (rows[1] != width) Arguments::fail("layer " + std::to_string(n) + " does not fit the one before it");
            layers.push_back(made(LayerKind(rows[0]), width, checked_size(rows[2]), most_examples));
            if (rows[2] != layers.back()->outputs) Arguments::fail("a layer that changes no width is told to");
            width = rows[2];
        }
        while (first < layers.size() && !layers[first]->parameters()) ++first;
        if (first == layers.size()) Arguments::fail("no layer has parameters");
        activations.emplace_back(most_examples, this->features);
        slopes.emplace_back(most_examples, this->features);
        for (const auto& layer : layers) {
            activations.emplace_back(most_examples, layer->outputs);
            slopes.emplace_back(most_examples, layer->outputs);
            if (auto* dropout = dynamic_cast<Dropout*>(layer.get())) dropouts.push_back(dropout);
        }
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
        for (std::size_t n = 0; n < layers.size(); ++n) layers[n]->forward(activations[n], activations[n + 1], examples);
        return activations.back();
    }

    // From the slopes by the logits, slopes.back(), to the gradient of all parameters.
    void backward(int examples) {
        for (std::size_t n = layers.size(); n-- > first;)
            layers[n]->backward(activations[n], activations[n + 1], slopes[n + 1], n > first ? &slopes[n] : nullptr, examples);
    }

  private:
    static int checked_size(std::int64_t size) {
        if (size < 1 || size > LARGEST) Arguments::fail("a size of " + std::to_string(size));
        return int(size);
    }

    static std::unique_ptr<Layer> made(LayerKind kind, int inputs, int outputs, int most_examples) {
        switch (kind) {
            case LayerKind::DENSE: return std::make_unique<Dense>(inputs, outputs);
            case LayerKind::RELU: return std::make_unique<Relu>(inputs);
            case LayerKind::GELU: return std::make_unique<Gelu>(inputs);
            case LayerKind::LAYER_NORMALISATION: return std::make_unique<LayerNormalisation>(inputs, most_examples);
            case LayerKind::DROPOUT: return std::make_unique<Dropout>(inputs, most_examples);
        }
        Arguments::fail("an unknown kind of layer");
    }
};
