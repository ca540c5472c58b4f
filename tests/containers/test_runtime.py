"""Commands in containers of a real engine: the same job, the same output, and nothing left."""

import json
import signal
import time

import pytest
from builders import a_commit, a_job, an_id, an_input
from containers.engines import IMAGE

from worker.model import BranchName, Repo
from worker.supervisor.engine import current_agent

COPY = BranchName(Repo("default", "copy"))

# Reads an object and writes it, with nothing but what bash has.
S3 = r"""
host=${S3_ENDPOINT#http://}
ask() {
  exec 3<>"/dev/tcp/${host%:*}/${host#*:}"
  printf '%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %s\r\n\r\n' \
    "$1" "$host" "${#2}" >&3
  printf %s "$2" >&3
  sed '1,/^\r$/d' <&3
}
for key in a.txt "b/%C3%BC%20c.txt"; do
  body=$(ask "GET /labresults/$key" "" | tr a-z A-Z)
  ask "PUT /out/$key" "$body"
done
"""


def in_image(document: dict, image: str = IMAGE, **transform) -> dict:
    """Return the document with an image."""
    return {**document, "transform": {**document["transform"], "image": image, **transform}}


def a_file_job(*stdin: str, **changes) -> dict:
    """Return a job without any bucket, in the image."""
    transform = changes.pop("transform", {})
    job = a_job(*stdin, inputs=(an_input(s3=False),), s3Out=False, datumTries=1, **changes)
    return in_image(job, **transform)


@pytest.fixture(autouse=True)
def _input_commit(request):
    if "site" in request.fixturenames:
        store = request.getfixturevalue("site").open()
        a_commit(store, {"a.txt": b"hello", "b/ü c.txt": b"there"})


def ran(site, document, **environment):
    """Run a job and return what its result file says."""
    path = site.root / "result.json"
    said = site.worker("run", "--job", site.job(document), "--result", str(path), **environment)
    assert path.exists(), said.err
    found = json.loads(path.read_text())
    assert said.status == found["exit_code"], said.err
    return found


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            in_image(a_job(S3, transform={"cmd": ["bash"], "stdin": ["set -e", S3]})), id="buckets"
        ),
        pytest.param(
            a_file_job(
                "cp -r $labresults/. $PFS_ROOT/out",
                "ln -s $labresults/a.txt $PFS_ROOT/out/link",
                "ln -s link $PFS_ROOT/out/second",
            ),
            id="files",
        ),
    ],
)
def test_the_same_job_gives_the_same_tree_in_an_image(site, document):
    """In an image without Python as on this machine, and the commit says which image."""
    here = ran(site, document, WORKER_RUNTIME="process")
    there = ran(site, document)

    assert (0, 0) == (here["exit_code"], there["exit_code"]), there
    assert here["files"] >= 2
    assert here["digest"] == there["digest"]
    job = site.open().commit(site.open().head(COPY).commit).job
    assert IMAGE == job["image"]
    assert "sha256:" in job["image_digest"]
    assert [] == site.left_over()


def test_python_is_not_needed_in_the_image(site):
    """Nothing of the worker is in the container."""
    found = ran(site, a_file_job("! command -v python3", "ls / > /pfs/out/x"))

    assert (0, 1) == (found["exit_code"], found["files"])


def test_inputs_are_read_only_even_for_root(site):
    """A container's root can't change them either."""
    found = ran(site, a_file_job("! touch /pfs/labresults/x", "! rm -f /pfs/labresults/a.txt"))

    assert 0 == found["exit_code"], found["log_tail"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param("1234:99", "1234:99:99", id="uid and gid"),
        pytest.param("1234", "1234:1234:1234", id="a uid, and never root's groups"),
        pytest.param("daemon", "1:1:1", id="a name of the image"),
    ],
)
def test_the_command_runs_as_the_user_of_the_job(site, user, expected):
    """And may write its output, and read its secrets."""
    (site.root / "secrets" / "s").mkdir(parents=True)
    (site.root / "secrets" / "s" / "key").write_text("hush hush")
    secrets = [{"name": "s", "mountPath": "/etc/lab"}]
    job = a_file_job(
        'echo "$(id -u):$(id -g):$(id -G)" > /pfs/out/who',
        "wc -c < /etc/lab/key > /pfs/out/size",
        "cmp /etc/lab/key $WORKER_SECRETS/etc/lab/key",
        transform={"user": user, "secrets": secrets},
    )
    found = ran(site, job, WORKER_SECRETS=str(site.root / "secrets"))

    assert 0 == found["exit_code"], found["reason"]
    assert f"{expected}\n" == site.worker("cat", "copy:who").out
    assert "9" == site.worker("cat", "copy:size").out.strip()


