"""Concurrent workers, and inputs that change while a job runs."""

import json
import shlex
import sys

from builders import a_commit, a_job, an_id


def run_all(site, documents):
    """Run jobs concurrently; return their exit statuses and results."""
    jobs = [site.job(document, f"{n}.json") for n, document in enumerate(documents)]
    processes = [site.start("run", "--job", job, "--json") for job in jobs]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], list(map(json.loads, answers))


def test_concurrent_runs_of_one_job_make_one_commit(site):
    """Each exits with 0 and reports it; it has the output of one of them."""
    a_commit(site.open(), {"a": b"1"})
    job = {"id": an_id()}
    # The process id tells the runs apart.
    documents = [a_job("echo $$", "echo $$ | curl -sf -T - $S3_ENDPOINT/out/n", job=job)] * 3

    statuses, results = run_all(site, documents)

    assert [0, 0, 0] == statuses
    assert {f"copy@{job['id']}"} == {result["output"] for result in results}
    assert 1 == [result["cause"] for result in results].count("published")
    winner = next(result for result in results if result["cause"] == "published")
    assert winner["log_tail"] == site.worker("cat", "copy:n").out.splitlines()
    assert 1 == len(site.worker("log", "copy", "--json").out.splitlines())
    assert [] == site.left_over()
    assert "no defects" in site.worker("verify").out


def test_concurrent_jobs_on_one_branch_are_all_in_its_log(site):
    a_commit(site.open(), {"a": b"1"})
    ids = [an_id() for _ in range(3)]
    documents = [
        a_job(
            f"echo {each} | curl -sf -T - $S3_ENDPOINT/out/n",
            job={"id": each},
            pipeline={"name": "copy"},
        )
        for each in ids
    ]

    statuses, results = run_all(site, documents)

    assert [0, 0, 0] == statuses
    moved = {result["output"] for result in results if result["branch_moved"]}
    log = site.worker("log", "copy", "--json").out.splitlines()
    assert moved == {json.loads(line)["name"] for line in log}
    assert sorted(ids) == [name.id for name in site.open().commits(next(site.open().repos()))]


def test_an_input_is_a_snapshot_of_its_branch(site, tmp_path):
    """A commit during the job is not visible to it."""
    a_commit(site.open(), {"a": b"old"})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a").write_bytes(b"new")
    put = [sys.executable, "-m", "worker", "put", "--store", site.store, "labresults"]
    document = a_job(
        f"cd / && {shlex.join([*put, str(tmp_path / 'new')])}",
        "curl -sf $S3_ENDPOINT/labresults/a | curl -sf -T - $S3_ENDPOINT/out/a",
    )

    done = site.worker("run", "--job", site.job(document))

    assert 0 == done.status, done.err
    assert "new" == site.worker("cat", "labresults:a").out
    assert "old" == site.worker("cat", "copy:a").out
