"""Run every client against a real job, in every way a gateway is served, and print the table.

    python tests/clients/matrix.py [--only NAME]... [--scheme http,https] [--write docs/clients.md]

With ``--prove`` it also shows which variables each client reads: it is run with none but those of
its row, and then without each of them, which must fail.

Each client gets an environment of its own below ``.worker/clients`` (from pip, npm, Maven or Go;
what only a Debian package has must be on the PATH). What cannot be had is skipped, and the table
says why. What came of a client is remembered there too, so that the page can be written in several
runs. The exit status is 1 when any job is red.
"""

import sys
import tempfile
from pathlib import Path

import attrs
import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from clients import scene  # noqa: E402  (the path comes first)
from clients.environments import CannotHave  # noqa: E402
from clients.proving import proofs  # noqa: E402
from clients.report import Line, page, recall, remember, table  # noqa: E402
from clients.rows import MODES, ROWS, Mode, Row  # noqa: E402
from clients.running import Place, run  # noqa: E402


def _line(row: Row, modes: tuple[Mode, ...], cache: Path, place: Place, *, prove: bool) -> Line:
    click.echo(f"{row.name}: ", nl=False)
    try:
        prepared = row.needs.prepare(cache / row.name)
    except CannotHave as reason:
        click.echo(f"skipped: {reason}")
        return Line(row.name, skipped=str(reason))
    click.echo(prepared.version)
    line = Line(row.name, prepared.version)
    for mode in modes:
        outcome = run(row, prepared, mode, place)
        said = click.style(f"red: {outcome.reason}", fg="red") if outcome.reason else "green"
        click.echo(f"  {mode.name:<12} {outcome.seconds:6.1f} s  {said}")
        line.jobs[mode.name] = outcome.reason
    for proof in proofs(row, prepared, MODES[0], place) if prove and row.finds else ():
        name = f"without {proof.variable}" if proof.variable else "with no others"
        click.echo(f"  {name}: {'as it says' if proof.holds else proof.outcome.reason or 'green'}")
        line.proofs[proof.variable] = proof.holds
    return line


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([row.name for row in ROWS]))
@click.option("--scheme", default="http,https", help="http, https, or both")
@click.option("--auth", default="none,sigv4", help="none, sigv4, or both")
@click.option("--prove", is_flag=True, help="show which variables each client reads")
@click.option("--write", type=click.Path(path_type=Path), help="the page to write")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=ROOT / ".worker" / "clients",
    help="where the clients' environments are kept",
)
def main(
    only: tuple[str, ...], scheme: str, auth: str, prove: bool, write: Path | None, cache: Path
) -> None:
    """Run the rows and say how they ended."""
    modes = tuple(
        mode
        for mode in MODES
        if ("https" if mode.tls else "http") in scheme.split(",")
        and ("sigv4" if mode.signed else "none") in auth.split(",")
    )
    rows = [row for row in ROWS if not only or row.name in only]
    outcomes, lines = cache / "outcomes", []
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clients-", dir=cache) as folder:
        place = attrs.evolve(Place.below(Path(folder)), logs=cache / "logs")
        place.logs.mkdir(exist_ok=True)
        scene.make(place.input)
        for row in rows:
            lines.append(_line(row, modes, cache, place, prove=prove))
            remember(outcomes, lines[-1])
    click.echo("\n" + "\n".join(table(lines)))
    if write:
        write.write_text(page([recall(outcomes, row.name) for row in ROWS]), "utf-8")
    red = [line.name for line in lines if line.red]
    if red:
        raise click.ClickException(f"red: {', '.join(red)}; the logs are in {cache / 'logs'}")


if __name__ == "__main__":
    main()
