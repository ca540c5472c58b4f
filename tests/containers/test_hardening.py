"""Attacks of a container on its machine, with a real engine."""

import json
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import attrs
import pytest
from builders import a_commit, a_job, an_input
from containers.engines import ENGINE, IMAGE, Engine
from scenarios.sites import Site

from worker.supervisor.engine import machine_id

NOBODY = 65534


@attrs.frozen
class OpenSite(Site):
    """A site whose folders every user of this machine can enter, and with the default pfs_root."""

    @property
    def environment(self):
        """The environment of the worker."""
        return {
            "HOME": str(self.root),
            **_without_pfs_root(super().environment),
            **self.more,
        }


def _without_pfs_root(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "WORKER_PFS_ROOT"}


@pytest.fixture
def open_site(engine: Engine):
    """An open site without a container at the end."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        more = {name: os.environ[name] for name in os.environ if name.startswith("WORKER_ENGINE_")}
        site = OpenSite(
            root,
            str(root / "store"),
            {"WORKER_RUNTIME": engine.name, "HOME": os.environ.get("HOME", str(root)), **more},
        )
        site.scratch.mkdir()
        a_commit(site.open(), {"a.txt": b"hello"})
        root.chmod(0o755)
        yield site
        assert [] == engine.containers()


def a_file_job(*stdin: str, **transform) -> dict:
    """Return a job in the image whose output is files."""
    job = a_job(*stdin, inputs=(an_input(s3=False),), s3Out=False, datumTries=1)
    return {**job, "transform": {**job["transform"], "image": IMAGE, **transform}}


def run(site: Site, document: dict, **environment: str) -> dict:
    """Run a job and return its result file."""
    path = site.root / "result.json"
    process = site.worker("run", "--job", site.job(document), "--result", str(path), **environment)
    assert path.exists(), process.err
    return json.loads(path.read_text())


def with_options(site: Site, *options: str) -> dict[str, str]:
    """Return the variable that adds options of the engine."""
    given = site.more.get("WORKER_ENGINE_OPTIONS")
    return {"WORKER_ENGINE_OPTIONS": ",".join(filter(None, [given, *options]))}


# --- what a container leaves in its folders -------------------------------------------------------

TOOL = "/pfs/out/tool"
LEAVE_TOOL = f"cp /usr/bin/id {TOOL}; chmod 6755 {TOOL}; chmod 2777 /pfs/out"


def found_tool(site: Site) -> Path:
    """Return the tool in the folder of the output, as root finds it on the machine."""
    (path,) = [path for path in site.root.rglob("tool") if path.is_file()]
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("root", ["scratch", "pfs_root"])
def test_no_other_user_reaches_a_setuid_program_that_a_container_has_left(open_site, root):
    """While the container runs: afterwards, the folder is removed."""
    if root == "pfs_root":
        (open_site.root / "chosen").mkdir(mode=0o755)
        open_site.more["WORKER_PFS_ROOT"] = str(open_site.root / "chosen")
    pipe = open_site.root / "go"
    os.mkfifo(pipe)
    options = with_options(open_site, f"--volume={pipe}:/go")
    open_site.more.update(options)
    job = open_site.job(a_file_job(LEAVE_TOOL, "echo ready >/go", "read x </go"))
    worker = open_site.start("run", "--job", job)
    try:
        assert "ready\n" == pipe.read_text()
        tool = found_tool(open_site)
        mode = tool.stat().st_mode
        tried = subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" -u', tool],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        pipe.write_text("done\n")
        _, errors = worker.communicate(timeout=60)

    assert mode & stat.S_ISUID
    assert (126, "") == (tried.returncode, tried.stdout), tried
    assert 0 == worker.returncode, errors
    assert [] == open_site.left_over()


def test_no_setuid_bit_setgid_bit_or_capability_is_in_the_output_commit(open_site):
    """A file of a commit has no mode: ``get`` writes it as any other."""
    found = run(open_site, a_file_job(LEAVE_TOOL))
    got = open_site.root / "got"
    open_site.worker("get", "copy", str(got))

    assert 0 == found["exit_code"], found["reason"]
    assert ["tool"] == os.listdir(got)
    assert 0 == (got / "tool").stat().st_mode & 0o7111
    assert [] == os.listxattr(got / "tool")


@pytest.mark.skipif(ENGINE != "podman", reason="docker has no flags of bind mounts")
def test_no_mount_honours_setuid_bits_and_devices(open_site):
    """Nor the inputs, the pipe of the reports, and the secrets."""
    secrets = [{"name": "s", "key": "k", "mountPath": "/var/secrets"}]
    job = a_file_job(
        "grep -E ' (/pfs|/pfs/out|/run/worker/report|/var/secrets) ' /proc/self/mountinfo"
        " | cut -d' ' -f5,6 | sort > /pfs/out/mounts",
        secrets=secrets,
    )
    found = run(open_site, job, WORKER_SECRET_S_K="x" * 8)
    lines = open_site.worker("cat", "copy:mounts").out.splitlines()

    assert 0 == found["exit_code"], found["reason"]
    assert ["/pfs", "/pfs/out", "/run/worker/report", "/var/secrets"] == [
        line.split()[0] for line in lines
    ]
    assert all({"nosuid", "nodev"} <= set(line.split()[1].split(",")) for line in lines), lines


@pytest.mark.skipif(os.geteuid() != 0, reason="mknod needs an engine of root")
def test_a_device_in_the_output_is_rejected_and_not_opened(open_site):
    """1:5 is /dev/zero, which has no end."""
    job = a_file_job("mknod /pfs/out/zero c 1 5")
    found = run(open_site, job, **with_options(open_site, "--cap-add=MKNOD"))

    assert 10 == found["exit_code"], found["reason"]
    assert "/pfs/out/zero: it is a device" in found["reason"]
    assert [] == open_site.left_over()


# --- the command line and the environment of the engine -------------------------------------------


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "STORAGE_OPTS", "CONTAINERS_CONF", "https_proxy", "TMPDIR"]
)
def test_a_variable_of_several_lines_changes_the_command_and_not_the_engine(open_site, name):
    """The command gets it unchanged, in an image with a shell."""
    value = "/nosuch/one.so\n/nosuch/two=x"
    job = a_file_job(f'printf %s "${name}" > /pfs/out/value', env={name: value})
    # Programs of the image are builtins here, or have an absolute path.
    job["transform"]["cmd"] = ["/bin/sh"]
    found = run(open_site, job)

    assert 0 == found["exit_code"], found["reason"]
    assert value == open_site.worker("cat", "copy:value").out


@pytest.mark.parametrize(
    "cmd",
    [
        pytest.param(["--privileged"], id="an option of the engine"),
        pytest.param(["--help"], id="help"),
        pytest.param(['["sh","-c","touch /pfs/out/injected"]'], id="podman's list of words"),
    ],
)
def test_a_program_whose_name_is_an_option_is_a_program(open_site, cmd):
    found = run(open_site, a_file_job("true", cmd=cmd))

    assert 10 == found["exit_code"], found
    assert "it could not be started" in found["reason"]


def test_words_of_the_command_are_not_options_of_the_engine(open_site):
    words = ["--help", "-it", "", "--", "$(id)", "a\nb"]
    cmd = ["sh", "-c", "printf '%s|' \"$@\" > /pfs/out/words", "--privileged", *words]
    found = run(open_site, a_file_job(cmd=cmd, stdin=[]))

    assert 0 == found["exit_code"], found["reason"]
    assert "".join(f"{word}|" for word in words) == open_site.worker("cat", "copy:words").out


@pytest.mark.parametrize("path", ["/a:ro", "/a,readonly=false", '/a"b', "/a,target=/etc"])
def test_a_path_of_a_secret_is_one_mount_in_its_place(open_site, path):
    secrets = [{"name": "s", "key": "k", "mountPath": path}]
    job = a_file_job('cat "$0/k" > /pfs/out/value', secrets=secrets)
    job["transform"]["cmd"] = ["sh", "-c", 'cat "$0/k" > /pfs/out/value', path]
    found = run(open_site, job, WORKER_SECRET_S_K="hush-hush")

    assert 0 == found["exit_code"], found["reason"]
    assert "hush-hush" == open_site.worker("cat", "copy:value").out


def test_commas_colons_and_quotes_in_the_path_of_scratch_are_part_of_it(open_site):
    scratch = open_site.root / 'a,b:c"d'
    scratch.mkdir()
    found = run(open_site, a_file_job("echo 1 > /pfs/out/x"), WORKER_SCRATCH=str(scratch))

    assert (0, 1) == (found["exit_code"], found["files"]), found["reason"]
    assert [] == os.listdir(scratch)


# --- images ---------------------------------------------------------------------------------------


@pytest.fixture
def build(engine, tmp_path):
    """A function that builds an image of lines of a Dockerfile."""
    built = []

    def make(*lines: str) -> str:
        tag = f"localhost/worker-hardening-{len(built)}"
        (tmp_path / "Dockerfile").write_text("\n".join([f"FROM {IMAGE}", *lines, ""]))
        engine.build(tag, tmp_path, "--format=docker")
        built.append(tag)
        return tag

    yield make
    for tag in built:
        engine.call("rmi", "--force", "--", tag, check=False)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(['ENTRYPOINT ["sh", "-c", "exit 9"]'], id="ENTRYPOINT"),
        pytest.param(["VOLUME /pfs/out /pfs /run/worker"], id="VOLUME"),
        pytest.param(["USER 4294967295"], id="USER: a uid that chown takes for none"),
        pytest.param(["HEALTHCHECK CMD touch /pfs/out/health"], id="HEALTHCHECK"),
        pytest.param(["STOPSIGNAL SIGSTOP"], id="STOPSIGNAL"),
        pytest.param(["ENV LD_PRELOAD=/nosuch.so PFS_ROOT=/x S3_ENDPOINT=http://x"], id="ENV"),
        pytest.param(["LABEL worker.agent=x worker.job=y"], id="LABEL"),
        pytest.param(
            ["RUN printf 'root:x:0:x:::\\nlab:x:-1:9:::\\n' > /etc/passwd"], id="passwd without ids"
        ),
        pytest.param(
            ["RUN rm /etc/passwd && truncate -s 64M /etc/passwd", "USER 0"], id="a huge passwd"
        ),
    ],
)
def test_what_an_image_defines_changes_nothing_on_the_machine(open_site, engine, build, lines):
    """The job runs as in any image, or is rejected; nothing of its container is left."""
    image = build(*lines)
    volumes = engine.call("volume", "ls", "--quiet").stdout
    found = run(open_site, a_file_job("test $PFS_ROOT = /pfs; echo 1 > /pfs/out/x", image=image))

    if lines[0].startswith("RUN rm"):
        assert (64, True) == (found["exit_code"], "more than 1,048,576 bytes" in found["reason"])
    elif lines == ["USER 4294967295"]:
        assert found["exit_code"] in (10, 69), found
    else:
        assert (0, 1) == (found["exit_code"], found["files"]), found["reason"]
    assert volumes == engine.call("volume", "ls", "--quiet").stdout
    assert [] == open_site.left_over()


def test_an_image_does_not_have_its_containers_removed(open_site, engine, build):
    """It defines the labels of a worker that is gone; its container is not of a worker."""
    gone = f"{machine_id()}/{2**22 + 1}/1"
    image = build(f"LABEL worker.agent={gone} worker.job=x")
    other = engine.call("create", *engine.options(), image, "true").stdout.strip()
    try:
        found = run(open_site, a_file_job("echo 1 > /pfs/out/x"))
        left = engine.containers()
    finally:
        engine.call("rm", "--force", other)

    assert 0 == found["exit_code"], found["reason"]
    assert [True] == [other.startswith(each) for each in left]


def test_an_image_without_a_shell_runs_a_command_unless_a_variable_needs_the_shell(
    open_site, build
):
    image = build("RUN mv /bin/sh /bin/none")
    job = a_file_job(cmd=["cp", "/pfs/labresults/a.txt", "/pfs/out/a"], stdin=[], image=image)
    plain = run(open_site, job)
    job["transform"]["env"] = {"KEY": "a\nb"}
    needed = run(open_site, job)

    assert (0, 1) == (plain["exit_code"], plain["files"]), plain["reason"]
    assert 10 == needed["exit_code"]
    assert "by /bin/sh, which the image needs to set KEY" in needed["reason"]
