"""Detectors in sweeps: what may be said together, their slots, and a sweep from nothing to a verdict."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median_low

import numpy as np
import pandas as pd
import pytest
from annotated_files import write_photograph, write_table, write_voc
from mlflow import MlflowClient
from sweeps_here import send, sweep_here

from lossfleet.conf.errors import UserError, UserErrors
from lossfleet.conf.parts import part_names
from lossfleet.conf.published import claim_of
from lossfleet.conf.schema import Config
from lossfleet.runners.detection.annotations.reading import read_boxes
from lossfleet.runners.detection.average_precision import (
    IOU_THRESHOLDS,
    RECALLS,
    average_precision,
    averages,
)
from lossfleet.runners.detection.measuring import object_metric_names, object_metrics
from lossfleet.runners.detection.objective import HardAnchors
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.images.pixels import standardised
from lossfleet.runners.metrics.classification import metric_names
from lossfleet.runners.metrics.evaluation import PRECISION_AT_RECALL
from lossfleet.runners.portable.loading import load_model
from lossfleet.runners.portable.objects.detections import Detections
from lossfleet.runners.portable.objects.network import layer_names
from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.records import JOURNAL_FILE, Journal, ReplicateRecord, TrialRecord
from lossfleet.runners.tracking.tags import SPEED_TAGS
from lossfleet.runners.training.detectors import (
    DetectorShape,
    DetectorSlots,
    loss_of,
    network_of,
    rows_of,
    training_of,
)
from lossfleet.runners.training.native.detector import NativeDetector
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.comparison.frame import frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.keeping.detectors import refit_detectors
from lossfleet.sweeps.keeping.keep import Order, final_evaluation, keep_strategies
from lossfleet.sweeps.keeping.refit import whole_replicate, whole_split
from lossfleet.sweeps.planning.build import build_config
from lossfleet.sweeps.planning.compose import Composer, hydra_session, run_sweeper
from lossfleet.sweeps.planning.overrides import parse_arguments, sort_overrides
from lossfleet.sweeps.planning.plan import tries_points_once
from lossfleet.sweeps.report.images import sheets_of
from lossfleet.sweeps.report.printing import check_metric_names, print_comparison
from lossfleet.sweeps.report.tables import markdown_table
from lossfleet.sweeps.running.jobs import Job, ReplicateState
from lossfleet.sweeps.running.measuring_objects import measure_objects

TINY = (
    *(
        "data.images=120",
        "data.size=32",
        "data.classes=2",
        "data.density=6",
        "data.clutter=2",
        "batch_size=4",
    ),
    *("model.body=[6,8]", "model.width=6", "model.strides=[2,4]", "model.sizes=[9,16]", "model.scales=[1]"),
    *("budget.epochs=5", "budget.rungs=5", "budget.replicates=1", "budget.trials=2"),
    *("budget.final_replicates=2", "budget.checkpoint=best"),
)


PUBLISHED = (
    "{source: A table, by: [strategy], rows: [{strategy: retinanet_focal, ap: 0.36}],"
    " claims: [{better: {strategy: retinanet_focal}, than: {strategy: retinanet_ohem_ratio}}]}"
)
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/detection.md").read_text()


def config(*arguments: str) -> Config:
    with hydra_session() as loader:
        return build_config(Composer(loader, []), arguments)


# What is wrong, and where an argument is to be added or replaced for it to be right.
WRONG = [
    ("strategy=ce data=scenes", "model=mlp loss=cross_entropy on data=scenes, which has boxes"),
    (
        "strategy=retinanet_focal data=wine",
        "model=retinanet loss=detection_focal on data=wine, which has a class",
    ),
    ("strategy=retinanet_focal model=mlp", "model=mlp on data=scenes"),
    ("strategy=retinanet_focal loss=poly1", "loss=poly1 on data=scenes"),
    ("strategy=retinanet_ohem mining=fraction", "mining=fraction on data=scenes"),
    ("data=wine loss=detection_cross_entropy", "loss=detection_cross_entropy on data=wine"),
    ("data=wine mining=hard_anchors", "mining=hard_anchors on data=wine"),
    ("data=wine search.metric=ap50", "the search uses ap50 on data=wine"),
    ("strategy=retinanet_focal search.metric=mcc", "the search uses mcc on data=scenes"),
    ("strategy=two_stage loss=detection_focal", "loss=detection_focal with model=two_stage"),
    ("strategy=two_stage loss=poly1", "loss=poly1 on data=scenes"),
    ("strategy=two_stage mining=hard_anchors", "mining=hard_anchors with model=two_stage"),
    ("strategy=retinanet_ce loss=detection_sampled", "loss=detection_sampled with model=retinanet"),
    ("strategy=retinanet_focal mixing=mixup", "mixing=mixup on data=scenes"),
    ("strategy=retinanet_focal augmentation=standard", "augmentation=standard on data=scenes"),
    ("strategy=retinanet_focal second_stage=crt", "second_stage=crt on data=scenes"),
    ("strategy=retinanet_focal sampler=smote", "sampler=smote on data=scenes"),
    ("strategy=retinanet_focal members=3", "members=3 on data=scenes"),
    ("strategy=retinanet_focal defer=0.5", "defer=0.5 on data=scenes"),
    ("strategy=retinanet_focal decision=prior", "decision=prior on data=scenes"),
    ("strategy=retinanet_focal references=[dummy]", r"references=\[dummy\] on data=scenes"),
    ("strategy=retinanet_focal data.long_tail=10", "data.long_tail is 10.0 on data=scenes"),
]


@pytest.mark.parametrize(("written", "message"), WRONG, ids=[written for written, _ in WRONG])
def test_what_a_detector_cannot_have_is_refused_with_a_mend_that_works(written, message):
    arguments = shlex.split(written)
    with pytest.raises(UserError, match=message) as caught:
        config(*arguments)
    hint = caught.value.hint
    if hint.startswith("leave"):
        mended = arguments[:-1]
    else:
        added = hint.removeprefix("write ").split(",")[0].split()
        keys = {each.partition("=")[0] for each in added}
        mended = [each for each in arguments if each.partition("=")[0] not in keys] + added
    config(*mended, *(() if "data=wine" in mended else ("data.images=20",)))


def test_the_data_says_which_strategies_are_usual(capsys):
    objects, told = ("retinanet_focal", "retinanet_ce"), "data=scenes has boxes around objects, so this is "
    cases = [
        (["data=scenes"], objects, told),
        (["experiment=quick_scenes"], objects, told),
        (["data=scenes", "strategy=two_stage"], ("two_stage",), ""),
        # The experiment says it.
        (["experiment=retinanet_alpha"], ("retinanet_ce",), ""),
        (["experiment=quick"], ("ce", "weighted_ce", "ohem", "resampling", "focal"), ""),
    ]
    with hydra_session() as loader:
        composer = Composer(loader, [])
        for words, strategies, said in cases:
            overrides = parse_arguments(composer, words)
            for most in (None, 1):
                assert (
                    sort_overrides(composer, overrides, most_strategies=most).strategies == strategies[:most]
                )
                taken = f"lossfleet: {said}strategy={','.join(strategies[:most])}\n"
                assert capsys.readouterr().err == (taken if said else "")


def test_all_that_a_detector_cannot_have_is_told_at_once():
    wrong = ("search.metric=mcc", "mixing=mixup", "members=3", "decision=prior")
    with pytest.raises(UserErrors) as caught:
        config("strategy=two_stage", "mining=hard_anchors", *wrong)
    assert len(caught.value.errors) == 1 + len(wrong)


def test_settings_of_a_model_or_mining_that_do_not_fit_are_refused(capsys):
    for wrong, mend in (
        (("strategy=retinanet_focal", "model.strides=[8,4]"), "write model.strides="),
        (("strategy=retinanet_focal", "model.sizes=[8]"), "write model.sizes="),
    ):
        assert cli.main(["sweep", *wrong, "data.images=20", "tracking.enabled=false"]) == 2
        assert mend in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("strategy=retinanet_ce loss.gamma=2", "write loss=detection_focal"),
        ("strategy=retinanet_focal mining.examples=8", "write mining=hard_anchors"),
        ("data=breast_cancer strategy=ce loss.alpha=0.5", "write loss=weighted_cross_entropy"),
        ("data=breast_cancer strategy=ce mining.negatives_per_positive=2", "write mining=ratio"),
    ],
)
def test_who_has_a_setting_is_said_of_the_same_task(words, mend):
    with pytest.raises(UserError) as caught:
        run_sweeper([*shlex.split(words), *(["data.images=20"] if "retinanet" in words else [])], print)
    assert f"{mend}, or leave" in caught.value.hint


def test_metrics_of_objects_are_those_of_coco_and_no_others():
    random = np.random.default_rng(0)
    precision = random.random((len(IOU_THRESHOLDS), len(RECALLS), 3))
    precision[:, :, 1] = np.nan
    names = ("a", "b", "c")
    found = object_metrics(precision, names)
    assert tuple(found) == object_metric_names(names)
    assert not set(found) & set(metric_names(names))
    expected = averages(precision, names)
    assert found["ap"] == pytest.approx(np.nanmean(precision))
    assert (found["ap50"], found["ap75"]) == pytest.approx((expected["ap50"], expected["ap75"]))
    assert found["ap75"] == pytest.approx(np.nanmean(precision[5]))
    assert found["class_ap[c]"] == pytest.approx(precision[:, :, 2].mean())
    assert np.isnan(found["class_ap[b]"])
    assert np.isnan(object_metrics(np.full_like(precision, np.nan), names)["ap"])


def test_detections_survive_json():
    found = Detections(
        np.array([[1.23, 2, 3.04, 9]], np.float32), np.array([0.1234], np.float32), np.array([3], np.int32)
    )
    read = Detections.from_lists(*json.loads(json.dumps(found.to_lists())))
    np.testing.assert_allclose(read.boxes, [[1.2, 2, 3, 9]], atol=1e-6)
    np.testing.assert_allclose(read.scores, [0.123])
    assert (read.labels.tolist(), read.labels.dtype) == ([3], np.int32)
    assert len(Detections.from_lists([], [], [])) == 0


def test_slots_train_what_configurations_say():
    own = config(
        "strategy=retinanet_ohem_ratio", *TINY, "loss.alpha=0.3", "mining.examples=48", "model.prior=0.2"
    )
    assert loss_of(own).mining == HardAnchors(0.7, 48, 3.0)
    factory = ReplicateFactory.of(own)
    scenes = factory.dataset.scenes
    slots = DetectorSlots(DetectorShape(native=True), scenes, slots=3, threads=2)
    other = replace(own, optimizer=own.optimizer.replace(lr=0.003))
    replicates = [factory.replicate(each, seed=1, split=0) for each in (own, other)]
    for slot, replicate in zip((0, 2), replicates, strict=True):
        slots.enter(slot, replicate)
    assert slots.free_slots() == [1]
    losses = np.stack([slots.train_epoch() for _ in range(2)])
    assert np.isnan(losses[:, 1]).all()
    assert slots.epochs.tolist() == [2, 0, 2]
    # What was trained first does not depend on who is beside it, and is the training of the configuration on the
    # images of the training part alone.
    lesson = scenes.take(replicates[0].split.train_rows)
    network = network_of(own, (1, 32, 32), 2)
    assert (network.prior, network.anchors.strides) == (0.2, (2, 4))
    learnt = lesson.images, Targets.of(lesson, network.anchor_boxes), Objects.of(lesson)
    training = replace(training_of(replicates[0], network, *learnt), plan=replicates[0].plan)
    mean, factor = training.standardisation.astype(float)
    assert (mean[0], factor[0]) == pytest.approx((lesson.images.mean(), 1 / lesson.images.std()))
    alone = NativeDetector(training)
    assert [sum(alone.train_epoch(epoch)) for epoch in range(2)] == pytest.approx(
        losses[:, 0].tolist(), rel=1e-6
    )
    assert losses[0, 0] != losses[0, 2]
    rows = rows_of(replicates[0].split, "test")
    found = slots.detections("test", [0, 2])
    assert list(found) == [0, 2]
    assert_same(found[0], alone.detect(scenes.images[rows]))
    slots.remember([0])
    slots.train_epoch()
    changed = slots.detections("test", [0])[0]
    assert any(
        len(one) != len(two) or (one.scores != two.scores).any()
        for one, two in zip(changed, found[0], strict=True)
    )
    slots.recall([0])
    assert_same(slots.detections("test", [0])[0], found[0])
    slots.leave(0)
    assert slots.free_slots() == [0, 1]


def test_a_kept_member_is_its_training_on_all_scenes():
    own = config("strategy=retinanet_focal", *TINY)
    dataset = ReplicateFactory.of(own).dataset
    rows = np.arange(len(dataset.scenes))
    kept = refit_detectors(own, dataset, members=2, epochs=3)
    assert (kept.detector["tile"], kept.seeds) == (None, [200, 201])
    network = network_of(own, (1, 32, 32), 2)
    split = replace(whole_split(standardised([dataset.features])[0], dataset, rows), train_rows=rows)
    scenes = dataset.scenes
    learned = (scenes.images, Targets.of(scenes, network.anchor_boxes), Objects.of(scenes))
    for member, seed in enumerate(kept.seeds):
        replicate = whole_replicate(own, split, seed)
        assert sorted(replicate.plan[0]) == rows.tolist()
        alone = NativeDetector(training_of(replicate, network, *learned))
        for epoch in range(3):
            alone.train_epoch(epoch)
        for place, layer in enumerate(layer_names(2, 2, network.depth)):
            for kind, expected in zip(("weight", "bias"), alone.parameters()[place], strict=True):
                np.testing.assert_array_equal(kept.weights[f"{layer}.{kind}"][member], expected)


def assert_same(found, expected):
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.scores, two.scores)


def test_a_sweep_finds_a_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep_here(
        monkeypatch,
        "strategy=retinanet_focal,retinanet_ohem_ratio,two_stage",
        *TINY,
        "loss.gamma=1,2",
        "optimizer.lr=0.02",
        "optimizer.weight_decay=0.01",
        "name=found",
        "keep=all",
        "keep.members=1",
        f"published={PUBLISHED}",
    )
    out = capsys.readouterr()
    assert "test ap50" in out.out
    assert "has the highest test ap" in " ".join(out.out.split())
    assert "objects" in out.err
    folder = tmp_path / "studies/found"
    records = Journal(folder / JOURNAL_FILE).read()
    table = frame_from_records(records)
    final = table[table["stage"] == "final"]
    assert (len(final), final["state"].unique().tolist()) == (6, ["COMPLETE"])
    check_speed(final, markdown_table(summary(table)))
    measured = {name for name in table if name.startswith("test_")}
    assert measured == {f"test_{name}" for name in object_metric_names(("0", "1"))} | {"test_rows"}
    assert summary(table).metrics == ("test_ap", "test_ap50", "test_ap75")
    assert final["test_ap50"].gt(0).any()
    assert not (folder / "mistakes.csv").exists()
    check_kept(folder)
    check_replicates(records)
    check_sheets(records, summary(table))
    claimed = (
        r"(Reproduced|Not shown|Refuted): ap is better with retinanet_focal than with retinanet_ohem_ratio"
    )
    assert re.search(claimed, " ".join(out.out.split()))
    assert re.search(claimed, (folder / "published.md").read_text().replace("\\", ""))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    send(tmp_path, uri, "objects")
    client, (data,) = MlflowClient(uri), table["data"].unique()
    assert {each.tags["strategy"] for each in client.search_model_versions()} == set(table["strategy"])
    best = client.get_model_version_by_alias(data, "champion").tags["strategy"]
    assert best == summary(table).best
    stored = frame(["objects"], uri=uri)
    columns = ["strategy", "replicate", "test_ap", "test_class_ap[1]", "best_epoch", *SPEED_TAGS]
    ordered = stored[stored["stage"] == "final"][columns].reset_index(drop=True)
    assert ordered.equals(final[columns].reset_index(drop=True))
    print_comparison(["objects"], "md", uri)
    written = capsys.readouterr().out.replace("\\", "")
    assert re.search(claimed, written)
    assert "| strategy | ap here | ap published |" in written
    (shares,) = stored.loc[stored["curves.test_loss_share_of_negatives_gamma_2"].map(len) > 0].itertuples()
    assert (shares.strategy, shares.stage, shares.replicate) == ("retinanet_focal", "final", 0)


def check_kept(folder):
    """A detector of each strategy, trained again on all scenes for the median of the best epochs."""
    records = Journal(folder / JOURNAL_FILE).read()
    kept = sorted((folder / "models").iterdir())
    assert [each.name for each in kept] == ["retinanet_focal", "retinanet_ohem_ratio", "two_stage"]
    for each in kept:
        description = read_model(each).description
        final, replicates = final_evaluation(each.name, records)
        epochs = median_low([replicate.metrics["best_epoch"] for replicate in replicates])
        assert (description["epochs"], description["made"]["trial"]) == (epochs, final.trial)
        assert description["made"]["seeds"] == [200]
        factory = ReplicateFactory.of(Config.from_dict(final.config))
        assert description["class_counts"] == factory.dataset.class_counts.tolist()
        assert ("regions" in description["detector"]) == (each.name == "two_stage")
        mean = np.mean([replicate.metrics["test_class_ap[1]"] for replicate in replicates])
        assert f"| AP of 1 | {mean:.3f} (" in (each / "model_card.md").read_text()
        order = Order((each.name,), description["name"], 1, "")
        assert not keep_strategies(order, records, factory.dataset, folder)


def check_speed(final, shown):
    """The first final replicate of each strategy is timed, and what it took is shown."""
    timed = final.dropna(subset=list(SPEED_TAGS))
    assert timed["replicate"].tolist() == [0, 0, 0]
    assert "| ms an image | frames a second |" in shown
    for milliseconds, frames in timed[list(SPEED_TAGS)].to_numpy():
        assert f"| {milliseconds:.2f} | {frames:,.0f} |" in shown


def check_replicates(records):
    """A final replicate trained again, alone and to its best rung, has what was recorded of it."""
    replicates = [each for each in records if isinstance(each, ReplicateRecord)]
    record = next(
        each for each in replicates if each.stage == "final" and each.metrics["best_epoch"] < each.epochs
    )
    ended = next(
        each
        for each in records
        if isinstance(each, TrialRecord) and (each.strategy, each.stage) == (record.strategy, "final")
    )
    own = Config.from_dict(ended.config)
    factory = ReplicateFactory.of(own)
    slots = DetectorSlots(DetectorShape(native=True), factory.dataset.scenes, slots=1)
    slots.enter(0, factory.replicate(own, seed=record.seed, split=record.split))
    losses = [slots.train_epoch()[0] for _ in range(int(record.metrics["best_epoch"]))]
    assert record.metrics["train_loss"] == losses[-1]
    for part in ("validation", "test"):
        scenes = factory.dataset.scenes.take(rows_of(slots.split(0), part))
        expected = average_precision(slots.detections(part, [0])[0], scenes)
        for name in ("ap", "ap50", "ap75"):
            assert record.metrics[f"{part}_{name}"] == expected[name]
        assert record.metrics[f"{part}_class_ap[1]"] == expected["ap_1"]
    curve = dict(record.curves["validation_ap"])
    assert curve[record.metrics["best_epoch"]] == max(curve.values()) == record.metrics["validation_ap"]
    trial = next(each for each in replicates if each.trial == record.trial and each.stage == "search")
    assert trial.metrics.keys() >= {"validation_ap", "validation_ap75", "train_loss"}
    assert "validation_class_ap[0]" not in trial.metrics
    assert len(record.found) == 12
    assert len(dict(record.curves[PRECISION_AT_RECALL])) == len(RECALLS)
    split = factory.split(record.seed, record.split)
    assert [row for row, *_ in record.found] == split.test_rows[:12].tolist()
    assert record.metrics["test_rows"] == len(split.test_rows)


def check_sheets(records, comparison):
    """Every strategy's finds in the same test images, and where the loss of the one with focal loss falls."""
    final = next(each for each in records if isinstance(each, TrialRecord) and each.stage == "final")
    factory = ReplicateFactory.of(Config.from_dict(final.config))
    examples, sheet, maps = sheets_of(records, comparison, factory, None, Path(), None)
    names, images = zip(*sheet.rows, strict=True)
    assert (examples.name, [len(images) for _, images in examples.rows]) == ("examples", [10, 10])
    assert (sheet.name, list(names)) == ("found", comparison.table["strategy"].tolist())
    assert [each.shape for each in images] == [(5, 3, 128, 128)] * 3
    assert (images[0] != images[1]).any()
    assert sheet.png({}).startswith(b"\x89PNG")
    assert [words for words, _ in maps.columns] == [
        "cross-entropy, retinanet_focal",
        "focal loss, retinanet_focal",
    ]
    cross_entropy, focal = ([each.losses.sum() for each in own] for _, own in maps.columns)
    assert (len(maps.scenes), len(focal)) == (3, 3)
    assert all(np.array(focal) < cross_entropy)


