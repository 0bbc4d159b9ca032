"""How much each column matters to a model: what balanced accuracy loses when the column's cells are shuffled."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from lossfleet.runners.portable.encoder import raw_columns

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.portable.model import Model

REPEATS = 5


def column_importance(
    model: Model,
    rows: pd.DataFrame,
    labels: np.ndarray,
    *,
    decision: str | None = None,
    weights: np.ndarray | None = None,
) -> pd.DataFrame:
    """The permutation importance of each column, the largest first.

    Args:
        model: with C classes.
        rows: (N, columns), best some that the model has not learned from.
        labels: (N,) in 0..C-1.
        decision: another rule than the model's.
        weights: (N,) of at least 0; None where all rows count alike.

    Returns:
        A row a column: column, mean and std of the loss of balanced accuracy over five permutations. A column beside
        an equal one loses little, since the other one stays.

    Reference: Breiman 2001, Random forests; scikit-learn's permutation_importance.
    """
    import pandas as pd
    from sklearn.inspection import permutation_importance

    names = list(raw_columns(model.description["columns"]))
    found = permutation_importance(
        _Classifier(model, decision),
        rows[names],
        labels,
        scoring="balanced_accuracy",
        n_repeats=REPEATS,
        random_state=0,
        sample_weight=weights,
    )
    table = pd.DataFrame({"column": names, "mean": found.importances_mean, "std": found.importances_std})
    return table.sort_values("mean", ascending=False, ignore_index=True)


class _Classifier(ClassifierMixin, BaseEstimator):
    """A model as scikit-learn takes it."""

    def __init__(self, model: Model, decision: str | None) -> None:
        self.model = model
        self.decision = decision

    def fit(self, rows: pd.DataFrame, labels: np.ndarray) -> _Classifier:
        """Nothing: it was trained before."""
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The numbers of the classes, which scikit-learn's scorers ask for."""
        return np.arange(len(self.model.classes))

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Classes (N,) in 0..C-1."""
        # What the rows have that training never saw was told when they were measured.
        predicted = self.model.predict(rows, decision=self.decision, told=Counter())
        return predicted["class"].cat.codes.to_numpy()
