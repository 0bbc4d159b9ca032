"""The folder of a kept model, which MLflow loads: JSON, safetensors and text, nothing that runs when it is read."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.runners import portable
from lossfleet.runners.environment import version
from lossfleet.runners.portable.encoder import PIXELS, raw_columns
from lossfleet.runners.portable.files import DESCRIPTION_FILE, FORMAT, WEIGHTS_FILE, ModelError
from lossfleet.runners.portable.loading import load_model
from lossfleet.runners.portable.model import Model
from lossfleet.runners.portable.objects.detector import CORNERS, Detector

if TYPE_CHECKING:
    import pandas as pd

MODEL_FILE = "MLmodel"
DATA, CODE = "data", "code"
CARD = "model_card.md"
EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
EXAMPLE_ROWS = 5
# A process that has loaded a model of another format keeps that one's code under its own name.
LOADER = f"lossfleet_model_{FORMAT}"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "safetensors")


def write_model(
    folder: Path,
    description: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    example: pd.DataFrame,
    card: str,
) -> None:
    """Write a model, in the place of one that may be there; whole or not at all.

    Args:
        folder: its own.
        description: what `Model` or `Detector` reads, but for the format, the checksum and the versions.
        weights: by name, as `lossfleet.runners.models.weights.layer_weights` has them.
        example: rows as the user has them, of which the first are kept.
        card: Markdown.
    """
    from safetensors.numpy import save_file

    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    for part in (DATA, CODE):
        (new / part).mkdir(parents=True)
    save_file(dict(weights), new / DATA / WEIGHTS_FILE)
    digest = hashlib.sha256((new / DATA / WEIGHTS_FILE).read_bytes()).hexdigest()
    written = {"format": FORMAT, **description, "weights_sha256": digest}
    _write_json(new / DATA / DESCRIPTION_FILE, written)
    code = Path(str(portable.__file__)).parent
    shutil.copytree(code, new / CODE / LOADER, ignore=shutil.ignore_patterns("__pycache__"))
    (new / CARD).write_text(card, encoding="utf-8")
    _write_examples(new, description, example.head(EXAMPLE_ROWS))
    _write_environment(new, has_pixels=images_of(description) is not None)
    _write_mlmodel(new / MODEL_FILE, description)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def read_model(folder: Path) -> Model | Detector:
    """The model in a folder that `write_model` has written, which classifies or finds objects.

    Raises:
        UserError: it is no such folder, or something of it is missing, damaged or of another version.
    """
    try:
        return load_model(folder / DATA)
    except ModelError as error:
        raise as_user_error(error) from error


def read_description(folder: Path) -> dict[str, Any] | None:
    """What the model in a folder says of itself; None where there is none that can be read."""
    try:
        return json.loads((folder / DATA / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def as_user_error(error: ModelError) -> UserError:
    """The error of the file that knows nothing of lossfleet, as lossfleet tells it."""
    return UserError(what=error.what, expected=error.expected, hint=error.hint)


def signature(description: Mapping[str, Any]) -> dict[str, str]:
    """MLflow's signature of a model: what columns or images it takes and what it gives, as `MLmodel` has it."""
    inputs = _inputs(description)
    if "detector" in description:
        types = {"image": "long", "class": "string", **dict.fromkeys(("score", *CORNERS), "double")}
        return {"inputs": json.dumps(inputs), "outputs": json.dumps(_columns(types))}
    probabilities = [f"probability_{name}" for name in description["classes"]]
    outputs = _columns({"class": "string", **dict.fromkeys(probabilities, "double")})
    params = [{"name": "decision", "type": "string", "default": description["decision"], "shape": None}]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": json.dumps(params)}


def _columns(types: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"type": kind, "name": name, "required": True} for name, kind in types.items()]


def images_of(description: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a model says of the images that it takes; None where it takes tables."""
    first = description["columns"][0]
    return first if first["kind"] == PIXELS else None


def is_plain_number(column: Mapping[str, Any]) -> bool:
    """Whether cells of a column are numbers as programs write them."""
    return column["kind"] in ("number", PIXELS) and not column.keys() & {"of", "decimal", "missing"}


def _inputs(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    images = images_of(description)
    if images is not None:
        tensor = {"dtype": images["dtype"], "shape": [-1, *images["shape"]]}
        return [{"type": "tensor", "tensor-spec": tensor}]
    columns = raw_columns(description["columns"])
    return _columns(
        {name: "double" if is_plain_number(column) else "string" for name, column in columns.items()}
    )


def _write_examples(folder: Path, description: Mapping[str, Any], rows: pd.DataFrame) -> None:
    """Rows as MLflow's example and as a request: a table, or nested lists of pixels."""
    images = images_of(description)
    if images is None:
        split = json.loads(rows.to_json(orient="split", index=False))
        _write_json(folder / EXAMPLE, split)
        _write_json(folder / SERVING_EXAMPLE, {"dataframe_split": split})
    else:
        pixels = rows.to_numpy().astype(images["dtype"]).reshape(-1, *images["shape"]).tolist()
        # A line for each pixel would be many.
        _write_json(folder / EXAMPLE, pixels, indent=None)
        _write_json(folder / SERVING_EXAMPLE, {"inputs": pixels}, indent=None)


def _write_mlmodel(file: Path, description: Mapping[str, Any]) -> None:
    import yaml

    flavor = {
        "loader_module": f"{LOADER}.loading",
        "code": CODE,
        "data": DATA,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
    }
    example = {
        "artifact_path": EXAMPLE,
        "serving_input_path": SERVING_EXAMPLE,
        **(
            {"type": "dataframe", "pandas_orient": "split"}
            if images_of(description) is None
            else {"type": "ndarray"}
        ),
    }
    model = {
        "flavors": {"python_function": flavor},
        "mlflow_version": version("mlflow"),
        "model_uuid": uuid.uuid4().hex,
        "saved_input_example_info": example,
        "signature": signature(description),
        "utc_time_created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    file.write_text(yaml.safe_dump(model, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _write_environment(folder: Path, *, has_pixels: bool) -> None:
    """What MLflow installs where it makes an environment for the model."""
    import yaml

    names = (*REQUIREMENTS, *(["pillow"] if has_pixels else []))
    requirements = [f"{name}=={version(name)}" for name in names]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    python = platform.python_version()
    environment = {"python": python, "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))


def _write_json(file: Path, value: Any, indent: int | None = 1) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False), encoding="utf-8")
