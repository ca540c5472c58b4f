"""Commands in containers of a real engine: same job, same output, and no leftover container."""

import json
import signal
import time

import pytest
from builders import a_commit, a_job, an_id, an_input
from containers.engines import IMAGE

from worker.model import BranchName, Repo
from worker.supervisor.engine import current_agent
from worker.supervisor.engine_output import container_name

COPY = BranchName(Repo("default", "copy"))

# Reads objects and writes them back in upper case, with bash only.
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
    """Return a job document with an image."""
    return {**document, "transform": {**document["transform"], "image": image, **transform}}


def a_file_job(*stdin: str, **changes) -> dict:
    """Return a job in the image without a bucket."""
    transform = changes.pop("transform", {})
    job = a_job(*stdin, inputs=(an_input(s3=False),), s3Out=False, datumTries=1, **changes)
    return in_image(job, **transform)


@pytest.fixture(autouse=True)
def _input_commit(request):
    if "site" in request.fixturenames:
        store = request.getfixturevalue("site").open()
        a_commit(store, {"a.txt": b"hello", "b/ü c.txt": b"there"})


def run(site, document, **environment):
    """Run a job and return its result file."""
    path = site.root / "result.json"
    process = site.worker("run", "--job", site.job(document), "--result", str(path), **environment)
    assert path.exists(), process.err
    found = json.loads(path.read_text())
    assert process.status == found["exit_code"], process.err
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
def test_a_job_has_the_same_output_in_an_image_and_its_commit_names_the_image(site, document):
    """The image has no Python."""
    here = run(site, document, WORKER_RUNTIME="process")
    there = run(site, document)

    assert (0, 0) == (here["exit_code"], there["exit_code"]), there
    assert here["files"] >= 2
    assert here["digest"] == there["digest"]
    job = site.open().commit(site.open().head(COPY).commit).job
    assert IMAGE == job["image"]
    assert "sha256:" in job["image_digest"]
    assert [] == site.left_over()


def test_the_image_needs_no_python(site):
    found = run(site, a_file_job("! command -v python3", "ls / > /pfs/out/x"))

    assert (0, 1) == (found["exit_code"], found["files"])


def test_inputs_are_read_only_also_for_root_in_the_container(site):
    found = run(site, a_file_job("! touch /pfs/labresults/x", "! rm -f /pfs/labresults/a.txt"))

    assert 0 == found["exit_code"], found["log_tail"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param("1234:99", "1234:99:99", id="uid and gid"),
        pytest.param("1234", "1234:1234:1234", id="uid, without root's groups"),
        pytest.param("daemon", "1:1:1", id="name in the image"),
    ],
)
def test_the_user_of_the_job_can_write_the_output_and_read_the_secrets(site, user, expected):
    (site.root / "secrets" / "s").mkdir(parents=True)
    (site.root / "secrets" / "s" / "key").write_text("hush hush")
    secrets = [{"name": "s", "mountPath": "/etc/lab"}]
    job = a_file_job(
        'echo "$(id -u):$(id -g):$(id -G)" > /pfs/out/who',
        "wc -c < /etc/lab/key > /pfs/out/size",
        "cmp /etc/lab/key $WORKER_SECRETS_ROOT/etc/lab/key",
        'test "$(stat -c %a:%u:%g /pfs/.env)" = "400:$(id -u):$(id -g)"',
        transform={"user": user, "secrets": secrets},
    )
    found = run(site, job, WORKER_SECRETS=str(site.root / "secrets"))

    assert 0 == found["exit_code"], found["reason"]
    assert f"{expected}\n" == site.worker("cat", "copy:who").out
    assert "9" == site.worker("cat", "copy:size").out.strip()


def test_the_environment_has_the_variables_of_image_and_job_but_none_of_the_worker(site):
    """Values of any form are passed unchanged."""
    env = {"ODD": " # 'a' \"b\" $HOME ", "LINES_OF": "-----BEGIN\nx\n-----END"}
    job = a_file_job(
        'printf %s "$ODD" > /pfs/out/odd',
        'printf %s "$LINES_OF" > /pfs/out/lines',
        'printf %s "$PATH$WORKER_STORE$PYTHONPATH" > /pfs/out/path',
        transform={"env": env},
    )
    found = run(site, job, PYTHONPATH=site.environment["PYTHONPATH"])

    assert 0 == found["exit_code"], found["reason"]
    assert env["ODD"] == site.worker("cat", "copy:odd").out
    assert env["LINES_OF"] == site.worker("cat", "copy:lines").out
    path = site.worker("cat", "copy:path").out
    assert path.endswith("/bin")
    assert str(site.root) not in path


