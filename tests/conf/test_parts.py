"""Parts: what they accept, how they call their target, and what is said of one that cannot be used."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part

SOURCE = """
from typing import Annotated
from annotated_types import Ge

def margin(scores, targets, *, width: Annotated[float, Ge(0)] = 1.0, class_counts):
    return scores * width + class_counts.sum()

def weighted(logits, labels, *, class_weight, power: float = 1.0):
    return logits * class_weight ** power

def own_tau(logits, labels, *, class_weight, tau: float = 1.0):
    return logits

def needy(logits, labels, *, learning_signal):
    return logits

def failing(logits, labels):
    nothing = []
    return nothing[3]

def options(logits, labels, **settings):
    return sorted(settings)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A file of the user's that can be imported, to be written again by a test."""
    path = tmp_path / "users_parts.py"
    path.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_parts", raising=False)
    return path


def loss(name: str, **settings) -> Part:
    return Part("loss", name, f"users_parts.{name}", tuple(settings.items()))


def test_a_part_is_called_with_its_settings_and_what_it_names(module):
    part = loss("margin", width=2)
    counts = np.array([3, 4])
    assert part.call(np.ones(2), None, class_counts=counts, class_weight=None).tolist() == [9, 9]
    assert part.inputs() == {"scores", "targets", "class_counts"}
    assert (part["width"], part.get("other"), "width" in part, part.settings) == (
        2.0,
        None,
        True,
        {"width": 2.0},
    )


def test_a_loss_that_takes_class_weights_has_their_settings(module):
    part = loss("weighted", power=0.5, tau=1, alpha=None)
    assert part.class_weights == ("tau", "alpha")
    assert part.arguments == {"power": 0.5}
    assert part.call(np.ones(2), None, class_weight=np.array([4, 9])).tolist() == [2, 3]
    with pytest.raises(UserError, match=r"loss\.tau=1\.0 and loss\.alpha=0\.5 both weigh"):
        part.replace(alpha=0.5)
    # What is its own is its own.
    assert loss("own_tau", tau=5).arguments == {"tau": 5.0}
    assert loss("own_tau", tau=5).class_weights == ()


def test_equal_parts_compare_equal_however_they_are_written(module):
    one = Part.from_dict("loss", {"name": "margin", "_target_": "users_parts.margin", "width": 1})
    assert one == loss("margin", width=1.0)
    assert hash(one) == hash(loss("margin", width=1.0))
    assert Part.from_dict("loss", one.to_dict()) == one == pickle.loads(pickle.dumps(one))
    focal = named_part("loss", "focal")
    assert Part("loss", "focal", focal.target, tuple(reversed(focal.items))) == focal


@pytest.mark.parametrize(
    ("make", "what", "hint"),
    [
        (lambda: loss("margin", width=-1), "loss.width is -1", "write for example loss.width=1.0"),
        (lambda: loss("margin", widht=1), "loss/margin.yaml has widht", "did you mean width?"),
        (lambda: loss("margin", class_counts=[1]), "", ""),
        (lambda: loss("needy"), "takes learning_signal, which has no value", "write for example learning_signal"),
        (lambda: loss("margn"), "users_parts.py has no margn", "correct _target_"),
        (lambda: loss("margin").replace(depth=1), "there is no setting loss.depth", ""),
        (lambda: Part("loss", "a", "nowhere.a"), "No module named 'nowhere'", "correct _target_"),
        (lambda: Part("loss", "a", "os.remove"), "os.remove", "correct _target_"),
        (lambda: Part("loss", "a", "builtins.map"), "blocklisted", "correct _target_"),
        (lambda: Part("loss", "a", "functools.reduce"), "blocklisted", "correct _target_"),
        (lambda: Part("loss", "a", "subprocess.run"), "blocklisted", "correct _target_"),
        (lambda: Part("loss", "a", "math.pi"), "math.pi", "correct _target_"),
        (lambda: Part.from_dict("loss", {"gamma": 1}), "loss is {'gamma': 1}", "choose a file of the group loss"),
        (lambda: Part.from_dict("loss", {"_target_": 3}), "loss has the target 3", "correct _target_"),
        (lambda: Part("loss", "a", "users_parts.options", (("a", {"b": 1}),)), "loss.a is a mapping", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(make, what, hint, module):
    if not what:
        assert make()["class_counts"] == (1,)
        return
    with pytest.raises(UserError) as caught:
        make()
    assert what in caught.value.what
    assert caught.value.hint.startswith(hint)
    assert caught.value.expected


def test_a_function_that_takes_everything_has_every_setting(module):
    part = loss("options", b=1, a="x", c=[1, 2])
    assert part.call(None, None) == ["a", "b", "c"]
    assert part["c"] == (1, 2)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def margin(x, y)\n    pass\n", "users_parts.py, line 1: "),
        (
            "import nowhere_at_all\ndef margin(x, y):\n    return x\n",
            "users_parts.py, line 1: ModuleNotFoundError",
        ),
        ("def margin(x, y):\n    return x\n\n1 / 0\n", "users_parts.py, line 4: ZeroDivisionError"),
    ],
)
def test_code_that_cannot_be_imported_is_said_with_file_and_line(source, said, module):
    module.write_text(source)
    with pytest.raises(UserError) as caught:
        loss("margin").load()
    assert said in caught.value.what


def test_code_that_fails_is_said_with_file_and_line(module):
    with pytest.raises(UserError) as caught:
        loss("failing").call(None, None)
    line = SOURCE[: SOURCE.index("return nothing[3]")].count("\n") + 1
    assert f"users_parts.py, line {line}: IndexError" in caught.value.what


def test_no_part_at_all():
    none = named_part("mining", "none")
    assert (none.target, none.settings, none.inputs()) == (None, {}, frozenset())
    assert Part.from_dict("mining", none.to_dict()) == none
