"""Last-Modified."""

import pytest

from worker.s3.times import last_modified


@pytest.mark.parametrize(
    ("modified", "now", "expected"),
    [
        pytest.param(10_000, 10.0, 10, id="a whole second"),
        pytest.param(10_001, 11.0, 11, id="rounded up"),
        pytest.param(10_999, 20.0, 11, id="rounded up later"),
        pytest.param(10_534, 10.6, 10, id="not in the future"),
        pytest.param(10_534, 10.9999, 10, id="just not in the future"),
    ],
)
def test_it_is_rounded_up_but_not_into_the_future(modified, now, expected):
    assert expected == last_modified(modified, now=now)
