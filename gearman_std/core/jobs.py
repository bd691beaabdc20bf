"""What a job and a function are: the states of a job and the arrows between them, priority queues, policies, counters.

A job is in exactly one state.  Its function has a method for each way into a state, and that method changes the counters.  In
this table, which is made from JOB_ARROWS, each column is such a method, and each row shows where it leads from that state.

               store    push     start    delay    hold       set_aside  end
    (new)      storing  waiting           delayed  held back  set aside
    storing             waiting           delayed  held back  set aside  gone
    waiting             waiting  running                      set aside  gone
    running             waiting           delayed             set aside  gone
    delayed             waiting           delayed             set aside  gone
    held back           waiting           delayed             set aside  gone
    set aside                                                            gone

The table in the module core names the functions that decide which way a job goes.
"""
from collections import OrderedDict
from operator import attrgetter

from ..arguments import check_number
from ..timers import growing_pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, MutableMapping, Optional, Tuple, Union
    from .statistics import FunctionStatistics
    # A Peer is Any here, because the module peers imports this one.

PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW = PRIORITY_CLASSES = (0, 1, 2)
NO_URGENCY = 3  # less urgent than any priority

HANDLE_BLOCK = 1 << 17  # handle numbers that are taken at once, more than a server gives out in a second

# The states.  STORING: a background job whose record is not yet on disk; HELD: it runs when an equal job has ended; GONE: it
# was finished, cancelled or abandoned.
STORING, WAITING, RUNNING, DELAYED, HELD, SET_ASIDE, GONE = JOB_STATES = (
    "storing", "waiting", "running", "delayed", "held back", "set aside", "gone")

_BETWEEN = "between states"  # a new job, or one that has left a state and enters another one at once

# The arrows: for each state, which method of Function leads to which state.  None is a new job, or one that a store gives back.
JOB_ARROWS = {
    (None, "store"): STORING, (None, "push"): WAITING, (None, "delay"): DELAYED, (None, "hold"): HELD,
    (None, "set_aside"): SET_ASIDE,
    (STORING, "push"): WAITING, (STORING, "delay"): DELAYED, (STORING, "hold"): HELD, (STORING, "set_aside"): SET_ASIDE,
    (STORING, "end"): GONE,
    (WAITING, "push"): WAITING, (WAITING, "start"): RUNNING, (WAITING, "set_aside"): SET_ASIDE, (WAITING, "end"): GONE,
    (RUNNING, "push"): WAITING, (RUNNING, "delay"): DELAYED, (RUNNING, "set_aside"): SET_ASIDE, (RUNNING, "end"): GONE,
    (DELAYED, "push"): WAITING, (DELAYED, "delay"): DELAYED, (DELAYED, "set_aside"): SET_ASIDE, (DELAYED, "end"): GONE,
    (HELD, "push"): WAITING, (HELD, "delay"): DELAYED, (HELD, "set_aside"): SET_ASIDE, (HELD, "end"): GONE,
    (SET_ASIDE, "end"): GONE,
}  # type: Dict[Tuple[Optional[str], str], str]

# By state: the counter of the function that counts the job.
COUNTERS = {STORING: "delayed", WAITING: "waiting", RUNNING: "running", DELAYED: "delayed", HELD: "delayed",
            SET_ASIDE: "aside"}

STORED_STATES = (WAITING, DELAYED, HELD, SET_ASIDE)  # the states that a store knows

POSITIONS = 1 << 14  # places in a queue between one new job and the next, see Ledger


def place_of(number: int) -> int:
    """The position in its queue of a new job whose handle has this number; positions are in the order of the numbers.

    The part of the number that tells servers apart (see `server.handles`) is left out, so that a position fits 63 bits.
    """
    second = number >> 32
    return ((second + (1 << 15) << 17) + (number & HANDLE_BLOCK - 1) if second else number) * POSITIONS


# What a submit does when there is a job with the same function and unique.
JOIN, RERUN, REPLACE, REJECT = COALESCING = ("join", "rerun", "replace", "reject")

# A function tells so many of the ability sets that share it what waits; those that come later ask, each about so many functions
# at most.  Either takes some 20 microseconds.
MOST_TOLD = 64
MOST_ASKED = 512

# A waiting foreground job without a watcher is not kept, so most jobs share this one.
NO_WATCHERS = ()  # type: Tuple[Any, ...]


