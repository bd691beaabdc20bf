"""When a worker leaves, and what it waits for before it has left."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple
    from .settings import WorkerSettings

FAREWELL_TIMEOUT = 1.0   # seconds for the last results to be confirmed when a worker leaves

WORKING, FINISHING_JOBS, PARTING, LEFT = DEPARTURE_STATES = ("working", "finishing", "parting", "left")
LEAVES, FINISHED, CONFIRMED, TIME_IS_UP = "leaves", "finished", "confirmed", "time is up"

DEPARTURE_ARROWS = {
    (WORKING, LEAVES): FINISHING_JOBS,
    (FINISHING_JOBS, FINISHED): PARTING, (FINISHING_JOBS, TIME_IS_UP): LEFT,
    (PARTING, CONFIRMED): LEFT, (PARTING, TIME_IS_UP): LEFT,
}  # type: Dict[Tuple[str, str], str]


class Departure:
    """How far a worker is with leaving.

        working ─leaves─> finishing ─finished─> parting ─confirmed─> left
        finishing ─time is up─> left
        parting ─time is up─> left

    Working: it takes jobs.  Finishing: its jobs end, and their results are sent.  Parting: each server was asked to confirm
    that it has received all of them.  Left: nothing is waited for any more.

    Owner: the shift's lock.
    """

    __slots__ = ("state", "_settings", "_retire_at", "_leave_by", "_confirm_by")

    def __init__(self, settings: "WorkerSettings", now: float) -> None:
        self.state = WORKING       # changed by `_move` alone
        self._settings = settings
        self._retire_at = None     # type: Optional[float] # when it is too old
        self._leave_by = None      # type: Optional[float] # when to leave whatever runs
        self._confirm_by = 0.0     # when to leave without the servers' confirmation, which was asked for
        if settings.max_age is not None:
            self._retire_at = now + settings.max_age + settings.splay * settings._system.random()

    def __repr__(self) -> str:
        return "<Departure: %s>" % self.state

    def reason(self, now: float, used_up: bool, due: "List[float]") -> str:
        """Why the worker is to leave now, empty if it is not; `used_up` says that it has done all the jobs that it may do."""
        if self._settings.stops:
            return "asked to"
        if self._retire_at is not None:
            if now >= self._retire_at:
                return "%s s old" % self._settings.max_age
            due.append(self._retire_at)
        return "%d jobs done" % (self._settings.max_jobs or 0) if used_up else ""

    def begin(self, now: float) -> None:
        """Leave from now on, within the worker's `grace`."""
        self._move(LEAVES)
        if self._settings.grace is not None:
            self._leave_by = now + self._settings.grace

    def advance(self, now: float, busy: bool, unconfirmed: bool, due: "List[float]") -> str:
        """Go to the next state if it is time for that; return the state.

        `busy` says that jobs run, or that something is to be sent or answered; `unconfirmed` that a server has not confirmed.
        """
        if self._settings.stops > 1 or self._leave_by is not None and now >= self._leave_by:
            self._move(TIME_IS_UP)
            return self.state
        if self._leave_by is not None:
            due.append(self._leave_by)
        if busy:
            return self.state
        if self.state is FINISHING_JOBS:
            self._confirm_by = now + FAREWELL_TIMEOUT
            self._move(FINISHED)
        elif not unconfirmed or now >= self._confirm_by:
            self._move(CONFIRMED if not unconfirmed else TIME_IS_UP)
        due.append(self._confirm_by)
        return self.state

    def _move(self, event: str) -> None:
        self.state = DEPARTURE_ARROWS[self.state, event]
