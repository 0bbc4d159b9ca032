"""Kept detectors in NumPy: against the native core, stock MindSpore and the definition; tables, MLflow, photographs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kept_detectors import SQUARE, make_detector, square_training
from small_detectors import LOSSES, NETWORK, forward, noise, pyramid, training
from small_two_stage import LOSS, SCALES, TWO_STAGE, proposed, second_stage, standard

from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.solo.detector import SoloDetector
from lossfleet.runners.detection.solo.two_stage import SoloTwoStage
from lossfleet.runners.detection.training import Training
from lossfleet.runners.detection.two_stage import TwoStage
from lossfleet.runners.portable.files import ModelError
from lossfleet.runners.portable.objects.anchors import Anchors
from lossfleet.runners.portable.objects.boxes import clip, decode, suppress_by_class
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.training.native.detector import NativeDetector
from lossfleet.runners.training.native.two_stage import NativeTwoStage

# One level and several, with and without hidden layers; small sides, so that a pyramid's edges are rounded up.
NETWORKS = {
    "one stage": NETWORK,
    "one level": RetinaNet((1, 9, 13), 1, Anchors((4,), (6.0,)), body=(3, 2), width=3, depth=0, prior=0.3),
    "three levels": RetinaNet(
        (3, 33, 17), 2, Anchors((2, 4, 8), (4.0, 6.0, 9.0), ratios=(0.5, 2.0)), body=(4, 4, 4), depth=2
    ),
    "two stages": TWO_STAGE,
    "two stages of one level": TwoStage(
        (1, 9, 13), 1, Anchors((4,), (6.0,)), (3, 2), width=3, depth=0, hidden=(), cells=2, proposals=5
    ),
}


def trained(network: RetinaNet | TwoStage, seed: int = 0) -> Training:
    """A training whose first parameters are those after an epoch of the core, as it gives them."""
    made = training(LOSS if isinstance(network, TwoStage) else LOSSES["focal"], network, seed)
    core = (NativeTwoStage if isinstance(network, TwoStage) else NativeDetector)(made)
    core.train_epoch(0)
    return replace(made, initial=core.parameters())


def assert_same(found: list[Detections], expected: list[Detections], *, at_least: int) -> None:
    assert sum(map(len, expected)) >= at_least
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-4)
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_finds_are_those_of_the_native_core_and_of_stock_mindspore(tmp_path, name):
    network = NETWORKS[name]
    made, images = trained(network), noise(network, images=19, seed=1).images
    found = make_detector(tmp_path / "model", made).detect(images)
    engines = (
        (NativeTwoStage, SoloTwoStage) if isinstance(network, TwoStage) else (NativeDetector, SoloDetector)
    )
    for engine in engines:
        assert_same(found, engine(made).detect(images), at_least=19)


def test_members_are_averaged_at_every_anchor(tmp_path):
    members = [trained(NETWORK, seed) for seed in range(3)]
    members = [replace(each, images=members[0].images) for each in members]
    images = noise(seed=1).images
    said = [forward(NETWORK, as_float(each), standard(members[0], images)) for each in members]
    logits, deltas = (np.mean(each, axis=0) for each in zip(*said, strict=True))
    assert np.abs(said[0][0] - said[1][0]).max() > 0.1
    expected = []
    for own, moved in zip(logits, deltas, strict=True):
        anchors, labels = np.nonzero(own > np.log(0.05 / 0.95))
        boxes = decode(moved[anchors], NETWORK.anchor_boxes[anchors].astype(float))
        expected.append(without_doubles(boxes, 1 / (1 + np.exp(-own[anchors, labels])), labels, NETWORK))
    assert_same(make_detector(tmp_path / "model", *members).detect(images), expected, at_least=30)


def test_members_of_two_stages_look_at_the_same_regions(tmp_path):
    """Proposals of averaged anchors; of each region the mean of logits is that of logarithms of probabilities."""
    members = [trained(TWO_STAGE, seed) for seed in range(2)]
    members = [replace(each, images=members[0].images) for each in members]
    images = noise(TWO_STAGE, seed=1).images
    parameters, seen = [as_float(each) for each in members], standard(members[0], images)
    said = [forward(TWO_STAGE.proposer, own, seen) for own in parameters]
    logits, deltas = (np.mean(each, axis=0) for each in zip(*said, strict=True))
    levels = [pyramid(TWO_STAGE.proposer, iter(own), seen) for own in parameters]
    expected = []
    for place in range(len(images)):
        boxes, scores, labels = [np.zeros((0, 4))], [], []
        for box in proposed(TWO_STAGE, logits[place, :, 0], deltas[place], TWO_STAGE.proposals):
            of_members = [
                second_stage(TWO_STAGE, own, [level[place] for level in of_member], box)
                for own, of_member in zip(parameters, levels, strict=True)
            ]
            shares = np.exp(np.mean([np.log(each) for each, _ in of_members], axis=0))
            shares /= shares.sum()
            moved = np.mean([each for _, each in of_members], axis=0)
            for label in np.flatnonzero(shares[:-1] > 0.05):
                boxes.append(decode(moved[None] / SCALES, box[None]))
                scores.append(shares[label])
                labels.append(label)
        expected.append(
            without_doubles(np.concatenate(boxes), np.array(scores), np.array(labels, int), TWO_STAGE)
        )
    assert_same(make_detector(tmp_path / "model", *members).detect(images), expected, at_least=20)


def as_float(made: Training):
    return [tuple(each.astype(float) for each in own) for own in made.initial]


def without_doubles(boxes, scores, labels, network) -> Detections:
    boxes = clip(boxes, *network.image_shape[1:])
    kept = suppress_by_class(boxes, scores, labels, iou_threshold=0.5)[:100]
    return Detections(boxes[kept], scores[kept], labels[kept])


def test_limits_are_those_that_were_kept(tmp_path):
    made, images = trained(NETWORK), noise(seed=1).images
    usual = make_detector(tmp_path / "usual", made).detect(images)
    other = make_detector(tmp_path / "other", made, least_score=0.3, most_given=4).detect(images)
    assert_same(
        other,
        [Detections(each.boxes[:4], each.scores[:4], each.labels[:4]).of_at_least(0.3) for each in usual],
        at_least=11,
    )


@pytest.mark.parametrize("tile", [None, 24, 31])
def test_a_photograph_is_its_tiles_without_doubles(tmp_path, tile):
    """Written out for squares that are found by hand: 24 pixels begin at 0, 17 and 34 of 58, of 31 at 0, 14 and 27."""
    detector = make_detector(tmp_path / "model", square_training(), tile=tile)
    photograph = np.random.default_rng(3).integers(0, 256, (3, 30, 58)).astype(np.uint8)
    if tile is None:
        corners, side = [(0, 0)], 58
    elif tile == 24:
        corners, side = [(x, y) for y in (0, 6) for x in (0, 17, 34)], 24
    else:
        corners, side = [(x, 0) for x in (0, 14, 27)], 31
    from PIL import Image

    mean = np.rint(photograph.mean(axis=(1, 2))).astype(np.uint8)
    canvas = np.broadcast_to(mean[:, None, None], (3, 64, 64)).copy()
    canvas[:, :30, :58] = photograph
    boxes, scores, labels, tiles = [], [], [], []
    for x, y in corners:
        square = Image.fromarray(canvas[:, y : y + side, x : x + side].transpose(1, 2, 0))
        small = np.asarray(square.resize((24, 24), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        (found,) = detector.detect(small[None])
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            box = np.clip(box * side / 24 + [x, y, x, y], 0, [58, 30, 58, 30])
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                scores.append(score)
                labels.append(label)
                tiles.append((x, y))
    kept = []
    for place in np.argsort(-np.array(scores), kind="stable"):
        if not any(
            labels[other] == labels[place]
            and tiles[other] != tiles[place]
            and shared(boxes[other], boxes[place]) > 0.5
            for other in kept
        ):
            kept.append(place)
    expected = Detections(np.array(boxes)[kept], np.array(scores)[kept], np.array(labels)[kept])
    assert_same([detector.find(photograph)], [expected], at_least=20)
    assert len(kept) < len(scores) or tile is None


def shared(one, other) -> float:
    """What two boxes have in common, of the smaller one."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return np.prod(np.maximum(sides, 0)) / min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))


