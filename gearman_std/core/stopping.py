"""How the server stops: it takes no new jobs, and a graceful stop waits for the jobs that clients wait for."""
from .jobs import GONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator
    from ..wire.protocol import Data
    from .state import CoreState


def begin_stop(core: "CoreState", graceful: bool) -> None:
    """Stop at once, or gracefully: then no new jobs are accepted, and the server stops when `may_end` is true."""
    if graceful and not core.stopping and core.ledger.durable:
        core.turns.finish(_find_foreground(core))
    if core.stopping != "now":
        core.stopping = "graceful" if graceful else "now"
    core.draining = True


def may_end(core: "CoreState") -> bool:
    """Whether a graceful stop is complete: no job is left or, with a store, none runs and no client waits for one."""
    if core.turns.chores:
        return False
    if not core.ledger.durable:
        return not core.jobs
    return not core.roster.handing_out and not any(peer.running for peer in core.peers)


def hold_back(core: "CoreState") -> None:
    """During a graceful stop, background jobs stay in the store as soon as no client waits any longer."""
    if not core.ledger.durable or not core.roster.handing_out:
        return
    foreground = core.foreground
    while foreground and (foreground[-1].background or foreground[-1].state is GONE):
        foreground.pop()
    if not foreground and core.foreground_known:
        core.roster.handing_out = False


def _find_foreground(core: "CoreState") -> "Iterator[Data]":
    """Find the jobs that clients may wait for; no others will come, because a server that stops takes none."""
    for count, jobs in enumerate(core.job_chain.walk()):
        if count:
            yield b""
        core.foreground += [job for job in jobs if not job.background]
    core.foreground_known = True
