"""``/pfs`` and secrets at the literal paths of a job, on machines that permit them and that do not.

Each test has a machine of its own, as root and as an ordinary user. In the end, nothing is left of
``/pfs`` and of the mounts.
"""

import json
import signal
import subprocess
import time

import attrs
import pytest
from builders import a_commit, a_job, an_input
from machines import Machine, a_machine
from scenarios.sites import Output, Site

USER = 4001
COPY = ("cp /pfs/labresults/a.txt /pfs/out/b", "ln -s /pfs/labresults/a.txt /pfs/out/link")


@attrs.frozen
class Place:
    """A worker on a machine of its own."""

    site: Site
    machine: Machine
    uid: int = 0
    forbidden: bool = False
    """Whether the worker gets no mount namespace."""

    def command(self, *arguments, forbidden=None) -> list[str]:
        return self.machine.command(
            *self.site.command(*arguments),
            uid=self.uid,
            forbidden=self.forbidden if forbidden is None else forbidden,
        )

    @property
    def environment(self) -> dict:
        return {k: v for k, v in self.site.environment.items() if k != "WORKER_PFS_ROOT"}

    def start(self, *arguments, **environment) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.site.root,
            env={**self.environment, **environment},
        )

    def worker(self, *arguments, **environment) -> Output:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=240)
        return Output(process.returncode, out, err)

    def run(self, document, *flags, name="result.json", **environment) -> dict:
        """Run a job and return its result."""
        result = self.site.root / name
        job = self.site.job(document, f"job-{name}")
        done = self.worker("run", "--job", job, "--result", result, *flags, **environment)
        found = json.loads(result.read_text())
        assert done.status == found["exit_code"], done.err
        return found

    def files(self, result: dict) -> dict[str, str]:
        """Return the files of the output of a run."""
        folder = self.site.root / "output"
        assert 0 == self.worker("get", result["output"], folder).status
        return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def machine(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    with a_machine(tmp_path / "machine", shared) as machine:
        yield machine


@pytest.fixture
def place(tmp_path, machine):
    """A function that returns a worker as *uid*; nothing of its mounts is left in the end."""
    shared = tmp_path / "shared"
    site = Site(shared, str(shared / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a.txt": b"hello"})
    expected: list[str] = []
    mounts: list[str] = []

    def make(uid=0, *, forbidden=False, before="") -> Place:
        machine.run(f"{before}\nchown -R {uid}:{uid} {shared}")
        expected[:] = machine.left_over("/pfs", "/etc/lab")
        mounts[:] = machine.run("cat /proc/self/mountinfo").splitlines()
        return Place(site, machine, uid, forbidden)

    yield make
    assert expected == machine.left_over("/pfs", "/etc/lab")
    assert mounts == machine.run("cat /proc/self/mountinfo").splitlines()
    assert [] == site.left_over()


def a_file_job(*stdin, transform=None, **changes):
    changes = {"inputs": (an_input(s3=False),), "s3Out": False, "datumTries": 1, **changes}
    job = a_job(*stdin, **changes)
    return {**job, "transform": {**job["transform"], **(transform or {})}}


AGENTS = [
    pytest.param({}, id="root"),
    pytest.param({"uid": USER}, id="user"),
    pytest.param({"forbidden": True}, id="root without mounts"),
    pytest.param(
        {"uid": USER, "forbidden": True, "before": f"install -d -o {USER} /pfs"},
        id="user without mounts and with a folder",
    ),
]
WITH_MOUNTS = AGENTS[:2]
WITHOUT_MOUNTS = [
    pytest.param({"forbidden": True}, id="root"),
    pytest.param({"uid": USER, "forbidden": True}, id="user"),
]
TAKEN = "mkdir /pfs; touch /pfs/mine"


@pytest.mark.parametrize("agent", AGENTS)
def test_a_job_with_files_has_literal_paths(place, agent):
    """The worker commits what the command wrote, also links by the literal path."""
    here = place(**agent)
    found = here.run(
        a_file_job(*COPY, "test $PFS_ROOT = /pfs", "test $labresults = /pfs/labresults")
    )

    assert (0, []) == (found["exit_code"], found["warnings"]), found["reason"]
    assert {"b": "hello", "link": "hello"} == here.files(found)


@pytest.mark.parametrize("agent", AGENTS)
def test_links_in_the_output_are_followed_by_literal_paths(place, agent):
    """The worker may have the folders elsewhere; the command's user may be another one."""
    here = place(**agent)
    transform = {"user": "4002"} if here.uid == 0 else {}
    found = here.run(
        a_file_job(
            "echo own > /pfs/out/own",
            "ln -s /pfs/out/own /pfs/out/to_own",
            "d=$(mktemp -d); chmod 700 $d; echo temporary > $d/file",
            "ln -s /pfs/labresults/a.txt $d/input",
            "ln -s $d/file /pfs/out/temporary; ln -s $d/input /pfs/out/chain",
            "ln -s /etc/passwd /pfs/out/passwd",
            transform=transform,
        )
    )

    assert (0, []) == (found["exit_code"], found["warnings"]), found["reason"]
    files = here.files(found)
    assert "root:" in files.pop("passwd")
    expected = {"own": "own\n", "to_own": "own\n", "temporary": "temporary\n", "chain": "hello"}
    assert expected == files


@pytest.mark.parametrize("agent", WITH_MOUNTS)
@pytest.mark.parametrize("path", ["/etc/lab/password", "/pfs/.env"])
def test_a_link_to_a_secret_at_its_literal_path_is_refused(place, agent, path):
    """It would commit the secret."""
    here = place(**agent)
    secrets = here.site.root / "secrets"
    (secrets / "db").mkdir(parents=True)
    (secrets / "db" / "password").write_text("secret")
    here.machine.run(f"chown -R {here.uid} {secrets}")
    transform = {"secrets": [{"name": "db", "mountPath": "/etc/lab"}]}
    found = here.run(
        a_file_job(f"test -r {path}", f"ln -s {path} /pfs/out/x", transform=transform),
        WORKER_SECRETS=str(secrets),
    )

    assert 10 == found["exit_code"], found["reason"]
    assert "/pfs/out/x: it is a symbolic link to a secret" in found["reason"]


@pytest.mark.parametrize("agent", WITH_MOUNTS)
def test_a_taken_pfs_is_covered_for_the_command_and_unchanged(place, agent):
    here = place(**agent, before=TAKEN)
    found = here.run(a_file_job(*COPY, "test ! -e /pfs/mine"))

    assert (0, []) == (found["exit_code"], found["warnings"]), found["reason"]


def test_a_volume_at_pfs_holds_the_files(place):
    """It has been provided for them, so root does not cover it either."""
    here = place(before="mkdir /pfs; mount -t tmpfs volume /pfs")
    found = here.run(a_file_job(*COPY, "test $(stat -f -c %T /pfs) = tmpfs"))

    assert (0, []) == (found["exit_code"], found["warnings"]), found["reason"]
    assert {"b": "hello", "link": "hello"} == here.files(found)


@pytest.mark.parametrize("agent", WITHOUT_MOUNTS)
def test_a_job_without_literal_paths_is_warned_and_has_pfs_root(place, agent):
    """The warning names both reasons and the remedies; the plan has it, and the commit."""
    here = place(**agent, before=TAKEN)
    job = a_file_job("test ! -e /pfs/labresults", "cp $labresults/a.txt $PFS_ROOT/out/")
    found = here.run(job)
    planned = json.loads(here.worker("plan", "--json", "--job", here.site.job(job)).out)
    shown = here.worker("show", found["output"]).out

    assert 0 == found["exit_code"], found["reason"]
    (warning,) = found["warnings"]
    assert [warning] == planned["warnings"]
    assert warning[:40] in shown
    for part in ("/pfs: ", "unshare: Operation not permitted", "$PFS_ROOT", "CAP_SYS_ADMIN"):
        assert part in warning
    assert ("it is not empty" if not here.uid else "may not write to it") in warning
    assert "<scratch>/pfs" == planned["environment"]["PFS_ROOT"]


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("agent", WITHOUT_MOUNTS)
def test_a_required_pfs_that_cannot_be_had_is_a_configuration_error(place, agent, command):
    here = place(**agent, before=TAKEN)
    done = here.worker(command, "--job", here.site.job(a_file_job("true")), "--pfs-root", "/pfs")

    assert 78 == done.status, done.err
    assert "pfs_root: /pfs: " in done.err
    assert "--pfs-root" in done.err


@pytest.mark.parametrize("agent", WITH_MOUNTS)
def test_a_required_pfs_may_be_a_mount(place, agent):
    here = place(**agent, before=TAKEN)

    assert 0 == here.run(a_file_job(*COPY), "--pfs-root", "/pfs")["exit_code"]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ({}, "/pfs, a private mount"),
        ({"uid": USER}, "/pfs, a private mount"),
        ({"uid": USER, "before": f"install -d -o {USER} /pfs"}, "/pfs\n"),
        ({"forbidden": True}, "/pfs\n"),
        ({"uid": USER, "forbidden": True}, "<scratch>/pfs; none are at /pfs"),
    ],
    ids=["root", "user", "user with a folder", "root without mounts", "user without mounts"],
)
def test_a_plan_shows_where_the_files_will_be(place, agent, expected):
    here = place(**agent)
    done = here.worker("plan", "--job", here.site.job(a_file_job(*COPY)))

    (line,) = [each for each in done.out.splitlines(keepends=True) if each.startswith("files")]
    assert expected in line


@pytest.mark.parametrize("agent", [*AGENTS[:3], WITHOUT_MOUNTS[1]])
def test_a_job_without_files_leaves_pfs_alone(place, agent):
    """It has neither the folder nor a mount nor a warning, whatever the machine permits."""
    here = place(**agent)
    found = here.run(
        a_job("test ! -e /pfs", f"test ! -e {here.site.root}/pfs", "test -d $labresults"),
        WORKER_PFS_ROOT=str(here.site.root / "pfs"),
    )

    assert 0 == found["exit_code"], found["reason"]
    assert ["the output is empty"] == [text[:19] for text in found["warnings"]]


@pytest.mark.parametrize("command", ["gateway", "shell"])
def test_the_buckets_of_a_job_without_files_do_not_need_pfs(place, command):
    here = place(forbidden=True)
    look = ("--", "sh", "-c", "env; read -r _") if command == "shell" else ()
    run = here.start(command, "--job", here.site.job(a_job()), *look)
    try:
        line = run.stdout.readline()
        while "PFS_ROOT=" not in line:
            line = run.stdout.readline()
        left = here.machine.left_over("/pfs")
    finally:
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)

    assert str(here.site.scratch) in line
    assert [] == left


