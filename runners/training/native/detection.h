// One detector: an epoch of its training, and what it says of images.
#pragma once

#include <cmath>

#include "arguments.h"
#include "detection_loss.h"
#include "detector.h"
#include "optimizers.h"
#include "rows.h"

// The matched anchors of all images, as a call tells them.
struct MatchedAnchors {
    const std::int32_t *starts, *matched;
    const float* deltas;

    MatchedAnchors(const Arguments& given, int starts, int matched, int deltas, std::int64_t images, int anchors, int classes)
        : starts(given.integers(starts, {images + 1})), matched(given.integers(matched, {ANY, 2})),
          deltas(given.floats(deltas, {given.size(matched, 0), 4})) {
        for (std::int64_t n = 0; n < images; ++n)
            if (this->starts[n] < 0 || this->starts[n + 1] < this->starts[n] || this->starts[n + 1] > given.size(matched, 0))
                Arguments::fail("matched anchors of image " + std::to_string(n) + " that are not there");
        for (std::int64_t n = 0; n < given.size(matched, 0); ++n) {
            const int anchor = this->matched[2 * n], label = this->matched[2 * n + 1];
            if (anchor < 0 || anchor >= anchors) Arguments::fail("a matched anchor " + std::to_string(anchor));
            if (label != IGNORED && (label < 0 || label >= classes)) Arguments::fail("a label of " + std::to_string(label));
        }
    }

    // How many anchors of an image are on objects.
    int positives(int image) const {
        int count = 0;
        for (int n = starts[image]; n < starts[image + 1]; ++n) count += matched[2 * n + 1] != IGNORED;
        return count;
    }
};

// One step of all parameters by the sums of their gradients.
inline void step_all(Detector& detector, OptimizerKind optimizer, const float* of_optimizer, float longest, const float* coefficients, std::int64_t steps) {
    float square = 0.0f;
    for (Shared& each : detector.parameters) {
        each.end_gradient();
        square += square_of_norm(each.own());
    }
    const float norm = std::sqrt(square);
    const bool is_adamw = optimizer == OptimizerKind::ADAMW;
    for (Shared& each : detector.parameters) {
        Parameters& own = each.own();
        if (longest > 0.0f && norm > longest) scale_gradient(own, longest / norm);
        if (is_adamw || optimizer == OptimizerKind::ADAM)
            step_adam(own, of_optimizer[0], of_optimizer[1], is_adamw, coefficients[0], coefficients[steps], coefficients[2 * steps]);
        else
            step_sgd(own, of_optimizer[0], optimizer == OptimizerKind::NESTEROV, coefficients[0], coefficients[steps]);
    }
}

