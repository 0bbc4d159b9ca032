"""Wrong code of the user's: exit code 2, file and line, nothing on disk. One row a mistake."""

from __future__ import annotations

import os

import pytest

from lossfleet.sweeps.commands.cli import main

CODE = """
from mindspore import Tensor, nn
from lossfleet.losses import softmax_cross_entropy
import numpy as np

def scalar(logits, labels):
    return softmax_cross_entropy(logits, labels).mean()

def raises(logits, labels):
    raise RuntimeError("no luck")

def undefined(logits, labels, *, a: float = 1.0):
    return softmax_cross_entropy(logits, labels) * b

def without_derivative(logits, labels):
    return Tensor(logits.asnumpy().sum(1))

class Wide(nn.Cell):
    def __init__(self, features, classes):
        super().__init__()
        self.layer = nn.Dense(features, classes + 1)

    def construct(self, examples):
        return self.layer(examples)

class Explodes(nn.Cell):
    def __init__(self, features, classes):
        super().__init__()
        raise ValueError("too few features")

def beyond(labels, *, draws):
    return np.full(draws, len(labels))

def of_all(confusion):
    return confusion.sum()
"""
FILES = {
    "loss/my_scalar": "_target_: bad_parts.scalar",
    "loss/my_raises": "_target_: bad_parts.raises",
    "loss/my_undefined": "_target_: bad_parts.undefined",
    "loss/my_numpy": "_target_: bad_parts.without_derivative",
    "loss/my_missing": "_target_: bad_parts.missing",
    "loss/my_remove": "_target_: os.remove",
    "loss/my_key": "_target_: bad_parts.undefined\nzeta: 1.0",
    "loss/my_syntax": "_target_: no_python.loss",
    "model/my_wide": "_target_: bad_parts.Wide",
    "model/my_explosion": "_target_: bad_parts.Explodes",
    "sampler/my_sampler": "_target_: bad_parts.beyond",
    "metric/my_metric": "_target_: bad_parts.of_all\ndirection: maximize",
}
# The override, then what the message must contain.
ROWS = [
    ("loss=my_scalar", ("gives the shape ()", "bad_parts.py, line 6", "one loss an example")),
    ("loss=my_raises", ("RuntimeError: no luck (line 10)", "bad_parts.py")),
    ("loss=my_undefined", ("name 'b' is not defined (line 13)", "bad_parts.py")),
    ("loss=my_numpy", ("has no derivative", "bad_parts.py, line 15")),
    ("loss=my_missing", ("bad_parts.missing",)),
    ("loss=my_remove", ("os.remove",)),
    ("loss=my_key", ("zeta", "bad_parts.py, line 12")),
    ("loss=my_syntax", ("no_python.py, line 1",)),
    ("model=my_wide", ("gives the shape (5, 3)", "bad_parts.py, line 19", "one logit a class")),
    ("model=my_explosion", ("too few features", "bad_parts.py, line 29")),
    ("sampler=my_sampler", ("bad_parts.py",)),
    ("search.metric=my_metric", ("returned the shape ()", "bad_parts.py")),
]


@pytest.mark.parametrize(("override", "messages"), ROWS, ids=[row[0] for row in ROWS])
def test_wrong_code_is_refused_before_training(override, messages, tmp_path, monkeypatch, capsys):
    parts, here = tmp_path / "parts", tmp_path / "here"
    here.mkdir()
    (name,) = [name for name in FILES if name.endswith(f"/{override.split('=')[1]}")]
    file = parts / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILES[name] + "\n")
    (parts / "bad_parts.py").write_text(CODE)
    (parts / "no_python.py").write_text("def loss(logits labels): pass\n")
    monkeypatch.chdir(here)
    code = main(["sweep", "--config-dir", str(parts), "experiment=quick", "strategy=ce", override])
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2, error
    for message in messages:
        assert message in error
    assert "; expected " in error
    assert os.listdir(here) == []
