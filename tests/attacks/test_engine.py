"""Attacks by a job document on a container engine: its command line and its environment.

The engine is a program that records how it is called; ``tests/containers`` has the real one.
"""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from builders import a_commit, a_job, an_input
from scenarios.sites import Site

from worker.spec.document import DocumentErrors
from worker.spec.parse import parse
from worker.spec.pipeline import MAX_UID
from worker.supervisor.engine import MAX_PASSWD
from worker.supervisor.engine_output import WorkerContainer

ENGINE = r"""#!/usr/bin/env python3
import json, os, pathlib, sys

words = sys.argv[1:]
given = sys.stdin.read() if words[0] == "create" and "--env-file=/dev/stdin" in words else ""
with open(os.environ["XDG_CALLS"], "a") as calls:
    print(json.dumps([words, dict(os.environ), given]), file=calls)
image = {"Id": "sha256:" + "a" * 64, "Config": {"User": os.environ.get("XDG_USER", "")}}
state = {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 0}
if words[:2] == ["image", "inspect"]:
    print(json.dumps([image]))
elif words[:2] == ["container", "inspect"]:
    print(json.dumps([{"State": state}]))
elif words[0] == "create":
    print("c" * 64)
elif words[0] == "cp":
    sys.stdout.write("x" * int(os.environ.get("XDG_PASSWD", "0")))
    sys.stdout.flush()
    sys.stdout.buffer.write(bytes.fromhex(os.environ.get("XDG_ARCHIVE", "")))
"""


@pytest.fixture
def site(tmp_path):
    """A site with an input commit, and a recording engine named podman and docker."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("podman", "docker"):
        (programs / name).write_text(ENGINE)
        (programs / name).chmod(0o755)
    site = Site(
        tmp_path,
        str(tmp_path / "store"),
        {
            "WORKER_RUNTIME": "podman",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "XDG_CALLS": str(tmp_path / "calls"),
        },
    )
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    return site


def calls(site: Site) -> list[tuple[list[str], dict[str, str], str]]:
    """Return the words, the environment and the input of each call of the engine."""
    lines = (site.root / "calls").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]


def run(site: Site, more=None, **transform):
    """Run a job in a container, with *more* variables of the worker, and return the calls."""
    job = a_job("true", inputs=(an_input(s3=False),), s3Out=False, datumTries=1)
    job["transform"] |= {"image": "debian:12", **transform}
    done = site.worker("run", "--job", site.job(job), **(more or {}))
    return done, calls(site)


def of(found, word: str):
    """Return the call of the engine's command *word* that creates or starts the container."""
    return next(call for call in found if call[0][0] == word and "--network=none" not in call[0])


# --- images ---------------------------------------------------------------------------------------


def image_of(image: str) -> str:
    """Return the image of a job document."""
    document = a_job("true")
    document["transform"]["image"] = image
    return parse(json.dumps(document)).transform.image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "debian",
        "debian:12",
        "library/debian",
        "pachyderm/ubuntu-with-s3-clients:v0.0.1",
        "localhost/x",
        "localhost:5000/x",
        "registry.example/team/image:1.0-rc.1_x",
        "registry.example:5000/a/b/c__d---e.f_g",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:b",
        "[::1]:5000/x",
        f"debian@sha256:{'0aF' * 21}0",
        f"r.example/debian:12@sha512:{'0' * 128}",
        "directory:12",
        "dir",
        "oci/image:1",
        "my.registry/dir:etc",
        f"sha256:{'a' * 64}",
    ],
)
def test_a_reference_of_an_image_is_kept_as_it_is(image):
    assert image == image_of(image)


@pytest.mark.parametrize(
    "image",
    [
        "dir:/etc",
        "dir:etc",
        "dir:5000/etc",
        "docker-archive:/tmp/x.tar",
        "docker-archive:x",
        "oci:/x",
        "oci:x",
        "oci-archive:x:y",
        "containers-storage:x",
        "docker-daemon:x:y",
        "docker://debian",
        "docker:debian",
        "ostree:x",
        "sif:x",
        "tarball:x",
        "atomic:x",
        "--help",
        "-v",
        "--",
        "debian --privileged",
        "debian\n",
        "debian\n--privileged",
        " debian",
        "UPPER",
        "http://registry/x",
        "../etc",
        "/etc",
        "a//b",
        "a/../b",
        "debian:",
        "debian:-x",
        f"debian:{'x' * 129}",
        "debian@sha256:abc",
        "debian@",
        "ⅾebian",
        "debian:१",
        f"{'a' * 600}",
        "a-" * 5000,
        "a." * 5000 + "!",
    ],
)
def test_what_is_no_reference_of_an_image_is_an_error_with_a_pointer(image):
    """A transport reads files of the machine: podman takes ``dir:etc`` for the folder etc."""
    with pytest.raises(DocumentErrors) as raised:
        image_of(image)

    (problem,) = raised.value.problems
    assert "/transform/image" == problem.pointer
    assert "registry.example" in problem.expected


