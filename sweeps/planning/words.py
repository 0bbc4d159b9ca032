"""Distributions in the words of Optuna, Ray Tune, Hyperopt, NumPy and SciPy, in those of Hydra's grammar."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

from lossfleet.conf.errors import UserError, suggest
from lossfleet.conf.named_classes import by_class
from lossfleet.sweeps.planning.text import BY_CLASS, split_at_commas

# What Hydra itself reads.
FORMS = ("choice", "interval", "range", "tag")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
CALL = r"\s*(?:\w+\.)*(\w+)\((.*)\)\s*"
# Their names without underscores and in small letters.
UNIFORM = ("uniform", "suggestfloat", "suggestuniform", "floatdistribution", "uniformdistribution")
LOG_UNIFORM = (
    *("loguniform", "suggestloguniform", "reciprocal", "loginterval", "log"),
    *("loguniformdistribution", "logrange"),
)
# With the upper end, and without it.
WHOLE = ("suggestint", "intdistribution", "intuniform", "intinterval", "uniformint")
WHOLE_BELOW = ("randint", "integers", "arange")
# In steps, with the upper end.
STEPS = ("quniform", "qrandint", "suggestdiscreteuniform", "discreteuniformdistribution")
CHOICE = (
    "choice",
    "choices",
    "categorical",
    "suggestcategorical",
    "categoricaldistribution",
    "gridsearch",
    "grid",
)
# So many evenly spaced numbers, and so many of even ratios.
EVEN = ("linspace",)
EVEN_RATIOS = ("geomspace",)
EVEN_POWERS = ("logspace",)
MOST_VALUES = 100


def in_our_words(value: str) -> str | None:
    """What a distribution from elsewhere is called here.

    Args:
        value: such as `uniform(0,5)`, `tune.loguniform(1e-4,1e-1)`, `suggest_int(1,9,log=True)`, `linspace(0,1,5)`.

    Returns:
        None where it is none, or has no equal.
    """
    called = re.fullmatch(CALL, value, re.DOTALL)
    if not called or value.split("(")[0].strip() in FORMS:
        return None
    name = called[1].lower().replace("_", "")
    # Of Hyperopt and Optuna the first is a label.
    given = [each for each in split_at_commas(called[2]) if each]
    if name in CHOICE:
        has_label = len(given) == 2 and given[0][0] not in "[(" and given[1][0] in "[("
        return _choice(given[1:] if has_label else given)
    options = dict(each.replace(" ", "").lower().split("=", 1) for each in given if "=" in each)
    numbers = [each for each in given if "=" not in each and each[0] not in "'\""]
    is_known = options.keys() <= {"log", "step", "q", "low", "high", "num"}
    if not is_known or options.get("log") not in (None, "true", "false"):
        return None
    numbers += [options[each] for each in ("low", "high", "step", "q", "num") if each in options]
    try:
        return _form(name, [Decimal(each) for each in numbers], numbers, is_log=options.get("log") == "true")
    except (ArithmeticError, ValueError):
        return None


def _form(name: str, numbers: Sequence[Decimal], texts: Sequence[str], *, is_log: bool) -> str | None:
    if name in UNIFORM + LOG_UNIFORM + WHOLE and len(texts) == 2:
        interval = f"interval({','.join(texts)})"
        interval = f"int({interval})" if name in WHOLE else interval
        return f"tag(log,{interval})" if is_log or name in LOG_UNIFORM else interval
    if name in WHOLE_BELOW and len(texts) in (2, 3):
        return f"range({','.join(texts)})"
    if name in UNIFORM + WHOLE + STEPS and len(texts) == 3 and not is_log:
        low, high, step = numbers
        # Hydra's range ends before its end.
        return f"range({texts[0]},{low + ((high - low) // step + 1) * step},{texts[2]})"
    if name in EVEN + EVEN_RATIOS + EVEN_POWERS and len(texts) == 3 and 2 <= numbers[2] <= MOST_VALUES:
        start, stop, count = float(numbers[0]), float(numbers[1]), int(numbers[2])
        if name in EVEN_RATIOS:
            start, stop = math.log10(start), math.log10(stop)
        even = [start + (stop - start) * place / (count - 1) for place in range(count)]
        return ",".join(f"{each if name in EVEN else 10**each:.6g}" for each in even)
    return None


def _choice(given: Sequence[str]) -> str | None:
    """The values, also where they stand in brackets."""
    if len(given) == 1 and re.fullmatch(r"[\[(].*[\])]", given[0], re.DOTALL):
        given = split_at_commas(given[0][1:-1])
    return ",".join(given) if given and all(given) else None


def check_cast(argument: str) -> None:
    """Raises UserError for `int(1,5)`, two values to Hydra, and to most people all between."""
    key, _, value = argument.partition("=")
    cast = re.fullmatch(rf"\s*(int|float)\(\s*({NUMBER})\s*,\s*({NUMBER})\s*\)\s*", value)
    if cast:
        between = f"interval({cast[2]},{cast[3]})"
        raise UserError(
            what=f"'{argument}' may be two values or all between",
            expected="one or the other",
            hint=f"write '{key}={f'int({between})' if cast[1] == 'int' else between}' to search all between, "
            f"or '{key}={cast[2]},{cast[3]}' for these two",
        )


def mend(key: str, value: str) -> str | None:
    """The hint at what was meant by values that cannot be read, if there is one."""
    if key in BY_CLASS:
        example = {"yes": 10, "no": 1} if BY_CLASS[key] == 1 else {"yes": {"no": 10}, "no": {"yes": 1}}
        return f"write for example {by_class(key, example)}"
    called = re.fullmatch(CALL, value, re.DOTALL)
    if not called:
        return enumerated(key, value)
    name, inside = called[1], called[2].strip()
    numbers = re.findall(NUMBER, inside)
    if name == "choice" and inside:
        return f"write '{key}={inside}' to search these"
    if name == "interval" and (steps := in_our_words(f"uniform({inside})")):
        return f"write '{key}={steps}'"
    if len(numbers) >= 2:
        interval = f"interval({numbers[0]},{numbers[1]})"
        return f"write for example '{key}={f'tag(log,{interval})' if 'log' in value.lower() else interval}'"
    return None if name in FORMS else suggest(name, FORMS)


def enumerated(key: str, value: str) -> str | None:
    """The hint for `(0,1,2)`, `{0,1,2}` and `0;1;2`."""
    found = re.fullmatch(r"\s*[({]?([^(){}:]+[,;][^(){}:]+)[)}]?\s*", value)
    return f"write {searched(key, re.split('[,;]', found[1]))}" if found else None


def searched(key: str, values: Sequence[str]) -> str:
    """How several values are searched, and where they are numbers all between."""
    values = [each.strip() for each in values]
    several = f"'{key}={','.join(values)}' to search these"
    if len(values) < 2 or not all(re.fullmatch(NUMBER, each) for each in values):
        return several
    ends = sorted(values, key=float)
    return f"{several}, or '{key}=interval({ends[0]},{ends[-1]})' for all between"


def between(key: str, value: str) -> str | None:
    """The hint for two ends such as `0..5`, `0:5` and `0-5`."""
    ends = re.fullmatch(rf"({NUMBER})\s*(?:\.\.+|:|-|~|to)\s*({NUMBER})", value)
    return f"write '{key}=interval({ends[1]},{ends[2]})' to search all between" if ends else None
