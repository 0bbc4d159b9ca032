"""Columns that give the class away: one of them alone predicts it nearly always."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SUSPICIOUS = 0.99
ROWS_OF_A_CLASS = 1000
MOST_COLUMNS = 5


def possible_leaks(features: pd.DataFrame, labels: np.ndarray) -> list[str]:
    """Columns of which a decision tree with a leaf a class has a balanced accuracy above 0.99, on the rows it fits.

    Args:
        features: (N, columns), numeric or categorical; of a class of more than 1,000 rows as many of them, evenly.
        labels: (N,) in 0..C-1.

    Returns:
        Their names, at most five.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rows = np.concatenate([each[:: -(-len(each) // ROWS_OF_A_CLASS)] for each in of_class])
    labels = labels[rows]
    sample = features.iloc[rows].select_dtypes(["number", "category"])
    numbers = sample.select_dtypes("number")
    words = sample.select_dtypes("category")
    # Categories in the order of their classes: then a threshold parts them as well as they can be parted.
    ordered = [_by_class(words[name].cat.codes.to_numpy(), labels) for name in words]
    values = np.column_stack([numbers.to_numpy(np.float32), *ordered]).astype(np.float32)
    names = [*numbers, *words]
    found: list[str] = []
    while len(found) < MOST_COLUMNS and len(names) > 0:
        # Among all columns at once: were one enough, its threshold would be the best.
        tree = DecisionTreeClassifier(
            max_leaf_nodes=len(np.unique(labels)), class_weight="balanced", random_state=0
        )
        predicted = tree.fit(values, labels).predict(values)
        used = np.unique(tree.tree_.feature[tree.tree_.feature >= 0])
        if len(used) != 1 or balanced_accuracy_score(labels, predicted) <= SUSPICIOUS:
            break
        found.append(str(names.pop(used[0])))
        values = np.delete(values, used[0], axis=1)
    return found


def _by_class(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Codes (n,) as the mean label of their rows, with classes of equal weight; a missing one is a category too."""
    weights = (1 / np.bincount(labels))[labels]
    places = codes + 1
    return (np.bincount(places, weights * labels) / np.maximum(np.bincount(places, weights), 1e-300))[places]
