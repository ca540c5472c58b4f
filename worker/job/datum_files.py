"""Files of a datum: the folders of its inputs, and the files that its command has written."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.buckets.output import OutputBucket
from worker.directories import Directory
from worker.job.commands import CommandRunner
from worker.job.datum_results import datum_name
from worker.job.pfs import Inputs, SamePath, collect, fingerprint, materialize
from worker.job.plan import Datum, Plan, Selection
from worker.job.scratch import NotRemoved
from worker.model import OUT
from worker.spec.glob import Match
from worker.store.repository import Store
from worker.supervisor.users import Identity


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
    root: Directory
    """The folder of the file inputs and of ``out``, with its real path."""
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
        await in_thread(self._empty_output, self.commands.identity)

    def _empty_output(self, identity: Identity | None) -> None:
        self._remove(OUT)
        folder = self.root.make(OUT, 0o755)
        if identity is not None:
            os.fchown(folder.fd, identity.uid, identity.gid)

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
        if selection.input.spec.s3:
            with suppress(FileExistsError):
                self.root.make(name, 0o555)
            return None
        found = self._materialized.pop(name, None)
        count = None
        if (
            found is None
            or not found.fingerprint
            or found.match != selection.match
            or found.fingerprint != fingerprint(self.root, name, check=check)
        ):
            self._remove(name)
            count = materialize(self.store, selection, self.root, spool=self.scratch, check=check)
            # For a later datum, or another try.
            is_used_again = self.plan.count > 1 or self.plan.spec.datum_tries > 1
            found = _Materialized(
                selection.match,
                fingerprint(self.root, name, check=check) if is_used_again else b"",
                # The mode of the folder was the last to be set.
                self.root.status(name).st_ctime_ns,
            )
        self._materialized[name] = found
        return count

    def _remove(self, name: str) -> None:
        try:
            self.root.remove(name)
        except OSError as error:
            raise NotRemoved(Path(self.root.path, name), error) from error

    def _collect(self, datum: Datum) -> list[str]:
        """Add the files of ``/pfs/out`` to the output bucket and return their keys."""
        places = {mount.target: mount.source for mount in self.commands.mounts}
        root = Path(self.root.path)
        if self.commands.root != root:
            places[self.commands.root] = root
        inputs = Inputs(
            self.store,
            self.root,
            {each.input.spec.name: each.input for each in datum.selections},
            {name: found.changed for name, found in self._materialized.items()},
            places,
        )
        epoch, check = self.bucket.epoch(), trio.from_thread.check_cancelled
        files = collect(
            inputs,
            self.bucket.stage,
            spool=self.scratch,
            check=check,
            reader_of=lambda out: self.commands.file_reader(out, check),
        )
        keys = []
        for entry in files:
            if (first := self._written_by.get(entry.key)) is not None:
                names = (datum_name(each.number, each.paths) for each in (first, datum))
                raise SamePath(entry.key, *names)
            self.bucket.add(entry, epoch=epoch)
            keys.append(entry.key)
        return keys