# --- at the same time -----------------------------------------------------------------------------


def meeting(site, *stdin):
    """Return a job whose command waits until that of another such job runs."""
    wait = (
        f"echo > {site.root}/meet-$PACH_JOB_ID; while test $(ls {site.root}/meet-* | wc -l) -lt 2"
    )
    return a_file_job(f"{wait}; do sleep 0.05; done", *stdin)


@pytest.mark.parametrize("second", [0, USER], ids=["root", "user"])
@pytest.mark.parametrize("first", [0, USER], ids=["root", "user"])
def test_two_jobs_at_once_have_literal_paths(tmp_path, place, first, second):
    """Each sees its own files only, and neither removes the mount point of the other."""
    here = place(first)
    here.machine.run(f"chmod -R a+rwX {here.site.root}")
    runs = []
    for number, uid in enumerate((first, second)):
        each = attrs.evolve(here, uid=uid)
        script = f"echo {number} > /pfs/out/f; sleep 0.2; test $(cat /pfs/out/f) = {number}"
        document = meeting(
            here.site, script, "test $(ls /pfs/out) = f", "cat /pfs/labresults/a.txt"
        )
        document["pipeline"] = {"name": f"copy{number}"}
        path = here.site.job(document, f"job-{number}.json")
        # Each user has a store of its own: they could not write to the same one.
        store = tmp_path / "shared" / f"store-{number}"
        given = ("--store", store, "--scratch", tmp_path / "shared" / "scratch" / f"of-{number}")
        here.machine.run(f"cp -r {here.site.store} {store}; chown -R {uid}:{uid} {store}")
        here.machine.run(f"install -d -o {uid} {given[3]}")
        runs.append(each.start("run", "--job", path, *given))
    done = [run.communicate(timeout=120) for run in runs]
    here.machine.run(f"rmdir {here.site.scratch}/of-*")

    assert [0, 0] == [run.returncode for run in runs], done


