"""Check that the variables of a client are sufficient and necessary to find the gateway."""

from collections.abc import Iterable, Iterator

import attrs
from clients.catalog import Client, Mode
from clients.environments import Installation
from clients.jobs import Result, Site, run

from worker.gateway.messages import Endpoint
from worker.job.access import Access
from worker.job.environment import client_hints

HINTS = frozenset(client_hints(Access(Endpoint("127.0.0.1", 1, "http://127.0.0.1:1"))))
"""Variables that a job sets so that clients find the gateway without flags."""


@attrs.frozen
class Check:
    """The result of a client's job without one of its variables."""

    variable: str
    """The missing variable; empty if only the variables of other clients were missing."""
    result: Result

    @property
    def passed(self) -> bool:
        """Whether the job failed exactly if a variable of the client was missing."""
        return bool(self.result.reason) == bool(self.variable)


def without(client: Client, names: Iterable[str]) -> Client:
    """Return the client with a command that does not receive the variables *names*."""
    words = [word for name in sorted(names) for word in ("-u", name)]
    return attrs.evolve(client, command=("env", *words, *client.command))


def checks(client: Client, installation: Installation, mode: Mode, site: Site) -> Iterator[Check]:
    """Run the client without all other hints, and then without each of its own variables."""
    others = HINTS - set(client.variables)
    for name in ("", *client.variables):
        missing = others | ({name} if name else set())
        yield Check(name, run(without(client, missing), installation, mode, site))
