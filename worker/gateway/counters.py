"""What goes through each bucket, counted by several processes in one table of shared memory."""

import mmap
from collections.abc import Sequence

import attrs

from worker.gateway.messages import BucketStatistics, Statistics

FIELDS = tuple(field.name for field in attrs.fields(BucketStatistics))
WORD = 8


class Counters:
    """A table of counters, one row for each bucket in each process.

    It is made before the processes are forked. Each process adds to its own rows only, so nothing
    is locked; each of them (and the parent, also when one has died) can read the sums of all.
    """

    def __init__(self, buckets: Sequence[str], processes: int) -> None:
        self._buckets = tuple(buckets)
        self._processes = processes
        self._row = len(FIELDS)
        words = max(1, len(self._buckets) * processes * self._row)
        # Anonymous and shared: a forked child sees the same pages.
        self._memory = memoryview(mmap.mmap(-1, words * WORD)).cast("Q")
        self._own = 0

    def become(self, process: int) -> None:
        """Add to the rows of *process* from now on; called once in each forked child."""
        self._own = process

    def add(self, bucket: str, **amounts: int) -> None:
        """Add to the counters of *bucket*; of a bucket that is not known, nothing is counted."""
        if bucket not in self._buckets:
            return
        row = (self._own * len(self._buckets) + self._buckets.index(bucket)) * self._row
        for name, amount in amounts.items():
            self._memory[row + FIELDS.index(name)] += amount

    def total(self) -> Statistics:
        """Return what all processes have counted so far."""
        sums = {bucket: [0] * self._row for bucket in self._buckets}
        for process in range(self._processes):
            for number, bucket in enumerate(self._buckets):
                row = (process * len(self._buckets) + number) * self._row
                for column in range(self._row):
                    sums[bucket][column] += self._memory[row + column]
        return Statistics(
            {
                bucket: BucketStatistics(**dict(zip(FIELDS, row, strict=True)))
                for bucket, row in sums.items()
            }
        )
