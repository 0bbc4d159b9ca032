"""The native core of detectors under the sanitizers: epochs, what is found, wrong calls, of one stage and of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_detectors
import test_two_stage
from sanitized_core import recorded, replayed
from small_detectors import LOSSES, smaller_batches, training

from lossfleet.runners.detection.objective import SampledLoss
from lossfleet.runners.detection.training import Training
from lossfleet.runners.training.native.call import OF_DETECTORS, Call
from lossfleet.runners.training.native.detector import NativeDetector
from lossfleet.runners.training.native.libraries import DETECTORS, level_here
from lossfleet.runners.training.native.two_stage import NativeTwoStage

FEW = SampledLoss(anchors=8, regions=5)
OF_ONE_STAGE = [
    *(training(loss) for loss in LOSSES.values()),
    *(training(LOSSES["ratio"], network) for network in test_detectors.OTHERS.values()),
    smaller_batches(training(LOSSES["focal"]), 9),
]
OF_TWO_STAGES = [
    test_two_stage.made_here(),
    *(test_two_stage.made_of(FEW, network) for network in test_two_stage.OTHERS.values()),
    smaller_batches(test_two_stage.made_here(), 9),
]


def exploding(made: Training) -> Training:
    return replace(made, rates=np.full_like(made.rates, 1e30))


def test_no_call_leaves_its_memory_or_does_what_is_undefined(tmp_path):
    made = [
        *(NativeDetector(each) for each in (*OF_ONE_STAGE, exploding(OF_ONE_STAGE[0]))),
        *(NativeTwoStage(each) for each in (*OF_TWO_STAGES, exploding(OF_TWO_STAGES[0]))),
    ]
    wrong = [
        (name, tests.epoch_inputs(), *each)
        for name, tests in (
            ("train_detector_epoch", test_detectors),
            ("train_two_stage_epoch", test_two_stage),
        )
        for each in tests.WRONG.values()
    ]
    with recorded(tmp_path):
        for detector in made:
            detector.train_epoch(0)
            detector.detect(detector.training.images)
        for number in test_two_stage.NUMBERS:
            inputs = test_two_stage.epoch_inputs()
            inputs[16][:] = number
            Call("train_two_stage_epoch", *inputs)()
        for name, inputs, index, value, message in wrong:
            inputs[index] = value()
            with pytest.raises(ValueError, match=message):
                Call(name, *inputs)()
    done = replayed(tmp_path, DETECTORS, level_here())
    assert done.returncode == 0, done.stderr[-3000:]
    calls = [file.stem.split("-")[1] for file in tmp_path.glob("*.npz")]
    assert done.stdout == f"{len(calls)} calls\n"
    assert set(calls) == OF_DETECTORS
