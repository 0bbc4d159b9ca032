"""Pixels are kept where a test is, and read again in the next one."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("lossfleet.runners.images.store.cache_folder", lambda: tmp_path / "cache")