def test_stock_mindspore_trains_in_slots_too():
    own = config("strategy=retinanet_ce", *TINY)
    factory = ReplicateFactory.of(own)
    losses = []
    for native in (True, False):
        slots = DetectorSlots(DetectorShape(native), factory.dataset.scenes, slots=1)
        slots.enter(0, factory.replicate(own, seed=0, split=0))
        assert slots.engine(0) == ("native" if native else "stock")
        losses.append(slots.train_epoch()[0])
        slots.remember([0])
        slots.recall([0])
        assert len(slots.detections("validation", [0])[0]) == len(slots.split(0).validation_rows)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("diverged", ["chance", "drop"])
def test_what_diverged_finds_nothing_or_is_not_measured(diverged):
    own = config(
        "strategy=retinanet_focal",
        *TINY,
        "budget.epochs=1",
        "budget.rungs=1",
        f"evaluation.diverged={diverged}",
    )
    factory = ReplicateFactory.of(own)
    slots = DetectorSlots(DetectorShape(native=True), factory.dataset.scenes, slots=2)
    runs = [ReplicateState(number, seed=number, split=0) for number in range(2)]
    job = Job("retinanet_focal", "final", 0, {}, own, runs)
    for slot, run in enumerate(runs):
        slots.enter(slot, factory.replicate(own, seed=run.seed, split=run.split))
    losses = slots.train_epoch()
    for run in runs:
        run.epochs = 1
    job.diverge(runs[1], np.inf)
    measure_objects(slots, {slot: (job, run) for slot, run in enumerate(runs)}, losses, factory.dataset)
    assert runs[0].metrics["train_loss"] == losses[0]
    assert len(runs[0].found) == 12
    assert runs[1].found is None
    if diverged == "drop":
        assert runs[1].metrics == {}
    else:
        measured = {name: value for name, value in runs[1].metrics.items() if "ap" in name}
        assert set(measured.values()) == {0.0}
        assert {"validation_ap", "test_ap50", "test_class_ap[0]"} <= measured.keys()


