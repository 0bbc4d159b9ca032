"""Samplers that make rows: SMOTE and its kin of imbalanced-learn, each a function of features and labels.

Each names of what a sampler is given, beside `features` and `labels`,

- categories: the features that are no quantities, None where all are: rows between two others have the category of the
  nearer one, and those of SMOTE the most frequent one among neighbours, so that every row is one that could be read;
- class_names: for what is told of classes;
- random_state: an integer that decides where the rows lie.

`ratio` fills each class up to that share of the largest one; classes that have as much stay as they are. Features
behind those of the table, such as weights, are interpolated like numbers, or are the mean of the class where rows are
made of categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from lossfleet.conf.errors import UserError
from lossfleet.runners.data.categories import Categories
from lossfleet.runners.data.filling import Ratio, filled_up, neighbors_within, tell_once, tell_untouched
from lossfleet.runners.environment import memory

# Of all classes, by which Borderline-SMOTE tells who is near a border, as its authors have it in imbalanced-learn.
NEIGHBORS_OF_ALL = 10
# Of a class's rows by its rows, that SMOTE-N has at a time, as measured.
MATRICES = 2


def smote(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic examples of the rare classes between nearest neighbours.

    Adds to each class, up to ratio times the size of the largest, points between its examples and their k nearest
    neighbours of the class, k = min(neighbors, smallest class - 1); a lowered k is told. With categories it is
    SMOTE-NC, where no feature is a number SMOTE-N.

    Args:
        features: (N, F).
        labels: (N,) int.
        categories: the features that are no quantities.
        class_names: for what is told; without them classes are numbers.
        random_state: decides where the points lie.
        neighbors: at least 1.
        ratio: in (0, 1], 1 for classes of equal size.

    Returns:
        features (M, F) and labels (M,), the examples first; with a ratio of 1 M is C times the largest class.

    Raises:
        UserError: a class that lacks examples has a single one.

    Reference: Chawla et al. 2002, arXiv 1106.1813.
    """
    goals = filled_up(labels, ratio)
    if not goals:
        return features, labels
    settings = {"sampling_strategy": goals, "random_state": random_state}
    settings["k_neighbors"] = neighbors_within(labels, goals, neighbors, class_names)
    if categories is None:
        from imblearn.over_sampling import SMOTE

        return SMOTE(**settings).fit_resample(features, labels)
    return _smote_of_categories(features, labels, categories, settings)


