"""What the time makes due: attempts that take too long end, and jobs whose time has come wait in their queues."""
from .attempts import attempt_lost, may_be_unsent, note_end
from .jobs import DELAYED
from .statistics import END_LOST
from .transitions import delay_again, due_by_the_clock, enqueue, fail_job, put_behind, take_out
from .turns import STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator
    from ..wire.protocol import Data
    from .state import CoreState


def do_what_is_due(core: "CoreState") -> None:
    """End attempts that take too long, and put the jobs whose time has come into their queues."""
    now, wall = core.now, core.wall
    for _ in range(STEP):  # the rest at the next tick, which `wait_time` does not put off
        job = core.time_limits.pop_due(now)
        if job is None:
            break
        job.timer = None
        time_limit = job.worker.time_limits.get(job.function)
        if time_limit is not None and may_be_unsent(core, job):
            job.timer = core.time_limits.add(now + time_limit, job)
        elif job.background:
            attempt_lost(core, job, b"the time limit ran out")
        else:
            job.function.count("lost")
            note_end(core, job, END_LOST, b"the time limit ran out")
            take_out(core, job)
            fail_job(core, job)
    for _ in range(STEP):
        job = core.delayed.pop_due(wall) or core.retries.pop_due(now)
        if job is None:
            break
        job.timer = None
        job.function.release(job)
        enqueue(core, job)
        put_behind(core, job)


def bring_forward(core: "CoreState") -> "Iterator[Data]":
    """The wall clock was set back: recurring jobs become due by the clock as it is now."""
    for count, jobs in enumerate(core.job_chain.walk()):
        if count:
            yield b""
        for job in jobs:
            if job.state is DELAYED and job.schedule is not None and not job.attempts:
                due = due_by_the_clock(core, job)
                if due < job.due:
                    delay_again(core, job, due)