def test_the_variables_of_the_job_can_be_sourced(site):
    """They are those of the job, and not those of the image."""
    env = {"ODD": " # 'a' \"b\" $HOME\n"}
    job = a_file_job(
        "env -i sh -euc '. /pfs/.env; printf %s \"$ODD$labresults\" > /pfs/out/odd'",
        "! grep -q ^PATH= /pfs/.env",
        transform={"env": env},
    )
    found = run(site, job)

    assert 0 == found["exit_code"], found["log_tail"]
    assert env["ODD"] + "/pfs/labresults" == site.worker("cat", "copy:odd").out


def test_a_bridge_network_reaches_a_gateway_that_listens_on_all_addresses(site):
    """The endpoint then has an address that the container can connect to."""
    options = [site.more.get("WORKER_ENGINE_OPTIONS"), "--network=bridge"]
    job = in_image(a_job(transform={"cmd": ["bash"], "stdin": ["set -e", S3]}))
    found = run(
        site,
        job,
        WORKER_ENGINE_OPTIONS=",".join(filter(None, options)),
        WORKER_GATEWAY_HOST="0.0.0.0",
        WORKER_GATEWAY_AUTH="none",
    )

    assert (0, 2) == (found["exit_code"], found["files"]), found["reason"]


def test_each_datum_has_a_container_of_its_own_and_one_commit_has_all_outputs(site):
    job = a_job(
        "ls $PFS_ROOT/labresults | tr -d ' ' >> /tmp/seen",
        'test "$(cat /tmp/seen | wc -l)" = 1',
        "cp /tmp/seen $PFS_ROOT/out/$(cat /tmp/seen)",
        inputs=(an_input(s3=False, glob="/*"),),
        s3Out=False,
    )
    found = run(site, in_image(job))

    assert (0, 2, 2) == (found["exit_code"], found["files"], len(found["datums"]))


def test_the_error_command_runs_in_the_image_and_the_failed_attempt_has_no_output(site):
    job = a_file_job(
        "touch /pfs/out/half; exit 9",
        transform={"errCmd": ["sh", "-c", 'test "$PACH_ERROR_CODE" = 9 && ! command -v python3']},
    )
    found = run(site, job)

    assert (0, "recovered", 0) == (found["exit_code"], found["cause"], found["files"])


def test_a_shell_runs_in_the_image_and_with_commit_its_files_are_the_output(site):
    job = site.job(a_file_job())
    script = "! command -v python3 && cp /pfs/labresults/a.txt /pfs/out/b"
    process = site.worker("shell", "--job", job, "--commit", "--", "sh", "-c", script)

    assert 0 == process.status, process.err
    assert "hello" == site.worker("cat", "copy:b").out


def test_the_certificate_authority_of_the_job_is_a_file_in_the_container(site):
    job = in_image(a_job('grep -q "BEGIN CERTIFICATE" "$AWS_CA_BUNDLE"', "echo $S3_ENDPOINT >&2"))
    found = run(site, job, WORKER_GATEWAY_TLS="self-signed")

    assert 0 == found["exit_code"], found["reason"]
    assert "https://127.0.0.1" in found["log_tail"][-1]


def test_reports_are_received_through_a_pipe_in_the_container(site):
    found = run(site, a_file_job("""echo '{"metrics": {"rows": 7}}' > $WORKER_REPORT"""))

    assert {"metrics": {"rows": 7}} == found["reports"]


@pytest.mark.parametrize(
    ("transform", "code", "reason"),
    [
        pytest.param({"cmd": ["sh", "-c", "exit 3"]}, 10, "exited with code 3", id="exit code"),
        pytest.param({"cmd": ["sh", "-c", "exit 125"]}, 10, "exited with code 125", id="125"),
        pytest.param({"cmd": ["sh", "-c", "exit 127"]}, 10, "exited with code 127", id="127"),
        pytest.param({"cmd": ["nosuch"]}, 10, "nosuch: it could not be started", id="not found"),
        pytest.param(
            {"cmd": ["/etc/passwd"]},
            10,
            "/etc/passwd: it could not be started",
            id="not executable",
        ),
        pytest.param({"workingDir": "/nosuch"}, 10, "/nosuch", id="no working directory"),
        pytest.param({"user": "nosuch"}, 64, "has no such user", id="no such user"),
        pytest.param(
            {"image": "registry.invalid/x"}, 69, "registry.invalid", id="no such registry"
        ),
    ],
)
def test_a_failure_of_the_engine_is_distinguished_from_one_of_the_command(
    site, transform, code, reason
):
    found = run(site, a_file_job("true", transform=transform))

    assert (code, True) == (found["exit_code"], reason in found["reason"]), found["reason"]
    assert [] == site.left_over()


