"""Values by the name of the class: in the order of the classes, and as they are written on the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lossfleet.conf.errors import UserError


def in_class_order(
    path: str, named: Mapping[str, float], class_names: Sequence[str], label: str
) -> tuple[float, ...]:
    """Numbers by class name in the order of the classes.

    Args:
        path: the setting, for the error.
        named: by class.
        class_names: all of them, in order.
        label: of the data.

    Raises:
        UserError: a class that there is not, or one that is left out.
    """
    unknown = [name for name in named if name not in class_names]
    missing = [name for name in class_names if name not in named]
    if unknown or missing:
        said = [f"names {', '.join(unknown)}, which {label} does not have"] if unknown else []
        said += [f"leaves out {', '.join(missing)}"] if missing else []
        complete = by_class(path, {name: named.get(name, 1.0) for name in class_names})
        raise UserError(
            what=f"{path} {', and '.join(said)}",
            expected=f"a number for each class: {', '.join(class_names)}",
            hint=f"write for example {complete}{quotes_for_yaml(unknown, class_names)}",
        )
    return tuple(named[name] for name in class_names)


def as_class(key: Any) -> str:
    """A class as data sets name it: YAML reads 1 and true as a number and a truth value."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def quotes_for_yaml(names: Iterable[str], class_names: Iterable[str]) -> str:
    """What a hint adds where YAML has read the class yes as a truth value."""
    words = [each for each in class_names if each.lower() in ("yes", "no", "on", "off")]
    is_read = bool(words) and not {"true", "false"}.isdisjoint(names)
    return f"; in YAML put {' and '.join(words)} in quotation marks" if is_read else ""


def by_class(path: str, values: Mapping[str, Any]) -> str:
    """What sets a mapping from class names, ready for a shell: `'loss.class_weight={yes:10,no:1}'`."""
    return shlex.quote(f"{path}={_in_braces(values)}")


def _in_braces(values: Mapping[str, Any]) -> str:
    texts = {
        name: _in_braces(value) if isinstance(value, Mapping) else f"{value:.10g}"
        for name, value in values.items()
    }
    return "{" + ",".join(f"{_key(name)}:{text}" for name, text in texts.items()) + "}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"\w[\w.-]*( [\w.-]+)*", name) else quoted(name)


def quoted(text: str) -> str:
    """Text in quotes of Hydra's grammar."""
    # Of backslashes it reads two as one where they end in a quotation mark.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), text) + "'"
