"""A kept model by its name: a folder of this machine, from wherever MLflow has it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from lossfleet.conf.errors import UserError, suggest
from lossfleet.runners.prediction.stored import MODEL_FILE
from lossfleet.runners.tracking.models.registry import CHAMPION, registered_name
from lossfleet.runners.tracking.store import connect_to_existing, shown_uri, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMES = ("models:/", "runs:/")


@contextmanager
def fetched_model(model: str, uri: str | None) -> Iterator[Path]:
    """The folder of a model; of one that is not on this machine a copy, which is removed at the end.

    Args:
        model: a folder, `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run>/<path>`, or a name, whose
            champion is taken.
        uri: MLflow's store; None for the default, see `tracking_uri`.

    Raises:
        UserError: there is no such model, or MLflow does not answer.
    """
    if (Path(model) / MODEL_FILE).is_file():
        yield Path(model)
        return
    if Path(model).is_dir() and not model.startswith(SCHEMES):
        raise UserError(
            what=f"{model} is a folder without a file {MODEL_FILE}",
            expected="the folder of a model, such as studies/<sweep>/models/<strategy>",
            hint="name that folder, or the experiment whose champion you want",
        )
    chosen = tracking_uri(uri)
    client = connect_to_existing(chosen)
    artifacts = _location(client, model)
    local = _on_this_machine(artifacts)
    if local is not None and (local / MODEL_FILE).is_file():
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="lossfleet-model-") as copy:
        yield _download(artifacts, chosen, Path(copy), model)


def _location(client: MlflowClient, model: str) -> str:
    """The URI of a model's artifacts."""
    from mlflow.exceptions import MlflowException

    try:
        if model.startswith("runs:/"):
            run, _, path = model.removeprefix("runs:/").strip("/").partition("/")
            return f"{client.get_run(run).info.artifact_uri}/{path}"
        place = model.removeprefix("models:/").strip("/")
        name, at, alias = place.rpartition("@")
        if at:
            version = client.get_model_version_by_alias(name, alias).version
        elif model.startswith("models:/") and "/" in place:
            name, _, version = place.partition("/")
        else:
            name = registered_name(place)
            version = client.get_model_version_by_alias(name, CHAMPION).version
        return client.get_model_version_download_uri(name, str(version))
    except MlflowException as error:
        names = sorted(found.name for found in client.search_registered_models())
        raise UserError(
            what=f"MLflow has no model {model} ({str(error).splitlines()[0]})",
            expected=f"one of {', '.join(names)}, or a folder" if names else "a model that a sweep has kept",
            hint=suggest(model, names) if names else "run lossfleet sweep first, or lossfleet keep",
        ) from error


def _on_this_machine(uri: str) -> Path | None:
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return Path(uri) if not parsed.scheme else None


def _download(artifacts: str, uri: str, target: Path, model: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        folder = Path(download_artifacts(artifacts, dst_path=str(target), tracking_uri=uri))
    except (MlflowException, OSError) as error:
        folder, reason = target, f" ({' '.join(str(error).split())[:200]})"
    else:
        reason = ""
    if not (folder / MODEL_FILE).is_file():
        raise UserError(
            what=f"the files of {model} are not at {shown_uri(artifacts)}{reason}",
            expected=f"a folder with {MODEL_FILE}",
            hint="bring them back, or keep the model again with lossfleet keep",
        )
    return folder
