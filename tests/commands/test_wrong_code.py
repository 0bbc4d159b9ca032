"""Wrong code of the user's: exit code 2, file and line, nothing on disk. One row a mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lossfleet.sweeps.commands.cli import main

# What all rows begin with; their own code starts at line 9.
HEAD = """from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, float16, nn, ops

from lossfleet.losses import softmax_cross_entropy
from lossfleet.runners.models.layers import Dense, Layer
from lossfleet.runners.optimizers.sgd import SGD
"""
LOSS = "def bad(logits, labels):\n"
CELL = "class bad(nn.Cell):\n    def __init__(self, features, classes):\n"
BUILT = CELL + "        super().__init__()\n        self.layer = nn.Dense(features, classes + 1)\n"
CONSTRUCT = "    def construct(self, examples):\n        return "
SIGMOID = """@dataclass(frozen=True)
class Sigmoid(Layer):
    def shape(self, inputs):
        return inputs
    def stock(self):
        return nn.Sigmoid()
    def stacked(self, *, is_first):
        return nn.Sigmoid()
def bad(features, classes):
    return [Dense(features, 4), Sigmoid(), Dense(4, classes)]
"""
STEP = "    def update(self, parameters, first, second, gradient, coefficients, trainable):\n        return "
# The kind of part, its code, and what the message must contain; "line" is of the user's file.
ROWS = {
    "syntax": ("loss", "def bad(logits labels): pass", ("line 9: invalid syntax",)),
    "module that is not there": ("loss", "import nowhere\n" + LOSS + "    pass", ("line 9: ModuleNotFoundError",)),
    "function that is not there": ("loss", "def good(logits, labels): pass", ("has no bad",)),
    "scalar": (
        "loss",
        LOSS + "    return softmax_cross_entropy(logits, labels).mean()",
        ("gives the shape () of Float32", "without a mean", "line 9"),
    ),
    "shape": ("loss", LOSS + "    return logits", ("gives the shape (2, 2, 5)", "line 9")),
    "number": ("loss", LOSS + "    return 1.0", ("gives float for logits", "line 9")),
    "half precision": (
        "loss",
        LOSS + "    return softmax_cross_entropy(logits, labels).astype(float16)",
        ("of Float16", "expected a Tensor (2, 5) of Float32"),
    ),
    "exception": ("loss", LOSS + "    raise RuntimeError('no luck')", ("line 10: RuntimeError: no luck",)),
    "exception elsewhere": (
        "loss",
        "def help(x):\n    return x.nothing()\n" + LOSS + "    return help(logits)",
        ("line 10: AttributeError",),
    ),
    "undefined name": ("loss", LOSS + "    return logits * b", ("line 10: NameError: name 'b' is not defined",)),
    "no derivative": (
        "loss",
        LOSS + "    return Tensor(logits.asnumpy().sum(1))",
        ("has no derivative", "no asnumpy", "line 9"),
    ),
    "no graph": (
        "loss",
        LOSS + "    try:\n        return softmax_cross_entropy(logits, labels)\n    except KeyError:\n        pass",
        ("Unsupported statement 'Try'", "line 9"),
    ),
    "not finite": ("loss", LOSS + "    return ops.log(logits[:, 0] * 0 - 1)", ("not finite", "line 9")),
    "unknown setting": ("loss zeta: 1.0", LOSS + "    pass", ("has zeta", "line 9")),
    "parameter that nobody gives": ("loss", "def bad(logits, labels, theta): pass", ("takes theta", "line 9")),
    "mask of another shape": (
        "mining",
        "def bad(losses, *, valid):\n    return losses.mean()",
        ("gives the shape () of Float32 for losses (2, 5)", "line 9"),
    ),
    "mask of nothing": (
        "mining",
        "def bad(losses, *, valid):\n    return valid * 0",
        ("keeps no example", "line 9"),
    ),
    "outputs": ("model", BUILT + CONSTRUCT + "self.layer(examples)", ("gives the shape (5, 3)", "line 10")),
    "layer that does not fit": (
        "model",
        BUILT + CONSTRUCT + "self.layer(self.layer(examples))",
        ("line 14: ValueError",),
    ),
    "constructor that fails": (
        "model",
        CELL + "        super().__init__()\n        self.layer = nn.Dense(-1, classes)",
        ("line 12: ValueError: For 'Dense'",),
    ),
    "constructor of other names": (
        "model",
        "class bad(nn.Cell):\n    def __init__(self, inputs):\n        pass",
        ("takes inputs", "model is given classes, features, input_shape", "line 10"),
    ),
    "nothing to train": (
        "model",
        "class bad(nn.Cell):\n    def __init__(self):\n        super().__init__()\n" + CONSTRUCT + "examples[:, :2]",
        ("has no parameters to train", "line 10"),
    ),
    "no model": ("model", "def bad(features):\n    return 'mlp'", ("gives str", "line 9")),
    "layers that do not fit": (
        "model",
        "def bad(features, classes):\n    return [Dense(features, 4), Dense(5, classes)]",
        ("Dense(5, 2) comes after 4 outputs", "line 9"),
    ),
    "stacked layer that changes the ones": (
        "model",
        SIGMOID,
        ("differs from its stock form", "the last row of activations stays ones", "line 17"),
    ),
    "optimizer of another kind": (
        "optimizer {lr: 0.1, weight_decay: 0.0}",
        "class bad:\n    def __init__(self, lr=0.1, weight_decay=0.0): pass",
        ("gives bad", "expected an Optimizer", "line 10"),
    ),
    "update of another shape": (
        "optimizer {lr: 0.1, weight_decay: 0.0}",
        "class bad(SGD):\n" + STEP + "parameters.mean(), first, second",
        ("gives [((), 'Float32')",),
    ),
    "update other than the stock form": (
        "optimizer {lr: 0.1, weight_decay: 0.0}",
        "class bad(SGD):\n" + STEP + "parameters - coefficients[0] * gradient, first, second",
        ("differs from its stock form",),
    ),
    "schedule that fails": ("schedule", "def bad(step, steps):\n    return 1 / 0", ("line 10: ZeroDivisionError",)),
    "schedule of another shape": (
        "schedule",
        "def bad(step, steps):\n    return np.ones(3)",
        ("of the shape (3,) for 7 steps", "line 9"),
    ),
    "index out of range": (
        "sampler",
        "def bad(labels, *, draws):\n    return np.full(draws, len(labels))",
        ("indices from 343 to 343", "line 9"),
    ),
    "too few draws": (
        "sampler",
        "def bad(labels, *, draws):\n    return np.zeros(draws - 1, int)",
        ("expected", "line 9"),
    ),
    "sampler that fails in NumPy": (
        "sampler",
        "def bad(labels, *, draws, random):\n    return random.choice(len(labels), draws, p=labels)",
        ("line 10: ValueError: probabilities do not sum to 1",),
    ),
    "metric of another shape": (
        "metric direction: maximize",
        "def bad(confusion):\n    return confusion.sum()",
        ("returned the shape ()", "line 9"),
    ),
    "metric that fails": (
        "metric direction: maximize",
        "def bad(confusion):\n    return confusion[:, 9, 9]",
        ("line 10: IndexError",),
    ),
    "data that cannot be read": (
        "data",
        "def bad():\n    raise OSError('no such table')",
        ("line 10: OSError: no such table",),
    ),
    "data of two lengths": (
        "data",
        "def bad():\n    return np.ones((30, 2)), np.zeros(29)",
        ("features (30, 2) and 29 labels", "line 9"),
    ),
}  # fmt: skip


def write(folder: Path, group: str, settings: str, code: str) -> str:
    """Write a part named `my_bad`; returns the override that chooses it."""
    (folder / group).mkdir(parents=True)
    settings = settings.strip("{}").replace(", ", "\n")
    (folder / group / "my_bad.yaml").write_text(f"_target_: bad_parts.bad\n{settings}\n")
    (folder / "bad_parts.py").write_text(f"{HEAD}{code}\n")
    return ("search.metric" if group == "metric" else group) + "=my_bad"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("row", ROWS)
def test_wrong_code_is_refused_before_training(row, here, tmp_path, capfd):
    kind, code, messages = ROWS[row]
    group, _, settings = kind.partition(" ")
    override = write(tmp_path / "parts", group, settings, code)
    exit_code = main(
        ["sweep", "--config-dir", str(tmp_path / "parts"), "experiment=quick", "strategy=ce", override]
    )
    error = capfd.readouterr().err.splitlines()[-1]
    assert exit_code == 2, error
    for message in messages:
        file = f"{tmp_path}/parts/bad_parts.py, " if message.startswith("line ") else ""
        assert file + message in error
    assert error.startswith("lossfleet: error: ")
    assert "bad_parts.py" in error
    assert "; expected " in error
    assert "C++" not in error
    assert os.listdir(here) == []


@pytest.mark.parametrize("row", ["scalar", "outputs", "schedule that fails"])
def test_wrong_code_is_refused_by_train_too(row, here, tmp_path, capfd):
    kind, code, messages = ROWS[row]
    override = write(tmp_path / "parts", kind, "", code)
    assert main(["train", "--config-dir", str(tmp_path / "parts"), "strategy=ce", "data=wine", override]) == 2
    output = capfd.readouterr()
    assert messages[-1] in output.err
    assert output.out == ""
    assert os.listdir(here) == []


@pytest.mark.parametrize("target", ["os.remove", "builtins.eval", "nowhere.bad"])
def test_targets_that_hydra_refuses_are_refused(target, here, tmp_path, capfd):
    override = write(tmp_path / "parts", "loss", "", "")
    (tmp_path / "parts/loss/my_bad.yaml").write_text(f"_target_: {target}\n")
    assert main(["sweep", "--config-dir", str(tmp_path / "parts"), "strategy=ce", override]) == 2
    assert f"loss has the target {target}: " in capfd.readouterr().err
    assert os.listdir(here) == []