# --- the command line -----------------------------------------------------------------------------


def test_operands_of_the_engine_follow_a_double_hyphen(site):
    """In each call with a word that the job, the image or the engine chooses."""
    done, found = run(site, cmd=["--privileged", "--volume=/:/host", ""], user="1000")
    at_end = {
        " ".join(words[:2] if words[0] in ("image", "container") else words[:1])
        for words, _, _ in found
        if "--" in words
    }
    words = of(found, "create")[0]

    assert 0 == done.status, done.err
    assert {"image inspect", "create", "cp", "rm", "start", "container inspect"} == at_end
    operands = words[words.index("--") + 1 :]
    assert [f"sha256:{'a' * 64}", "--privileged", "--volume=/:/host", ""] == operands
    assert words[words.index("--") - 1] == "--entrypoint="


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param({"workingDir": "/w --privileged"}, id="workingDir"),
        pytest.param({"workingDir": "--volume=/:/x"}, id="workingDir: an option"),
        pytest.param({"workingDir": "/w\n--privileged"}, id="workingDir: two lines"),
        pytest.param({"env": {"A": "x\n--privileged"}}, id="env"),
        pytest.param({"user": "0:0"}, id="user"),
        pytest.param(
            {"secrets": [{"name": "s", "key": "k", "mountPath": "/a,b:c\r--privileged"}]},
            id="mountPath",
        ),
    ],
)
def test_a_value_of_the_document_is_within_one_word(site, transform):
    """No word of the engine's command line starts with one, before the double hyphen."""
    done, found = run(site, {"WORKER_SECRET_S_K": "x" * 8}, **transform)
    words = of(found, "create")[0]
    options = [word.partition("=")[0] for word in words[1 : words.index("--")]]
    known = {
        "--name",
        "--label",
        "--pull",
        "--init",
        "--log-driver",
        "--no-healthcheck",
        "--interactive",
        "--network",
        "--user",
        "--workdir",
        "--mount",
        "--env-file",
        "--entrypoint",
    }

    assert 0 == done.status, done.err
    assert set(options) <= known


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/.", "/proc", "/proc/self", "/sys/fs", "/dev", "/dev/shm", "/etc", "/run"),
        *("/pfs", "/pfs/", "/pfs/out", "/run/worker", "/run/worker/report"),
    ],
)
def test_a_secret_does_not_cover_what_each_container_needs(site, path):
    """Engines fail, each in its own way; status 69 would ask for another try."""
    secrets = [{"name": "s", "key": "k", "mountPath": path}]
    done, found = run(site, {"WORKER_SECRET_S_K": "x" * 8}, secrets=secrets)

    assert (64, True) == (done.status, "transform.secrets: the mountPath /" in done.err), done.err
    assert "create" not in [words[0] for words, _, _ in found]


@pytest.mark.parametrize("path", ["/etc/secrets", "/run/secrets/x", "/pfs/labresults2", "/devices"])
def test_a_secret_is_mounted_anywhere_else(site, path):
    secrets = [{"name": "s", "key": "k", "mountPath": path}]
    done, found = run(site, {"WORKER_SECRET_S_K": "x" * 8}, secrets=secrets)

    assert 0 == done.status, done.err
    assert any(f"target={path}," in word for word in of(found, "create")[0])


@pytest.mark.parametrize("user", ["--privileged", "-u", "a b", "a:b", f"{MAX_UID + 1}", "root\n"])
def test_a_user_that_is_none_is_an_error_of_the_document(site, user):
    done = run_invalid(site, user=user)

    assert 64 == done.status
    assert "/transform/user" in done.err


def run_invalid(site: Site, **transform):
    job = a_job("true", inputs=(an_input(s3=False),), s3Out=False)
    job["transform"] |= {"image": "debian:12", **transform}
    return site.worker("validate", site.job(job))


@pytest.mark.parametrize(
    ("transform", "pointer"),
    [
        ({"cmd": ["sh", "a\0b"]}, "/transform/cmd/1"),
        ({"cmd": ["\0"]}, "/transform/cmd/0"),
        ({"errCmd": ["a\0"]}, "/transform/errCmd/0"),
        ({"env": {"A": "a\0b"}}, "/transform/env/A"),
        ({"workingDir": "/a\0"}, "/transform/workingDir"),
        (
            {"secrets": [{"name": "s", "key": "k", "mountPath": "/a\0"}]},
            "/transform/secrets/0/mountPath",
        ),
    ],
)
def test_a_nul_that_no_program_can_receive_is_an_error_of_the_document(site, transform, pointer):
    """execve(2) ends words and variables at it."""
    done = run_invalid(site, **transform)

    assert (64, True) == (done.status, f"{pointer}: " in done.err), done.err