class Extras:
    """Properties that few jobs have, kept apart so that the others need no room for them (benchmark: memory of a queued job).

    Owner: the Job; the one that all usual jobs share is immutable.
    """

    __slots__ = ("reducer", "progress", "error", "schedule", "successor", "due", "joins", "collected")

    def __init__(self) -> None:
        self.reducer = None    # type: Optional[bytes]
        self.progress = None   # type: Optional[Tuple[int, int]] # numerator, denominator
        self.error = b""       # the error of the last attempt
        self.schedule = None   # type: Any # the Schedule of a recurring job
        self.successor = None  # type: Optional[Job] # the job to run after it, of the same function and unique
        self.due = 0.0         # when DELAYED: unix time before which it does not wait in the queue
        self.joins = 0         # how many later submits joined it
        self.collected = None  # type: Any # the data that its worker has sent, a bytearray, if that is kept; False: too much

    def __repr__(self) -> str:
        return "<Extras %s>" % ("of a job" if self is not NO_EXTRAS else "of usual jobs")


NO_EXTRAS = Extras()


def _extra(name: str) -> "Any":
    """A property of a Job that is stored in its extras; the job gets extras of its own when one is set to an unusual value."""
    usual = getattr(NO_EXTRAS, name)

    def change(job: "Job", value: "Any") -> None:
        if job.extras is NO_EXTRAS:
            if value == usual:
                return
            job.extras = Extras()
        setattr(job.extras, name, value)
    return property(attrgetter("extras." + name), change)


class Job:
    """One job, in exactly one state.

    Owner: the Core.
    """

    __slots__ = ("handle", "function", "unique", "workload", "priority", "state", "background", "watchers", "worker",
                 "attempts", "created", "since", "waited", "timer", "position", "extras", "earlier", "later", "ahead", "behind")

    reducer, progress, error, schedule, successor, due, joins, collected = map(_extra, Extras.__slots__)

    if TYPE_CHECKING:  # set by the Chain, and by `push`
        earlier = later = None  # type: Any # its neighbours in a Chain
        ahead = behind = None   # type: Any # its neighbours in the queue of its function, while it waits there

    def __init__(self, handle: bytes, function: "Function", unique: bytes, workload: "Union[bytes, memoryview]", priority: int,
                 background: bool, created: float) -> None:
        self.handle = handle
        self.function = function
        self.unique = unique
        self.workload = workload
        self.priority = priority
        self.background = background  # somebody submitted it in the background, so it never depends on a watcher
        self.created = created        # monotonic seconds
        self.since = created          # monotonic seconds: since when it waits in its queue, or runs
        self.waited = 0.0             # seconds in the queue before its last attempt
        self.state = _BETWEEN
        self.watchers = NO_WATCHERS  # type: Any # the peers that get its packets: a tuple of one, or a dict of more
        self.worker = None    # type: Any # the Peer that runs it
        self.attempts = 0     # how many attempts have failed or were lost
        self.timer = None     # type: Optional[List[Any]] # its entry in Timers: of its due time, or of its time limit
        self.position = 0     # its place among jobs of its priority, see Ledger; 0: where it was when it was new
        self.extras = NO_EXTRAS

    def __repr__(self) -> str:
        return "<Job %s of %s: %s>" % (self.handle.decode("latin-1"), self.function.name.decode("latin-1"), self.state)