def test_a_gateway_with_files_has_the_folder_and_a_job_beside_it_a_mount(place):
    """Programs that the gateway does not start see no mounts. The job does not detach anything."""
    here = place()
    gateway_job = here.site.job(a_job(inputs=(an_input(s3=False),)), "gateway.json")
    gateway = here.start("gateway", "--job", gateway_job, "--json")
    try:
        variables = json.loads(gateway.stdout.readline())
        here.machine.run(f"test $(cat {variables['labresults']}/a.txt) = hello")
        found = here.run(a_file_job(*COPY, "test ! -e /pfs/other", "touch /pfs/other"))
        there = here.machine.run("ls -A /pfs")
    finally:
        gateway.send_signal(signal.SIGINT)
        gateway.communicate(timeout=60)

    assert "/pfs/labresults" == variables["labresults"]
    assert 0 == found["exit_code"], found["reason"]
    assert ".env\nlabresults\n" == there
    assert 0 == gateway.returncode


def test_a_gateway_that_cannot_have_the_folder_warns(place):
    """Its clients find the files by the variables that it prints."""
    here = place(USER)
    job = here.site.job(a_job(inputs=(an_input(s3=False),)))
    gateway = here.start("gateway", "--job", job, "--json")
    try:
        variables = json.loads(gateway.stdout.readline())
        here.machine.run(f"test $(cat {variables['labresults']}/a.txt) = hello")
    finally:
        gateway.send_signal(signal.SIGINT)
        _, log = gateway.communicate(timeout=60)

    assert variables["PFS_ROOT"].startswith(str(here.site.scratch))
    assert "/pfs: the files of the job are not there, but in $PFS_ROOT" in log
    assert "a program that worker does not start sees no private mount" in log