@pytest.fixture
def trees(tmp_path, monkeypatch):
    """Photographs in the folder that the page names, with two objects each."""
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        write_photograph(tmp_path / "trees" / name, 300, 260, number)
    boxes = {name: [((10.0, 12.0, 60.0, 70.0), "oak"), ((70.0, 80.0, 120.0, 140.0), "ash")] for name in names}
    write_table(tmp_path / "trees", boxes, {})
    (tmp_path / "pieces").symlink_to("trees")


def test_the_pages_photographs_are_cut_into_pieces_that_do_not_overlap(tmp_path):
    data = tmp_path / "deepforest/data"
    sizes = {"2019_a.png": (420, 640), "OSBS_029.png": (90, 100)}
    for number, (name, size) in enumerate(sizes.items()):
        write_photograph(data / name, *size, number)
    boxes = [(9.0, 8.0, 59.0, 28.0), (310.0, 8.0, 350.0, 28.0), (320.0, 400.0, 360.0, 419.0)]
    write_voc(data, {"2019_a.png": [(box, "Tree") for box in boxes], "OSBS_029.png": []}, sizes)
    (command,) = re.findall(r"^python (examples/cut_photographs.py .*)$", PAGE, re.MULTILINE)
    subprocess.run(f"{sys.executable} {ROOT}/{command}", shell=True, cwd=tmp_path, check=True, timeout=120)
    made = read_boxes(str(tmp_path / "pieces"), tile=None, size=320)
    assert tuple(made.file_names) == ("2019_a_0_0.png", "2019_a_320_0.png", "OSBS_029_0_0.png")
    # The longer side of 420 pixels becomes 320; `write_voc` counts from 1.
    expected = [[[10, 9, 59, 28]], [[0, 9, 30, 28], [1, 401, 40, 419]], np.zeros((0, 4))]
    for found, own in zip(made.scenes.boxes, expected, strict=True):
        np.testing.assert_allclose(found, np.array(own) * 320 / 420, rtol=1e-6)


