"""The inputs of a job: which shapes a node may have, and all that is refused or warned about."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from worker.spec.document import Place, Report, quoted
from worker.spec.glob import GlobWrong, clean, compile_glob
from worker.spec.pipeline import CrossInput, Input, PfsInput
from worker.spec.schema import Field, Flag, Record, Table, Text, Unread, refused, scheduler

NAME = "[A-Za-z0-9_-]{1,255}"
NAME_MEANS = "1 to 255 of A–Z, a–z, 0–9, _ and -"
COMMIT = "[0-9a-f]{32}"
COMMIT_MEANS = "32 hex digits in lower case"
DEFAULT_BRANCH = "master"
OUT = "out"

BUCKET = "[a-z0-9]([a-z0-9-]|\\.(?!\\.)){1,61}[a-z0-9]"
RESERVED_BUCKETS = ("xn--.*", ".*--x-s3", ".*--ol-s3", ".*-s3alias")
BUCKET_MEANS = (
    "3 to 63 of a–z, 0–9, - and ., begun and ended by a letter or digit; no IP address, "
    "no `xn--…`, `…--x-s3`, `…--ol-s3` or `…-s3alias`"
)
SHELL_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
KNOWN_VARIABLES = (
    "(PATH|HOME|USER|LOGNAME|SHELL|PWD|LANG|TZ|TMPDIR|TERM|IFS|HOSTNAME|S3_ENDPOINT|"
    "VIRTUAL_ENV|PYTHON[A-Z]+|(LC|LD|AWS|PACH|PPS|PFS|CUDA|NVIDIA)_[A-Z0-9_]*|(https?|no)_proxy|"
    "(HTTPS?|NO)_PROXY)"
)

BELOW_JOIN = "only means something below `join` or `group`, which are not supported"
PFS = Table(
    (
        Field("project", Text(NAME, NAME_MEANS), "the repo's project, or else the pipeline's"),
        Field("repo", Text(NAME, NAME_MEANS), "the repo to read", required=True),
        Field(
            "branch",
            Text(f"(?!{COMMIT}$){NAME}", f"{NAME_MEANS}; a commit is pinned by `commit`"),
            f"the branch whose head is read, or else `{DEFAULT_BRANCH}`",
        ),
        Field("commit", Text(COMMIT, COMMIT_MEANS), "the commit to read in place of the head"),
        Field("name", Text(empty=True), "bucket, folder and variable; or else the repo's name"),
        Field("glob", Text(empty=True), 'which paths are a datum each; always "/" with `s3`'),
        Field("s3", Flag(), "serve the commit as the bucket s3://<name>, in place of files"),
        Field("emptyFiles", Flag(), "lay the files out by name, with no content"),
        Field("lazy", Flag(), "refused when true"),
        Field("outerJoin", Flag(), "refused when true"),
        refused("joinOn", f"`joinOn` {BELOW_JOIN}"),
        refused("groupBy", f"`groupBy` {BELOW_JOIN}"),
        Field("repoType", Text("user", "`user`, the only kind there is here"), "`user`"),
        scheduler("trigger", "when a new commit starts a job"),
    )
)

UNSUPPORTED = ("join", "group", "union", "cron")
NULL: Mapping[str, Any] = {"type": "null"}
NODE_SCHEMA: Mapping[str, Any] = {"$ref": "#/$defs/input"}
NODE = Table(
    (
        Field("pfs", PFS, "a repo of the store"),
        Field(
            "cross",
            Unread({"type": "array", "minItems": 1, "items": NODE_SCHEMA}),
            "the product over its parts",
        ),
        *(Field(kind, Unread(NULL), "not supported") for kind in UNSUPPORTED),
    )
)


@attrs.frozen
class Draft:
    """A pfs input as it was given, with the defaults filled that the checks rely on."""

    repo: str
    name: str
    named: bool
    glob: str | None
    s3: bool
    lazy: bool
    empty_files: bool
    outer_join: bool
    below: str | None
    """The unsupported kind of node that it stands below, if it does."""


def _illegal_bucket(name: str) -> bool:
    if not re.fullmatch(BUCKET, name) or any(re.fullmatch(r, name) for r in RESERVED_BUCKETS):
        return True
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _no_folder_name(name: str) -> bool:
    return name in (".", "..") or "/" in name or "=" in name or not name.isprintable()


@attrs.frozen
class Row:
    """One refusal or warning: where it points, when it holds, and what it says."""

    key: str
    when: Callable[[Draft], bool]
    reason: str
    expected: str = ""


# Of the rows for one key the first that holds is the one that is told.
REFUSALS = (
    Row(
        "repo",
        lambda d: d.repo == OUT and not d.named,
        "the repo is called `out`, which is the name of the output",
        "give the input another `name`",
    ),
    Row("name", lambda d: not d.name, "the name is empty", "leave it out to use the repo's name"),
    Row(
        "name",
        lambda d: d.name in (OUT, ".env"),
        "an input cannot be called {name}, which the job itself uses",
        "give it another `name`",
    ),
    Row(
        "name",
        lambda d: len(d.name.encode()) > 255 or _no_folder_name(d.name),
        "found {name}, which can be no folder and variable",
        "expected at most 255 bytes, without / and =, and not . or ..",
    ),
    Row(
        "name",
        lambda d: d.s3 and _illegal_bucket(d.name),
        "{name} is no legal bucket name",
        f"an S3 input's name has {BUCKET_MEANS}",
    ),
    Row(
        "glob",
        lambda d: d.s3 and d.glob not in (None, "/") and clean(d.glob or "") != "/",
        'an S3 input takes the whole commit, so "/"; found {glob}',
    ),
    Row(
        "glob",
        lambda d: not d.s3 and not d.glob,
        "a file input needs a glob",
        'such as "/" for the whole commit as one datum, or "/*" for each top-level file or folder',
    ),
    Row(
        "lazy",
        lambda d: d.s3 and d.lazy,
        "an S3 input cannot be lazy",
        "leave `lazy` out: a bucket is read as it is asked for",
    ),
    Row(
        "lazy",
        lambda d: d.lazy,
        "lazy files are not supported",
        'leave `lazy` out, or use `"s3": true` to read only what is needed',
    ),
    Row(
        "emptyFiles",
        lambda d: d.s3 and d.empty_files,
        "an S3 input has no files to empty",
        "leave `emptyFiles` out: listing a bucket reads no content",
    ),
    Row("outerJoin", lambda d: d.outer_join, f"`outerJoin` {BELOW_JOIN}"),
    Row(
        "s3",
        lambda d: d.s3 and d.below is not None,
        "an S3 input cannot stand below `{below}`",
        "only alone, or below `cross`",
    ),
)
WARNINGS = (
    Row(
        "name",
        lambda d: not re.fullmatch(SHELL_VARIABLE, d.name),
        "{name} is no legal shell variable",
        "a shell cannot read the variables of this name that hold the input's path and commit",
    ),
    Row(
        "name",
        lambda d: re.fullmatch(KNOWN_VARIABLES, d.name) is not None,
        "the input's variable shadows {name} in the command's environment",
        "give the input another `name`, unless that is meant",
    ),
)


def read_input(value: Any, at: Place, report: Report, project: str) -> Input | None:
    """Return the input that *value* describes, or None after noting in *report* why not.

    *project* is the pipeline's, the default of every repo.
    """
    found: list[tuple[Place, PfsInput]] = []
    before = len(report.errors)
    node = _read_node(value, at, report, _Reading(project, None, found))
    _check_names(found, report)
    return node if len(report.errors) == before else None


@attrs.frozen
class _Reading:
    """What a node needs to know of those above it, and where the leaves are gathered."""

    project: str
    below: str | None
    found: list[tuple[Place, PfsInput]]


def _read_node(value: Any, at: Place, report: Report, reading: _Reading) -> Input | None:
    node = NODE.read(value, at, report)
    if node.broken and not node.places:
        return None
    kinds = list(node.places)
    if len(kinds) != 1:
        found = f"{len(kinds)} kinds of input: {' and '.join(kinds)}" if kinds else "no input"
        report.error(at, f"found {found}", "expected exactly one of `pfs` and `cross`")
    inputs = [_read_kind(kind, node, report, reading) for kind in kinds]
    return inputs[0] if inputs else None


def _read_kind(kind: str, node: Record, report: Report, reading: _Reading) -> Input | None:
    if kind == "pfs":
        return _read_pfs(node.values[kind], report, reading)
    if kind in UNSUPPORTED:
        report.error(
            node.place(kind), f"`{kind}` inputs are not supported", "expected `pfs` or `cross`"
        )
        reading = attrs.evolve(reading, below=reading.below or kind)
    if kind == "cron":
        return None
    parts = node.values[kind]
    if not isinstance(parts, list) or not parts:
        report.error(node.place(kind), "found no list of inputs", "expected at least one part")
        return None
    inputs = [
        _read_node(part, node.place(kind) / index, report, reading)
        for index, part in enumerate(parts)
    ]
    return CrossInput(tuple(each for each in inputs if each is not None))


def _read_pfs(record: Record, report: Report, reading: _Reading) -> PfsInput | None:
    repo, name = record.get("repo", ""), record.get("name")
    draft = Draft(
        repo=repo,
        name=repo if name is None else name,
        named=name is not None,
        glob=record.get("glob"),
        s3=record.get("s3", False),
        lazy=record.get("lazy", False),
        empty_files=record.get("emptyFiles", False),
        outer_join=record.get("outerJoin", False),
        below=reading.below,
    )
    unsaid = {field.name for field in PFS.fields if record.wrong(field.name)}
    if not repo and name is None:
        unsaid |= {"name", "repo"}  # the missing repo has been told; its name would say it again
    if draft.repo == OUT and not draft.named:
        unsaid |= {"name"}
    if "s3" in unsaid:
        unsaid |= {"glob"}  # what a glob may be depends on it
    wrong = _tell(REFUSALS, draft, unsaid, record, report.error)
    _tell(WARNINGS, draft, unsaid | wrong, record, report.warn)
    glob = "/" if draft.s3 or draft.glob in (None, "/") else clean(draft.glob or "")
    if draft.glob and not draft.s3 and "glob" not in wrong:
        try:
            compile_glob(glob)
        except GlobWrong as error:
            report.error(record.place("glob"), f"found {quoted(glob)}: {error.reason}")
    result = PfsInput(
        name=draft.name,
        project=record.get("project", reading.project),
        repo=repo,
        branch=record.get("branch", DEFAULT_BRANCH),
        commit=record.get("commit"),
        glob=glob,
        s3=draft.s3,
        empty_files=draft.empty_files,
    )
    if "name" not in unsaid:
        reading.found.append((record.place("name"), result))
    return result


def _tell(
    rows: Iterable[Row],
    draft: Draft,
    unsaid: set[str],
    record: Record,
    tell: Callable[[Place, str, str], None],
) -> set[str]:
    told: set[str] = set()
    facts = {"name": quoted(draft.name), "glob": quoted(draft.glob or ""), "below": draft.below}
    for row in rows:
        if row.key not in unsaid | told and row.when(draft):
            told.add(row.key)
            tell(record.place(row.key), row.reason.format_map(facts), row.expected)
    return told


def _check_names(found: Iterable[tuple[Place, PfsInput]], report: Report) -> None:
    first: dict[str, Place] = {}
    for place, each in found:
        if each.name in first:
            report.error(
                place,
                f"the name {quoted(each.name)} is taken by {Place(first[each.name].steps[:-1])}",
                "each input needs a `name` of its own",
            )
        else:
            first[each.name] = place
    for name, place in first.items():
        if name.endswith("_COMMIT") and name.removesuffix("_COMMIT") in first:
            report.warn(
                place, f"the input's variable is the one of the other's commit, {quoted(name)}"
            )