def test_images_of_another_shape_are_refused(tmp_path):
    detector = make_detector(tmp_path / "model", square_training())
    with pytest.raises(ModelError, match=r"shape \(2, 1, 24, 24\); expected \(N, 3, 24, 24\)"):
        detector.detect(np.zeros((2, 1, 24, 24), np.uint8))
    for wrong in (np.zeros((1, 30, 30), np.uint8), np.zeros((30, 30), np.uint8)):
        with pytest.raises(ModelError, match="expected \\(3, height, width\\)"):
            detector.find(wrong)


def test_mlflow_takes_images_and_gives_boxes(tmp_path):
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    detector = make_detector(tmp_path / "model", square_training(), least_score=0.3)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    (taken,) = loaded.metadata.signature.inputs.inputs
    assert (taken.type, taken.shape) == (np.uint8, (-1, 3, 24, 24))
    images = noise(SQUARE).images
    answer = loaded.predict(images)
    assert list(answer) == loaded.metadata.signature.outputs.input_names()
    found = detector.detect(images)
    assert answer["image"].tolist() == [n for n, each in enumerate(found) for _ in range(len(each))]
    assert answer["class"].tolist() == [detector.classes[label] for each in found for label in each.labels]
    corners = answer[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
    np.testing.assert_array_equal(corners, np.concatenate([each.boxes for each in found]))
    request = json.loads((tmp_path / "model/serving_input_example.json").read_text())
    asked = infer_and_parse_data(request, loaded.metadata.get_input_schema())
    pd.testing.assert_frame_equal(loaded.predict(asked), answer[answer["image"] < 2])
    assert loaded.predict(images[:0]).empty
    with pytest.raises(MlflowException, match="does not match expected shape"):
        loaded.predict(images.transpose(0, 2, 3, 1))


def test_a_kept_detector_works_without_lossfleet(tmp_path):
    """A copy of its code lies in its folder."""
    detector = make_detector(tmp_path / "model", square_training(), tile=24)
    photograph = np.random.default_rng(3).integers(0, 256, (3, 30, 58)).astype(np.uint8)
    np.save(tmp_path / "photograph.npy", photograph)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "model/code")!r})
from pathlib import Path
import numpy
from lossfleet_model_6.loading import load_model
detector = load_model(Path({str(tmp_path / "model/data")!r}))
print(detector.find(numpy.load({str(tmp_path / "photograph.npy")!r})).scores.sum())
assert not any(name.split(".")[0] in ("lossfleet", "mindspore", "mlflow") for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(detector.find(photograph).scores.sum(), rel=1e-6)
