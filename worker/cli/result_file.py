"""The files of ``--result`` and ``--termination-message``: valid JSON at every moment of a run."""

import errno
import functools
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from worker.cli import failures
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State
from worker.job.termination_message import to_message
from worker.redaction import redact

UNFINISHED = "the run has not ended; if its process has, it was killed before it could report"


IN_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)
"""Error numbers of a directory in which no file can be created, and of a file that is a mount."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

Report = Callable[[Result], None]
"""Writes the result of a run to the files that the user has named."""


class ResultFile:
    """A file that gets the result of a run however the run ends, also if it never starts.

    At the start of the run, an earlier content is replaced by a document with the state `created`
    and without an exit code, so that no reader takes an old result for that of this run, and a path
    that cannot be written ends the run before it starts.

    A regular file is replaced by renaming a complete one over it. What cannot be replaced is
    written in place, with one system call: the termination log of a pod, which is a mount, and a
    file in a directory that is not writable. A device or pipe gets the final result only.

    The path is resolved once, before the command of the run starts. What the command puts in the
    place of the file is replaced and never followed, and a directory that it renames or replaces is
    still the one that gets the result.
    """

    def __init__(self, path: Path, *, form: Callable[[Result], str] = Result.to_text) -> None:
        """Write results to *path* in the form that *form* returns; raises OSError."""
        # Behind symbolic links, which stay.
        self._path = Path(os.path.realpath(path))
        self._form = form
        self._stream: int | None = None
        """The descriptor of a device or pipe."""
        self._folder: int | None = None
        self._file: int | None = None
        """The descriptor of the regular file, as it was written last."""
        self._content = b""
        """What was last written in place."""
        self._mode: int | None = None
        """The permissions of the file; None if it is new."""
        with suppress(FileNotFoundError):
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                self._stream = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            self._mode = stat.S_IMODE(found.st_mode) & 0o777
        if self._stream is None:
            try:
                with self._naming():
                    self._folder = os.open(self._path.parent, FOLDER)
                    self._write_file(_unfinished())
            except OSError:
                self._close()
                raise

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.write(_not_started(error))
        self._close()

    def write(self, result: Result) -> None:
        """Write *result*. An error, such as a full disk, is reported and does not change it."""
        try:
            with self._naming():
                if self._stream is None:
                    self._write_file(self._form(result))
                else:
                    _write(self._stream, _encode(self._form(result)))
        except OSError as error:
            failures.print_error(f"worker: {failures.explain(error)}")

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Let an OSError name the file, not a temporary one or none."""
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = str(self._path), None
            raise

    def _write_file(self, text: str) -> None:
        """Replace the content of the regular file by *text*."""
        data = _encode(text)
        try:
            self._replace(data)
        except OSError as error:
            if error.errno not in IN_PLACE or not self._opens_file():
                raise
            self._overwrite(data)

    def _replace(self, data: bytes) -> None:
        """Rename a new file with *data* over the file, and keep its descriptor."""
        name = self._path.name
        temporary = f".{name[:100]}.{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temporary, NEW_FILE, 0o666, dir_fd=self._folder)
        try:
            _write(descriptor, data)
            if self._mode is not None:
                os.fchmod(descriptor, self._mode)
            os.fsync(descriptor)
            os.replace(temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)
            os.close(descriptor)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file = descriptor

    def _opens_file(self) -> bool:
        """Whether the file exists, opened for writing, and no other one is in its place."""
        with suppress(FileNotFoundError):
            if self._file is None:
                flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path.name, flags, dir_fd=self._folder)
            found = os.stat(self._path.name, dir_fd=self._folder, follow_symlinks=False)
            return os.path.samestat(found, os.fstat(self._file))
        return False

    def _overwrite(self, data: bytes) -> None:
        """Write *data* over the content, or on a full disk the content that was there before."""
        try:
            self._put(data)
        except OSError:
            with suppress(OSError):
                self._put(self._content)
            raise
        self._content = data

    def _put(self, data: bytes) -> None:
        """Write *data* over the content, and cut off what is left of that."""
        assert self._file is not None
        os.lseek(self._file, 0, os.SEEK_SET)
        _write(self._file, data)
        os.ftruncate(self._file, len(data))

    def _close(self) -> None:
        for descriptor in (self._stream, self._folder, self._file):
            if descriptor is not None:
                os.close(descriptor)
        self._stream = self._folder = self._file = None


def with_result_files(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options ``--result`` and ``--termination-message`` to a command that runs a job.

    The command is called with ``report``, a `Report`. An error of the command, also one of the
    configuration, is reported as the result of a run that has not started.
    """

    @functools.wraps(function)
    def call(result: Path | None, termination_message: Path | None, **arguments: Any) -> int:
        with ExitStack() as stack:
            files = []
            if result is not None:
                files.append(stack.enter_context(ResultFile(result)))
            if termination_message is not None:
                file = ResultFile(termination_message, form=to_message)
                files.append(stack.enter_context(file))

            def report(found: Result) -> None:
                for file in files:
                    file.write(found)

            return function(report=report, **arguments)

    decorated: Callable[..., int] = call
    for flag, summary in (
        (
            "--termination-message",
            "Write the result in at most 4,096 bytes, as Kubernetes accepts in "
            "/dev/termination-log",
        ),
        ("--result", "Write the result of the run as JSON, also if the run fails"),
    ):
        decorated = click.option(
            flag, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=summary
        )(decorated)
    return decorated


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _encode(text: str) -> bytes:
    # A lone surrogate becomes an escape sequence, which JSON permits.
    return (text + "\n").encode("utf-8", "backslashreplace")


def _unfinished() -> str:
    """Return the document of a run that has not ended."""
    document = {
        "job": "",
        "state": State.CREATED.value,
        "cause": None,
        "exit_code": None,
        "worth_a_retry": None,
        "reason": UNFINISHED,
        "output": None,
        "started": time.time(),
    }
    return json.dumps(document, indent=2)


def _not_started(error: BaseException) -> Result:
    """Return the result of a run that *error* ended before it started."""
    cause = failures.cause_of(error)
    state = State.KILLED if cause is Cause.STOPPED else State.UNRUNNABLE
    reason = error.format_message() if isinstance(error, click.ClickException) else None
    reason = redact(reason or failures.explain(error))
    return Result(job="", state=state, cause=cause, reason=reason)
