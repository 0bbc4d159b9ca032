// An epoch of a detector, and what it says of images. A library of its own, which is compiled where detectors are trained.
#include "boxes.h"
#include "detection.h"
#include "guarded.h"

extern "C" {

// A detector is DetectorRow in detector.h and the channels of its body, as int32.
//
// Arguments: detector (D,) int32, parameters, first_moment, second_moment (P,), images (N, units) float32 or uint8; of
// their matched anchors starts (N + 1,) int32, anchors and labels (M, 2) int32 and deltas (M, 4); anchors (A, 4), plan
// (n,) int32, choices (batch size, optimizer) int32, numbers (11,), coefficients (3 or 2, S), standardisation (2, units)
// where images are uint8; new parameters, first_moment, second_moment (P,), the mean losses of classes and boxes (2,).
int train_detector_epoch(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(train_detector<OneStageTraining>, count, values, ranks, shapes, types);
}

// Arguments: detector (D,) int32, parameters (P,), images (N, units), standardisation (2, units); logits (N, A, C), deltas
// (N, A, 4).
int predict_detector_images(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(predict_detector, count, values, ranks, shapes, types);
}

// Arguments: those of train_detector_epoch up to standardisation, with numbers (9,), the detector being the first stage, of
// one class; the second stage, RegionRow in two_stage.h and the units of its hidden layers, (S,) int32; of the objects
// starts (N + 1,) int32, boxes (G, 4) and labels (G,) int32; seeds (n,) int32; what train_detector_epoch gives.
int train_two_stage_epoch(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(train_detector<TwoStageTraining>, count, values, ranks, shapes, types);
}

// Arguments: detector (D,) int32, parameters (P,), images (N, units), standardisation (2, units), anchors (A, 4), second
// stage (S,) int32; of R regions of each image boxes (N, R, 4), logits (N, R, C + 1) and deltas (N, R, 4), times SCALES; where
// an image has fewer nothing is written.
int predict_two_stage_images(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(predict_two_stage, count, values, ranks, shapes, types);
}

// Arguments: boxes (D, 4) and labels (D,) int32 of images, of each the best first, starts (N + 1,) int32, how much a box may
// overlap a better one of its label (1,); whether a box is kept (D,) uint8.
int suppress_boxes(int count, void** values, int* ranks, std::int64_t** shapes, const char** types, void*, void*) {
    return guarded(suppress, count, values, ranks, shapes, types);
}
}
