"""The native core of rows under the sanitizers, for plain CPUs: what this machine's level finds, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from sanitized_core import recorded, replayed
from test_layers import MODELS
from test_native import FAMILY, MININGS, WRONG, called, epoch_inputs

from lossfleet.runners.training.augmentation import standard
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.libraries import ROWS

# Of the first 19 rows, so that the last vector of examples is not full, whether of 4 or of 8.
CUT = 19
# That lead nowhere in an image.
NUMBERS = (np.nan, np.inf, -np.inf, 1e38)


def test_no_call_leaves_its_memory_or_does_what_is_undefined(tmp_path):
    calls = {(name, mining): {"mining": mining, "gamma": 1.5} for name in MODELS for mining in MININGS}
    calls |= {("two hidden", str(settings)): settings for settings in FAMILY}
    with recorded(tmp_path):
        for (name, _), settings in calls.items():
            inputs = epoch_inputs(MODELS[name], **settings)
            inputs[6] = inputs[6][:CUT]
            inputs[11], inputs[12] = inputs[11][:CUT], np.ascontiguousarray(inputs[12][:, :CUT])
            trained = called(inputs)[0]
            logits = np.empty((inputs[8].size, len(inputs[4])), np.float32)
            Call("predict_logits", inputs[0], trained, inputs[4], logits)()
        inputs = epoch_inputs(MODELS["two hidden"])
        inputs[4] = np.random.default_rng(1).integers(0, 256, inputs[4].shape, np.uint8)
        inputs[16] = np.full((2, inputs[4].shape[1]), 0.01, np.float32)
        called(inputs)
        images = np.random.default_rng(2).random((CUT, 3, 12, 10), np.float32)
        standard(images, random=np.random.default_rng(3), cut_out=0.3)
        for number in NUMBERS:
            maps, brightness = np.full((CUT, 6), number, np.float32), np.zeros(CUT, np.float32)
            squares, augmented = np.zeros((CUT, 4), np.int32), np.empty_like(images)
            Call("augment_images", images, maps, squares, brightness, augmented)()
        for index, value, message in WRONG.values():
            inputs = epoch_inputs(MODELS["two hidden"])
            outputs = [*inputs[1:4], np.zeros(1, np.float32)]
            inputs[index] = value
            with pytest.raises(ValueError, match=message):
                Call("train_epoch", *inputs, *outputs)()
    done = replayed(tmp_path, ROWS, "plain")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{2 * len(calls) + 2 + len(NUMBERS) + len(WRONG)} calls\n"