def test_an_unknown_option_of_the_engine_is_a_configuration_error(site):
    found = run(site, a_file_job("true"), WORKER_ENGINE_OPTIONS="--nosuch")

    assert 78 == found["exit_code"], found["reason"]


def test_leftover_processes_end_with_the_container(site, running):
    found = run(site, a_file_job("setsid sleep 1000 & sleep 1000 &", "exit 0"))

    assert 0 == found["exit_code"], found["reason"]
    assert [] == running()


def test_a_command_over_the_memory_limit_of_its_container_is_out_of_memory(site):
    options = ",".join(
        filter(None, [site.more.get("WORKER_ENGINE_OPTIONS"), "--memory=64m", "--memory-swap=64m"])
    )
    job = a_file_job("true", transform={"cmd": ["sh", "-c", "exec tail /dev/zero"]})
    found = run(site, job, WORKER_ENGINE_OPTIONS=options)

    assert (13, "out of memory") == (found["exit_code"], found["cause"]), found["reason"]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 1000", id="a waiting shell"),
        pytest.param("trap '' TERM; while :; do sleep 1; done", id="a shell that ignores SIGTERM"),
    ],
)
def test_a_datum_is_terminated_at_its_timeout_within_the_grace_period(site, running, script):
    start = time.monotonic()
    found = run(site, a_file_job(script, datumTimeout="2s"), WORKER_GRACE="2s")

    assert 11 == found["exit_code"], found["reason"]
    assert time.monotonic() - start < 30
    assert [] == running()
    assert [] == site.left_over()


async def start_sleeping_run(site, running, until, *, stdin="sleep 1000", **transform):
    """Start a run and return its process once the command sleeps."""
    document = a_file_job(f"{stdin} # waits", job={"id": an_id()}, transform=transform)
    worker = site.start("run", "--job", site.job(document))
    await until(lambda: any(line.startswith("sleep") for line in running()))
    return worker


async def test_a_signal_stops_the_container_within_the_grace_period(site, running, until):
    """The init of the container forwards SIGTERM to the shell."""
    worker = await start_sleeping_run(site, running, until)
    start = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)

    assert 75 == worker.returncode, err
    assert time.monotonic() - start < 9
    await until(lambda: not running())
    assert [] == site.left_over()
    assert site.open().head(COPY) is None


async def test_a_second_signal_kills_a_container_that_ignores_sigterm(site, running, until):
    site.more["WORKER_GRACE"] = "300"
    stdin = "trap '' TERM; sleep 1000; sleep 1000"
    worker = await start_sleeping_run(site, running, until, stdin=stdin)
    worker.send_signal(signal.SIGTERM)
    await until(lambda: "run.stopping" in worker.stderr.readline())
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)

    assert 75 == worker.returncode
    await until(lambda: not running())


async def test_a_killed_worker_leaves_no_container(site, engine, running, until):
    """Its shim calls the engine to remove it."""
    worker = await start_sleeping_run(site, running, until)
    worker.kill()
    worker.communicate(timeout=60)

    await until(lambda: not running())
    await until(lambda: not engine.containers())


def test_a_run_removes_containers_of_workers_that_are_gone_only(site, engine):
    """The shim of such a worker was killed as well."""
    ours = current_agent()
    gone, present = f"{ours.machine}/{2**22 + 1}/1", str(ours)
    names = []
    for agent in (gone, present):
        labels = ("--label=worker.job=x", f"--label=worker.agent={agent}")
        more = (f"--name={container_name('x', agent)}", *labels)
        line = ("run", "--detach", "--init", *engine.options(), *more, IMAGE, "sleep", "1000")
        names.append(engine.call(*line).stdout.strip())
    try:
        run(site, a_file_job("true"))
        left = engine.containers()
    finally:
        for name in names:
            engine.call("rm", "-f", name, check=False)

    assert [True] == [names[1].startswith(each) for each in left]


async def test_no_secret_is_on_the_command_line_of_any_process(site, running, until):
    site.more["WORKER_SECRET_S_KEY"] = "hush-hush-hush"
    secrets = [{"name": "s", "key": "key", "envVar": "KEY"}]
    stdin = 'test "$KEY" = hush-hush-hush && exec sleep 1000'
    worker = await start_sleeping_run(site, running, until, stdin=stdin, secrets=secrets)
    lines = " ".join(running())
    worker.terminate()
    out, err = worker.communicate(timeout=60)

    assert "sleep 1000" in lines
    assert "hush-hush-hush" not in lines + out + err
