"""Which variables of the job's environment a client reads: it works with them, not without."""

from collections.abc import Iterable, Iterator

import attrs
from clients.environments import Prepared
from clients.rows import Mode, Row
from clients.running import Outcome, Place, run

from worker.gateway.messages import Endpoint
from worker.job.commands import Access, hints

HINTS = frozenset(hints(Access(Endpoint("127.0.0.1", 1, "http://127.0.0.1:1"))))
"""What the job sets so that clients find the gateway with no flag."""


@attrs.frozen
class Proof:
    """What came of a row without some of the variables that it claims to need."""

    variable: str
    """Empty where all but the row's own were taken away, and the client must do without."""
    outcome: Outcome

    @property
    def holds(self) -> bool:
        """Whether it went as the row says."""
        return bool(self.outcome.reason) == bool(self.variable)


def without(row: Row, names: Iterable[str]) -> Row:
    """Return the row with a command that does not see these variables."""
    words = [word for name in sorted(names) for word in ("-u", name)]
    return attrs.evolve(row, command=("env", *words, *row.command))


def proofs(row: Row, prepared: Prepared, mode: Mode, place: Place) -> Iterator[Proof]:
    """Yield whether the row's variables are enough, and then whether each of them is needed."""
    others = HINTS - set(row.finds)
    for name in ("", *row.finds):
        missing = others | ({name} if name else set())
        yield Proof(name, run(without(row, missing), prepared, mode, place))
