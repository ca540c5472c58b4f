"""An index to test on."""

from pathlib import Path

import pytest

from worker.buckets.index import Index, create


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return create(tmp_path / "index")
