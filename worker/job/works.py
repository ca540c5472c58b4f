"""What is done between serving the buckets and committing: every datum, a shell, or nothing."""

import signal
import subprocess
from collections.abc import Callable, Mapping

import attrs
from structlog.typing import FilteringBoundLogger

from worker.errors import Cause, Invalid
from worker.job.conducting import Outcome, conduct
from worker.job.datums import DatumFailed, empty_out, prepare, run_datum, take_output
from worker.job.plan import Datum
from worker.job.request import RunRequest, Watch
from worker.job.result import Result
from worker.job.workplace import Workplace
from worker.supervisor.command import GracePeriod
from worker.supervisor.signals import StopRequest

Launched = subprocess.Popen[bytes] | None


async def run(
    request: RunRequest, *, launched: Launched, log: FilteringBoundLogger, watch: Watch
) -> Result:
    """Run a job to its end; see ``runner.run``."""
    stop = StopRequest(GracePeriod(request.config.grace))
    return await conduct(request, _every_datum, launched=launched, stop=stop, log=log, watch=watch)


async def shell(
    request: RunRequest,
    *,
    argv: tuple[str, ...],
    commit: bool,
    launched: Launched,
    log: FilteringBoundLogger,
    watch: Watch,
) -> Result:
    """Run *argv* on the terminal in place of the job's command; see ``runner.shell``."""

    async def work(place: Workplace) -> Outcome:
        datum = await _first_datum(place)
        environment = place.environment(datum)
        ended = await place.runtime.run_on_terminal(
            place.command(argv, {**_own(place), **environment}),
            grace_period=place.grace_period,
            on_usage=place.journal.account,
        )
        if commit and ended.code == 0:
            await take_output(place, datum)
            return Outcome(Cause.PUBLISHED, code=0)
        why = f"the shell {ended}" if ended.code else "that was not asked for (--commit)"
        return Outcome(Cause.DISCARDED, f"nothing was committed: {why}", ended.code)

    return await conduct(
        request,
        work,
        launched=launched,
        stop=StopRequest(GracePeriod(request.config.grace)),
        log=log,
        watch=watch,
        # At the terminal, Ctrl-C is for what runs in the shell.
        ignored=(signal.SIGINT, signal.SIGQUIT),
    )


async def gateway(
    request: RunRequest,
    *,
    ready: Callable[[Mapping[str, str]], None],
    launched: Launched,
    log: FilteringBoundLogger,
    watch: Watch,
) -> Result:
    """Serve the job's buckets until a signal; see ``runner.gateway``."""
    stop = StopRequest(GracePeriod(request.config.grace), cancels=False)

    async def work(place: Workplace) -> Outcome:
        environment, base = place.environment(await _first_datum(place)), place.given.base
        ready({name: value for name, value in environment.items() if base.get(name) != value})
        await stop.received.wait()
        return Outcome(Cause.DISCARDED, "a gateway without a command commits nothing")

    # Whoever uses the buckets is on this machine, whatever the command would have run in.
    here = attrs.evolve(request, config=attrs.evolve(request.config, runtime="process"))
    return await conduct(here, work, launched=launched, stop=stop, log=log, watch=watch)


async def _every_datum(place: Workplace) -> Outcome:
    """Work on all datums, one after the other; the first that fails ends the work."""
    cause = Cause.PUBLISHED
    try:
        for datum in place.plan.datums():
            found = await run_datum(place, datum)
            place.journal.datums.append(found)
            if found.state == "recovered":
                cause = Cause.RECOVERED
    except DatumFailed as failed:
        return Outcome(failed.cause, failed.reason, failed.code)
    return Outcome(cause, code=0)


async def _first_datum(place: Workplace) -> Datum:
    """Lay out the first datum for somebody to look around in, and return it."""
    datum = next(place.plan.datums(), None)
    if datum is None:
        raise Invalid("the job has no datum: the glob of an input selects nothing")
    await prepare(place, datum)
    await empty_out(place)
    return datum


def _own(place: Workplace) -> dict[str, str]:
    """Return what a person's shell keeps of the environment it was called from.

    Nothing of AWS: a profile or a session there would win over the job's credentials.
    """
    if not place.runtime.shares_environment:
        return {}
    return {name: value for name, value in place.given.base.items() if not name.startswith("AWS_")}
