"""Speed of a command that prints many short lines, and the size of its log.

    python tests/benchmarks/bench_output.py [--lines N] [--rounds N] [--unbuffered] [--secrets N]

Prints the seconds of the command with its output in ``/dev/null``, in a pipe to ``cat``, and in a
run with a log in each format, the command's speed in relation to ``/dev/null`` (the target is 0.8),
the seconds of the whole run, and the log's bytes in relation to the output.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PRINT = """\
import sys, time
started = time.perf_counter()
for number in range({lines}):
    print("line", number, flush={flush})
sys.stdout.flush()
open({report!r}, "w").write(str(time.perf_counter() - started))
"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unbuffered", action="store_true", help="one write for each line")
    parser.add_argument("--secrets", type=int, default=0, help="secrets that the job has")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        report = folder / "seconds"
        script = PRINT.format(lines=parsed.lines, flush=parsed.unbuffered, report=str(report))
        command = [sys.executable, "-c", script]
        job = {
            "pipeline": {"name": "chatty"},
            "transform": {
                "cmd": command,
                "env": {f"N{n}_TOKEN": f"s3cret&{n}/value" for n in range(parsed.secrets)},
            },
            "input": {"pfs": {"repo": "raw", "name": "raw", "glob": "/", "s3": True}},
            "s3Out": True,
        }
        (folder / "job.json").write_text(json.dumps(job))
        (folder / "raw").mkdir()
        (folder / "raw" / "a").write_text("a")
        worker = [sys.executable, "-m", "worker"]
        subprocess.run(
            [*worker, "put", "--store", str(folder / "store"), "raw", str(folder / "raw")],
            check=True,
            capture_output=True,
        )
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}

        def in_run(log_format: str) -> tuple[float, float, int]:
            log = folder / "log"
            with log.open("wb") as stream:
                subprocess.run(
                    [
                        *(*worker, "run", "--store", str(folder / "store")),
                        *("--job", str(folder / "job.json"), "--log-format", log_format),
                        *("--result", str(folder / "result.json")),
                    ],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=stream,
                    env=environment,
                )
            times = json.loads((folder / "result.json").read_text())["times"]
            return float(report.read_text()), times["run"], log.stat().st_size

        def direct(*pipeline: str) -> float:
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE if pipeline else subprocess.DEVNULL,
                env=environment,
            ) as process:
                if pipeline:
                    subprocess.run(
                        pipeline, stdin=process.stdout, stdout=subprocess.DEVNULL, check=True
                    )
            return float(report.read_text())

        size = sum(len(f"line {number}\n") for number in range(parsed.lines))
        rows: dict[str, list[tuple[float, float, int]]] = {}
        for _ in range(parsed.rounds):
            for name, result in (
                ("/dev/null", (direct(), 0.0, 0)),
                ("| cat", (direct("cat"), 0.0, 0)),
                ("run, JSON", in_run("json")),
                ("run, text", in_run("console")),
            ):
                rows.setdefault(name, []).append(result)
        print(f"{parsed.lines:,} lines, {size:,} bytes, {os.cpu_count()} cores")
        print(f"{'output':<12} {'command':>9} {'speed':>6} {'run':>9} {'log':>6}")
        for name, found in rows.items():
            command_time, run_time, log_size = map(statistics.median, zip(*found, strict=True))
            ratios = [r[0] / own[0] for r, own in zip(rows["/dev/null"], found, strict=True)]
            print(
                f"{name:<12} {command_time:7.2f} s {statistics.median(ratios):6.2f} "
                f"{run_time:7.2f} s {log_size / size:5.1f}×"
            )


if __name__ == "__main__":
    main()