def test_the_environment_is_the_image_s_and_the_job_s(site):
    """PATH is the image's; values of any form get in whole; the agent's own stay out."""
    env = {"ODD": " # 'a' \"b\" $HOME ", "LINES_OF": "-----BEGIN\nx\n-----END"}
    job = a_file_job(
        'printf %s "$ODD" > /pfs/out/odd',
        'printf %s "$LINES_OF" > /pfs/out/lines',
        'printf %s "$PATH$WORKER_STORE$PYTHONPATH" > /pfs/out/path',
        transform={"env": env},
    )
    found = ran(site, job, PYTHONPATH=site.environment["PYTHONPATH"])

    assert 0 == found["exit_code"], found["reason"]
    assert env["ODD"] == site.worker("cat", "copy:odd").out
    assert env["LINES_OF"] == site.worker("cat", "copy:lines").out
    path = site.worker("cat", "copy:path").out
    assert path.endswith("/bin")
    assert str(site.root) not in path


def test_another_network_reaches_a_gateway_that_listens_there(site):
    """Bound to all addresses, the gateway is told by the one that others can connect to."""
    options = [site.more.get("WORKER_ENGINE_OPTIONS"), "--network=bridge"]
    job = in_image(a_job(transform={"cmd": ["bash"], "stdin": ["set -e", S3]}))
    found = ran(
        site,
        job,
        WORKER_ENGINE_OPTIONS=",".join(filter(None, options)),
        WORKER_GATEWAY_HOST="0.0.0.0",
        WORKER_GATEWAY_AUTH="none",
    )

    assert (0, 2) == (found["exit_code"], found["files"]), found["reason"]


def test_each_datum_has_a_container_of_its_own(site):
    """Of a cross, each sees its own file, and one commit holds what all left."""
    job = a_job(
        "ls $PFS_ROOT/labresults | tr -d ' ' >> /tmp/seen",
        'test "$(cat /tmp/seen | wc -l)" = 1',
        "cp /tmp/seen $PFS_ROOT/out/$(cat /tmp/seen)",
        inputs=(an_input(s3=False, glob="/*"),),
        s3Out=False,
    )
    found = ran(site, in_image(job))

    assert (0, 2, 2) == (found["exit_code"], found["files"], len(found["datums"]))


def test_the_error_command_runs_in_the_image_too(site):
    """And what the failed try left is not in the output."""
    job = a_file_job(
        "touch /pfs/out/half; exit 9",
        transform={"errCmd": ["sh", "-c", 'test "$PACH_ERROR_CODE" = 9 && ! command -v python3']},
    )
    found = ran(site, job)

    assert (0, "recovered", 0) == (found["exit_code"], found["cause"], found["files"])


def test_a_shell_is_in_the_image(site):
    """With --commit its files are the output."""
    job = site.job(a_file_job())
    script = "! command -v python3 && cp /pfs/labresults/a.txt /pfs/out/b"
    said = site.worker("shell", "--job", job, "--commit", "--", "sh", "-c", script)

    assert 0 == said.status, said.err
    assert "hello" == site.worker("cat", "copy:b").out


def test_clients_in_the_image_can_trust_a_certificate_made_for_the_job(site):
    """The authority is a file inside, and the variables say where."""
    job = in_image(a_job('grep -q "BEGIN CERTIFICATE" "$AWS_CA_BUNDLE"', "echo $S3_ENDPOINT >&2"))
    found = ran(site, job, WORKER_GATEWAY_TLS="self-signed")

    assert 0 == found["exit_code"], found["reason"]
    assert "https://127.0.0.1" in found["log_tail"][-1]


def test_what_it_reports_is_heard(site):
    """The pipe for reports leads out of the container."""
    found = ran(site, a_file_job("""echo '{"metrics": {"rows": 7}}' > $WORKER_REPORT"""))

    assert {"metrics": {"rows": 7}} == found["reports"]


@pytest.mark.parametrize(
    ("transform", "code", "reason"),
    [
        pytest.param({"cmd": ["sh", "-c", "exit 3"]}, 10, "exited with code 3", id="a code"),
        pytest.param({"cmd": ["sh", "-c", "exit 125"]}, 10, "exited with code 125", id="125"),
        pytest.param({"cmd": ["sh", "-c", "exit 127"]}, 10, "exited with code 127", id="127"),
        pytest.param({"cmd": ["nosuch"]}, 10, "nosuch: it could not be started", id="not found"),
        pytest.param(
            {"cmd": ["/etc/passwd"]}, 10, "/etc/passwd: it could not be started", id="no program"
        ),
        pytest.param({"workingDir": "/nosuch"}, 10, "/nosuch", id="no working directory"),
        pytest.param({"user": "nosuch"}, 64, "has no such user", id="no such user"),
        pytest.param({"image": "UPPER CASE"}, 64, "transform.image UPPER CASE", id="no image name"),
        pytest.param(
            {"image": "registry.invalid/x"}, 69, "registry.invalid", id="no such registry"
        ),
    ],
)
def test_how_it_fails_is_told(site, transform, code, reason):
    """The engine's failures and the command's are not the same."""
    found = ran(site, a_file_job("true", transform=transform))

    assert (code, True) == (found["exit_code"], reason in found["reason"]), found["reason"]
    assert [] == site.left_over()


