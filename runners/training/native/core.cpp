// One member of a fleet: an epoch of its training, and its logits. Both are custom operators of MindSpore (kind "aot"),
// and functions that anyone can call with the same arguments.
#include <algorithm>
#include <exception>

#include "arguments.h"
#include "network.h"
#include "objective.h"
#include "optimizers.h"

namespace {

// Rows whose logits are computed at once.
constexpr int EVALUATED_ROWS = 64;

thread_local std::string reason;

void train(const Arguments& given) {
    enum { LAYERS, PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, FEATURES, LABELS, PLAN, MASKS, CLASS_WEIGHT, WEIGHT, CHOICES,
           NUMBERS, COEFFICIENTS, NEW_PARAMETERS, NEW_FIRST_MOMENT, NEW_SECOND_MOMENT, LOSS, COUNT };
    given.require_count(COUNT);
    const auto* choices = given.integers(CHOICES, {3});
    const int batch_size = choices[0];
    if (batch_size < 1 || batch_size > LARGEST) Arguments::fail("a batch of " + std::to_string(batch_size));
    const auto mining = Mining(choices[1]);
    const auto optimizer = OptimizerKind(choices[2]);
    if (mining < Mining::NONE || mining > Mining::RATIO) Arguments::fail("an unknown mining");
    if (optimizer < OptimizerKind::ADAMW || optimizer > OptimizerKind::NESTEROV) Arguments::fail("an unknown optimizer");

    const auto* features = given.floats(FEATURES, {ANY, ANY});
    const std::int64_t rows = given.size(FEATURES, 0);
    const auto* rows_of_layers = given.integers(LAYERS, {ANY, 3});
    Network network(rows_of_layers, given.size(LAYERS, 0), given.size(FEATURES, 1), batch_size);
    const int classes = network.classes();
    network.read(given.floats(PARAMETERS, {network.size()}), &Parameters::values);
    network.read(given.floats(FIRST_MOMENT, {network.size()}), &Parameters::first_moment);
    network.read(given.floats(SECOND_MOMENT, {network.size()}), &Parameters::second_moment);

    const auto* plan = given.integers(PLAN, {ANY});
    const std::int64_t planned = given.size(PLAN, 0), steps = (planned + batch_size - 1) / batch_size;
    const auto* labels = given.integers(LABELS, {rows});
    for (std::int64_t n = 0; n < planned; ++n) {
        if (plan[n] < 0 || plan[n] >= rows) Arguments::fail("a plan with row " + std::to_string(plan[n]));
        const int label = labels[plan[n]];
        if (label < 0 || label >= classes) Arguments::fail("a label of " + std::to_string(label));
    }
    std::int64_t units = 0;
    for (const auto* dropout : network.dropouts) units += dropout->inputs;
    // Without dropouts it is anything, since a graph takes no empty array.
    const auto* masks = units ? given.floats(MASKS, {steps, units, batch_size}) : nullptr;
    // gamma, what the mining keeps, and two numbers of the optimizer.
    const auto* numbers = given.floats(NUMBERS, {4});
    const bool is_adamw = optimizer == OptimizerKind::ADAMW;
    const auto* coefficients = given.floats(COEFFICIENTS, {is_adamw ? 3 : 2, steps});
    auto* loss = given.floats(LOSS, {1});
    Objective objective(classes, batch_size, numbers[0], given.floats(CLASS_WEIGHT, {classes}), mining, numbers[1]);

    const auto* weight = given.floats(WEIGHT, {rows});

    float total = 0.0f;
    std::vector<std::int32_t> labels_of_batch(batch_size);
    std::vector<float> weights_of_batch(batch_size);
    for (std::int64_t step = 0; step < steps; ++step) {
        const auto* batch = plan + step * batch_size;
        const int examples = int(std::min<std::int64_t>(batch_size, planned - step * batch_size));
        for (int n = 0; n < examples; ++n) {
            network.put(n, features + batch[n] * given.size(FEATURES, 1));
            labels_of_batch[n] = labels[batch[n]];
            weights_of_batch[n] = weight[batch[n]];
        }
        for (auto* dropout : network.dropouts) {
            dropout->drop(masks, batch_size, examples);
            masks += std::int64_t(dropout->inputs) * batch_size;
        }
        const Matrix& logits = network.forward(examples);
        total += objective(logits, labels_of_batch.data(), weights_of_batch.data(), network.slopes.back(), examples);
        network.backward(examples);
        const float* now = coefficients + step;
        for (const auto& layer : network.layers) {
            auto* own = layer->parameters();
            if (own && is_adamw) step_adamw(*own, numbers[2], numbers[3], now[0], now[steps], now[2 * steps]);
            if (own && !is_adamw)
                step_sgd(*own, numbers[2], optimizer == OptimizerKind::NESTEROV, now[0], now[steps]);
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
    const auto* rows_of_layers = given.integers(LAYERS, {ANY, 3});
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

// 0, or 1 where the arguments are wrong, which `last_reason` then explains.
template <typename Function>
int guarded(Function function, int count, void** values, int* ranks, std::int64_t** shapes, const char** types) {
    try {
        function(Arguments(count, values, ranks, shapes, types));
        return 0;
    } catch (const std::exception& error) {
        reason = error.what();
        return 1;
    }
}

}  // namespace

extern "C" {

// Arguments: layers (L, 3) int32, parameters, first_moment, second_moment (P,), features (rows, F), labels (rows,) int32,
// plan (n,) int32, masks (S, units, B), class_weight (C,), weight (rows,), choices (batch size, mining, optimizer)
// int32, numbers (4,), coefficients (3 or 2, S); new parameters, first_moment, second_moment (P,), the mean training
// loss (1,).
int train_epoch(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(train, count, values, ranks, shapes, types);
}

// Arguments: layers (L, 3) int32, parameters (P,), features (rows, F); logits (C, rows).
int predict_logits(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(predict, count, values, ranks, shapes, types);
}

// Why the last call of this thread returned 1.
const char* last_reason() { return reason.c_str(); }
}
