"""A kept model as a checkpoint or a graph of MindSpore's own."""

from __future__ import annotations

from pathlib import Path

from lossfleet.conf.errors import UserError
from lossfleet.runners.portable.objects.detector import Detector
from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.tracking.models.fetch import fetched_model


def export_model(model: str, output: Path, *, uri: str | None) -> None:
    """Write a model for who computes with MindSpore: from encoded features to logits.

    Args:
        model: as `fetched_model` takes it.
        output: ends in .ckpt or .mindir.
        uri: MLflow's store.

    Raises:
        UserError: no such model, one that finds objects, or a folder that is not there.
    """
    if not output.parent.is_dir():
        raise UserError(
            what=f"--output is {output}",
            expected="a file in a folder that is there",
            hint="make the folder first",
        )
    with fetched_model(model, uri) as folder:
        found = read_model(folder)
    if isinstance(found, Detector):
        raise UserError(
            what=f"{found.description['name']} finds objects, and only classifiers are exported",
            expected="a model that classifies",
            hint="use it with lossfleet predict, lossfleet serve or mlflow.pyfunc.load_model",
        )
    # Late: MindSpore takes seconds to import.
    from lossfleet.runners.models.export import export_members

    description = found.description
    export_members(description["layers"], found.weights, output, description.get("networks", 1))
    print(f"{output}: logits of {len(found.encoder.columns)} columns, encoded as data/model.json says")
