"""The inputs of a job: the tree of nodes, and the rules for each input as a table.

The rules follow Pachyderm's checks: pachyderm src/server/pps/server/api_server.go, `validateInput`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from worker.model import DEFAULT_BRANCH, OUT
from worker.spec.document import Pointer, Report, quoted
from worker.spec.fields import NODE, PFS, REQUIRES_JOIN, UNSUPPORTED_NODES
from worker.spec.glob import InvalidGlob, compile_glob, normalize
from worker.spec.pipeline import CrossInput, Input, PfsInput
from worker.spec.schema import Record
from worker.spec.variables import is_known, is_variable

# Amazon S3 User Guide, "General purpose bucket naming rules".
BUCKET_NAME = re.compile(r"[a-z0-9]([a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
RESERVED_BUCKET_NAME = re.compile(r"xn--.*|.*(--x-s3|--ol-s3|-s3alias)")
BUCKET_NAME_MEANING = (
    "3 to 63 of a–z, 0–9, - and ., with a letter or digit at both ends; not an IP address, "
    "`xn--…`, `…--x-s3`, `…--ol-s3` or `…-s3alias`"
)
NAME = re.compile("[A-Za-z0-9_-]{1,255}")


@attrs.frozen
class Draft:
    """A pfs input before its rules are checked."""

    repo: str
    name: str
    """The name as given, or else the repo's."""
    is_named: bool
    glob: str | None
    s3: bool
    lazy: bool
    empty_files: bool
    outer_join: bool
    below: str | None
    """The unsupported kind of node that the input is below, if any."""


def _is_bucket_name(name: str) -> bool:
    if not BUCKET_NAME.fullmatch(name) or RESERVED_BUCKET_NAME.fullmatch(name):
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return True
    return False


def _bucket_name(name: str) -> str:
    """Return a name like *name* that is one of a bucket."""
    found = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    return found if _is_bucket_name(found) else "input-data"


@attrs.frozen
class Rule:
    """A condition on a draft that is an error or a warning; the message is a format string."""

    key: str
    """The key that the message points to."""
    violated: Callable[[Draft], bool]
    reason: str
    expected: str = ""


# Of the rules of one key only the first that is violated is reported.
ERRORS = (
    Rule(
        "repo",
        lambda d: d.repo == OUT and not d.is_named,
        "the name `out` is reserved for the output",
        "give the input another `name`",
    ),
    Rule(
        "name",
        lambda d: d.name in (OUT, ".env"),
        "the name {name} is reserved",
        "give the input another `name`",
    ),
    Rule(
        "name",
        lambda d: not NAME.fullmatch(d.name),
        "{name} cannot name an input",
        "expected 1 to 255 of A–Z, a–z, 0–9, _ and -",
    ),
    Rule(
        "glob",
        lambda d: d.s3 and d.glob is not None and (not d.glob or normalize(d.glob) != "/"),
        'an S3 input is one datum, so its glob must be "/"; found {glob}',
    ),
    Rule(
        "glob",
        lambda d: not d.s3 and not d.glob,
        "a file input requires a glob",
        'such as "/" for the whole commit as one datum, or "/*" for each top-level file or folder',
    ),
    Rule(
        "lazy",
        lambda d: d.s3 and d.lazy,
        "an S3 input cannot be lazy",
        "omit `lazy`: objects of a bucket are read on request anyway",
    ),
    Rule(
        "lazy",
        lambda d: d.lazy,
        "lazy files are not supported",
        'omit `lazy`, or use `"s3": true` to read objects on request',
    ),
    Rule(
        "emptyFiles",
        lambda d: d.s3 and d.empty_files,
        "an S3 input has no files",
        "omit `emptyFiles`: listing a bucket reads no content",
    ),
    Rule("outerJoin", lambda d: d.outer_join, f"`outerJoin` {REQUIRES_JOIN}"),
    Rule(
        "s3",
        lambda d: d.s3 and d.below is not None,
        "an S3 input is not allowed below `{below}`",
        "expected at the top or below `cross`",
    ),
)
WARNINGS = (
    Rule(
        "name",
        lambda d: d.s3 and not _is_bucket_name(d.name),
        "{name} is not the name of a bucket by the rules of S3: only path-style requests reach it",
        "boto3 and most clients accept it; S3A, minio-py and others do not: give the "
        f"input a `name` of {BUCKET_NAME_MEANING}, such as {{remedy}}",
    ),
    Rule(
        "name",
        lambda d: not is_variable(d.name),
        "{name} is not a valid name of a shell variable",
        "the variables of the input's path and commit are not set",
    ),
    Rule(
        "name",
        lambda d: is_known(d.name),
        "the variable {name} has a meaning for programs",
        "it is not set to the input's path: give the input another `name` to have it",
    ),
)


def parse_input(value: Any, at: Pointer, report: Report, project: str) -> Input | None:
    """Return the tree of inputs, or None after adding errors to *report*.

    *project* is the pipeline's, which is the default for every repo.
    """
    before = len(report.errors)
    context = _Context(project, None, [])
    node = _parse_node(value, at, report, context)
    _check_names(context.found, report)
    return node if len(report.errors) == before else None


