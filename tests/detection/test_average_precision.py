"""Average precision on scenes made by hand: by pycocotools and, where it can be seen, by hand."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lossfleet.runners.detection.average_precision import average_precision, precision_at_recall
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.portable.objects.detections import Detections

NAMES = ("one", "seven", "nine")
Box = tuple[float, float, float, float]
A, B = (1, 1, 11, 11), (20, 20, 30, 40)
# IoU with A: 8/10.
SHIFTED = (1, 1, 9, 11)


def scenes_of(*images: Sequence[tuple[Box, int]]) -> Scenes:
    boxes = tuple(np.array([box for box, _ in image], np.float32).reshape(-1, 4) for image in images)
    labels = tuple(np.array([label for _, label in image], np.int32) for image in images)
    pixels = np.zeros((len(images), 1, 64, 64), np.uint8)
    return Scenes(pixels, boxes, labels, NAMES, np.arange(len(images)))


def found_of(*images: Sequence[tuple[Box, int, float]]) -> list[Detections]:
    return [
        Detections(
            np.array([box for box, _, _ in image], np.float32).reshape(-1, 4),
            np.array([score for _, _, score in image], np.float32),
            np.array([label for _, label, _ in image], np.int32),
        )
        for image in images
    ]


def by_pycocotools(found: list[Detections], scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Its first three numbers with its own settings, and its precision."""

    def corner(box: np.ndarray) -> list[float]:
        x1, y1, x2, y2 = box.tolist()
        return [x1, y1, x2 - x1, y2 - y1]

    truth = COCO()
    objects = [
        {"image_id": image, "category_id": int(label), "bbox": corner(box)}
        for image in range(len(scenes))
        for box, label in zip(scenes.boxes[image], scenes.labels[image], strict=True)
    ]
    for number, each in enumerate(objects, start=1):
        each |= {"id": number, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
    truth.dataset = {
        "images": [{"id": image} for image in range(len(scenes))],
        "categories": [{"id": label, "name": name} for label, name in enumerate(NAMES)],
        "annotations": objects,
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        finds = [
            {"image_id": image, "category_id": int(label), "bbox": corner(box), "score": float(score)}
            for image, each in enumerate(found)
            for box, label, score in zip(each.boxes, each.labels, each.scores, strict=True)
        ]
        # It takes no empty list.
        evaluation = COCOeval(truth, truth.loadRes(finds) if finds else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3], evaluation.eval["precision"][:, :, :, 0, 2]


# What is there, what is found, and AP, AP50, AP75 by hand.
CASES = {
    "one box": ([[(A, 0)]], [[(A, 0, 0.9)]], (1, 1, 1)),
    "none found": ([[(A, 0)]], [[]], (0, 0, 0)),
    "found in the other image": ([[(A, 0)], []], [[], [(A, 0, 0.9)]], (0, 0, 0)),
    # Right for 7 of 10 thresholds, .5 to .8.
    "shifted": ([[(A, 0)]], [[(SHIFTED, 0, 0.9)]], (0.7, 1, 1)),
    # For 5, .5 to .7.
    "shifted by more": ([[(A, 0)]], [[((1, 1, 8.2, 11), 0, 0.9)]], (0.5, 1, 0)),
    "a duplicate below": ([[(A, 0)]], [[(A, 0, 0.9), (SHIFTED, 0, 0.8)]], (1, 1, 1)),
    # The surer one takes the object to .8, the duplicate is wrong then; above it is the first that is right.
    "a duplicate above": ([[(A, 0)]], [[(SHIFTED, 0, 0.9), (A, 0, 0.8)]], ((7 + 3 / 2) / 10, 1, 1)),
    "wrong class": ([[(A, 0)]], [[(A, 1, 0.9)]], (0, 0, 0)),
    "wrong class of two": ([[(A, 0), (B, 1)]], [[(A, 0, 0.9), (B, 0, 0.3)]], (0.5, 0.5, 0.5)),
    # Recall .5 of 101 points at precision 1, 51 of them; the other 50 are not reached.
    "half of them": ([[(A, 0), (B, 0)]], [[(A, 0, 0.9)]], (51 / 101,) * 3),
    # Wrong first: 1/2, then 2/3, which holds to the left too.
    "wrong first": (
        [[(A, 0), (B, 0)]],
        [[((40, 40, 60, 60), 0, 0.9), (A, 0, 0.5), (B, 0, 0.4)]],
        (2 / 3,) * 3,
    ),
    "score order between images": (
        [[(A, 0)], [(A, 0)]],
        [[(B, 0, 0.8), (A, 0, 0.5)], [(A, 0, 0.9)]],
        ((51 + 50 * 2 / 3) / 101,) * 3,
    ),
    "empty images": ([[], [(A, 2)], []], [[], [(A, 2, 0.3)], [(A, 2, 0.2)]], (1, 1, 1)),
    "one class present": ([[(A, 1)]], [[(A, 1, 0.9), (B, 0, 0.99)]], (1, 1, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_average_precision_is_as_by_hand_and_by_pycocotools(case: str, capfd: pytest.CaptureFixture) -> None:
    there, finds, by_hand = CASES[case]
    scenes, found = scenes_of(*there), found_of(*finds)
    ours = average_precision(found, scenes)
    assert capfd.readouterr() == ("", "")
    means = [ours["ap"], ours["ap50"], ours["ap75"]]
    np.testing.assert_allclose(means, by_hand, atol=1e-12)
    if any(map(len, found)):
        np.testing.assert_allclose(means, by_pycocotools(found, scenes)[0], atol=1e-12)
    present = {label for labels in scenes.labels for label in labels.tolist()}
    own = [ours[f"ap_{name}"] for name in NAMES]
    assert {label for label, each in enumerate(own) if not np.isnan(each)} == present
    np.testing.assert_allclose(np.nanmean(own), ours["ap"])


def test_curves_are_those_of_pycocotools_on_many_images() -> None:
    random = np.random.default_rng(17)

    def some(count: int) -> np.ndarray:
        corners = random.uniform(0, 40, (count, 2))
        return np.concatenate([corners, corners + random.uniform(6, 20, (count, 2))], axis=1)

    images, finds = [], []
    for count in random.integers(0, 5, 41):
        boxes, labels = some(count), random.integers(0, 2, count).tolist()
        near = boxes + random.normal(0, 1, boxes.shape)
        images.append(list(zip(boxes.tolist(), labels, strict=True)))
        # Of half of them the class too is right; many equal scores, and more finds than count in the first image.
        wrong = 130 if not finds else 3
        everywhere = np.concatenate([near, some(wrong)]).tolist()
        guesses = [*labels, *random.integers(0, 3, wrong).tolist()]
        scores = (random.integers(1, 8, len(everywhere)) / 8).tolist()
        finds.append(list(zip(everywhere, guesses, scores, strict=True)))
    scenes, found = scenes_of(*images), found_of(*finds)
    means, precision = by_pycocotools(found, scenes)
    ours = precision_at_recall(found, scenes)
    np.testing.assert_allclose(ours[:, :, :2], precision[:, :, :2], atol=1e-12)
    # There is no object of the third class.
    assert np.isnan(ours[:, :, 2]).all()
    assert (precision[:, :, 2] == -1).all()
    assert 0.01 < means[0] < means[1] < 0.99
    assert (np.diff(ours[:, :, :2], axis=1) <= 0).all()


def test_without_an_object_there_is_no_average_precision() -> None:
    ours = average_precision(found_of([(A, 0, 0.9)]), scenes_of([]))
    assert np.isnan(list(ours.values())).all()
