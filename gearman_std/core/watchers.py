"""Who gets the packets of a job, and how often: each peer once for each of its submits that made or joined the job."""
from ..wire.protocol import LARGE_BODY, WORK_EXCEPTION, WORK_FAIL, pack_response
from .jobs import NO_WATCHERS
from .tables import grown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator, List, Optional, Tuple
    from ..wire.protocol import Data
    from .jobs import Job
    from .ledger import Ledger
    from .peers import Peer
    from .turns import Turns

MANY_JOINS = 100  # the packets of a job that this many submits joined are sent in steps


def watch(peer: "Peer", job: "Job") -> None:
    """A peer submitted a job, or joined it."""
    if job in peer.watching:
        peer.watching[job] += 1
        return
    peer.watching[job] = 1
    peer.watching = grown(peer.watching)
    if not job.watchers:
        job.watchers = (peer,)
    elif job.watchers.__class__ is tuple:
        job.watchers = {job.watchers[0]: None, peer: None}
    else:
        job.watchers[peer] = None


def unwatch(job: "Job") -> None:
    """Remove all watchers of a job: nobody gets its packets any longer."""
    for peer in job.watchers:
        peer.watching.pop(job, None)
    job.watchers = NO_WATCHERS


def leave(peer: "Peer", job: "Job") -> bool:
    """Remove a lost peer from the watchers of a job; return whether it was the last one."""
    watchers = job.watchers
    if peer not in watchers:
        return False
    if len(watchers) == 1:
        job.watchers = NO_WATCHERS
        return True
    del watchers[peer]
    return False


def count_watchers(job: "Job") -> int:
    """How many submits wait for the end of a job."""
    return sum(watcher.watching.get(job, 0) for watcher in job.watchers)


def tell(turns: "Turns", job: "Job", send: "Callable[[Peer], None]", worker: "Optional[Peer]" = None) -> None:
    """Send a packet to all watchers of a job: one from its worker, whose next packets wait if there are many watchers, or the
    job's last packet."""
    if job.joins < MANY_JOINS:
        for watcher in job.watchers:
            for _ in range(watcher.watching.get(job, 0)):  # none if it was lost before its turn came
                send(watcher)
        return
    watchers = list(job.watchers)
    if worker is not None:
        turns.undertake(worker, _tell_many(watchers, job, send), lasts=True)
        return
    if job.schedule is None:
        job.watchers = NO_WATCHERS
        turns.finish(_tell_many(watchers, job, send, last=True))
    else:  # the watchers of a recurring job may watch it again at once
        job.watchers = NO_WATCHERS
        counts = [watcher.watching.pop(job, 0) for watcher in watchers]
        turns.finish(_tell_counted(zip(watchers, counts), send))
    turns.enough()


def tell_failure(ledger: "Ledger", turns: "Turns", job: "Job", exception: "Optional[Data]", handle: bytes) -> None:
    """Tell all watchers of a job that it failed; those that asked for exceptions get the exception, if there is one."""
    if not job.watchers:
        return
    failure = pack_response(WORK_FAIL, job.handle if exception is not None else handle)
    if exception is not None and len(exception) < LARGE_BODY:
        failure_with_text = pack_response(WORK_EXCEPTION, job.handle, exception)

    def send(watcher: "Peer") -> None:
        if exception is None or not watcher.exceptions:
            watcher.send(failure)
        elif len(exception) < LARGE_BODY:
            watcher.send(failure_with_text)
        else:
            watcher.send_data(WORK_EXCEPTION, exception, job.handle)
    tell(turns, job, ledger.held(job, send))


def _tell_many(watchers: "List[Peer]", job: "Job", send: "Callable[[Peer], None]", last: bool = False) -> "Iterator[bytes]":
    for start in range(0, len(watchers), MANY_JOINS):
        some = watchers[start:start + MANY_JOINS]
        counts = [(watcher, watcher.watching.pop(job, 0) if last else watcher.watching.get(job, 0)) for watcher in some]
        for step in _tell_counted(counts, send, None if last else job):
            yield step
        yield b""


def _tell_counted(counts: "Iterable[Tuple[Peer, int]]", send: "Callable[[Peer], None]",
                  job: "Optional[Job]" = None) -> "Iterator[bytes]":
    told = 0
    for watcher, count in counts:
        for _ in range(count):
            if watcher.gone or job is not None and job not in watcher.watching:
                break
            send(watcher)
            told += 1
            if not told % MANY_JOINS:
                yield b""
