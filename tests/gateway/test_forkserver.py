"""The parent process of a gateway, and a child that has flushed."""

import os
import signal
import time

import psutil
import pytest

from worker.gateway.forkserver import Channel, Child


@pytest.mark.parametrize(
    "stop",
    [pytest.param(False, id="it exits"), pytest.param(True, id="it is stopped and killed")],
)
def test_the_end_of_a_child_that_has_flushed_is_awaited_until_a_deadline(stop):
    pid = os.fork()
    if pid == 0:
        if stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    if stop:
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)

    Child(pid, Channel(0)).end(time.monotonic() + (0 if stop else 60))

    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