def test_the_page_has_every_strategy_and_its_sweeps_are_planned(trees):
    own = [name for name in part_names("strategy") if re.match("retinanet|two_stage", name)]
    assert sorted(re.findall(r"^\| `(retinanet\w+|two_stage)`", PAGE, re.MULTILINE)) == own
    commands = re.findall(r"^lossfleet sweep (.*)$", PAGE, re.MULTILINE)
    experiments = set(re.findall(r"`(?:lossfleet sweep )?(experiment=\w+)`", PAGE))
    assert (len(commands), len(experiments)) == (4, 5)
    for command in (*commands, *experiments):
        words = shlex.split(command)
        plans: list = []
        run_sweeper(words if "data=boxes" in words else [*words, "data.images=40"], plans.append)
        studies = [study for plan in plans for study in plan.studies]
        assert {study.config.data.has_scenes for study in studies} == {True}
        if command == "experiment=retinanet_ohem":
            all_tried = [study.strategy for study in studies if tries_points_once(study)]
            assert all_tried == ["retinanet_ohem", "retinanet_ohem_ratio"]
        # What the paper's experiments are set beside is about what they search.
        searched = {dimension.name for study in studies for dimension in study.space} | {"strategy"}
        for study in studies:
            published = study.config.published
            assert bool(published) == (command in experiments)
            settings = [
                name for claim in published.get("claims", ()) for name in settings_of(claim_of(claim))
            ]
            assert {*published.get("by", ()), *settings} <= searched