inline void train_detector(const Arguments& given) {
    enum { DETECTOR, PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, IMAGES, STARTS, MATCHED, DELTAS, ANCHORS, PLAN, CHOICES,
           NUMBERS, COEFFICIENTS, STANDARDISATION, NEW_PARAMETERS, NEW_FIRST_MOMENT, NEW_SECOND_MOMENT, LOSSES, COUNT };
    given.require_count(COUNT);
    const auto* choices = given.integers(CHOICES, {2});
    const int batch_size = choices[0];
    if (batch_size < 1 || batch_size > LARGEST) Arguments::fail("a batch of " + std::to_string(batch_size));
    const auto optimizer = OptimizerKind(choices[1]);
    if (optimizer < OptimizerKind::ADAMW || optimizer > OptimizerKind::ADAM) Arguments::fail("an unknown optimizer");

    const auto* told = given.integers(DETECTOR, {ANY});
    Detector detector(told, given.size(DETECTOR, 0));
    given.require_columns(IMAGES, detector.units());
    Rows images(given, IMAGES, STANDARDISATION);
    detector.read(given.floats(PARAMETERS, {detector.size()}), &Parameters::values);
    detector.read(given.floats(FIRST_MOMENT, {detector.size()}), &Parameters::first_moment);
    detector.read(given.floats(SECOND_MOMENT, {detector.size()}), &Parameters::second_moment);
    const MatchedAnchors matched(given, STARTS, MATCHED, DELTAS, images.count, detector.anchors(), detector.classes);
    const auto* anchors = given.floats(ANCHORS, {detector.anchors(), 4});
    const auto* plan = given.integers(PLAN, {ANY});
    const std::int64_t planned = given.size(PLAN, 0), steps = (planned + batch_size - 1) / batch_size;
    for (std::int64_t n = 0; n < planned; ++n)
        if (plan[n] < 0 || plan[n] >= images.count) Arguments::fail("a plan with image " + std::to_string(plan[n]));
    // Those of the loss, two of the optimizer, and how long the gradient may be, 0 where that does not matter.
    constexpr int OF_LOSS = sizeof(DetectionNumbers) / sizeof(float);
    const auto* numbers = given.floats(NUMBERS, {OF_LOSS + 3});
    const bool is_adam = optimizer == OptimizerKind::ADAMW || optimizer == OptimizerKind::ADAM;
    const auto* coefficients = given.floats(COEFFICIENTS, {is_adam ? 3 : 2, steps});
    auto* losses = given.floats(LOSSES, {2});
    DetectionLoss loss(*reinterpret_cast<const DetectionNumbers*>(numbers), anchors, detector);

    double totals[2] = {};
    for (std::int64_t step = 0; step < steps; ++step) {
        const auto* batch = plan + step * batch_size;
        const int size = int(std::min<std::int64_t>(batch_size, planned - step * batch_size));
        int positives = 0;
        for (int n = 0; n < size; ++n) positives += matched.positives(batch[n]);
        for (Shared& each : detector.parameters) {
            each.spread();
            each.begin_gradient();
        }
        const float divisor = float(std::max(positives, 1));
        for (int first = 0; first < size; first += WIDTH) {
            const int taken = std::min(WIDTH, size - first);
            loss.clear();
            for (int lane = 0; lane < taken; ++lane) {
                const int image = batch[first + lane];
                detector.put(lane, images[image]);
                for (int n = matched.starts[image]; n < matched.starts[image + 1]; ++n)
                    loss.put(detector, lane, matched.matched[2 * n], matched.matched[2 * n + 1], matched.deltas + 4 * n);
            }
            detector.forward();
            totals[0] += loss.of_classes(detector, taken, divisor);
            detector.backward_classes();
            totals[1] += loss.of_boxes(detector, divisor);
            detector.backward_body();
        }
        step_all(detector, optimizer, numbers + OF_LOSS, numbers[OF_LOSS + 2], coefficients + step, steps);
    }
    for (int n = 0; n < 2; ++n) losses[n] = float(totals[n] / double(steps));
    // Last, since these may be the arrays that were read.
    detector.write(given.floats(NEW_PARAMETERS, {detector.size()}), &Parameters::values);
    detector.write(given.floats(NEW_FIRST_MOMENT, {detector.size()}), &Parameters::first_moment);
    detector.write(given.floats(NEW_SECOND_MOMENT, {detector.size()}), &Parameters::second_moment);
}

// Writes the numbers of an image, `of_anchor` of each anchor, in the order level, row, column, anchor of the place.
inline void write_anchors(const Detector& detector, Head Level::*head, int of_anchor, int lane, float* to) {
    for (const Level& level : detector.levels) {
        const float* from = (level.*head).last().y[0] + lane;
        const int pixels = level.size().pixels(), channels = of_anchor * detector.anchors_of_place;
        for (int pixel = 0; pixel < pixels; ++pixel)
            for (int channel = 0; channel < channels; ++channel) *to++ = from[(channel * pixels + pixel) * WIDTH];
    }
}

inline void predict_detector(const Arguments& given) {
    enum { DETECTOR, PARAMETERS, IMAGES, STANDARDISATION, LOGITS, DELTAS, COUNT };
    given.require_count(COUNT);
    const auto* told = given.integers(DETECTOR, {ANY});
    Detector detector(told, given.size(DETECTOR, 0));
    given.require_columns(IMAGES, detector.units());
    Rows images(given, IMAGES, STANDARDISATION);
    detector.read(given.floats(PARAMETERS, {detector.size()}), &Parameters::values);
    const int anchors = detector.anchors(), classes = detector.classes;
    auto* logits = given.floats(LOGITS, {images.count, anchors, classes});
    auto* deltas = given.floats(DELTAS, {images.count, anchors, 4});
    for (Shared& each : detector.parameters) each.spread();
    for (std::int64_t first = 0; first < images.count; first += WIDTH) {
        const int taken = int(std::min<std::int64_t>(WIDTH, images.count - first));
        for (int lane = 0; lane < taken; ++lane) detector.put(lane, images[first + lane]);
        detector.forward();
        detector.forward_boxes();
        for (int lane = 0; lane < taken; ++lane) {
            write_anchors(detector, &Level::classes, classes, lane, logits + (first + lane) * anchors * classes);
            write_anchors(detector, &Level::boxes, 4, lane, deltas + (first + lane) * anchors * 4);
        }
    }
}