@attrs.frozen
class _Context:
    """Values that a node inherits, and the list that collects the inputs of the whole tree."""

    project: str
    below: str | None
    found: list[tuple[Pointer, PfsInput]]


def _parse_node(value: Any, at: Pointer, report: Report, context: _Context) -> Input | None:
    record: Record = NODE.parse(value, at, report)
    if not record.valid and not record.pointers:
        return None
    kinds = list(record.pointers)
    if len(kinds) != 1:
        found = f"{len(kinds)} kinds of input: {' and '.join(kinds)}" if kinds else "no input"
        report.error(at, f"found {found}", "expected exactly one of `pfs` and `cross`")
    # All kinds are parsed, to report the errors in each.
    nodes = [
        _parse_pfs(record.values[kind], report, context)
        if kind == "pfs"
        else _parse_parts(kind, record, report, context)
        for kind in kinds
    ]
    return nodes[0] if nodes else None


def _parse_parts(kind: str, record: Record, report: Report, context: _Context) -> Input | None:
    at, parts = record.pointer(kind), record.values[kind]
    if kind in UNSUPPORTED_NODES:
        report.error(at, f"`{kind}` inputs are not supported", "expected `pfs` or `cross`")
        context = attrs.evolve(context, below=context.below or kind)
    if kind == "cron":
        return None
    if not isinstance(parts, list) or not parts:
        report.error(at, "found no list of inputs", "expected at least one part")
        return None
    nodes = [_parse_node(part, at / index, report, context) for index, part in enumerate(parts)]
    return CrossInput(tuple(each for each in nodes if each is not None))


def _parse_pfs(record: Record, report: Report, context: _Context) -> PfsInput | None:
    repo, name = record.get("repo", ""), record.get("name")
    draft = Draft(
        repo=repo,
        name=repo if name is None else name,
        is_named=name is not None,
        glob=record.get("glob"),
        s3=record.get("s3", False),
        lazy=record.get("lazy", False),
        empty_files=record.get("emptyFiles", False),
        outer_join=record.get("outerJoin", False),
        below=context.below,
    )
    # Keys that have an error already, or whose error would only follow from another's.
    skipped = {field.name for field in PFS.fields} & set(record.pointers) - set(record.values)
    if not repo and name is None:
        skipped |= {"name", "repo"}
    if repo == OUT and name is None:
        skipped |= {"name"}
    if "s3" in skipped:
        skipped |= {"glob"}
    violated = _apply(ERRORS, draft, record, skipped, report.error)
    _apply(WARNINGS, draft, record, skipped | violated, report.warn)
    glob = "/" if draft.s3 or draft.glob is None else normalize(draft.glob)
    if draft.glob and not draft.s3 and "glob" not in violated:
        try:
            compile_glob(glob)
        except InvalidGlob as error:
            report.error(record.pointer("glob"), f"found {quoted(glob)}: {error.reason}")
    result = PfsInput(
        name=draft.name,
        project=record.get("project", context.project),
        repo=repo,
        branch=record.get("branch") or _followed_branch(record.get("trigger")),
        commit=record.get("commit"),
        glob=glob,
        s3=draft.s3,
        empty_files=draft.empty_files,
        reference=record.get("reference", False),
    )
    # The parts of a union may have the same name.
    if "name" not in skipped and context.below is None:
        context.found.append((record.pointer("name"), result))
    return result


def _followed_branch(trigger: Any) -> str:
    """Return the branch whose commits an input without a branch reads.

    With a trigger, Pachyderm makes a branch that the trigger moves to the head of this one.
    """
    branch = trigger.get("branch") if isinstance(trigger, dict) else None
    is_name = isinstance(branch, str) and NAME.fullmatch(branch)
    return str(branch) if is_name else DEFAULT_BRANCH


def _apply(
    rules: Iterable[Rule],
    draft: Draft,
    record: Record,
    skipped: set[str],
    add: Callable[[Pointer, str, str], None],
) -> set[str]:
    """Report the first violated rule of each key that is not in *skipped*; return these keys."""
    violated: set[str] = set()
    for rule in rules:
        if rule.key not in skipped | violated and rule.violated(draft):
            violated.add(rule.key)
            reason = rule.reason.format(
                name=quoted(draft.name), glob=quoted(draft.glob or ""), below=draft.below
            )
            # A name that was filled in from the repo is at the repo.
            key = "repo" if rule.key == "name" and not draft.is_named else rule.key
            expected = rule.expected.format(remedy=quoted(_bucket_name(draft.name)))
            add(record.pointer(key), reason, expected)
    return violated


def _check_names(found: Iterable[tuple[Pointer, PfsInput]], report: Report) -> None:
    first: dict[str, Pointer] = {}
    for pointer, each in found:
        if each.name in first:
            owner = Pointer(first[each.name].steps[:-1])
            report.error(
                pointer,
                f"the name {quoted(each.name)} is already used by {owner}",
                "expected a different `name` for each input",
            )
        else:
            first[each.name] = pointer
    for name, pointer in first.items():
        if name.endswith("_COMMIT") and name.removesuffix("_COMMIT") in first:
            report.warn(
                pointer,
                f"the variable {quoted(name)} of this input also holds the commit of another input",
            )
