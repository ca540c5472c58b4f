"""Last-Modified."""

import pytest

from worker.s3.times import last_modified


@pytest.mark.parametrize(("modified", "expected"), [(10_000, 10), (10_001, 10), (10_999, 10)])
def test_it_is_the_second_of_the_change(modified, expected):
    assert expected == last_modified(modified)