# --- supervision ----------------------------------------------------------------------------------


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("agent", WITH_MOUNTS)
def test_a_killed_worker_leaves_no_process_no_mount_and_no_folder(place, agent):
    here = place(**agent)
    mark = here.site.root / "started"
    job = here.site.job(a_file_job(f"touch {mark}", "setsid sleep 4321 & sleep 4321"))
    run = here.start("run", "--job", job)
    wait_for(mark.exists)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)

    # The shim, which outlives the worker, ends the processes and then removes its mount points.
    wait_for(lambda: not here.machine.run("pgrep -f '^sleep 4321$' || true"))
    wait_for(lambda: not here.machine.left_over("/pfs"))
    # The next run removes the scratch folder of one that was killed.
    assert 0 == here.run(a_file_job(*COPY))["exit_code"]


@pytest.mark.parametrize("agent", WITH_MOUNTS)
def test_a_command_that_kills_its_supervisor_leaves_no_mount_and_no_folder(place, agent):
    here = place(**agent)
    found = here.run(a_file_job("setsid sleep 4323 &", "kill -9 $PPID; sleep 4323"))

    assert (69, "unavailable") == (found["exit_code"], found["cause"])
    assert "" == here.machine.run("pgrep -f '^sleep 4323$' || true")


@pytest.mark.parametrize("agent", WITH_MOUNTS)
def test_a_command_with_mounts_is_supervised_as_any_other(place, agent):
    """A timeout ends the whole tree; what it left running is reported."""
    here = place(**agent)
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    late = here.run(a_file_job(f"({stubborn}) & {stubborn}", datumTimeout="1s"), WORKER_GRACE="1s")
    left = here.run(a_file_job(*COPY, "setsid sleep 4322 &"), name="left.json")

    assert (11, "datum timeout") == (late["exit_code"], late["cause"])
    assert 0 == left["exit_code"]
    assert ["sleep 4322"] == [text.rpartition(": ")[2] for text in left["warnings"]]


