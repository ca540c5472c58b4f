"""Run every client against a real job, in every way a gateway is served, and print the table.

    python tests/clients/matrix.py [--only NAME]... [--scheme http,https] [--write docs/clients.md]

With ``--prove`` (which ``--write`` implies) it also shows which variables each client reads: it is
run with none but those of its row, and then without each of them, which must fail.

Each client gets an environment of its own below ``.worker/clients`` (from pip, npm, Maven or Go;
what only a Debian package has must be on the PATH). What cannot be had is skipped, and the table
says why.
The exit status is 1 when any job is red.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from clients import scene  # noqa: E402  (the path comes first)
from clients.environments import CannotHave, Prepared  # noqa: E402
from clients.proving import Proof, proofs  # noqa: E402
from clients.rows import MODES, ROWS, Mode, Row  # noqa: E402
from clients.running import Outcome, Place, run  # noqa: E402


@attrs.frozen
class Line:
    """One client's line of the table."""

    row: Row
    version: str = ""
    skipped: str = ""
    """Why the client could not be had."""
    outcomes: tuple[tuple[Mode, Outcome], ...] = ()
    proofs: tuple[Proof, ...] = ()

    @property
    def red(self) -> bool:
        """Whether any of its jobs went wrong."""
        return any(outcome.reason for _, outcome in self.outcomes) or any(
            not proof.holds for proof in self.proofs
        )


def _line(row: Row, modes: tuple[Mode, ...], cache: Path, place: Place, *, prove: bool) -> Line:
    click.echo(f"{row.name}: ", nl=False)
    try:
        prepared: Prepared = row.needs.prepare(cache / row.name)
    except CannotHave as reason:
        click.echo(f"skipped: {reason}")
        return Line(row, skipped=str(reason))
    click.echo(prepared.version)
    outcomes = []
    for mode in modes:
        outcome = run(row, prepared, mode, place)
        said = click.style(f"red: {outcome.reason}", fg="red") if outcome.reason else "green"
        click.echo(f"  {mode.name:<12} {outcome.seconds:6.1f} s  {said}")
        outcomes.append((mode, outcome))
    shown = []
    for proof in proofs(row, prepared, MODES[0], place) if prove and row.finds else ():
        name = f"without {proof.variable}" if proof.variable else "with no others"
        click.echo(f"  {name}: {'as it says' if proof.holds else proof.outcome.reason or 'green'}")
        shown.append(proof)
    return Line(row, version=prepared.version, outcomes=tuple(outcomes), proofs=tuple(shown))


def table(lines: list[Line], modes: tuple[Mode, ...]) -> Iterator[str]:
    """Yield the table as Markdown."""
    heads = ["client", "version", *(mode.name for mode in modes), "notes"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for line in lines:
        cells = [("red" if outcome.reason else "green") for _, outcome in line.outcomes] or [
            "not run"
        ] * len(modes)
        notes = line.row.note or ("" if line.outcomes else line.skipped)
        yield f"| {' | '.join([line.row.title, line.version, *cells, notes])} |"


def variables(lines: list[Line]) -> Iterator[str]:
    """Yield which variable of the job's environment is proven by which clients, as Markdown."""
    readers: dict[str, list[str]] = {}
    for line in lines:
        for proof in line.proofs:
            if proof.variable and proof.holds:
                readers.setdefault(proof.variable, []).append(line.row.title)
    yield "| variable | read by |"
    yield "|---|---|"
    for name in sorted(readers):
        yield f"| `{name}` | {', '.join(readers[name])} |"


PAGE = """\
# The clients

Each client below ran as the command of a job: a script that does what its users do (list more
than 1,000 keys, read whole and by ranges, write small, empty and large objects, copy, move,
delete, metadata, names with spaces, `+`, `%` and characters beyond ASCII), on the environment that
the job gives and no flag but those noted. It checked each answer and all bytes itself; the output
commit was compared as well.

`http` and `https` ask for no signature, `+sigv4` is `gateway.auth = "sigv4"`; https is
`gateway.tls = "self-signed"`. Made by `python tests/clients/matrix.py --write docs/clients.md`.

{table}

## The variables by which they find the gateway

The job sets these unless `client_hints = false`; `transform.env` wins over them. Each client was
run with none of them but its own, which worked, and without each of its own, which did not.

{variables}
"""


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([row.name for row in ROWS]))
@click.option("--scheme", default="http,https", help="http, https, or both")
@click.option("--auth", default="none,sigv4", help="none, sigv4, or both")
@click.option("--write", type=click.Path(path_type=Path), help="the page to write")
@click.option("--prove", is_flag=True, help="show which variables each client reads")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=ROOT / ".worker" / "clients",
    help="where the clients' environments are kept",
)
def main(
    only: tuple[str, ...], scheme: str, auth: str, write: Path | None, prove: bool, cache: Path
) -> None:
    """Run the rows and say how they ended."""
    modes = tuple(
        mode
        for mode in MODES
        if ("https" if mode.tls else "http") in scheme.split(",")
        and ("sigv4" if mode.signed else "none") in auth.split(",")
    )
    rows = [row for row in ROWS if not only or row.name in only]
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clients-", dir=cache) as folder:
        place = attrs.evolve(Place.below(Path(folder)), logs=cache / "logs")
        place.logs.mkdir(exist_ok=True)
        scene.make(place.input)
        lines = [_line(row, modes, cache, place, prove=prove or write is not None) for row in rows]
    click.echo("\n" + "\n".join(table(lines, modes)))
    if write:
        page = PAGE.format(
            table="\n".join(table(lines, modes)), variables="\n".join(variables(lines))
        )
        write.write_text(page, "utf-8")
    red = [line.row.name for line in lines if line.red]
    if red:
        raise click.ClickException(f"red: {', '.join(red)}; the logs are in {cache / 'logs'}")


if __name__ == "__main__":
    main()
