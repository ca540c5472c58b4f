"""Installation of clients: each kind of environment installs itself into a folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

INSTALL_TIMEOUT = 1_800
"""Seconds for one installation; some download hundreds of megabytes."""


class NotAvailable(Exception):
    """A client cannot be installed on this machine; the text is the reason."""


@attrs.frozen
class Installation:
    """An installed client."""

    version: str
    path: tuple[Path, ...] = ()
    """Folders that come first on the PATH of the job's command."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """Entries of ``transform.env`` by which its runtime finds the libraries."""


class Environment(Protocol):
    """One way to install a client."""

    def install(self, folder: Path) -> Installation:
        """Install the client in *folder* unless it is there already; raise `NotAvailable`."""


def _run(
    command: Sequence[str | Path], cwd: Path, variables: Mapping[str, str] | None = None
) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise NotAvailable(f"{words[0]} is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"{words[0]} took longer than {INSTALL_TIMEOUT} s") from None
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise NotAvailable(
            f"{' '.join(words[:4])} … exited with {done.returncode}: {output[-1][:300]}"
        )
    return done.stdout + done.stderr


def _clear(folder: Path, recipe: str) -> bool:
    """Empty *folder* and return True, unless it was completed with the same recipe."""
    record = folder / "recipe"
    if record.is_file() and record.read_text("utf-8") == recipe:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return True


def _complete(folder: Path, recipe: str) -> None:
    (folder / "recipe").write_text(recipe, "utf-8")


@attrs.frozen
class Pip:
    """A virtual environment with Python packages; the first one determines the version."""

    packages: tuple[str, ...]

    def install(self, folder: Path) -> Installation:
        """Install with the pip of the base interpreter: virtual environments here have none."""
        python = folder / "venv" / "bin" / "python"
        recipe = " ".join(self.packages)
        if _clear(folder, recipe):
            _run([sys.executable, "-m", "venv", "--without-pip", "venv"], folder)
            base = f"{sys.base_prefix}/bin/python3"
            pip = [base, "-m", "pip", "--python", str(python), "install", "--quiet"]
            _run([*pip, "--disable-pip-version-check", *self.packages], folder)
            _complete(folder, recipe)
        name = re.split(r"[\[<>=!~]", self.packages[0], maxsplit=1)[0]
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        return Installation(_run([python, "-c", code], folder).strip(), (python.parent,))


@attrs.frozen
class Beside:
    """The environment of the running Python, which has the client as a package."""

    package: str

    def install(self, folder: Path) -> Installation:
        """Return the version; nothing is installed."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        folder.mkdir(parents=True, exist_ok=True)
        version = _run([sys.executable, "-c", code], folder).strip()
        return Installation(version, (Path(sys.executable).parent,))


@attrs.frozen
class Npm:
    """A folder with packages of the npm registry; the first one determines the version."""

    packages: tuple[str, ...]

    def install(self, folder: Path) -> Installation:
        """Install into ``node_modules`` of the folder."""
        recipe = " ".join(self.packages)
        if shutil.which("node") is None:
            raise NotAvailable("node is not on the PATH")
        if _clear(folder, recipe):
            (folder / "package.json").write_text('{"private": true}\n', "utf-8")
            _run(["npm", "install", "--no-audit", "--no-fund", *self.packages], folder)
            _complete(folder, recipe)
        code = f"console.log(require('{self.packages[0]}/package.json').version)"
        version = _run(["node", "-e", code], folder).strip()
        return Installation(version, variables={"NODE_PATH": str(folder / "node_modules")})


@attrs.frozen
class Maven:
    """The libraries of a Maven project; the artifact *version_of* determines the version."""

    project: Path
    version_of: str

    def install(self, folder: Path) -> Installation:
        """Copy the runtime dependencies of the project into a folder for the class path."""
        recipe = self.project.read_text("utf-8")
        if shutil.which("javac") is None:
            raise NotAvailable("no Java development kit is on the PATH")
        if _clear(folder, recipe):
            goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
            target = f"-DoutputDirectory={folder / 'lib'}"
            _run(
                ["mvn", "-q", "-B", "-f", self.project, goal, "-DincludeScope=runtime", target],
                folder,
            )
            _complete(folder, recipe)
        found = [
            match[1]
            for jar in (folder / "lib").iterdir()
            if (match := re.fullmatch(rf"{re.escape(self.version_of)}-(\d.*)\.jar", jar.name))
        ]
        return Installation(found[0], variables={"CLASSPATH": str(folder / "lib" / "*")})


@attrs.frozen
class Go:
    """A command that is built from a Go module."""

    module: str

    def install(self, folder: Path) -> Installation:
        """Build the command into the folder."""
        if _clear(folder, self.module):
            _run(["go", "install", self.module], folder, {"GOBIN": str(folder), "GOFLAGS": ""})
            _complete(folder, self.module)
        name = re.sub(r"(/v\d+)?@.*", "", self.module).rpartition("/")[2]
        output = _run(["go", "version", "-m", folder / name], folder)
        module = re.search(r"^\tmod\t\S+\t(\S+)", output, re.MULTILINE)
        return Installation(module[1] if module else "", (folder,))


@attrs.frozen
class System:
    """A command that is on the PATH, usually from a Debian package."""

    command: str
    version: tuple[str, ...] = ("--version",)
    """Arguments that print the version."""
    contains: str = ""
    """Text in the output of the version: several programs are named ``mc``, and two ``aws``."""
    package: str = ""
    """The Debian package with the command."""

    def install(self, folder: Path) -> Installation:
        """Link the first matching command on the PATH into *folder*."""
        for place in os.get_exec_path():
            program = Path(place) / self.command
            if program.is_file() and os.access(program, os.X_OK):
                output = _run([program, *self.version], Path(place))
                if self.contains in output:
                    # A folder with nothing else: other commands beside this one may have the name
                    # of another client.
                    folder.mkdir(parents=True, exist_ok=True)
                    link = folder / self.command
                    link.unlink(missing_ok=True)
                    link.symlink_to(program)
                    return Installation(_version_number(output), (folder,))
        wanted = f"{self.command} ({self.contains})" if self.contains else self.command
        raise NotAvailable(f"{wanted} is not on the PATH; the Debian package is {self.package}")


def _version_number(output: str) -> str:
    match = re.search(r"\d+\.\d+[\w.+-]*", output)
    return match[0] if match else output.strip().splitlines()[0]