def test_a_command_as_another_user_has_literal_paths(place):
    """The mounts are made before the change of user; a user of the job has no capability."""
    here = place()
    script = 'test "$(id -u):$(id -G)" = 4005:4006', "grep -q 'CapEff:.0*$' /proc/self/status"
    found = here.run(
        a_file_job(*COPY, *script, transform={"user": "4005:4006"}),
    )

    assert 0 == found["exit_code"], found["reason"]


HOSTILE = (
    "umount /pfs",
    "unshare --user --map-root-user --mount umount -l /pfs",
    "mv /pfs /pfs2",
    "rmdir /pfs",
    "mount -t tmpfs none /pfs/labresults",
    "mount --move /pfs /mnt",
    "umount -l /pfs",
)


def test_a_user_cannot_change_the_mounts_of_its_command(place):
    here = place(USER)
    found = here.run(a_file_job(*(f"if {each}; then exit 9; fi" for each in HOSTILE), *COPY))

    assert 0 == found["exit_code"], (found["reason"], found["log_tail"])


def test_a_change_of_the_mounts_by_root_ends_with_its_command(place):
    """Whatever the command does to its own view, the worker and other jobs keep theirs."""
    here = place()
    found = here.run(a_file_job("cd /", *COPY, *(f"{each} || true" for each in HOSTILE)))
    after = here.run(a_file_job(*COPY), name="after.json")

    assert (0, 0) == (found["exit_code"], after["exit_code"]), (found, after)
    assert {"b": "hello", "link": "hello"} == here.files(found)


# --- secrets --------------------------------------------------------------------------------------


def a_secret_job(*stdin, paths=("/etc/lab/deep",), **changes):
    secrets = [{"name": "db", "mountPath": path} for path in paths]
    return a_file_job(*stdin, transform={"secrets": secrets}, **changes)


SECRET = {"WORKER_SECRET_DB_PASSWORD": "hush hush"}


@pytest.mark.parametrize("agent", WITH_MOUNTS)
@pytest.mark.parametrize("has_files", [True, False], ids=["files", "buckets"])
def test_a_secret_is_at_its_literal_path(place, agent, has_files):
    """Whether the path exists or not; it is read-only, and other entries beside it are there."""
    here = place(**agent)
    changes = {} if has_files else {"inputs": (an_input(),), "s3Out": True}
    paths = ("/etc/lab/deep", "/etc/lab/deep/er", "/etc/apt", "/credentials", "//etc/lab/./x")
    script = (
        'test "$(cat {0}/password)" = "hush hush"',
        "cmp {0}/password $WORKER_SECRETS_ROOT{0}/password",
        "if touch {0}/x; then exit 8; fi",
        "if rm -f {0}/password; then exit 9; fi",
    )
    found = here.run(
        a_secret_job(
            *(line.format(path) for path in paths for line in script),
            "test -e /etc/passwd -a -e /proc/self/mounts -a -d /etc/ssl -a -w /tmp",
            "test ! -e /etc/apt/apt.conf.d",
            paths=paths,
            **changes,
        ),
        **SECRET,
    )

    assert 0 == found["exit_code"], (found["reason"], found["log_tail"])
    assert [] == [text for text in found["warnings"] if "mountPath" in text]


