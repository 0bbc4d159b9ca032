// One member of a fleet: an epoch of its training, and its logits, and the images of an epoch. All are custom operators of
// MindSpore (kind "aot"), and functions that anyone can call with the same arguments.
#include <algorithm>

#include "arguments.h"
#include "augmentation.h"
#include "guarded.h"
#include "network.h"
#include "objective.h"
#include "optimizers.h"
#include "rows.h"

namespace {

// Rows whose logits are computed at once.
constexpr int EVALUATED_ROWS = 64;

void check(const std::int32_t* plan, std::int64_t planned, const std::int32_t* labels, std::int64_t rows, int classes) {
    for (std::int64_t n = 0; n < planned; ++n) {
        if (plan[n] < 0 || plan[n] >= rows) Arguments::fail("a plan with row " + std::to_string(plan[n]));
        const int label = labels[plan[n]];
        if (label < 0 || label >= classes) Arguments::fail("a label of " + std::to_string(label));
    }
}

// Makes the gradient of all parameters as long as this if it is longer.
void clip(Network& network, float longest) {
    float square = 0.0f;
    for (const auto& layer : network.layers)
        if (const auto* own = layer->parameters()) square += square_of_norm(*own);
    const float norm = std::sqrt(square);
    if (!(norm > longest)) return;
    for (const auto& layer : network.layers)
        if (auto* own = layer->parameters()) scale_gradient(*own, longest / norm);
}

void train(const Arguments& given) {
    enum { LAYERS, PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, FEATURES, LABELS, PLAN, MASKS, CLASS_WEIGHT, WEIGHT, ADJUSTMENT,
           PARTNERS, MIXING, CHOICES, NUMBERS, COEFFICIENTS, STANDARDISATION, NEW_PARAMETERS, NEW_FIRST_MOMENT, NEW_SECOND_MOMENT, LOSS,
           COUNT };
    given.require_count(COUNT);
    const auto* choices = given.integers(CHOICES, {4});
    const int batch_size = choices[0];
    if (batch_size < 1 || batch_size > LARGEST) Arguments::fail("a batch of " + std::to_string(batch_size));
    const auto mining = Mining(choices[1]);
    const auto optimizer = OptimizerKind(choices[2]);
    const bool mixes = choices[3] != 0;
    if (mining < Mining::NONE || mining > Mining::RATIO) Arguments::fail("an unknown mining");
    if (optimizer < OptimizerKind::ADAMW || optimizer > OptimizerKind::ADAM) Arguments::fail("an unknown optimizer");

    Rows features(given, FEATURES, STANDARDISATION);
    const std::int64_t rows = features.count;
    const auto* rows_of_layers = given.integers(LAYERS, {ANY, ROW_NUMBERS});
    Network network(rows_of_layers, given.size(LAYERS, 0), features.columns, batch_size);
    const int classes = network.classes();
    network.read(given.floats(PARAMETERS, {network.size()}), &Parameters::values);
    network.read(given.floats(FIRST_MOMENT, {network.size()}), &Parameters::first_moment);
    network.read(given.floats(SECOND_MOMENT, {network.size()}), &Parameters::second_moment);

    const auto* plan = given.integers(PLAN, {ANY});
    const std::int64_t planned = given.size(PLAN, 0), steps = (planned + batch_size - 1) / batch_size;
    const auto* labels = given.integers(LABELS, {rows});
    check(plan, planned, labels, rows, classes);
    // Without mixing they are anything, as the masks.
    const auto* partners = mixes ? given.integers(PARTNERS, {planned}) : nullptr;
    const auto* of_features = mixes ? given.floats(MIXING, {2, planned}) : nullptr;
    if (mixes && mining != Mining::NONE) Arguments::fail("mining of mixed examples");
    if (mixes) check(partners, planned, labels, rows, classes);
    std::int64_t units = 0;
    for (const auto* dropout : network.dropouts) units += dropout->inputs;
    // Without dropouts it is anything, since a graph takes no empty array.
    const auto* masks = units ? given.floats(MASKS, {steps, units, batch_size}) : nullptr;
    // gamma, epsilon and smoothing of the loss, what the mining keeps, two numbers of the optimizer, and how long the
    // gradient may be, 0 where that does not matter.
    const auto* numbers = given.floats(NUMBERS, {7});
    if (!(numbers[3] >= 0.0f)) Arguments::fail("mining of a share of " + std::to_string(numbers[3]));
    const auto *class_weight = given.floats(CLASS_WEIGHT, {classes}), *adjustment = given.floats(ADJUSTMENT, {3, classes});
    const Loss minimised{classes, numbers[0], numbers[1], numbers[2], class_weight, adjustment, adjustment + classes,
                         adjustment + 2 * classes, mining, numbers[3]};
    const bool is_adamw = optimizer == OptimizerKind::ADAMW, is_adam = is_adamw || optimizer == OptimizerKind::ADAM;
    const auto* coefficients = given.floats(COEFFICIENTS, {is_adam ? 3 : 2, steps});
    auto* loss = given.floats(LOSS, {1});
    Objective objective(minimised, batch_size);

    const auto* weight = given.floats(WEIGHT, {rows});

    float total = 0.0f;
    std::vector<std::int32_t> labels_of_batch(batch_size), labels_of_partners(batch_size);
    std::vector<float> weights_of_batch(batch_size), weights_of_partners(batch_size);
    for (std::int64_t step = 0; step < steps; ++step) {
        const auto* batch = plan + step * batch_size;
        const int examples = int(std::min<std::int64_t>(batch_size, planned - step * batch_size));
        for (int n = 0; n < examples; ++n) {
            network.put(n, features[batch[n]]);
            labels_of_batch[n] = labels[batch[n]];
            weights_of_batch[n] = weight[batch[n]];
            if (!mixes) continue;
            const auto place = step * batch_size + n;
            network.mix(n, of_features[place], features[partners[place]]);
            labels_of_partners[n] = labels[partners[place]];
            const float share = of_features[planned + place];
            weights_of_batch[n] *= share;
            weights_of_partners[n] = weight[partners[place]] * (1.0f - share);
        }
        for (auto* dropout : network.dropouts) {
            dropout->drop(masks, batch_size, examples);
            masks += std::int64_t(dropout->inputs) * batch_size;
        }
        const Matrix& logits = network.forward(examples);
        Matrix& slopes = network.slopes.back();
        total += objective(logits, labels_of_batch.data(), weights_of_batch.data(), slopes, examples);
        if (mixes)
            total += objective(logits, labels_of_partners.data(), weights_of_partners.data(), slopes, examples, true);
        network.backward(examples);
        if (numbers[6] > 0.0f) clip(network, numbers[6]);
        const float* now = coefficients + step;
        for (const auto& layer : network.layers) {
            auto* own = layer->parameters();
            if (own && is_adam)
                step_adam(*own, numbers[4], numbers[5], is_adamw, now[0], now[steps], now[2 * steps]);
            if (own && !is_adam)
                step_sgd(*own, numbers[4], optimizer == OptimizerKind::NESTEROV, now[0], now[steps]);
        }
    }
    *loss = total / float(steps);
    // Last, since these may be the arrays that were read.
    network.write(given.floats(NEW_PARAMETERS, {network.size()}), &Parameters::values);
    network.write(given.floats(NEW_FIRST_MOMENT, {network.size()}), &Parameters::first_moment);
    network.write(given.floats(NEW_SECOND_MOMENT, {network.size()}), &Parameters::second_moment);
}

void predict(const Arguments& given) {
    enum { LAYERS, PARAMETERS, FEATURES, LOGITS, COUNT };
    given.require_count(COUNT);
    const auto* features = given.floats(FEATURES, {ANY, ANY});
    const std::int64_t rows = given.size(FEATURES, 0), columns = given.size(FEATURES, 1);
    const auto* rows_of_layers = given.integers(LAYERS, {ANY, ROW_NUMBERS});
    Network network(rows_of_layers, given.size(LAYERS, 0), columns, EVALUATED_ROWS);
    network.read(given.floats(PARAMETERS, {network.size()}), &Parameters::values);
    auto* logits = given.floats(LOGITS, {network.classes(), rows});
    for (std::int64_t first = 0; first < rows; first += EVALUATED_ROWS) {
        const int examples = int(std::min<std::int64_t>(EVALUATED_ROWS, rows - first));
        for (int n = 0; n < examples; ++n) network.put(n, features + (first + n) * columns);
        const Matrix& found = network.forward(examples);
        for (int n = 0; n < examples; ++n)
            for (int c = 0; c < network.classes(); ++c) logits[c * rows + first + n] = found[n][c];
    }
}

}  // namespace

extern "C" {

// Layers are rows of int32, LayerRow in network.h.
//
// Arguments: layers (L, 10) int32, parameters, first_moment, second_moment (P,), features (rows, F), labels (rows,) int32,
// plan (n,) int32, masks (S, units, B), class_weight (C,), weight (rows,), adjustment (3, C), partners (n,) int32 and
// mixing (2, n) of features and of labels, choices (batch size, mining, optimizer, whether it mixes) int32, numbers (7,),
// coefficients (3 or 2, S), standardisation (2, F) where features are uint8; new parameters, first_moment, second_moment
// (P,), the mean training loss (1,).
int train_epoch(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(train, count, values, ranks, shapes, types);
}

// Arguments: layers (L, 10) int32, parameters (P,), features (rows, F); logits (C, rows).
int predict_logits(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(predict, count, values, ranks, shapes, types);
}

// Arguments: images (N, channels, height, width), maps (N, 6) from (row, column) of an augmented image to those of its
// source, both from the middle, squares (N, 4) int32 that become 0: top, left, bottom, right, brightness (N,); augmented
// images.
int augment_images(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(augment, count, values, ranks, shapes, types);
}
}