def settings_of(claim):
    """The hyperparameters that a claim is about."""
    for value in asdict(claim).values():
        yield from value if isinstance(value, dict) else [value] if isinstance(value, str) else []


def test_photographs_of_the_users_go_to_a_verdict_and_a_kept_detector(trees, monkeypatch, capsys):
    words = ("strategy=retinanet_ohem", "data=boxes", "data.path=trees", "data.size=32")
    sweep_here(monkeypatch, *words, *TINY[5:], "name=oaks", "keep.members=2")
    told = capsys.readouterr()
    # Half of 32 pixels is the shorter side of the boxes, 50 of the photographs'.
    assert "8 photographs in 72 tiles of 100 x 100 pixels (data.tile=auto)" in told.err
    assert re.search("On trees-.* only retinanet_ohem was run: test ap", " ".join(told.out.split()))
    model = "studies/oaks/models/retinanet_ohem"
    assert f"Model of retinanet_ohem: {model}; 'lossfleet predict {model} FILE' uses it" in told.out
    shutil.copytree("trees", "annotated")
    shutil.copytree("trees", "photographs")
    commands = [
        shlex.split(each) for each in re.findall(r"^lossfleet ((?:predict|evaluate) .*)$", PAGE, re.MULTILINE)
    ]
    assert [words[0] for words in commands] == ["predict", "evaluate"]
    for name, _, *rest in commands:
        assert cli.main([name, model, *rest]) == 0
    assert len(list(Path("drawn").iterdir())) == 8
    assert set(pd.read_csv("finds.csv")["image"]) == {f"{number}.png" for number in range(8)}
    printed = capsys.readouterr().out
    assert "on annotated: 8 photographs in 72 tiles with 24 objects\n" in printed
    assert re.search(r"^ap50 +\d", printed, re.MULTILINE)
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(block, {"load_model": load_model, "Path": Path, "pixels": np.zeros((3, 150, 130), np.uint8)})
    check_metric_names(["test_ap75", "validation_class_ap[oak]"])


