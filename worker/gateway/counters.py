"""Counters of the traffic of each bucket, in memory that the gateway's processes share."""

import mmap
from collections.abc import Sequence

import attrs

from worker.gateway.messages import BucketStatistics, Statistics

FIELDS = tuple(field.name for field in attrs.fields(BucketStatistics))
READS, WRITES, REFUSED, BYTES_READ, BYTES_WRITTEN, GET_REQUESTS, OBJECTS_WRITTEN = range(
    len(FIELDS)
)
WORD = 8


class Counters:
    """A table of counters with one row for each bucket in each process.

    It is created before the processes are forked. Each process changes only its own rows, so no
    lock is needed; every process, and their parent, can read the sums of all.
    """

    def __init__(self, buckets: Sequence[str], processes: int) -> None:
        self._buckets = tuple(buckets)
        self._processes = processes
        words = max(1, len(self._buckets) * processes * len(FIELDS))
        # Anonymous and shared: a forked child uses the same pages.
        self._table = memoryview(mmap.mmap(-1, words * WORD)).cast("Q")
        self.use_process(0)

    def use_process(self, process: int) -> None:
        """Count in the rows of *process* from now on; called once in each forked child."""
        first = process * len(self._buckets)
        self._rows = {
            bucket: (first + number) * len(FIELDS) for number, bucket in enumerate(self._buckets)
        }

    def add(
        self,
        bucket: str,
        *,
        writes: bool,
        refused: int = 0,
        transferred: int = 0,
        objects: int = 0,
    ) -> None:
        """Count one request with *transferred* payload bytes; ignore unknown buckets.

        *objects* is 1 if the request read or wrote a whole object or a range of one.
        """
        row = self._rows.get(bucket)
        if row is not None:
            self._table[row + (WRITES if writes else READS)] += 1
            self._table[row + REFUSED] += refused
            self._table[row + (BYTES_WRITTEN if writes else BYTES_READ)] += transferred
            self._table[row + (OBJECTS_WRITTEN if writes else GET_REQUESTS)] += objects

    def add_bytes_read(self, bucket: str, amount: int) -> None:
        """Count payload bytes that were sent after the response had started."""
        self._table[self._rows[bucket] + BYTES_READ] += amount

    def total(self) -> Statistics:
        """Return the sums of all processes."""
        width, count = len(FIELDS), len(self._buckets)
        statistics = {}
        for number, bucket in enumerate(self._buckets):
            rows = [(process * count + number) * width for process in range(self._processes)]
            sums = (sum(self._table[row + column] for row in rows) for column in range(width))
            statistics[bucket] = BucketStatistics(*sums)
        return Statistics(statistics)
