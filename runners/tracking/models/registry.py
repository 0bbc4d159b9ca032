"""The models of a sweep in MLflow: artifacts of its run, and versions of a registered model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossfleet.runners.prediction.stored import MODEL_FILE, read_description

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The folder of a sweep, and the artifacts of its run, have them here.
MODELS = "models"
CHAMPION = "champion"
MODEL_TAG = "lossfleet.model"


def register_models(client: MlflowClient, run_id: str, best: str, folder: Path) -> None:
    """Give MLflow the models of a sweep that it lacks; the best strategy's becomes the champion, unless a newer one is.

    Args:
        client: of the store.
        run_id: of the sweep's own run.
        best: the strategy.
        folder: of the sweep.
    """
    for target, description in stored_models(folder):
        name = registered_name(description["name"])
        strategy = description["made"]["strategy"]
        identity = f"{description['made']['sweep']}/{strategy}/{description['weights_sha256'][:16]}"
        version = _find(client, name, identity)
        if version is None:
            version = _register(client, run_id, name, identity, description, target)
        if strategy == best and int(version) > _champion(client, name):
            client.set_registered_model_alias(name, CHAMPION, version)


def stored_models(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders of a sweep's models, each with what it says of itself."""
    for file in sorted((folder / MODELS).glob(f"*/{MODEL_FILE}")):
        description = read_description(file.parent)
        # A folder that is being replaced has another name, and is no model yet.
        if description is not None and description["made"]["strategy"] == file.parent.name:
            yield file.parent, description


def registered_name(experiment: str) -> str:
    """The name of a registered model, which takes no slash and no colon."""
    return experiment.replace("/", "_").replace(":", "_")


def _find(client: MlflowClient, name: str, identity: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' AND tags.`{MODEL_TAG}` = '{identity}'")
    return str(found[0].version) if found else None


def _register(
    client: MlflowClient, run_id: str, name: str, identity: str, description: dict[str, Any], target: Path
) -> str:
    from mlflow.exceptions import MlflowException

    made = description["made"]
    # A version never changes: a model that is kept again has another place.
    place = f"{MODELS}/{target.name}-{description['weights_sha256'][:8]}"
    client.log_artifacts(run_id, str(target), place)
    try:
        client.get_registered_model(name)
    except MlflowException:
        about = f"The best models that lossfleet's sweeps found on {description['data']['name']}."
        client.create_registered_model(name, description=about)
    created = client.create_model_version(
        name,
        f"{client.get_run(run_id).info.artifact_uri}/{place}",
        run_id,
        tags={MODEL_TAG: identity, "strategy": made["strategy"], "sweep": made["sweep"]},
        description=made["verdict"],
    )
    return str(created.version)


def _champion(client: MlflowClient, name: str) -> int:
    """The version that is the champion, 0 without one."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(name, CHAMPION).version)
    except MlflowException:
        return 0
