"""Speed and memory of the gateway, as ratios to a bare web application and to MD5 alone.

    python tests/benchmarks/bench_gateway.py [--size MiB] [--seconds N] [--memory]

The bare application streams the same file from the same server; MD5 hashes the same bytes. Absolute
figures depend on the machine, so the targets are ratios within one run. The best of several rounds
counts on both sides, since other load on the machine only makes a round slower.
"""

import argparse
import hashlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import trio

from worker.buckets.index import Index
from worker.config import GatewayConfig
from worker.gateway.launch import launched
from worker.gateway.messages import Endpoint, GatewayPlan
from worker.gateway.pool import GatewayPool, open_pool

MIB = 1 << 20
PIECE = MIB
SMALL = b"x" * 1000

BARE = """
import sys, hypercorn.trio, trio
from hypercorn.config import Config

async def app(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    size = int(sys.argv[3]) if path == "/large" else 1000
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % size)]})
    if path == "/small":
        await send({"type": "http.response.body", "body": b"x" * 1000})
        return
    with open(sys.argv[2], "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

config = Config()
config.bind = ["fd://" + sys.argv[1]]
config.keep_alive_max_requests = 1 << 60
config.errorlog = None
trio.run(hypercorn.trio.serve, app, config)
"""


def receive(port: int, path: str, *, sink: bytearray) -> int:
    """Get *path* over a new connection; return the number of bytes in the body."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        head = client.recv(65536)
        headers, _, start = head.partition(b"\r\n\r\n")
        assert b" 200 " in headers, headers
        length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        have = len(start)
        while have < length:
            have += client.recv_into(sink)
        return have


def requests(port: int, path: str, *, seconds: float) -> float:
    """Return the requests per second of two clients, each on one connection."""
    counts = [0, 0]
    end = time.perf_counter() + seconds
    send_request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()

    def client_loop(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.perf_counter() < end:
                client.sendall(send_request)
                answer = b""
                while not answer.endswith(SMALL):
                    answer += client.recv(65536)
                counts[number] += 1

    threads = [threading.Thread(target=client_loop, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def send(port: int, path: str, data: memoryview, *, times: int = 1) -> None:
    """Put *data*, repeated *times* times, as one object."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = (
            f"PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data) * times}\r\n\r\n"
        )
        client.sendall(head.encode())
        for _ in range(times):
            client.sendall(data)
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 "), answer


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that *work* takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def bare(file: Path) -> Iterator[int]:
    """Serve *file* with the bare application, and yield its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.set_inheritable(True)
        port = listener.getsockname()[1]
        arguments = [str(listener.fileno()), str(file), str(file.stat().st_size)]
        process = Popen([sys.executable, "-c", BARE, *arguments], pass_fds=[listener.fileno()])
        try:
            yield port
        finally:
            process.kill()
            process.wait()


def process_ids(pool: GatewayPool) -> list[int]:
    """Return the process ids of the gateway."""
    with Popen(["pgrep", "-s", str(pool.pid)], stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        return [int(line) for line in process.stdout]


def memory(pids: list[int], field: str) -> float:
    """Return the sum of a field of ``/proc/PID/smaps_rollup`` in MiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def show(what: str, ratio: float, target: float, detail: str) -> None:
    """Print a ratio and its target."""
    verdict = "ok  " if ratio >= target else "LOW "
    print(f"{verdict}{what:34} {ratio:5.2f}  (target {target})  {detail}", flush=True)


def speeds(endpoint: Endpoint, folder: Path, *, size: int, seconds: float) -> None:
    """Print the ratios of the transfer rates."""
    data = memoryview(os.urandom(size * MIB))
    file = folder / "large"
    file.write_bytes(data)
    sink = bytearray(PIECE)
    port = endpoint.port
    send(port, "/out/large", data)
    send(port, "/out/small", memoryview(SMALL))
    with bare(file) as other:
        for warm, path in ((other, ""), (port, "/out")):
            receive(warm, f"{path}/large", sink=sink)
            requests(warm, f"{path}/small", seconds=0.3)
        pairs = [
            (
                timed(lambda: receive(other, "/large", sink=sink)),
                timed(lambda: receive(port, "/out/large", sink=sink)),
            )
            for _ in range(7)
        ]
        reference, ours = (min(column) for column in zip(*pairs, strict=True))
        detail = f"{size / ours:,.0f} MiB/s against {size / reference:,.0f} of a bare application"
        show("GET large", reference / ours, 0.8, detail)
        rates = [
            (
                requests(other, "/small", seconds=seconds),
                requests(port, "/out/small", seconds=seconds),
            )
            for _ in range(3)
        ]
        reference, ours = (max(column) for column in zip(*rates, strict=True))
        detail = f"{ours:,.0f} requests/s against {reference:,.0f} of a bare application"
        show("GET small, one process", ours / reference, 0.6, detail)
    pairs = [
        (
            timed(lambda: hashlib.md5(data, usedforsecurity=False)),
            timed(lambda: send(port, "/out/large", data)),
        )
        for _ in range(7)
    ]
    reference, ours = (min(column) for column in zip(*pairs, strict=True))
    detail = f"{size / ours:,.0f} MiB/s against {size / reference:,.0f} of MD5 alone"
    show("PUT large", reference / ours, 0.75, detail)


def growth(endpoint: Endpoint, pids: list[int]) -> None:
    """Print the growth of the processes while they receive 4 GiB and send 4 GiB concurrently."""
    port = endpoint.port
    data = memoryview(os.urandom(64 * MIB))
    for number in range(4):
        send(port, f"/out/in-{number}", data, times=16)
    before = memory(pids, "Rss")
    transfers = [
        threading.Thread(
            target=receive, args=(port, f"/out/in-{number}"), kwargs={"sink": bytearray(PIECE)}
        )
        for number in range(4)
    ] + [
        threading.Thread(target=send, args=(port, f"/out/new-{number}", data), kwargs={"times": 16})
        for number in range(4)
    ]
    peak = before
    for transfer in transfers:
        transfer.start()
    while any(transfer.is_alive() for transfer in transfers):
        peak = max(peak, memory(pids, "Rss"))
        time.sleep(0.05)
    verdict = "ok  " if peak - before < 64 else "HIGH"
    print(
        f"{verdict}memory, four 1 GiB in and out       grew {peak - before:.0f} MiB from "
        f"{before:.0f} MiB  (target 64)",
        flush=True,
    )


async def main() -> None:
    """Run the benchmarks selected by the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=512, help="MiB of the large object")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each round of small requests"
    )
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        plan = GatewayPlan(
            store=str(folder / "store"),
            scratch=folder,
            job="0" * 32,
            stage="bench-1",
            gateway=GatewayConfig(processes=options.processes),
        )
        Index.create(plan.index).close()
        with launched() as process:
            async with open_pool(process) as pool:
                endpoint = await pool.serve(plan)
                pids = process_ids(pool)
                all_pids = [*pids, os.getpid()]
                print(
                    f"    idle: {memory(all_pids, 'Pss'):.0f} MiB PSS of {len(all_pids)} processes"
                )
                if options.memory:
                    await trio.to_thread.run_sync(growth, endpoint, pids)
                else:
                    await trio.to_thread.run_sync(
                        lambda: speeds(endpoint, folder, size=options.size, seconds=options.seconds)
                    )
                await pool.drain(1)


if __name__ == "__main__":
    trio.run(main)