class FunctionPolicy:
    """How the jobs of a function are treated; a function without one of its own has the server's.

    `coalescing` is JOIN, RERUN, REPLACE or REJECT.  `retries` is how many lost attempts end a job (0: no limit).  `attempts`
    is how often a background job may fail in all (1: a failure is final, and the job is gone as in gearmand); between
    attempts it waits `backoff` seconds, twice as long each time up to `backoff_max`, give or take a quarter.  How a background
    job ended, and its result, can be fetched for `keep` seconds (0: not at all), as long as all that is kept of the function's
    jobs has at most `keep_bytes` bytes.

    Owner: immutable once in use.
    """

    __slots__ = ("coalescing", "retries", "attempts", "backoff", "backoff_max", "keep", "keep_bytes")

    def __init__(self, coalescing: str = JOIN, retries: int = 5, attempts: int = 1, backoff: float = 1.0,
                 backoff_max: float = 3600.0, keep: float = 0.0, keep_bytes: int = 16 << 20) -> None:
        if coalescing not in COALESCING:
            raise ValueError("coalescing is one of %s, not %r" % (", ".join(COALESCING), coalescing))
        self.coalescing = coalescing
        self.retries = check_number("retries", retries, whole=True)           # type: int
        self.attempts = check_number("attempts", attempts, 1, whole=True)     # type: int
        self.backoff = check_number("backoff", backoff)                       # type: float
        self.backoff_max = check_number("backoff_max", backoff_max)           # type: float
        self.keep = check_number("keep", keep)                                # type: float
        self.keep_bytes = check_number("keep_bytes", keep_bytes, whole=True)  # type: int

    def __repr__(self) -> str:
        return "<FunctionPolicy %s>" % " ".join("%s=%s" % (name, getattr(self, name)) for name in self.__slots__)

    def delay(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1); `jitter` is from 0 to 1."""
        return growing_pause(self.backoff, self.backoff_max, attempt - 1) * (0.75 + 0.5 * jitter)


class _QueueEnd:
    """The node between the last job of a queue and its first.

    A queue is a ring of jobs and one such node, so that a job can leave it anywhere without a look at the others.

    Owner: the Function.
    """

    __slots__ = ("ahead", "behind")

    def __init__(self) -> None:
        self.ahead = self.behind = self  # type: Any

    def __repr__(self) -> str:
        return "<_QueueEnd>"


class Function:
    """One function: its queues, its uniques, who can do it, its counters.

    Owner: the Core.
    """

    __slots__ = ("name", "policy", "queues", "waiting", "running", "delayed", "aside", "size", "workers",
                 "ability_sets", "crowd", "uniques", "max_queue", "paused", "escalating", "kept", "totals", "noted",
                 "statistics", "note_success")

    def __init__(self, name: bytes, policy: FunctionPolicy) -> None:
        self.name = name
        self.policy = policy
        self.queues = (_QueueEnd(), _QueueEnd(), _QueueEnd())  # by priority
        self.waiting = [0, 0, 0]  # by priority
        self.running = 0
        self.delayed = [0, 0, 0]  # by priority; also those not yet on disk or held back behind another
        self.aside = 0            # how many of its jobs are set aside
        self.size = 0             # bytes of the workloads of all its jobs
        self.workers = 0          # registrations, also repeated ones
        self.ability_sets = {}    # type: Dict[AbilitySet, None] # those that are told of its jobs, see AbilitySet
        self.crowd = None         # type: Optional[Crowd] # what the others look at, if there ever were any
        self.uniques = {}         # type: MutableMapping[bytes, Job]
        self.max_queue = None     # type: Optional[Tuple[int, int, int]] # by priority, 0: no limit
        self.paused = False
        self.escalating = 0       # how many more sleepers the next escalation wakes; 0: none is due
        self.kept = False         # it stays even if nobody uses it
        self.totals = Totals()
        self.noted = -1           # the second of which Statistics know that something happened
        self.statistics = None    # type: Optional[FunctionStatistics] # of functions that did something lately
        # Called with the fields of the End of each job that is complete (benchmark: every job); `bool` keeps nothing of them.
        self.note_success = bool  # type: Callable[[Any], Any]

    def __repr__(self) -> str:
        return "<Function %s: %d waiting, %d running, %d workers>" % (
            self.name.decode("latin-1"), sum(self.waiting), self.running, self.workers)

    @property
    def total(self) -> int:
        """How many jobs it has, without those set aside."""
        return sum(self.waiting) + self.running + sum(self.delayed)

    @property
    def in_use(self) -> bool:
        """Whether it has a job, a worker, or an order that is in force."""
        return bool(self.workers or self.kept or self.paused or self.max_queue or self.aside or self.total)

    # ------------------------------------------------------------------------- the arrows: out of one state, into the next

    def admit(self, job: Job) -> None:
        """Count a new job as its own; the arrow into the job's first state follows."""
        self.size += len(job.workload)
        self.totals.submitted += 1

    def readmit(self, job: Job) -> None:
        """Count a job again that comes from the store or was set aside; the arrow into the job's state follows."""
        self.size += len(job.workload)

    def store(self, job: Job) -> None:
        """A job waits for its record to be on disk."""
        job.state = STORING
        self.delayed[job.priority] += 1

    def push(self, job: Job) -> None:
        """A job waits at the tail of its priority."""
        job.state = WAITING
        priority = job.priority
        job.behind = end = self.queues[priority]
        job.ahead = last = end.ahead
        last.behind = end.ahead = job
        waiting = self.waiting
        if not waiting[priority] and not self.paused:
            self._ready(priority)
        waiting[priority] += 1

    def push_stored(self, job: Job) -> None:
        """What `release` and `push` do with a job whose record is on disk (benchmark: durable background submit)."""
        self.delayed[job.priority] -= 1
        self.push(job)

    def push_restored(self, job: Job) -> None:
        """What `readmit` and `push` do with a job that a store gives back (benchmark: start)."""
        self.size += len(job.workload)
        self.push(job)

    def push_all(self, jobs: "List[Job]") -> None:
        """What `push_restored` does, with many jobs (benchmark: start)."""
        queues, waiting = self.queues, self.waiting
        self.size += sum([len(job.workload) for job in jobs])
        for job in jobs:
            job.state = WAITING
            priority = job.priority
            job.behind = end = queues[priority]
            job.ahead = last = end.ahead
            last.behind = end.ahead = job
            if not waiting[priority] and not self.paused:
                self._ready(priority)
            waiting[priority] += 1

    def start(self, priority: int, worker: "Any") -> Job:
        """The job whose turn it is runs; there must be one."""
        end = self.queues[priority]
        job = end.behind  # type: Any
        end.behind = behind = job.behind
        behind.ahead = end
        job.ahead = job.behind = None
        waiting = self.waiting
        waiting[priority] -= 1
        if behind is end:
            self._unready(priority)
        job.state = RUNNING
        job.worker = worker
        self.running += 1
        return job  # type: ignore[no-any-return]

    def delay(self, job: Job, timer: "List[Any]") -> None:
        """A job waits for its time."""
        job.state = DELAYED
        job.timer = timer
        self.delayed[job.priority] += 1

    def hold(self, job: Job) -> None:
        """A job waits for the end of an equal one."""
        job.state = HELD
        self.delayed[job.priority] += 1

    def set_aside(self, job: Job) -> None:
        """A job waits for an admin."""
        job.state = SET_ASIDE
        self.aside += 1

    def end(self, job: Job) -> None:
        """A job is gone."""
        job.state = GONE
        self.size -= len(job.workload)

    def stop(self, job: Job) -> None:
        """A job no longer runs; the arrow into its next state follows."""
        assert job.state is RUNNING, job
        job.state = _BETWEEN
        job.worker = None
        self.running -= 1

    def complete(self, job: Job) -> None:
        """What `stop`, `count` and `end` do with a job that is complete (benchmark: every job)."""
        job.state = GONE
        job.worker = None
        self.running -= 1
        self.totals.completed += 1
        self.size -= len(job.workload)

    def release(self, job: Job) -> None:
        """A job that does not run leaves its state; the arrow into its next one follows."""
        state = job.state
        job.state = _BETWEEN
        if state is WAITING:
            self.waiting[job.priority] -= 1
            if not self.waiting[job.priority] and not self.paused:
                self._unready(job.priority)
            ahead, behind = job.ahead, job.behind
            ahead.behind = behind
            behind.ahead = ahead
            job.ahead = job.behind = None
        elif state is SET_ASIDE:
            self.aside -= 1
        else:
            assert state in (STORING, DELAYED, HELD), job
            self.delayed[job.priority] -= 1

    # ------------------------------------------------------------------------------------------ what changes within a state

    def reprioritize(self, job: Job, priority: int) -> None:
        """A job that does not wait in the queue gets another priority."""
        if job.state is not RUNNING:
            self.delayed[job.priority] -= 1
            self.delayed[priority] += 1
        job.priority = priority

    def replace_workload(self, job: Job, workload: "Union[bytes, memoryview]") -> None:
        """A job gets another workload."""
        self.size += len(workload) - len(job.workload)
        job.workload = workload

    def join(self, job: Job) -> None:
        """A submit joined a job instead of making a new one."""
        job.joins += 1
        self.totals.joined += 1

    def count(self, what: str) -> None:
        """Add one to another counter: one of the names in Totals."""
        setattr(self.totals, what, getattr(self.totals, what) + 1)

    def update_statistics(self, now: float) -> None:
        """Count what was observed, and end the steps of the history that are over by now."""
        assert self.statistics is not None, self
        totals = self.totals
        self.statistics.update(now, (totals.submitted, totals.completed, totals.failed), sum(self.waiting))

    def gain_worker(self) -> None:
        """A worker has registered for it, perhaps not for the first time."""
        self.workers += 1

    def lose_workers(self, count: int) -> None:
        """A number of registrations for it have ended."""
        self.workers -= count

    def pause(self) -> None:
        """Give out no more jobs."""
        if not self.paused:
            for priority in PRIORITY_CLASSES:
                if self.waiting[priority]:
                    self._unready(priority)
            self.paused = True

    def resume(self) -> None:
        """Give out jobs again."""
        if self.paused:
            self.paused = False
            for priority in PRIORITY_CLASSES:
                if self.waiting[priority]:
                    self._ready(priority)

    def jobs_waiting(self) -> "Iterator[Job]":
        """All waiting jobs in the order of their turns; none may come or go meanwhile."""
        for end in self.queues:
            job = end.behind  # type: Any
            while job is not end:
                yield job
                job = job.behind

    def oldest(self, now: float) -> "Optional[float]":
        """For how many seconds the longest waiting of the next jobs of each priority has waited; None if no job waits."""
        since = [end.behind.since for end in self.queues if end.behind is not end]
        return max(0.0, now - min(since)) if since else None

    def sets_asleep(self) -> "Iterator[AbilitySet]":
        """Its ability sets with sleepers; whoever asks for the next one has woken all sleepers of the one before."""
        for ability_set in self.ability_sets:
            if ability_set.sleepers:
                yield ability_set
        if self.crowd is not None:
            asleep = self.crowd.asleep
            while asleep:
                ability_set = next(iter(asleep))
                if ability_set.sleepers:
                    yield ability_set
                else:
                    del asleep[ability_set]

    def list_sets_asleep(self) -> "List[AbilitySet]":
        """The same, as they are now; that of those no longer told about may be among them that have no sleepers."""
        return [one for one in self.ability_sets if one.sleepers] + (list(self.crowd.asleep) if self.crowd is not None else [])

    def _ready(self, priority: int) -> None:
        for ability_set in self.ability_sets:
            ability_set.ready[priority][self] = None
        crowd = self.crowd
        if crowd is not None and priority < crowd.urgency:
            crowd.urgency = priority

    def _unready(self, priority: int) -> None:
        for ability_set in self.ability_sets:
            del ability_set.ready[priority][self]
        crowd = self.crowd
        if crowd is not None and priority == crowd.urgency:
            crowd.urgency = self.urgency(priority + 1)

    def urgency(self, above: int = PRIORITY_HIGH) -> int:
        """The highest priority, from `above` on, of which a job waits, or NO_URGENCY; whether it is paused is not asked."""
        for priority in PRIORITY_CLASSES[above:]:
            if self.waiting[priority]:
                return priority
        return NO_URGENCY