def test_options_of_the_engine_come_from_the_configuration_only(site):
    """A document with such keys is invalid."""
    for key in ("engineOptions", "options", "privileged", "volumes"):
        done = run_invalid(site, **{key: ["--privileged"]})

        assert (64, True) == (done.status, f"/transform/{key}" in done.err)


# --- the environment ------------------------------------------------------------------------------

STORE = {
    "AWS_ACCESS_KEY_ID": "AKIA-of-the-store",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-store",
    "AWS_SESSION_TOKEN": "token-of-the-store",
    "GOOGLE_SERVICE_ACCOUNT_KEY": "google-of-the-store",
    "AZURE_STORAGE_ACCOUNT_KEY": "azure-of-the-store",
    "WORKER_STORE_OPTIONS": "secret_access_key=option-of-the-store",
    "WORKER_SECRET_S_K": "secret-of-the-job",
    "MY_TOKEN": "any-of-the-store",
}


def test_no_call_of_the_engine_has_a_credential_of_the_store(site):
    """Neither its environment, nor its command line, nor the environment of the container."""
    done, found = run(site, STORE, user="1000")

    assert 0 == done.status, done.err
    assert len(found) > 6
    for value in STORE.values():
        assert value not in json.dumps(found)


@pytest.mark.parametrize(
    "name", ["DOCKER_HOST", "CONTAINERS_CONF", "XDG_RUNTIME_DIR", "HTTPS_PROXY"]
)
def test_the_engine_gets_its_own_variables(site, name):
    done, found = run(site, {name: "for-the-engine"})

    assert 0 == done.status, done.err
    assert {"for-the-engine"} == {environment.get(name) for _, environment, _ in found}


OBEYED = (
    "LD_PRELOAD",
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "CONTAINERS_CONF",
    "STORAGE_OPTS",
    "https_proxy",
    "TMPDIR",
    "GODEBUG",
    "MALLOC_TRACE",
    "FOO",
)
"""Variables that the client of an engine, its libraries or its programs obey; and another one."""


@pytest.mark.parametrize(
    "value", ["one line", "two\nlines", "x" * 65_000], ids=["one line", "two lines", "long"]
)
def test_a_variable_of_the_job_is_not_in_the_environment_of_the_engine(site, value):
    """Nor on its command line. A value that is no line needs the shell of the image."""
    done, found = run(site, env=dict.fromkeys(OBEYED, value))
    words, _, given = of(found, "create")
    lines = {f"{name}={value}" in given.split("\n") for name in OBEYED}

    assert 0 == done.status, done.err
    assert not any(value in environment.values() for _, environment, _ in found)
    assert not any(value in word for call in found for word in call[0])
    assert {value == "one line"} == lines
    assert ("/bin/sh" in words) == (value != "one line")


def test_a_line_of_a_value_is_no_variable(site):
    """Two lines of a value would be two variables, or one of the engine's client without value."""
    value = "a\nAWS_SECRET_ACCESS_KEY\nINJECTED=1\n"
    done, found = run(site, STORE, env={"A": value}, secrets=[])
    given = of(found, "create")[2]
    names = {line.partition("=")[0] for line in given.splitlines()}

    assert 0 == done.status, done.err
    assert all("=" in line for line in given.splitlines())
    assert not {"A", "INJECTED"} & names


def test_no_file_of_the_environment_is_written_to_disk(site):
    """The engine reads it from a pipe."""
    done, found = run(site, env={"API_TOKEN": "hush-hush-hush"})

    assert 0 == done.status, done.err
    assert "API_TOKEN=hush-hush-hush\n" in of(found, "create")[2]
    assert "--env-file=/dev/stdin" in of(found, "create")[0]


# --- images that are hostile ----------------------------------------------------------------------


def test_the_passwd_of_an_image_is_read_up_to_a_limit(site):
    job = a_job("true", inputs=(an_input(s3=False),), s3Out=False, datumTries=1)
    job["transform"] |= {"image": "debian:12", "user": "nobody"}
    done = site.worker("run", "--job", site.job(job), XDG_PASSWD=str(MAX_PASSWD + 1))

    assert 64 == done.status, done.err
    assert "printed more than 1,048,576 bytes for 'cp'" in done.err
    assert ["rm", "--force", "--volumes", "--", "c" * 64] in [words for words, _, _ in calls(site)]


PASSWD = b"nobody:x:65534:65534:::\n"


