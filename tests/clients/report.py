"""Results of the clients: stored between runs, and rendered as ``docs/clients.md``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import msgspec
from clients.catalog import CLIENTS, MODES


@attrs.frozen
class Row:
    """The results of one client."""

    name: str
    version: str = ""
    skipped: str = ""
    """Why the client could not be installed."""
    jobs: dict[str, str] = attrs.field(factory=dict)
    """By mode: why the job failed; empty if it passed."""
    variables: dict[str, bool] = attrs.field(factory=dict)
    """By variable: whether the client fails without it; at "": whether it needs no others."""

    @property
    def failed(self) -> bool:
        """Whether a job or a check failed."""
        return any(self.jobs.values()) or not all(self.variables.values())


def save(folder: Path, row: Row) -> None:
    """Add the results of a client to the stored ones of the same version."""
    before = load(folder, row.name)
    if before.version == row.version:
        row = attrs.evolve(
            row,
            jobs={**before.jobs, **row.jobs},
            variables={**before.variables, **row.variables},
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row.name}.json").write_bytes(msgspec.json.encode(row))


def load(folder: Path, name: str) -> Row:
    """Return the stored results of a client, or a row without results."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Row) if path.is_file() else Row(name)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table of clients in Markdown."""
    clients = {client.name: client for client in CLIENTS}
    heads = ["client", "version", "as its users open it", *(mode.name for mode in MODES), "notes"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        cells = [_cell(row, mode.name) for mode in MODES]
        notes = "; ".join(filter(None, (row.skipped, clients[row.name].note)))
        opens = f"`{clients[row.name].opens}`"
        yield f"| {' | '.join([clients[row.name].title, row.version, opens, *cells, notes])} |"


def _cell(row: Row, mode: str) -> str:
    if mode not in row.jobs:
        return "not run"
    return "failed" if row.jobs[mode] else "passed"


def variables(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table of variables and their clients in Markdown."""
    titles = {client.name: client.title for client in CLIENTS}
    readers: dict[str, list[str]] = {}
    for row in rows:
        for name, passed in row.variables.items():
            if name and passed:
                readers.setdefault(name, []).append(titles[row.name])
    yield "| variable | read by |"
    yield "|---|---|"
    for name in sorted(readers):
        yield f"| `{name}` | {', '.join(readers[name])} |"


def page(rows: list[Row]) -> str:
    """Return ``docs/clients.md``."""
    return PAGE.format(table="\n".join(table(rows)), variables="\n".join(variables(rows)))


PAGE = """\
# Clients

Each client below ran as the command of a job: a script with the operations that its users need, as
far as the client supports them: list more than 1,000 keys, read objects whole and by ranges, write
small, empty and large objects, copy, move, delete, metadata, and names with spaces, `+`, `%` and
non-ASCII characters; the table formats write, change and query tables. The script uses the
environment of the job, opens the client with the code of the third column, and has no other flags
than those in the notes. It checks every response and all content itself; the output commit is
checked as well. Where that code names an endpoint, the client does not find the gateway without it.

`http` and `https` require no signature; `+sigv4` is `gateway.auth = "sigv4"`, https is
`gateway.tls = "self-signed"`. This page is made by `python tests/clients/matrix.py
--check-variables --write docs/clients.md`; with `--only NAME` that updates one client.

{table}

## Keys that a listing cannot contain as they are

XML has no control characters except tab, line feed and carriage return, and neither U+FFFE nor
U+FFFF. As on AWS, a listing has such keys unchanged only with `encoding-type=url`; otherwise the
gateway replaces each such character by U+FFFD, and a client that opens the listed key gets
`NoSuchKey`. Keys with spaces, `+`, `%`, `&`, quotes and `//` are the same in both forms.

- AWS CLI, boto3, s3fs, smart_open, pandas, Dask, DuckDB, the MinIO SDK for Python and the MinIO
  client request `encoding-type=url` and list such keys as they are; rclone does so by
  `RCLONE_CONFIG_JOB_LIST_URL_ENCODE`.
- AWS SDK for Java 2: with `.encodingType("url")` it lists them as they are.
- AWS SDK for JavaScript 3: with `EncodingType: "url"` its keys are encoded; decode them with
  `decodeURIComponent`.
- PyArrow, s5cmd, s3cmd and TensorFlow have no setting for it: avoid such keys.
- obstore, Polars and delta-rs (object_store) have none either, and the whole listing fails if it
  has a control character.

Clients also have rules of their own: object_store fails at a listing that has a key with `//` or a
line feed, and PyArrow lists keys with `//`, but cannot open them.

## Clients that do not read these variables

- PyArrow's constructor `fs.S3FileSystem()` addresses AWS: it reads neither `AWS_ENDPOINT_URL_S3`
  nor `AWS_ENDPOINT_URL` nor `endpoint_url` of a profile. Pass
  `endpoint_override=os.environ["S3_ENDPOINT"]`, or open URLs: `pyarrow.parquet.read_table("s3://…")`,
  `pyarrow.dataset.dataset("s3://…")` and `fs.FileSystem.from_uri("s3://…")` read the variable.
- The Amazon S3 Connector for PyTorch (`s3torchconnector`) reads `AWS_ENDPOINT_URL` only. A job does
  not set it, since it would redirect all other services of AWS as well. Pass
  `endpoint=os.environ["S3_ENDPOINT"]`, or set it in the command:
  `AWS_ENDPOINT_URL=$S3_ENDPOINT python train.py`.
- Hadoop S3A (and so Spark), the MinIO SDK for Python, s3cmd and restic take the endpoint in their
  code or configuration, as the notes of the table say.

## Variables

These variables of the job's environment tell clients the endpoint. The job sets them unless
`client_hints = false`; `transform.env` takes precedence. Each client passed with only its own
variables, and failed without each one of them.

{variables}

With `gateway.tls = "self-signed"` the certificate authority of the job, together with those that
the machine trusts, is in the file named by `AWS_CA_BUNDLE`, `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`,
`CURL_CA_BUNDLE`, `NODE_EXTRA_CA_CERTS` and `S3_CA_FILE`, and in a key store named in
`JAVA_TOOL_OPTIONS`.
"""
