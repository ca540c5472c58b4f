"""Where a client comes from: each kind of environment makes itself in a folder, or says why not."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import attrs

PATIENCE = 1_800
"""Seconds that one installation may take: some are hundreds of megabytes."""


class CannotHave(Exception):
    """This client cannot be had on this machine; the text says why."""


@attrs.frozen
class Prepared:
    """A client that is there."""

    version: str
    path: tuple[Path, ...] = ()
    """Folders that come first on the PATH of the user's command."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """What its runtime is told in ``transform.env``: where the libraries lie."""


class Environment(Protocol):
    """One way to get a client."""

    def prepare(self, folder: Path) -> Prepared:
        """Return the client, made in *folder* if it is not there yet; raises CannotHave."""


def _run(command: Iterable[str | Path], cwd: Path, more: Mapping[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        raise CannotHave(f"{words[0]} is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise CannotHave(f"{words[0]} took longer than {PATIENCE} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise CannotHave(f"{' '.join(words[:4])} … ended with {done.returncode}: {said[-1][:300]}")
    return done.stdout + done.stderr


def _once(folder: Path, recipe: str) -> bool:
    """Empty *folder* and return True, unless it was made by the same recipe."""
    made = folder / "recipe"
    if made.is_file() and made.read_text("utf-8") == recipe:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return True


def _made(folder: Path, recipe: str) -> None:
    (folder / "recipe").write_text(recipe, "utf-8")


@attrs.frozen
class Pip:
    """A virtual environment with packages for Python; the first gives the version."""

    packages: tuple[str, ...]

    def prepare(self, folder: Path) -> Prepared:
        """Make the environment with the pip that is here; it gets none of its own."""
        python = folder / "venv" / "bin" / "python"
        recipe = " ".join(self.packages)
        if _once(folder, recipe):
            _run([sys.executable, "-m", "venv", "--without-pip", "venv"], folder)
            pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
            _run([*pip, "--disable-pip-version-check", *self.packages], folder)
            _made(folder, recipe)
        name = re.split(r"[\[<>=!~]", self.packages[0], maxsplit=1)[0]
        ask = f"import importlib.metadata as m; print(m.version({name!r}))"
        return Prepared(_run([python, "-c", ask], folder).strip(), (python.parent,))


@attrs.frozen
class Here:
    """The Python that runs the matrix, with what is installed beside the worker."""

    package: str

    def prepare(self, folder: Path) -> Prepared:
        """Ask this Python; nothing is installed."""
        ask = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        folder.mkdir(parents=True, exist_ok=True)
        version = _run([sys.executable, "-c", ask], folder).strip()
        return Prepared(version, (Path(sys.executable).parent,))


@attrs.frozen
class Npm:
    """A folder with packages of the npm registry; the first gives the version."""

    packages: tuple[str, ...]

    def prepare(self, folder: Path) -> Prepared:
        """Install into the folder's ``node_modules``, where a script beside it finds them."""
        recipe = " ".join(self.packages)
        if shutil.which("node") is None:
            raise CannotHave("node is not on the PATH")
        if _once(folder, recipe):
            (folder / "package.json").write_text('{"private": true}\n', "utf-8")
            _run(["npm", "install", "--no-audit", "--no-fund", *self.packages], folder)
            _made(folder, recipe)
        ask = f"console.log(require('{self.packages[0]}/package.json').version)"
        version = _run(["node", "-e", ask], folder).strip()
        return Prepared(version, variables={"NODE_PATH": str(folder / "node_modules")})


@attrs.frozen
class Maven:
    """The libraries of a Maven project; *version_of* names the one that counts."""

    project: Path
    version_of: str

    def prepare(self, folder: Path) -> Prepared:
        """Copy the project's runtime dependencies into a folder for the class path."""
        recipe = self.project.read_text("utf-8")
        if shutil.which("javac") is None:
            raise CannotHave("no Java development kit is on the PATH")
        if _once(folder, recipe):
            goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
            where = f"-DoutputDirectory={folder / 'lib'}"
            _run(
                ["mvn", "-q", "-B", "-f", self.project, goal, "-DincludeScope=runtime", where],
                folder,
            )
            _made(folder, recipe)
        found = [
            match[1]
            for jar in (folder / "lib").iterdir()
            if (match := re.fullmatch(rf"{re.escape(self.version_of)}-(\d.*)\.jar", jar.name))
        ]
        return Prepared(found[0], variables={"CLASSPATH": str(folder / "lib" / "*")})


@attrs.frozen
class Go:
    """A command that Go builds from a module."""

    module: str

    def prepare(self, folder: Path) -> Prepared:
        """Build the command into the folder."""
        if _once(folder, self.module):
            _run(["go", "install", self.module], folder, {"GOBIN": str(folder), "GOFLAGS": ""})
            _made(folder, self.module)
        name = re.sub(r"(/v\d+)?@.*", "", self.module).rpartition("/")[2]
        said = _run(["go", "version", "-m", folder / name], folder)
        built = re.search(r"^\tmod\t\S+\t(\S+)", said, re.MULTILINE)
        return Prepared(built[1] if built else "", (folder,))


@attrs.frozen
class Found:
    """A command that the system has, from a Debian package or otherwise."""

    command: str
    version: tuple[str, ...] = ("--version",)
    like: str = ""
    """What its answer must have in it: several programs are called ``mc``, and two ``aws``."""
    package: str = ""
    """The Debian package that has it."""

    def prepare(self, folder: Path) -> Prepared:
        """Look along the PATH for the first that answers like this."""
        for place in os.get_exec_path():
            program = Path(place) / self.command
            if program.is_file() and os.access(program, os.X_OK):
                said = _run([program, *self.version], Path(place))
                if self.like in said:
                    # A folder with nothing else in it: what stands beside the command on the
                    # system may be another client's command of the same name.
                    folder.mkdir(parents=True, exist_ok=True)
                    link = folder / self.command
                    link.unlink(missing_ok=True)
                    link.symlink_to(program)
                    return Prepared(_number(said), (folder,))
        wanted = f"{self.command} ({self.like})" if self.like else self.command
        raise CannotHave(f"{wanted} is not on the PATH; Debian's package {self.package} has it")


def _number(said: str) -> str:
    match = re.search(r"\d+\.\d+[\w.+-]*", said)
    return match[0] if match else said.strip().splitlines()[0]
