// One detector, of one stage or of two: an epoch of its training, and what it says of images.
#pragma once

#include <cmath>

#include "arguments.h"
#include "detection_loss.h"
#include "detector.h"
#include "optimizers.h"
#include "parameter_list.h"
#include "rows.h"
#include "two_stage.h"

// Where what each image has begins among that of all, the end being the next one's beginning.
inline const std::int32_t* checked_starts(const Arguments& given, int index, std::int64_t images, std::int64_t count, const char* of) {
    const auto* starts = given.integers(index, {images + 1});
    for (std::int64_t n = 0; n < images; ++n)
        if (starts[n] < 0 || starts[n + 1] < starts[n] || starts[n + 1] > count)
            Arguments::fail(std::string(of) + " of image " + std::to_string(n) + " that are not there");
    return starts;
}

// The matched anchors of all images, as a call tells them.
struct MatchedAnchors {
    const std::int32_t *starts, *matched;
    const float* deltas;

    MatchedAnchors(const Arguments& given, int starts, int matched, int deltas, std::int64_t images, int anchors, int classes)
        : starts(checked_starts(given, starts, images, given.size(matched, 0), "matched anchors")),
          matched(given.integers(matched, {ANY, 2})), deltas(given.floats(deltas, {given.size(matched, 0), 4})) {
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

// What a call is given of the training of any detector; what that of two stages is given besides comes behind it, and then
// what is written.
enum TrainingArgument {
    DETECTOR, PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, IMAGES, STARTS, MATCHED, DELTAS, ANCHORS, PLAN, CHOICES, NUMBERS,
    COEFFICIENTS, STANDARDISATION, FURTHER
};

struct OneStageTraining {
    using Numbers = DetectionNumbers;
    static constexpr int FURTHER_COUNT = 0;

    Detector detector;
    const MatchedAnchors matched;
    DetectionLoss loss;
    float divisor = 1.0f;

    OneStageTraining(const Arguments& given, const Numbers& numbers, std::int64_t images, std::int64_t)
        : detector(given.integers(DETECTOR, {ANY}), given.size(DETECTOR, 0)),
          matched(given, STARTS, MATCHED, DELTAS, images, detector.anchors(), detector.classes),
          loss(numbers, given.floats(ANCHORS, {detector.anchors(), 4}), detector) {}

    void list(ParameterList& all) const { detector.list(all); }

    void begin_step(const std::int32_t* batch, int size) {
        int positives = 0;
        for (int n = 0; n < size; ++n) positives += matched.positives(batch[n]);
        divisor = float(std::max(positives, 1));
        detector.begin_gradient();
    }

    // Adds the losses of classes and boxes of some images, which are in the detector, and their gradient.
    void add(const std::int32_t* images, std::int64_t, int taken, double* totals) {
        loss.clear();
        for (int lane = 0; lane < taken; ++lane)
            for (int n = matched.starts[images[lane]]; n < matched.starts[images[lane] + 1]; ++n)
                loss.put(detector, lane, matched.matched[2 * n], matched.matched[2 * n + 1], matched.deltas + 4 * n);
        detector.forward();
        totals[0] += loss.of_classes(detector, taken, divisor);
        detector.backward_classes();
        totals[1] += loss.of_boxes(detector, divisor);
        detector.backward_body();
    }

    void end_step() { detector.end_gradient(); }
};

struct TwoStageTraining {
    using Numbers = SampledNumbers;
    enum { REGIONS = FURTHER, OBJECT_STARTS, OBJECTS, LABELS, SEEDS };
    static constexpr int FURTHER_COUNT = 5;

    Detector detector;
    const MatchedAnchors matched;
    SecondStage second;
    SampledLoss loss;
    const std::int32_t *object_starts, *labels, *seeds;
    const Box* objects;
    float of_anchor = 0.0f, of_region = 0.0f;

    TwoStageTraining(const Arguments& given, const Numbers& numbers, std::int64_t images, std::int64_t planned)
        : detector(given.integers(DETECTOR, {ANY}), given.size(DETECTOR, 0)),
          matched(given, STARTS, MATCHED, DELTAS, images, detector.anchors(), 1),
          second(detector, given.floats(ANCHORS, {detector.anchors(), 4}), given.integers(REGIONS, {ANY}), given.size(REGIONS, 0), checked(numbers)),
          loss(numbers), object_starts(checked_starts(given, OBJECT_STARTS, images, given.size(OBJECTS, 0), "objects")),
          labels(given.integers(LABELS, {given.size(OBJECTS, 0)})), seeds(given.integers(SEEDS, {planned})),
          objects(reinterpret_cast<const Box*>(given.floats(OBJECTS, {ANY, 4}))) {
        for (std::int64_t n = 0; n < given.size(OBJECTS, 0); ++n)
            if (labels[n] < 0 || labels[n] >= second.classes) Arguments::fail("a label of " + std::to_string(labels[n]));
    }

    void list(ParameterList& all) const {
        detector.list(all);
        second.head.list(all);
    }

    void begin_step(const std::int32_t*, int size) {
        of_anchor = 1.0f / (loss.numbers.anchors * float(size));
        of_region = 1.0f / (loss.numbers.regions * float(size));
        detector.begin_gradient();
        second.head.begin_gradient();
    }

    // Adds the losses of classes and boxes of some images, which are in the detector, and their gradient; the first of them
    // is number `place` of the plan.
    void add(const std::int32_t* images, std::int64_t place, int taken, double* totals) {
        loss.clear(detector);
        detector.forward();
        detector.forward_boxes();
        for (int lane = 0; lane < taken; ++lane) {
            const int image = images[lane], first = matched.starts[image], object = object_starts[image];
            const auto seed = std::uint32_t(seeds[place + lane]);
            totals[0] += loss.of_anchors(detector, lane, matched.matched + 2 * first, matched.deltas + 4 * first,
                                         matched.starts[image + 1] - first, seed, of_anchor);
            loss.put_regions(detector, second, lane, objects + object, labels + object, object_starts[image + 1] - object, seed);
        }
        detector.backward_classes();
        totals[1] += loss.of_boxes(detector, of_anchor);
        loss.of_regions(detector, second, of_region, totals);
        detector.backward_body();
    }

    void end_step() {
        detector.end_gradient();
        second.head.end_gradient();
    }

  private:
    static int checked(const Numbers& numbers) {
        for (const float each : {numbers.anchors, numbers.positive_anchors, numbers.regions, numbers.positive_regions})
            if (!(each >= 1.0f && each <= float(SecondStage::LARGEST_COUNT))) Arguments::fail("as many examples of an image as " + std::to_string(each));
        if (numbers.positive_anchors > numbers.anchors || numbers.positive_regions > numbers.regions)
            Arguments::fail("more positives than examples");
        return int(numbers.regions);
    }
};

template <typename Training>
void train_detector(const Arguments& given) {
    enum { NEW_PARAMETERS = FURTHER + Training::FURTHER_COUNT, NEW_FIRST_MOMENT, NEW_SECOND_MOMENT, LOSSES, COUNT };
    given.require_count(COUNT);
    const auto* choices = given.integers(CHOICES, {2});
    const int batch_size = choices[0];
    if (batch_size < 1 || batch_size > LARGEST) Arguments::fail("a batch of " + std::to_string(batch_size));
    const auto optimizer = OptimizerKind(choices[1]);
    if (optimizer < OptimizerKind::ADAMW || optimizer > OptimizerKind::ADAM) Arguments::fail("an unknown optimizer");
    // Those of the loss, two of the optimizer, and how long the gradient may be, 0 where that does not matter.
    constexpr int OF_LOSS = sizeof(typename Training::Numbers) / sizeof(float);
    const auto* numbers = given.floats(NUMBERS, {OF_LOSS + 3});
    const auto* plan = given.integers(PLAN, {ANY});
    const std::int64_t planned = given.size(PLAN, 0), steps = (planned + batch_size - 1) / batch_size;

    Training training(given, *reinterpret_cast<const typename Training::Numbers*>(numbers), given.size(IMAGES, 0), planned);
    Detector& detector = training.detector;
    given.require_columns(IMAGES, detector.units());
    Rows images(given, IMAGES, STANDARDISATION);
    for (std::int64_t n = 0; n < planned; ++n)
        if (plan[n] < 0 || plan[n] >= images.count) Arguments::fail("a plan with image " + std::to_string(plan[n]));
    ParameterList parameters;
    training.list(parameters);
    parameters.read(given.floats(PARAMETERS, {parameters.size()}), &Parameters::values);
    parameters.read(given.floats(FIRST_MOMENT, {parameters.size()}), &Parameters::first_moment);
    parameters.read(given.floats(SECOND_MOMENT, {parameters.size()}), &Parameters::second_moment);
    const bool is_adam = optimizer == OptimizerKind::ADAMW || optimizer == OptimizerKind::ADAM;
    const auto* coefficients = given.floats(COEFFICIENTS, {is_adam ? 3 : 2, steps});
    auto* losses = given.floats(LOSSES, {2});

    double totals[2] = {};
    for (std::int64_t step = 0; step < steps; ++step) {
        const auto* batch = plan + step * batch_size;
        const int size = int(std::min<std::int64_t>(batch_size, planned - step * batch_size));
        training.begin_step(batch, size);
        for (int first = 0; first < size; first += WIDTH) {
            const int taken = std::min(WIDTH, size - first);
            for (int lane = 0; lane < taken; ++lane) detector.put(lane, images[batch[first + lane]]);
            training.add(batch + first, step * batch_size + first, taken, totals);
        }
        training.end_step();
        parameters.step(optimizer, numbers + OF_LOSS, numbers[OF_LOSS + 2], coefficients + step, steps);
    }
    for (int n = 0; n < 2; ++n) losses[n] = float(totals[n] / double(steps));
    // Last, since these may be the arrays that were read.
    parameters.write(given.floats(NEW_PARAMETERS, {parameters.size()}), &Parameters::values);
    parameters.write(given.floats(NEW_FIRST_MOMENT, {parameters.size()}), &Parameters::first_moment);
    parameters.write(given.floats(NEW_SECOND_MOMENT, {parameters.size()}), &Parameters::second_moment);
}

// Applies a function to WIDTH images at a time, which are in the detector: the first one's number and how many there are.
template <typename Function>
void each_block(Detector& detector, const Arguments& given, int index, int standardisation, Function function) {
    given.require_columns(index, detector.units());
    Rows images(given, index, standardisation);
    detector.spread();
    for (std::int64_t first = 0; first < images.count; first += WIDTH) {
        const int taken = int(std::min<std::int64_t>(WIDTH, images.count - first));
        for (int lane = 0; lane < taken; ++lane) detector.put(lane, images[first + lane]);
        detector.forward();
        detector.forward_boxes();
        function(first, taken);
    }
}

inline void predict_detector(const Arguments& given) {
    enum { DETECTOR, PARAMETERS, IMAGES, STANDARDISATION, LOGITS, DELTAS, COUNT };
    given.require_count(COUNT);
    Detector detector(given.integers(DETECTOR, {ANY}), given.size(DETECTOR, 0));
    ParameterList parameters;
    detector.list(parameters);
    parameters.read(given.floats(PARAMETERS, {parameters.size()}), &Parameters::values);
    const int anchors = detector.anchors(), classes = detector.classes;
    const std::int64_t images = given.size(IMAGES, 0);
    auto* logits = given.floats(LOGITS, {images, anchors, classes});
    auto* deltas = given.floats(DELTAS, {images, anchors, 4});
    each_block(detector, given, IMAGES, STANDARDISATION, [&](std::int64_t first, int taken) {
        for (int lane = 0; lane < taken; ++lane) {
            detector.write_anchors(&Level::classes, classes, lane, logits + (first + lane) * anchors * classes);
            detector.write_anchors(&Level::boxes, 4, lane, deltas + (first + lane) * anchors * 4);
        }
    });
}

// Of regions beyond those that an image has nothing is written.
inline void predict_two_stage(const Arguments& given) {
    enum { DETECTOR, PARAMETERS, IMAGES, STANDARDISATION, ANCHORS, REGIONS, BOXES, LOGITS, DELTAS, COUNT };
    given.require_count(COUNT);
    Detector detector(given.integers(DETECTOR, {ANY}), given.size(DETECTOR, 0));
    const std::int64_t images = given.size(IMAGES, 0);
    const auto* told = given.integers(REGIONS, {ANY});
    SecondStage second(detector, given.floats(ANCHORS, {detector.anchors(), 4}), told, given.size(REGIONS, 0), given.size(REGIONS, 0) < 4 ? 1 : std::max(told[3], 1));
    ParameterList parameters;
    detector.list(parameters);
    second.head.list(parameters);
    parameters.read(given.floats(PARAMETERS, {parameters.size()}), &Parameters::values);
    const int most = second.most_proposals, classes = second.classes + 1;
    auto* boxes = reinterpret_cast<Box*>(given.floats(BOXES, {images, most, 4}));
    auto* logits = given.floats(LOGITS, {images, most, classes});
    auto* deltas = given.floats(DELTAS, {images, most, 4});
    each_block(detector, given, IMAGES, STANDARDISATION, [&](std::int64_t first, int taken) {
        // Of each region its place among those of all images.
        std::vector<std::int64_t> places;
        for (int lane = 0; lane < taken; ++lane) {
            second.proposals.find(detector, lane, most);
            second.image.take(detector.levels, lane);
            for (std::size_t n = 0; n < second.proposals.boxes.size(); ++n) {
                const std::int64_t place = (first + lane) * most + std::int64_t(n);
                boxes[place] = second.proposals.boxes[n];
                second.pooling.forward(boxes[place], second.image, second.head.activations[0][int(places.size())]);
                places.push_back(place);
            }
        }
        second.head.forward(int(places.size()));
        for (std::size_t n = 0; n < places.size(); ++n) {
            const float* said = second.head.activations.back()[int(n)];
            std::copy_n(said, classes, logits + places[n] * classes);
            std::copy_n(said + classes, 4, deltas + places[n] * 4);
        }
    });
}
