"""What there is to look at of a sweep of images: examples before anything is trained, and all sheets at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.conf.schema import Config
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.images.pixels import Images
from lossfleet.runners.portable.model import Model
from lossfleet.runners.prediction.stored import read_description, read_model
from lossfleet.runners.records import EXAMPLES_FILE, FIGURES, Record, TrialRecord
from lossfleet.runners.tracking.models.registry import MODELS

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.training.replicate import ReplicateFactory
    from lossfleet.sweeps.comparison.frame import Comparison
    from lossfleet.sweeps.report.figures.anchor_losses import LossMaps
    from lossfleet.sweeps.report.figures.sheets import Sheet


def draw_examples(dataset: Dataset, folder: Path) -> None:
    """Write the sheet of examples of each class before anything is trained, and say where it is; none of a table."""
    if not isinstance(dataset.features, Images):
        return
    from lossfleet.sweeps.report.figures.letters import tell_numbers
    from lossfleet.sweeps.report.figures.sheets import examples_of

    numbers: dict[str, str] = {}
    file = folder / FIGURES / EXAMPLES_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(examples_of(dataset).png(numbers))
    tell_numbers(numbers)
    print(f"{file} has examples of each class", file=sys.stderr)


def sheets_of(
    records: Sequence[Record],
    comparison: Comparison,
    factory: ReplicateFactory,
    mistakes: pd.DataFrame | None,
    folder: Path,
    kept: Callable[[], None] | None,
) -> list[Sheet | LossMaps]:
    """The sheets of images of a sweep, of images with objects finds and where losses fall; none of a table.

    Args:
        records, comparison, factory, folder, kept: as for `conclude`.
        mistakes: of the best strategy, as `mistakes_table` gives them; None where there are none.
    """
    from lossfleet.sweeps.report.figures.sheets import augmented_examples, examples_of, mistakes_of

    dataset, strategy = factory.dataset, comparison.table["strategy"].iloc[0]
    if isinstance(dataset, SceneDataset):
        return _of_objects(dataset, records, comparison)
    if not isinstance(dataset.features, Images):
        return []
    sheets: list[Sheet | None] = [examples_of(dataset)]
    finals = [each for each in records if isinstance(each, TrialRecord) and each.stage == "final"]
    own = [each for each in finals if each.strategy == strategy and each.state == "COMPLETE"]
    config = Config.from_dict(own[-1].config)
    if config.augmentation.target is not None:
        split = factory.split(*config.budget.final_pairs()[0])
        sheets.append(augmented_examples(config.augmentation, split, dataset))
    if mistakes is not None:
        sheets.append(mistakes_of(dataset, mistakes, strategy))
        sheets.append(_occlusion(dataset, mistakes, own[-1], folder, kept))
    return [each for each in sheets if each is not None]


def _of_objects(
    dataset: SceneDataset, records: Sequence[Record], comparison: Comparison
) -> list[Sheet | LossMaps]:
    """Examples, what each strategy finds in test images, and where losses fall there; what was not recorded is left
    out."""
    from lossfleet.sweeps.report.figures.anchor_losses import maps_of
    from lossfleet.sweeps.report.figures.found import found_in
    from lossfleet.sweeps.report.figures.sheets import examples_of
    from lossfleet.sweeps.report.mistakes import final_replicates

    places = enumerate(comparison.table["strategy"])
    of_each = {strategy: final_replicates(records, comparison, place) for place, strategy in places}
    firsts = {strategy: own[0] for strategy, own in of_each.items() if own}
    sheets = (examples_of(dataset), found_in(dataset, firsts), maps_of(dataset.scenes, firsts))
    return [each for each in sheets if each is not None]


def _occlusion(
    dataset: Dataset,
    mistakes: pd.DataFrame,
    final: TrialRecord,
    folder: Path,
    kept: Callable[[], None] | None,
) -> Sheet | None:
    """The occlusion maps of the model that is kept of a final evaluation; why there are none is said."""
    from lossfleet.sweeps.report.figures.occlusion import MOST_PIXELS, occlusion_of

    if dataset.features.shape[1] // dataset.features.image_shape[0] > MOST_PIXELS:
        print(f"there are no occlusion maps of images of more than {MOST_PIXELS:,} pixels", file=sys.stderr)
        return None
    if kept is not None:
        kept()
    target = folder / MODELS / final.strategy
    description = read_description(target)
    if description is None or description["made"]["trial"] != final.trial:
        print(f"there are no occlusion maps, as no model of {final.strategy} is kept", file=sys.stderr)
        return None
    model = read_model(target)
    assert isinstance(model, Model)
    return occlusion_of(dataset, mistakes, model, final.strategy)