@pytest.mark.parametrize(
    ("agent", "path", "reason"),
    [
        ({"forbidden": True}, "/etc/lab", "Operation not permitted"),
        ({"uid": USER, "forbidden": True}, "/etc/lab", "Operation not permitted"),
        ({}, "/", "would hide the scratch directory"),
        ({}, "/proc/lab", "nothing can be mounted in /proc"),
        ({}, "/pfs/labresults", "/pfs holds the files of the job"),
        ({}, "/etc/passwd", "not a folder"),
        ({}, "/etc/passwd/below", "not a folder"),
    ],
)
def test_a_secret_that_cannot_be_at_its_path_is_below_the_root_of_secrets(
    place, agent, path, reason
):
    """A warning of the run and of the plan says so."""
    here = place(**agent)
    job = a_secret_job(f"test -s $WORKER_SECRETS_ROOT{path}/password", paths=(path,))
    found = here.run(job, **SECRET)
    planned = json.loads(here.worker("plan", "--json", "--job", here.site.job(job)).out)

    assert 0 == found["exit_code"], (found["reason"], found["log_tail"])
    warning = next(text for text in found["warnings"] if "mountPath" in text)
    assert warning in planned["warnings"]
    assert f"mountPath {path} are in $WORKER_SECRETS_ROOT{path} only" in warning
    assert reason in warning


# --- variables ------------------------------------------------------------------------------------


ODD = {"ODD": "a 'b' \"c\" $HOME `id`\n\\d ~ !#é", "EMPTY": "", "UID": "7"}


@pytest.mark.parametrize("agent", WITH_MOUNTS)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_variables_of_the_command_can_be_sourced(place, agent, shell):
    """A shell without an environment gets those of the command, and only its user can."""
    here = place(**agent)
    script = (
        'printf %s "$ODD" > /pfs/out/odd; printf %s "$labresults $PACH_DATUM_ID $S3_ENDPOINT" '
        "> /pfs/out/more"
    )
    document = a_file_job(
        'test "$(stat -c %a:%u /pfs/.env)" = 400:$(id -u)',
        f"env -i {shell} -euc '. /pfs/.env; {script}'",
        'test "$(cat /pfs/out/more)" = "$labresults $PACH_DATUM_ID $S3_ENDPOINT"',
        inputs=(an_input(s3=False), an_input(name="bucket", repo="labresults")),
        transform={"env": ODD},
    )
    found = here.run(document)

    assert 0 == found["exit_code"], (found["reason"], found["log_tail"])
    assert ODD["ODD"] == here.files(found)["odd"]


def test_the_variables_belong_to_the_user_of_the_job(place):
    here = place()
    document = a_file_job(
        'test "$(stat -c %a:%u:%g /pfs/.env)" = 400:4005:4006',
        "(. /pfs/.env)",
        transform={"user": "4005:4006"},
    )

    assert 0 == here.run(document)["exit_code"]


def test_each_datum_and_each_try_has_its_own_variables(place):
    """Also after a command has replaced the file by a link."""
    here = place(USER)
    a_commit(here.site.open(), {"a.txt": b"hello", "b.txt": b"hello"})
    here.machine.run(f"chown -R {USER} {here.site.store}")
    target, again = here.site.root / "target", here.site.root / "again"
    script = (
        "test \"$(env -i sh -c '. /pfs/.env; echo $PACH_DATUM_ID')\" = $PACH_DATUM_ID",
        f"test -e {again} || {{ touch {again} {target}; ln -sf {target} /pfs/.env; exit 3; }}",
    )
    inputs = (an_input(s3=False, glob="/*"),)
    found = here.run(a_file_job(*script, inputs=inputs, datumTries=2))

    assert 0 == found["exit_code"], (found["reason"], found["log_tail"])
    assert b"" == target.read_bytes()
    assert [2, 1] == [each["tries"] for each in found["datums"]]
