"""Targets, the dotted names of functions and classes: their signatures, their import, and what goes wrong with it."""

from __future__ import annotations

import re
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from lossfleet.conf.errors import UserError
from lossfleet.conf.signature import Signature, find_module, read_signature


def target_signature(group: str, target: str) -> Signature:
    """What a target takes.

    Raises:
        UserError: Hydra refuses the target, it is not there, or its source is no Python.
    """
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names or top == "hydra":
        # What Hydra refuses is Python's or its own, so that asking it costs no import of anything heavy.
        load_target(group, target)
    try:
        signature = read_signature(target)
    except SyntaxError as error:
        raise bad_target(group, target, f"{error.filename}, line {error.lineno}: {error.msg}") from None
    if signature is None:
        load_target(group, target)
        raise bad_target(group, target, "whose parameters cannot be read")
    return signature


def load_target(group: str, target: str) -> Any:
    """The function or class of a dotted name, where Hydra's `instantiate` accepts it.

    Raises:
        UserError: Hydra refuses it, or it cannot be imported; the message has the file and the line.
    """
    return _load_target(group, target, tuple(sys.path))


@lru_cache(maxsize=512)
def _load_target(group: str, target: str, path: tuple[str, ...]) -> Any:
    # Late: what has no part to load needs no Hydra.
    from hydra.errors import InstantiationException
    from hydra.utils import get_object, instantiate

    try:
        instantiate({"_target_": target, "_partial_": True})
        return get_object(target)
    except (InstantiationException, ImportError) as error:
        module, _, name = target.rpartition(".")
        spec = find_module(module)
        is_missing = isinstance(error.__cause__, ImportError) and f"No module named '{target}'" in str(
            error.__cause__
        )
        reason = f"{spec.origin} has no {name}" if spec and is_missing else reason_of(error)
        raise bad_target(group, target, reason) from None


def reason_of(error: BaseException, file: str | None = None) -> str:
    """What is at the bottom of an error, with the file and line of whoever raised it.

    Args:
        error: of Hydra's, or of code of the user's.
        file: of that code, if it is known; then only lines in its folder are named, and none of what it calls.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    # MindSpore tells of its C++ and of the whole graph after the first lines.
    text = " ".join(str(error).split("\n\n--")[0].split())
    if type(error).__name__ != "InstantiationException":
        text = f"{type(error).__name__}: {text}"
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    # Where it cannot compile a graph, it names lines in the message.
    places += [(name, int(line)) for name, line in re.findall(r"In file (\S[^:\n]*):(\d+)", str(error))]
    if file is not None:
        places = [place for place in places if Path(place[0]).parent == Path(file).parent]
    not_theirs = (__file__, "<frozen", "/hydra/", "importlib/__init__.py")
    places = [place for place in places if not any(each in place[0] for each in not_theirs)]
    return f"{places[-1][0]}, line {places[-1][1]}: {text}" if places else text


def bad_target(group: str, target: str, reason: str) -> UserError:
    """The error for a target that cannot be used."""
    return UserError(
        what=f"{group} has the target {target}: {reason}",
        expected="the dotted name of a function or class that can be imported and that Hydra instantiates",
        hint="correct _target_ or the file that it names; a folder given as --config-dir can be imported from",
    )