def smotenc(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """SMOTE-NC by its name: `smote`, which is told where the data has no categories and it is plain SMOTE.

    Args, returns and raises: as `smote`.

    Reference: Chawla et al. 2002, arXiv 1106.1813, section 6.1.
    """
    if categories is None:
        tell_once("sampler=smotenc is sampler=smote here: no column has categories or missing numbers")
    return smote(
        features,
        labels,
        categories=categories,
        class_names=class_names,
        random_state=random_state,
        neighbors=neighbors,
        ratio=ratio,
    )


def borderline_smote(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """SMOTE from those examples alone of whose 10 nearest neighbours half or more, but not all, are of other classes.

    A class without such examples stays as it is, which is told.

    Args, returns and raises: as `smote`; there may be fewer rows.

    Reference: Han et al. 2005, Borderline-SMOTE, its first kind.
    """
    from imblearn.over_sampling import BorderlineSMOTE

    goals = filled_up(labels, ratio)
    if not goals:
        return features, labels
    sampler = BorderlineSMOTE(
        sampling_strategy=goals,
        random_state=random_state,
        k_neighbors=neighbors_within(labels, goals, neighbors, class_names),
        m_neighbors=min(NEIGHBORS_OF_ALL, len(labels) - 1),
    )
    made, made_labels = sampler.fit_resample(features, labels)
    tell_untouched("borderline_smote", goals, sampler.in_danger_indices, class_names)
    return _whole("borderline_smote", made, features, categories), made_labels


def adasyn(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """SMOTE with the more points around an example the more of its k nearest neighbours are of other classes.

    Numbers of points are rounded for each example, so that classes are about as large as `ratio` says. A class none of
    whose neighbours is of another one stays as it is, which is told.

    Args, returns and raises: as `smote`.

    Reference: He et al. 2008, ADASYN: adaptive synthetic sampling approach for imbalanced learning.
    """
    from imblearn.over_sampling import ADASYN

    goals = filled_up(labels, ratio)
    if not goals:
        return features, labels
    settings = {
        "random_state": random_state,
        "n_neighbors": neighbors_within(labels, goals, neighbors, class_names),
    }

    def made(goals: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return ADASYN(sampling_strategy=goals, **settings).fit_resample(features, labels)

    def makes_none(label: int) -> bool:
        # It raises these where there is no neighbour of another class, and where all numbers round to 0.
        try:
            made({label: goals[label]})
        except (RuntimeError, ValueError):
            return True
        return False

    try:
        rows, made_labels = made(goals)
    except (RuntimeError, ValueError):
        possible = {label: goal for label, goal in goals.items() if not makes_none(label)}
        tell_untouched("adasyn", goals, possible, class_names)
        rows, made_labels = made(possible)
    return _whole("adasyn", rows, features, categories), made_labels


def smote_tomek(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """`smote`, then without both rows of each Tomek link, two nearest neighbours of each other of different classes.

    Args, returns and raises: as `smote`; there may be fewer rows.

    Reference: Batista et al. 2003, Balancing training data for automated annotation of keywords.
    """
    from imblearn.under_sampling import TomekLinks

    made = smote(
        features,
        labels,
        categories=categories,
        class_names=class_names,
        random_state=random_state,
        neighbors=neighbors,
        ratio=ratio,
    )
    return TomekLinks(sampling_strategy="all").fit_resample(*made)


def smote_enn(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    categories: Categories | None = None,
    class_names: Sequence[str] = (),
    random_state: int,
    neighbors: Annotated[int, Ge(1)] = 5,
    ratio: Ratio = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """`smote`, then without the rows that have a nearest neighbour, of 3, of another class.

    Args, returns and raises: as `smote`; there may be fewer rows.

    Reference: Batista et al. 2004, A study of the behavior of several methods for balancing machine learning training
    data; Wilson 1972, edited nearest neighbours.
    """
    from imblearn.under_sampling import EditedNearestNeighbours

    made = smote(
        features,
        labels,
        categories=categories,
        class_names=class_names,
        random_state=random_state,
        neighbors=neighbors,
        ratio=ratio,
    )
    return EditedNearestNeighbours(sampling_strategy="all").fit_resample(*made)


def _smote_of_categories(
    features: np.ndarray, labels: np.ndarray, categories: Categories, settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """What SMOTE-NC, or SMOTE-N where there is no number, makes of codes; `settings` are theirs."""
    from imblearn.over_sampling import SMOTEN, SMOTENC

    if not categories.numbers:
        _check_memory(labels, settings["sampling_strategy"])
    coded = categories.coded(features)
    nominal = range(len(categories.numbers), coded.shape[1])
    sampler = SMOTENC(list(nominal), **settings) if categories.numbers else SMOTEN(**settings)
    tell_once(
        f"SMOTE is SMOTE-N{'C' if categories.numbers else ''} here: every row that it makes has one whole category of "
        "each column, and a missing number or none"
    )
    made, made_labels = sampler.fit_resample(coded, labels)
    made, new = made[len(labels) :], made_labels[len(labels) :]
    rows = categories.decoded(made.astype(np.float32), like=features)
    for label in np.unique(new):
        rows[new == label, categories.width :] = features[labels == label, categories.width :].mean(axis=0)
    return np.concatenate([features, rows]), made_labels


def _check_memory(labels: np.ndarray, goals: Iterable[int]) -> None:
    """SMOTE-N has the distances of all rows of a class in memory, more than once."""
    largest = max(np.count_nonzero(labels == label) for label in goals)
    needed, there_is = MATRICES * 8 * largest**2, memory()
    if needed > there_is:
        raise UserError(
            what=f"SMOTE-N of a class of {largest:,} rows compares all of them: it takes {needed / 2**30:.0f} GB",
            expected=f"at most {there_is / 2**30:.0f} GB, the memory that there is",
            hint="write for example sampler=borderline_smote",
        )


def _whole(name: str, rows: np.ndarray, features: np.ndarray, categories: Categories | None) -> np.ndarray:
    if categories is None:
        return rows
    tell_once(
        f"sampler={name} makes rows between two others: each has the whole categories of the nearer one"
    )
    return categories.whole(rows, like=features)
