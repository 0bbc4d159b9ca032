"""Names of metrics of a class, as MLflow takes them and back."""

from __future__ import annotations

import pytest
from mlflow.utils.validation import _validate_metric_name

from lossfleet.runners.tracking.rows import metric_name, mlflow_name

NAMES = {
    "test_mcc": "test_mcc",
    "test_recall[text]": "test_recall/text",
    "test_recall_std[not text]": "test_recall_std/not text",
    "test_confusion[0][-1]": "test_confusion/0/-1",
    "test_f1[häufig]": "test_f1/häufig",
    # What MLflow refuses: other signs, what looks like a path, and nothing at all.
    "test_f1[a/b+c]": "test_f1/a:2fb:2bc",
    "test_f1[a:2fb]": "test_f1/a:3a2fb",
    "test_f1[€]": "test_f1/:e2:82:ac",
    "test_f1[..]": "test_f1/:2e:2e",
    "test_f1[]": "test_f1/:",
    "test_f1[[a]]": "test_f1/:5ba:5d",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_that_mlflow_takes_and_comes_back(name):
    assert mlflow_name(name) == NAMES[name]
    _validate_metric_name(mlflow_name(name))
    assert metric_name(mlflow_name(name)) == name
