"""Fixture: an index."""

from pathlib import Path

import pytest

from worker.buckets.index import Index


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.create(tmp_path / "index")
