"""From a command line to a request that ``job`` understands, folders given as inputs included."""

import os
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from worker.cli.documents import source_name
from worker.cli.options import read_document
from worker.cli.terminal import transfer_progress
from worker.config import Config
from worker.job.request import RunRequest
from worker.model import BranchName, Commit, Repo
from worker.spec.parse import parse
from worker.spec.pipeline import CrossInput, Input, JobSpec, PfsInput
from worker.store.checkin import put_directory
from worker.store.repository import open_store


@attrs.frozen
class Folder:
    """A folder that becomes a commit of an input's repo before the job runs."""

    name: str
    """The input's name."""
    path: Path


def parse_folders(texts: Sequence[str]) -> tuple[Folder, ...]:
    """Return the folders of ``--input NAME=DIRECTORY``, or refuse the command line."""
    folders: list[Folder] = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise click.BadParameter(f"{text!r} is not NAME=DIRECTORY", param_hint="--input")
        if name in [folder.name for folder in folders]:
            raise click.BadParameter(f"{name} is given twice", param_hint="--input")
        if not Path(path).is_dir():
            raise click.BadParameter(f"{path} is not a directory", param_hint="--input")
        folders.append(Folder(name, Path(path)))
    return tuple(folders)


def check_folders(spec: JobSpec, folders: Sequence[Folder]) -> None:
    """Refuse a folder for an input that the job does not have, or that is pinned to a commit."""
    inputs = {each.name: each for each in spec.inputs}
    for folder in folders:
        found = inputs.get(folder.name)
        if found is None:
            raise click.BadParameter(
                f"the job has no input {folder.name!r}; it has {', '.join(sorted(inputs))}",
                param_hint="--input",
            )
        if found.commit is not None:
            raise click.BadParameter(
                f"the job pins {folder.name} to commit {found.commit}; a folder would be another",
                param_hint="--input",
            )


def import_folders(settings: Config, spec: JobSpec, folders: Sequence[Folder]) -> JobSpec:
    """Commit each folder to its input's branch and return the job pinned to these commits.

    Pinned, so that a commit that arrives meanwhile on the branch is not taken for the folder.
    """
    store = open_store(settings.store, settings.store_options)
    inputs = {each.name: each for each in spec.inputs}
    commits: dict[str, Commit] = {}
    for folder in folders:
        target = inputs[folder.name]
        branch = BranchName(Repo(target.project, target.repo), target.branch)
        with transfer_progress(f"{folder.name} from {folder.path}") as watch:
            commits[folder.name] = put_directory(store, branch, folder.path, progress=watch)
    return attrs.evolve(spec, input=_pinned(spec.input, commits))


def _pinned(node: Input, commits: dict[str, Commit]) -> Input:
    if isinstance(node, CrossInput):
        return CrossInput(tuple(_pinned(part, commits) for part in node.parts))
    assert isinstance(node, PfsInput)
    commit = commits.get(node.name)
    return node if commit is None else attrs.evolve(node, commit=commit.name.id)


def read_job(document: str) -> JobSpec:
    """Return the checked job of ``--job``."""
    return parse(read_document(document), source=source_name(document))


def request_for(settings: Config, spec: JobSpec) -> RunRequest:
    """Return the request for one run of *spec* under *settings*."""
    return RunRequest(spec, settings, dict(os.environ))
