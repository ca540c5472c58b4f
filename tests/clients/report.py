"""What came of each client: remembered from run to run, and told as a page."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import msgspec
from clients.rows import MODES, ROWS


@attrs.frozen
class Line:
    """One client's line of the table."""

    name: str
    version: str = ""
    skipped: str = ""
    """Why the client could not be had."""
    jobs: dict[str, str] = attrs.field(factory=dict)
    """By mode: why its job is red, nothing for green."""
    proofs: dict[str, bool] = attrs.field(factory=dict)
    """By variable: whether the client fails without it; by nothing: whether it needs no others."""

    @property
    def red(self) -> bool:
        """Whether anything went wrong."""
        return any(self.jobs.values()) or not all(self.proofs.values())


def remember(folder: Path, line: Line) -> Line:
    """Add what came of a client to what came of it before, in the same version, and return both."""
    before = recall(folder, line.name)
    if before.version == line.version:
        line = attrs.evolve(
            line, jobs={**before.jobs, **line.jobs}, proofs={**before.proofs, **line.proofs}
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{line.name}.json").write_bytes(msgspec.json.encode(line))
    return line


def recall(folder: Path, name: str) -> Line:
    """Return what came of a client up to now."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Line) if path.is_file() else Line(name)


def table(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the table as Markdown."""
    rows = {row.name: row for row in ROWS}
    heads = ["client", "version", *(mode.name for mode in MODES), "notes"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for line in lines:
        cells = [_cell(line, mode.name) for mode in MODES]
        notes = "; ".join(filter(None, (line.skipped, rows[line.name].note)))
        yield f"| {' | '.join([rows[line.name].title, line.version, *cells, notes])} |"


def _cell(line: Line, mode: str) -> str:
    if mode not in line.jobs:
        return "not run"
    return "red" if line.jobs[mode] else "green"


def variables(lines: Iterable[Line]) -> Iterator[str]:
    """Yield which variable of the job's environment is read by which clients, as Markdown."""
    titles = {row.name: row.title for row in ROWS}
    readers: dict[str, list[str]] = {}
    for line in lines:
        for name, holds in line.proofs.items():
            if name and holds:
                readers.setdefault(name, []).append(titles[line.name])
    yield "| variable | read by |"
    yield "|---|---|"
    for name in sorted(readers):
        yield f"| `{name}` | {', '.join(readers[name])} |"


def page(lines: list[Line]) -> str:
    """Return the whole page."""
    return PAGE.format(table="\n".join(table(lines)), variables="\n".join(variables(lines)))


PAGE = """\
# The clients

Each client below ran as the command of a job: a script that does what its users do (as far as the
client can: list more than 1,000 keys, read whole and by ranges, write small, empty and large
objects, copy, move, delete, metadata, names with spaces, `+`, `%` and characters beyond ASCII; the
table formats write, change and query tables), on the environment that the job gives and no flag but
those noted. It checked each answer and all bytes itself; the output commit was looked at as well.

`http` and `https` ask for no signature, `+sigv4` is `gateway.auth = "sigv4"`; https is
`gateway.tls = "self-signed"`. Made by `python tests/clients/matrix.py --prove --write
docs/clients.md`, which anyone can run; with `--only NAME` it runs one client anew.

{table}

## The variables by which they find the gateway

The job sets these unless `client_hints = false`; `transform.env` wins over them. Each client was
run with none of them but its own, which worked, and without each of its own, which did not.

{variables}

With `gateway.tls = "self-signed"` the job's authority, behind those that the machine trusts
anyway, is named by `AWS_CA_BUNDLE`, `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`,
`NODE_EXTRA_CA_CERTS`, `S3_CA_FILE` and, as a key store, by `JAVA_TOOL_OPTIONS`.
"""