def test_one_training_is_tested_at_its_best_rung_and_says_who_trains(capsys, monkeypatch):
    words = ("strategy=retinanet_ce", *TINY, "budget.epochs=3", "budget.rungs=3", "optimizer.lr=0.03")
    assert cli.main(["train", *words]) == 0
    rows = {row[0]: row[1:] for row in map(str.split, capsys.readouterr().out.splitlines()[1:])}
    best = 1 + int(np.argmax([float(rows[str(epoch)][1]) for epoch in (1, 2, 3)]))
    assert best < 3
    assert rows["tested"][5] == f"{best},"
    own = config(*words)
    factory = ReplicateFactory.of(own)
    slots = DetectorSlots(DetectorShape(native=True), factory.dataset.scenes, slots=1)
    slots.enter(0, factory.replicate(own, seed=0, split=0))
    for _ in range(best):
        slots.train_epoch()
    scenes = factory.dataset.scenes.take(rows_of(slots.split(0), "test"))
    expected = average_precision(slots.detections("test", [0])[0], scenes)
    assert expected["ap"] > 0
    assert rows["test"] == [f"{expected[name]:.4f}" for name in ("ap", "ap50", "ap75")]
    monkeypatch.setattr("lossfleet.sweeps.running.size.native_obstacle", lambda _: "g++ is not on the path")
    assert cli.main(["train", *words, "engine.native=on"]) == 2
    assert "engine.native is on, but g++ is not on the path" in capsys.readouterr().err