def an_archive(
    kind: bytes = tarfile.REGTYPE, target: str = "", *, size: int | None = None
) -> bytes:
    """Return a tar archive with a passwd of this kind, as an engine prints it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("passwd")
        member.type, member.linkname = kind, target
        member.size = len(PASSWD) if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(PASSWD))
    return file.getvalue()[:size]


@pytest.mark.parametrize(
    ("archive", "status"),
    [
        pytest.param(an_archive(), 0, id="a file"),
        pytest.param(an_archive(tarfile.SYMTYPE, "/nix/store/passwd"), 64, id="a link"),
        pytest.param(an_archive(tarfile.SYMTYPE, "passwd"), 64, id="a link to itself"),
        pytest.param(an_archive(tarfile.LNKTYPE, "other"), 64, id="a hard link"),
        pytest.param(an_archive(tarfile.LNKTYPE, "passwd"), 64, id="a hard link to itself"),
        pytest.param(an_archive(tarfile.DIRTYPE), 64, id="a folder"),
        pytest.param(an_archive(tarfile.CHRTYPE), 64, id="a device"),
        pytest.param(an_archive(size=100), 64, id="a part of a header"),
        pytest.param(an_archive(size=515), 64, id="a part of a file"),
        pytest.param(b"\x1f\x8b\x08" + b"x" * 600, 64, id="a compressed archive that is cut"),
        pytest.param(b"", 64, id="nothing"),
    ],
)
def test_any_passwd_of_an_image_is_read_or_ignored(site, archive, status):
    done, _ = run(site, {"XDG_ARCHIVE": archive.hex()}, user="nobody")

    assert status == done.status, done.err
    assert status == 0 or "'nobody': the image debian:12 has no such user" in done.err


def test_each_container_has_the_labels_and_the_name_by_which_a_later_run_removes_it(site):
    """Also the one that only shows the image's passwd, which is never started."""
    done, found = run(site, user="1000")
    created = [words for words, _, _ in found if words[0] == "create"]

    assert 0 == done.status, done.err
    assert 2 == len(created)
    for words in created:
        labels = dict(word.split("=", 2)[1:] for word in words if word.startswith("--label="))
        (name,) = [word.partition("=")[2] for word in words if word.startswith("--name=")]
        job, agent = labels["worker.job"], labels["worker.agent"]
        assert WorkerContainer("", name, job, agent, running=True).is_of_worker


@pytest.mark.parametrize("user", ["²", "--privileged", "99999999999", "a\nb", "0:--x", "-1"])
def test_the_user_of_an_image_is_not_passed_to_the_engine(site, user):
    """The engine takes it from the image; files belong to root if it is no uid."""
    done, found = run(site, {"XDG_USER": user})

    assert 0 == done.status, done.err
    assert not [word for word in of(found, "create")[0] if word.startswith("--user")]


# --- mounts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "flags"), [("podman", ",nosuid,nodev"), ("docker", "")])
def test_mounts_honour_no_setuid_bit_where_the_engine_has_such_an_option(site, engine, flags):
    """Docker has none: there, the folder above the mounts alone keeps other users out."""
    done, found = run(site, {"WORKER_RUNTIME": engine})
    mounts = [word for word in of(found, "create")[0] if word.startswith("--mount=")]

    assert 0 == done.status, done.err
    assert 3 == len(mounts)
    assert all(flags in mount for mount in mounts)


@pytest.mark.parametrize("root", ["default", "chosen"])
def test_a_folder_that_is_mounted_is_below_one_of_the_worker_alone(site, root):
    """Its files may have the setuid bit, which no other user of the machine may use."""
    more = {} if root == "default" else {"WORKER_PFS_ROOT": str(site.root / "pfs")}
    modes = site.root / "modes"
    program = (
        "import os, pathlib\n"
        "if words[0] == 'start':\n"
        "    for word in json.loads(open(os.environ['XDG_CALLS']).read().splitlines()[-2])[0]:\n"
        "        if word.startswith('--mount='):\n"
        "            source = pathlib.Path(word.split('source=')[1].split(',')[0])\n"
        "            above = [oct(each.stat().st_mode)[-3:] for each in source.parents]\n"
        f"            print(*above, file=open({str(modes)!r}, 'a'))\n"
    )
    podman = site.root / "bin" / "podman"
    podman.write_text(ENGINE + program)
    environment = {k: v for k, v in site.environment.items() if k != "WORKER_PFS_ROOT"}
    job = a_job("true", inputs=(an_input(s3=False),), s3Out=False, datumTries=1)
    job["transform"] |= {"image": "debian:12"}
    done = subprocess.run(
        site.command("run", "--job", site.job(job)),
        env={**environment, **more},
        cwd=site.root,
        capture_output=True,
        text=True,
        check=False,
    )
    below = len(Path(site.root).parents) + 1

    assert 0 == done.returncode, done.stderr
    rows = [line.split()[:-below] for line in modes.read_text().splitlines()]
    assert 3 == len(rows)
    # The scratch folder itself, or the private one in the chosen folder.
    assert all("700" in row for row in rows), rows
