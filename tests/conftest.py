"""What all tests share."""

from __future__ import annotations

import os

import pytest

# Tests must not write to a store of the user's, whatever the shell has set.
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
    os.environ.pop(name, None)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, where a sweep may leave its state."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
