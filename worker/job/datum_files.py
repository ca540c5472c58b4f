"""Files of a datum: the folders of its inputs, and the files that its command has written."""

import os
from collections.abc import Iterable
from pathlib import Path

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutputBucket
from worker.job.commands import CommandRunner
from worker.job.datum_results import datum_name
from worker.job.pfs import Inputs, SamePath, collect, fingerprint, materialize
from worker.job.plan import Datum, Plan, Selection
from worker.job.scratch import remove_tree
from worker.model import OUT
from worker.spec.glob import Match
from worker.store.repository import Store


@attrs.frozen
class _Materialized:
    """What is in the folder of an input."""

    match: Match
    fingerprint: bytes
    """That of the folder; empty if the folder is not used again."""
    changed: int
    """The ctime of the folder in nanoseconds: a file with a later one was changed."""


@attrs.frozen
class DatumFiles:
    """The files of a job's datums, one datum after the other."""

    plan: Plan
    store: Store
    bucket: OutputBucket
    root: Path
    """The folder of the file inputs and of ``out``."""
    scratch: Path
    commands: CommandRunner
    _written_by: dict[str, Datum] = attrs.field(factory=dict, init=False)
    """The datum that wrote each path of a file output; none that failed, whose is discarded."""
    _materialized: dict[str, _Materialized] = attrs.field(factory=dict, init=False)
    """By input."""

    async def prepare(self, datum: Datum) -> None:
        """Materialize the inputs of a datum."""
        for selection in datum.selections:
            count = await in_thread(self._materialize, selection)
            if count is not None:
                self.commands.log.info(
                    "datum.materialized",
                    input=selection.input.spec.name,
                    path=selection.match.path,
                    files=count,
                )

    async def empty_output(self) -> None:
        """Create an empty ``/pfs/out`` for the command, if the output is files."""
        if self.plan.spec.s3_out:
            return
        folder, identity = self.root / OUT, self.commands.identity
        await in_thread(remove_tree, folder)
        folder.mkdir()
        folder.chmod(0o755)
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)

    async def collect_output(self, datum: Datum) -> list[str]:
        """Add the files of ``/pfs/out`` to the output, if the output is files; return their keys.

        Raises NotAnOutput and SamePath.
        """
        return [] if self.plan.spec.s3_out else await in_thread(self._collect, datum)

    def claim(self, keys: Iterable[str], datum: Datum) -> None:
        """Record that *datum*, which succeeded, wrote *keys*: no other datum may write them."""
        self._written_by.update(dict.fromkeys(keys, datum))

    def _materialize(self, selection: Selection) -> int | None:
        """Materialize one input and return its number of files; None if it is still unchanged."""
        name, check = selection.input.spec.name, trio.from_thread.check_cancelled
        folder = self.root / name
        if selection.input.spec.s3:
            folder.mkdir(mode=0o555, exist_ok=True)
            return None
        found = self._materialized.pop(name, None)
        count = None
        if (
            found is None
            or found.match != selection.match
            or found.fingerprint != fingerprint(folder, check=check)
        ):
            remove_tree(folder)
            count = materialize(self.store, selection, folder, spool=self.scratch, check=check)
            # For a later datum, or another try.
            is_used_again = self.plan.count > 1 or self.plan.spec.datum_tries > 1
            found = _Materialized(
                selection.match,
                fingerprint(folder, check=check) if is_used_again else b"",
                # The mode of the folder was the last to be set.
                folder.stat().st_ctime_ns,
            )
        self._materialized[name] = found
        return count

    def _collect(self, datum: Datum) -> list[str]:
        """Add the files of ``/pfs/out`` to the output bucket and return their keys."""
        places = {mount.target: mount.source for mount in self.commands.mounts}
        if self.commands.root != self.root:
            places[self.commands.root] = self.root
        inputs = Inputs(
            self.store,
            self.root,
            {each.input.spec.name: each.input for each in datum.selections},
            {name: found.changed for name, found in self._materialized.items()},
            places,
        )
        epoch, check = self.bucket.epoch(), trio.from_thread.check_cancelled
        out = self.root / OUT
        reader = self.commands.file_reader(out, check)
        files = collect(
            out, inputs, self.bucket.stage, spool=self.scratch, check=check, reader=reader
        )
        keys = []
        for entry in files:
            if (first := self._written_by.get(entry.key)) is not None:
                names = (datum_name(each.number, each.paths) for each in (first, datum))
                raise SamePath(entry.key, *names)
            self.bucket.add(entry, epoch=epoch)
            keys.append(entry.key)
        return keys
