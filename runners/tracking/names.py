"""Names of metrics as MLflow takes them: it has no square brackets, and shows what follows a slash as a group."""

from __future__ import annotations

import re

# MLflow refuses more on one system or another; a colon stands before what is written as hexadecimal digits.
REFUSED = r"[^\w\- .]|^\.+$|^ | $"


def mlflow_name(name: str) -> str:
    """A metric's name in MLflow: `test_recall[text]` is `test_recall/text`."""
    metric, bracket, classes = name.partition("[")
    return "/".join([metric, *map(_escaped, classes.removesuffix("]").split("]["))]) if bracket else name


def metric_name(name: str) -> str:
    """The metric's name of its name in MLflow."""
    metric, *classes = name.split("/")
    return metric + "".join(f"[{_unescaped(each)}]" for each in classes)


def _escaped(class_name: str) -> str:
    return (
        re.sub(REFUSED, lambda found: "".join(f":{byte:02x}" for byte in found[0].encode()), class_name)
        or ":"
    )


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace(":", "")).decode(errors="replace")

    return "" if text == ":" else re.sub(r"(:[0-9a-f]{2})+", character, text)