class Crowd:
    """A function as seen by those of its ability sets that are not told of its jobs, because there are too many sets.

    Owner: the Function.
    """

    __slots__ = ("function", "urgency", "asleep")

    def __init__(self, function: Function) -> None:
        self.function = function
        self.urgency = NO_URGENCY if function.paused else function.urgency()  # the priority of the job that it would give out
        # Those of these sets that have sleepers, or had some: a set is added when it gets its first sleeper, and `sets_asleep`
        # takes it out when it has none any more.  So a wake-up need not tell all functions of a set.
        self.asleep = OrderedDict()  # type: OrderedDict[AbilitySet, None]

    def __repr__(self) -> str:
        return "<Crowd of %s: urgency %d>" % (self.function.name.decode("latin-1"), self.urgency)


_urgency_of = attrgetter("urgency")


class AbilitySet:
    """The peers that can do exactly the same functions, the functions with jobs for them, and which of the peers sleep.

    All peers with equal abilities share one set: a job that comes or goes is noted once for all of them, and a grab or a
    wake-up looks only at what it takes.  A set of many functions with a single member changes with that member's abilities;
    from then on it has no key, so that no other peer can join it.

    Many different sets may share a function, if each worker has a function of its own besides.  The first MOST_TOLD of them
    are told when its first job of a priority comes and when the last one goes; each later one asks, at a grab, what waits for
    this function (its Crowd), and tells it when it gets its first sleeper.  So nothing costs more the more sets there are,
    unless thousands of sets share more than MOST_ASKED functions each: all are told of those beyond.

    Owner: the Roster.
    """

    __slots__ = ("key", "functions", "members", "ready", "crowds", "asked_last", "sleepers")

    def __init__(self, key: "Optional[FrozenSet[bytes]]", functions: "Iterable[Function]") -> None:
        self.key = key
        self.functions = {}   # type: Dict[Function, None]
        self.members = 0
        # For each priority, the functions with waiting jobs of which it is told, in the order of their turns.
        self.ready = (OrderedDict(), OrderedDict(), OrderedDict())  # type: Tuple[OrderedDict[Function, None], ...]
        self.crowds = OrderedDict()  # type: OrderedDict[Crowd, None] # those that it asks, in the order of their turns
        self.asked_last = False      # its last job was of one of those
        self.sleepers = OrderedDict()  # type: OrderedDict[Any, None] # peers not yet woken, the longest asleep first
        for function in functions:
            self.add(function, first=False)

    def __repr__(self) -> str:
        return "<AbilitySet of %d functions, %d members, %d asleep>" % (len(self.functions), self.members, len(self.sleepers))

    def add(self, function: "Function", first: bool = True) -> None:
        """Add a function, of a new set or of one with a single member; its turn comes `first`, or last."""
        self.functions[function] = None
        if len(function.ability_sets) >= MOST_TOLD and len(self.crowds) < MOST_ASKED:
            crowd = function.crowd
            if crowd is None:
                crowd = function.crowd = Crowd(function)
            self.crowds[crowd] = None
            if first:
                self.crowds.move_to_end(crowd, last=False)
            if self.sleepers:
                crowd.asleep[self] = None
            return
        function.ability_sets[self] = None
        if not function.paused:
            for priority in PRIORITY_CLASSES:
                if function.waiting[priority]:
                    self.ready[priority][function] = None
                    if first:
                        self.ready[priority].move_to_end(function, last=False)

    def remove(self, function: "Function") -> None:
        """Remove a function, of a set with a single member or with none."""
        del self.functions[function]
        crowd = function.crowd
        if crowd is not None and crowd in self.crowds:
            del self.crowds[crowd]
            crowd.asleep.pop(self, None)
            return
        del function.ability_sets[self]
        for ready in self.ready:
            ready.pop(function, None)

    def add_sleeper(self, peer: "Any") -> None:
        """A member sleeps; it wakes by being removed from the `sleepers`."""
        if self.crowds and not self.sleepers:
            for crowd in self.crowds:
                crowd.asleep[self] = None
        self.sleepers[peer] = None

    def has_work(self) -> bool:
        """Whether a job waits for its members."""
        ready = self.ready
        if ready[0] or ready[1] or ready[2]:
            return True
        return bool(self.crowds) and min(map(_urgency_of, self.crowds)) < NO_URGENCY

    def take(self, peer: "Any") -> "Optional[Job]":
        """Start the next job for a member: highest priority first, within it one function after the other.

        The functions of which it is told and those about which it asks take turns, one job of each kind.
        """
        if self.crowds:
            crowd = min(self.crowds, key=_urgency_of)  # the first one of those that are as urgent
            priority = crowd.urgency
            if priority < NO_URGENCY and not any(self.ready[:priority]) and not (self.asked_last and self.ready[priority]):
                self.asked_last = True
                self.crowds.move_to_end(crowd)
                return crowd.function.start(priority, peer)
            self.asked_last = False
        priority = PRIORITY_HIGH
        for ready in self.ready:
            if ready:
                function = next(iter(ready))
                if len(ready) > 1:
                    ready.move_to_end(function)
                return function.start(priority, peer)
            priority += 1
        return None


class Totals:
    """Counts of what happened to jobs since the start: to those of one function, or to those of functions that are gone.

    Owner: the Function, whose methods alone change it; the Registry for what belongs to no function.
    """

    __slots__ = ("submitted", "joined", "completed", "failed", "requeued", "set_aside", "cancelled", "refused", "lost",
                 "late")

    def __init__(self) -> None:
        self.submitted = 0
        self.joined = 0
        self.completed = 0
        self.failed = 0
        self.requeued = 0
        self.set_aside = 0
        self.cancelled = 0
        self.refused = 0
        self.lost = 0  # attempts whose worker was lost, or too slow, or gave the job back
        self.late = 0  # results of a worker that has the job no longer

    def add(self, others: "Totals") -> None:
        """Add the counts of others."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(others, name))

    def __repr__(self) -> str:
        return "<Totals %s>" % " ".join("%s=%d" % (name, getattr(self, name)) for name in self.__slots__)
