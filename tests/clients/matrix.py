# ruff: noqa: E402 - a script must extend the path before its imports
"""Run every client as a job in every mode of the gateway, and print the table of results.

    python tests/clients/matrix.py [--only NAME]... [--scheme http,https] [--write docs/clients.md]

With `--check-variables`, each client also runs with only the variables in its catalog entry, and
then without each of them, which must fail.

Each client is installed below `.worker/clients` (with pip, npm, Maven or Go; clients from Debian
packages must be on the PATH). One that cannot be installed is skipped, and the table has the
reason. Results are stored in the same folder, so the page can be made in several runs. The exit
status is 1 if a job failed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from clients import dataset
from clients.catalog import CLIENTS, MODES, Client, Mode
from clients.environments import NotAvailable
from clients.jobs import Site, run
from clients.report import Row, load, page, save, table
from clients.variables import checks


def _results(
    client: Client, modes: tuple[Mode, ...], cache: Path, site: Site, *, check_variables: bool
) -> Row:
    click.echo(f"{client.name}: ", nl=False)
    try:
        installation = client.environment.install(cache / client.name)
    except NotAvailable as reason:
        click.echo(f"skipped: {reason}")
        return Row(client.name, skipped=str(reason))
    click.echo(installation.version)
    row = Row(client.name, installation.version)
    for mode in modes:
        result = run(client, installation, mode, site)
        text = click.style(f"failed: {result.reason}", fg="red") if result.reason else "passed"
        click.echo(f"  {mode.name:<12} {result.seconds:6.1f} s  {text}")
        row.jobs[mode.name] = result.reason
    if check_variables and client.variables:
        for check in checks(client, installation, MODES[0], site):
            name = f"without {check.variable}" if check.variable else "without other variables"
            text = "as expected" if check.passed else check.result.reason or "unexpectedly passed"
            click.echo(f"  {name}: {text}")
            row.variables[check.variable] = check.passed
    return row


def _require_own_worker() -> None:
    """Exit unless this Python imports the worker of this directory.

    The processes of a gateway would otherwise run the code of another one, as the worker of the
    matrix has no PYTHONPATH.
    """
    code = "import worker; print(worker.__file__)"
    done = subprocess.run(
        [sys.executable, "-E", "-P", "-c", code],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    found = done.stdout.strip()
    if not found or ROOT not in Path(found).resolve().parents:
        raise click.ClickException(
            f"{sys.executable} imports the worker from {found or 'nowhere'}; "
            f"install {ROOT} in its environment: pip install --editable {ROOT}"
        )


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([client.name for client in CLIENTS]))
@click.option("--scheme", default="http,https", help="http, https, or both")
@click.option("--auth", default="none,sigv4", help="none, sigv4, or both")
@click.option("--check-variables", is_flag=True, help="check the variables that each client reads")
@click.option("--write", type=click.Path(path_type=Path), help="page to write")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=ROOT / ".worker" / "clients",
    help="folder of the installed clients and the results",
)
def main(
    only: tuple[str, ...],
    scheme: str,
    auth: str,
    check_variables: bool,
    write: Path | None,
    cache: Path,
) -> None:
    """Run the selected clients and report the results."""
    _require_own_worker()
    modes = tuple(
        mode
        for mode in MODES
        if ("https" if mode.tls else "http") in scheme.split(",")
        and ("sigv4" if mode.signed else "none") in auth.split(",")
    )
    selected = [client for client in CLIENTS if not only or client.name in only]
    results, rows = cache / "results", []
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clients-", dir=cache) as folder:
        site = attrs.evolve(Site.create(Path(folder)), logs=cache / "logs")
        site.logs.mkdir(exist_ok=True)
        dataset.write(site.input)
        for client in selected:
            rows.append(_results(client, modes, cache, site, check_variables=check_variables))
            save(results, rows[-1])
    click.echo("\n" + "\n".join(table(rows)))
    if write:
        write.write_text(page([load(results, client.name) for client in CLIENTS]), "utf-8")
    failed = [row.name for row in rows if row.failed]
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; the logs are in {cache / 'logs'}")


if __name__ == "__main__":
    main()