def test_an_option_that_the_engine_does_not_know_is_a_wrong_configuration(site):
    """Exit 78."""
    found = ran(site, a_file_job("true"), WORKER_ENGINE_OPTIONS="--nosuch")

    assert 78 == found["exit_code"], found["reason"]


def test_what_it_leaves_running_ends_with_it(site, running):
    """The container's processes end with the command."""
    found = ran(site, a_file_job("setsid sleep 1000 & sleep 1000 &", "exit 0"))

    assert 0 == found["exit_code"], found["reason"]
    assert [] == running()


def test_out_of_memory_is_told(site):
    """Exit 13 for a command that was killed for the limit of its container."""
    options = ",".join(
        filter(None, [site.more.get("WORKER_ENGINE_OPTIONS"), "--memory=64m", "--memory-swap=64m"])
    )
    job = a_file_job("true", transform={"cmd": ["sh", "-c", "exec tail /dev/zero"]})
    found = ran(site, job, WORKER_ENGINE_OPTIONS=options)

    assert (13, "out of memory") == (found["exit_code"], found["cause"]), found["reason"]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 1000", id="a shell that waits"),
        pytest.param("trap '' TERM; while :; do sleep 1; done", id="one that ignores SIGTERM"),
    ],
)
def test_a_datum_that_takes_too_long_is_ended(site, running, script):
    """Within the grace, whatever it does."""
    began = time.monotonic()
    found = ran(site, a_file_job(script, datumTimeout="2s"), WORKER_GRACE="2s")

    assert 11 == found["exit_code"], found["reason"]
    assert time.monotonic() - began < 30
    assert [] == running()
    assert [] == site.left_over()


async def a_run_that_waits(site, running, until, *, stdin="sleep 1000", **transform):
    """Start a run and return it once its command is at work."""
    document = a_file_job(f"{stdin} # waits", job={"id": an_id()}, transform=transform)
    worker = site.start("run", "--job", site.job(document))
    await until(lambda: any(line.startswith("sleep") for line in running()))
    return worker


async def test_a_signal_ends_the_container(site, running, until):
    """Exit 75, and within the grace: an init passes SIGTERM on to the shell."""
    worker = await a_run_that_waits(site, running, until)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)

    assert 75 == worker.returncode, err
    assert time.monotonic() - began < 9
    await until(lambda: not running())
    assert [] == site.left_over()
    assert site.open().head(COPY) is None


async def test_a_second_signal_is_faster(site, running, until):
    """A container that ignores SIGTERM does not get its grace then."""
    site.more["WORKER_GRACE"] = "300"
    stdin = "trap '' TERM; sleep 1000; sleep 1000"
    worker = await a_run_that_waits(site, running, until, stdin=stdin)
    worker.send_signal(signal.SIGTERM)
    await until(lambda: "run.stopping" in worker.stderr.readline())
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)

    assert 75 == worker.returncode
    await until(lambda: not running())


async def test_an_agent_that_is_killed_leaves_no_container(site, engine, running, until):
    """The keeper outlives it for a moment, and has the engine remove it."""
    worker = await a_run_that_waits(site, running, until)
    worker.kill()
    worker.communicate(timeout=60)

    await until(lambda: not running())
    await until(lambda: not engine.containers())


def test_the_container_of_a_worker_that_is_no_more_is_removed(site, engine):
    """If even the keeper was killed, the next run tidies up."""
    ours = current_agent()
    dead, alive = f"{ours.machine}/{2**22 + 1}/1", str(ours)
    names = []
    for agent in (dead, alive):
        labels = ("--label=worker.job=x", f"--label=worker.agent={agent}")
        line = ("run", "--detach", "--init", *engine.options(), *labels, IMAGE, "sleep", "1000")
        names.append(engine.call(*line).stdout.strip())
    try:
        ran(site, a_file_job("true"))
        left = engine.containers()
    finally:
        for name in names:
            engine.call("rm", "-f", name, check=False)

    assert [True] == [names[1].startswith(each) for each in left]


async def test_no_secret_is_on_a_command_line(site, running, until):
    """Not of the engine's client, and of nothing that the engine starts."""
    site.more["WORKER_SECRET_S_KEY"] = "hush-hush-hush"
    secrets = [{"name": "s", "key": "key", "envVar": "KEY"}]
    stdin = 'test "$KEY" = hush-hush-hush && exec sleep 1000'
    worker = await a_run_that_waits(site, running, until, stdin=stdin, secrets=secrets)
    lines = " ".join(running())
    worker.terminate()
    out, err = worker.communicate(timeout=60)

    assert "sleep 1000" in lines
    assert "hush-hush-hush" not in lines + out + err
