"""Where a detector's loss falls: shares and maps by hand, and what is kept and drawn of them."""

from __future__ import annotations

import numpy as np
from small_detectors import NETWORK, noise

from lossfleet.runners.detection.anchor_losses import loss_map, loss_shares, mapped, shares_by_gamma
from lossfleet.runners.detection.anchors import BACKGROUND, IGNORED
from lossfleet.runners.detection.objective import DetectionLoss
from lossfleet.runners.metrics.evaluation import LOSS_SHARES
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.report.figures.anchor_losses import maps_of


def test_shares_are_sorted_normalised_and_cumulated() -> None:
    # The losses 0, 1, 2, 3 and 5 add up to 0, 1, 3, 6 and 11.
    shares = loss_shares(np.array([5.0, 1.0, 3.0, 0.0, 2.0]))
    np.testing.assert_allclose(shares[[0, 20, 40, 60, 80, 100]], [0, 0, 1 / 11, 3 / 11, 6 / 11, 1])
    np.testing.assert_allclose(shares[50], (1 + 3) / 22)
    np.testing.assert_allclose(loss_shares(np.full(7, 0.3)), np.linspace(0, 1, 101))


def test_shares_of_each_gamma_are_those_of_its_loss() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, (3, 50, 2)).astype(np.float32)
    labels = random.choice([BACKGROUND, IGNORED, 0, 1], (3, 50), p=[0.7, 0.1, 0.1, 0.1])
    loss = DetectionLoss(5.0, 0.3)
    found = shares_by_gamma(loss, logits, labels)
    assert found.keys() == LOSS_SHARES.keys()
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    there = labels[..., None] == np.arange(2)
    focal = np.where(there, -0.3 * (1 - p) ** 2 * np.log(p), -0.7 * p**2 * np.log(1 - p)).sum(-1)
    for kind, is_of in (("positives", labels >= 0), ("negatives", labels == BACKGROUND)):
        np.testing.assert_allclose(found[kind, 2.0], loss_shares(focal[is_of]), rtol=1e-9)
    # The larger gamma is, the less the easiest have.
    assert found["negatives", 2.0][80] < found["negatives", 0.5][80] < found["negatives", 0.0][80]
    assert {kind for kind, _ in shares_by_gamma(loss, logits, np.full_like(labels, BACKGROUND))} == {
        "negatives"
    }


def test_a_map_has_the_loss_of_all_levels_at_its_places() -> None:
    # Levels of 6 x 7 and 3 x 4 places with two anchors each; a place of the second covers up to four of the first.
    losses = np.zeros(NETWORK.anchor_count)
    losses[2 * (7 * 1 + 6)] = 1.0
    losses[2 * 42 + 2 * (4 * 0 + 3) + 1] = 3.0
    losses[2 * 42 + 2 * (4 * 2 + 0)] = 8.0
    expected = np.zeros((6, 7))
    # The last column of the second level has half of its places beyond the image.
    expected[:2, 6] = 1.5
    expected[1, 6] += 1.0
    expected[4:, :2] = 2.0
    np.testing.assert_allclose(loss_map(NETWORK, losses), expected)
    labels = np.full(NETWORK.anchor_count, BACKGROUND)
    labels[2 * (7 * 1 + 6)] = 1
    share, rows = mapped(NETWORK, losses, labels)
    assert (share, rows) == (round(1 / 12, 3), expected.tolist())


def kept(**largest: float) -> ReplicateRecord:
    """A replicate with maps of two images, by loss."""
    losses = {
        name: [[row, 0.25, [[value, 0.1], [0.2, 0.0]]] for row in (4, 7)] for name, value in largest.items()
    }
    measured = {"state": "COMPLETE", "epochs": 1, "metrics": {}, "curves": {}, "started": 0.0, "ended": 1.0}
    own = {"strategy": "", "stage": "final", "trial": 0, "replicate": 0, "seed": 0, "split": 0}
    return ReplicateRecord(**own, **measured, anchor_losses=losses or None)


def test_maps_are_of_one_detector_and_of_another_one_with_cross_entropy() -> None:
    scenes = noise()
    focal, plain = kept(own=1.0, cross_entropy=2.0), kept(own=3.0)
    for replicates, words, largest in (
        ({"focal": focal}, ("cross-entropy, focal", "focal loss, focal"), (2, 1)),
        (
            {"ohem": kept(), "ce": plain, "focal": focal},
            ("cross-entropy, focal", "focal loss, focal", "cross-entropy, ce"),
            (2, 1, 3),
        ),
    ):
        maps = maps_of(scenes, replicates)
        assert maps is not None
        assert tuple(name for name, _ in maps.columns) == words
        assert tuple(own[1].losses.max() for _, own in maps.columns) == largest
        np.testing.assert_array_equal(maps.scenes.images, scenes.images[[4, 7]])
    assert maps.png({}).startswith(b"\x89PNG")
    assert maps_of(scenes, {"ce": plain, "ohem": kept()}) is None
