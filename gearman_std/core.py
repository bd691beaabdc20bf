"""Everything the job server decides.

The core has no socket, thread, lock or clock.  In: `connect`, `receive`, `disconnect`, `tick`, `restore`.  Out: bytes in
`peer.outgoing`, each such peer listed once in `unsent`; `records` for the store; `peer.closing`; `stopping`.  A peer's mistake
never raises: it is answered with an ERROR packet.

    SUBMIT_JOB*            GRAB_JOB*                WORK_COMPLETE | WORK_FAIL | WORK_EXCEPTION
    ─────────> WAITING ────────────────> RUNNING ─────────────────────────────────────────> GONE
    (_enqueue)  ^  ^  │   (_assign)       │ │ │                                    (_finish)
                │  │  │                   │ │ └ failed, and the policy says again ──> DELAYED   (_attempt_failed)
                │  │  └ last watcher left │ └ worker lost or too slow: attempts left ──> WAITING (_attempt_lost)
                │  │    or cancelled ─────┴────> GONE             none left ──> SET_ASIDE, or WORK_FAIL and GONE
    due         │  └ DELAYED  (_delay)
    on disk     └ STORING (`stored`), if there is a store and the job is a background job
"""
from collections import OrderedDict, deque

from .errors import ProtocolError
from .jobs import (ASLEEP, AWAKE, DELAYED, GONE, NO_WATCHERS, PRIORITY_CLASSES, PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL,
                   REJECT, REPLACE, RERUN, RUNNING, SET_ASIDE, STORING, WAITING, WOKEN, AbilitySet, Function, FunctionPolicy, Job,
                   Totals)
from .protocol import (ECHO_RES, ERROR, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ,
                       JOB_CREATED, LARGE_BODY, MAX_UNIQUE_SIZE, NO_JOB, NOOP, OPTION_RES, PACKETS, STATUS_RES, STATUS_RES_UNIQUE,
                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS,
                       WORK_WARNING, pack_response, response_head)
from .schedule import Schedule
from .text import answer
from .timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple
    from .protocol import Data, Packet

# What a peer may be allowed to do.
SUBMIT, WORK, ADMIN, STEER = "submit", "work", "admin", "steer"
ALL_RIGHTS = frozenset((SUBMIT, WORK, ADMIN, STEER))

# How long a waiting job may stay un-grabbed, in seconds, before more sleepers are woken for it.
ESCALATION_DELAY = 0.05
MAX_CLIENT_ID_SIZE = 127
MAX_REDUCER_SIZE = 64

_NOOP_PACKET = pack_response(NOOP)
_NO_JOB_PACKET = pack_response(NO_JOB)
# The head of JOB_CREATED for each size of handle (benchmark: background submit).
_CREATED_HEADS = tuple(pack_response(JOB_CREATED, b" " * size)[:12] for size in range(64))


class Peer:
    """One connection as the core sees it; it may be a client, a worker, an admin, or all of them.

    Owner: the Core.
    """

    __slots__ = ("number", "address", "client_id", "channel", "handlers", "rights", "outgoing", "bulky", "closing", "exceptions",
                 "abilities", "time_limits", "ability_set", "sleep", "running", "watching", "all_yours")

    def __init__(self, number: int, address: bytes, channel: "Any" = None) -> None:
        self.number = number      # the first column of the text command `workers`
        self.address = address    # the second: its IP address, or what stands for one
        self.channel = channel    # the server's; the core does not look at it
        self.client_id = b"-"
        self.handlers = []        # type: List[Callable[..., None]] # by packet type
        self.rights = ALL_RIGHTS  # type: FrozenSet[str]
        self.outgoing = []        # type: List[Data] # what the server has to send
        self.bulky = False        # outgoing holds large pieces that should not be joined
        self.closing = False      # to be closed when all is sent
        self.exceptions = False   # it wants WORK_EXCEPTION rather than WORK_FAIL
        self.abilities = OrderedDict()  # type: OrderedDict[bytes, int] # function name: how often it was registered
        self.time_limits = {}     # type: Dict[Function, float] # seconds
        self.ability_set = None   # type: Optional[AbilitySet] # None: not known since the abilities changed
        self.sleep = AWAKE
        self.running = {}         # type: Dict[bytes, Job] # by handle
        self.watching = {}        # type: Dict[Job, None]
        self.all_yours = 0        # after ALL_YOURS, the type of its last grab, whose answer it gets without asking

    def __repr__(self) -> str:
        return "<Peer %d %s: %d abilities, %d running, %d watched, %s>" % (
            self.number, self.address.decode("latin-1"), len(self.abilities), len(self.running), len(self.watching),
            ("awake", "asleep", "woken")[self.sleep])


class Limits:
    """How much the core takes from all peers together and from each; 0 means no limit.

    `jobs` and `job_bytes` count every job that is not gone, those set aside included; `function_jobs` and
    `function_job_bytes` are the same for one function.  `functions` counts functions, `abilities` those of one peer.

    Owner: immutable once in use.
    """

    __slots__ = ("jobs", "job_bytes", "function_jobs", "function_job_bytes", "functions", "abilities")

    def __init__(self, jobs: int = 0, job_bytes: int = 0, function_jobs: int = 0, function_job_bytes: int = 0,
                 functions: int = 100000, abilities: int = 20000) -> None:
        self.jobs = jobs
        self.job_bytes = job_bytes
        self.function_jobs = function_jobs
        self.function_job_bytes = function_job_bytes
        self.functions = functions
        self.abilities = abilities

    def __repr__(self) -> str:
        return "<Limits %s>" % " ".join("%s=%d" % (name, getattr(self, name)) for name in self.__slots__)


class Core:
    """The job server without its sockets.

    `handle_prefix` stands before the colon and the number in every handle.  `wakeup` is how many sleeping workers a new job
    wakes: 0 all, None as few as needed, and more after a while if it still waits.  With `durable`, background jobs are
    acknowledged only after the server called `stored`.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, handle_prefix: bytes = b"H:localhost", exceptions: bool = False, wakeup: "Optional[int]" = None,
                 durable: bool = False, policy: "Optional[FunctionPolicy]" = None,
                 policies: "Optional[Dict[bytes, FunctionPolicy]]" = None, limits: "Optional[Limits]" = None,
                 version: bytes = b"gearman_std", pid: int = 0, verbosity: bytes = b"ERROR") -> None:
        self.handle_prefix = handle_prefix
        self.exceptions = exceptions
        self.wakeup = wakeup
        self.durable = durable
        self.policy = policy or FunctionPolicy()
        self.policies = dict(policies or {})
        self.limits = limits or Limits()
        self.version = version
        self.pid = pid
        self.verbosity = verbosity
        self.now = 0.0   # monotonic seconds, as of the last tick
        self.wall = 0.0  # unix time, as of the last tick
        self.peers = OrderedDict()      # type: OrderedDict[Peer, None]
        self.functions = OrderedDict()  # type: OrderedDict[bytes, Function]
        self.jobs = {}                  # type: Dict[bytes, Job] # by handle: all but those set aside
        self.aside = OrderedDict()      # type: OrderedDict[bytes, Job] # by handle
        self.uniques = {}               # type: Dict[bytes, Any] # a Job, or a dict of the jobs of several functions by handle
        self.max_queues = {}            # type: Dict[bytes, Tuple[int, int, int]]
        self.totals = Totals()
        self.counters = {}              # type: Dict[str, int] # what the server counts, for `show totals`
        self.size = 0                   # bytes of all workloads
        self.number = 0                 # of the last handle given out
        self.unsent = []                # type: List[Peer]
        self.records = []               # type: List[Tuple[Any, ...]] # for the store, see there
        self.draining = False           # no new jobs are accepted
        self.handing_out = True         # jobs are given to workers
        self.stopping = ""              # "now" or "graceful"
        self.store_trouble = b""        # why background jobs cannot be accepted at present
        self._ability_sets = {}         # type: Dict[FrozenSet[bytes], AbilitySet]
        self._time_limits = Timers()    # of running jobs, by `now`
        self._delayed = Timers()        # of delayed jobs, by `wall`
        self._escalations = deque()     # type: Deque[Tuple[float, Function]]
        self._changed = []              # type: List[Peer] # sleepers whose abilities changed
        self._storing = []              # type: List[Job]
        self._provisional = []          # type: List[Tuple[Peer, int, Job]] # JOB_CREATED that waits for the store
        self._handlers = self._handler_table(ALL_RIGHTS)

    def __repr__(self) -> str:
        return "<Core: %d peers, %d functions, %d jobs, %d set aside>" % (
            len(self.peers), len(self.functions), len(self.jobs), len(self.aside))

    # ---------------------------------------------------------------------------------------------- called by the server

    def connect(self, peer: Peer, rights: "FrozenSet[str]" = ALL_RIGHTS) -> None:
        """Take note of a new connection and of what it may do."""
        peer.rights = rights
        peer.handlers = self._handlers if rights == ALL_RIGHTS else self._handler_table(rights)
        peer.exceptions = self.exceptions
        self.peers[peer] = None

    def receive(self, peer: Peer, packets: "Iterable[Packet]") -> None:
        """Obey the packets of a peer, in their order."""
        handlers = peer.handlers
        for packet_type, arguments in packets:
            handlers[packet_type](peer, *arguments)

    def refuse(self, peer: Peer, error: ProtocolError) -> None:
        """Give a peer up whose stream cannot be read any further."""
        if error.code:
            self._error(peer, error.code, str(error).encode("utf-8", "backslashreplace"))
        peer.closing = True

    def disconnect(self, peer: Peer) -> None:
        """Forget a connection: its jobs go back into their queues, what only it was waiting for is dropped."""
        del self.peers[peer]
        ability_set = peer.ability_set
        was_woken = peer.sleep == WOKEN
        self._leave(peer)
        peer.sleep = AWAKE
        for name, count in peer.abilities.items():
            self.functions[name].workers -= count
        peer.abilities.clear()
        peer.time_limits.clear()
        for job in list(peer.running.values()):
            self._attempt_lost(job, b"the worker was lost")
        for job in list(peer.watching):
            job.watchers = [watcher for watcher in job.watchers if watcher is not peer] or NO_WATCHERS
            if not job.watchers:
                self._unwatched(job)
        peer.watching.clear()
        if was_woken and ability_set is not None:
            self._pass_on(ability_set)

    def tick(self, now: float, wall: float) -> None:
        """Take note of the time, monotonic and unix, and do what is due."""
        self.now = now
        self.wall = wall
        while True:
            job = self._time_limits.pop_due(now)
            if job is None:
                break
            job.timer = None
            if job.background:
                self._attempt_lost(job, b"the time limit ran out")
            else:
                self._stop_running(job)
                self._fail(job)
        while True:
            job = self._delayed.pop_due(wall)
            if job is None:
                break
            job.timer = None
            job.function.delayed[job.priority] -= 1
            self._enqueue(job)
        while self._escalations and self._escalations[0][0] <= now:
            self._escalate(self._escalations.popleft()[1])

    def settle(self) -> "Optional[float]":
        """Finish what the packets of one wake-up began; return the seconds until something is due, or None."""
        if self._changed:
            changed, self._changed = self._changed, []
            for peer in changed:
                if peer in self.peers and peer.sleep == ASLEEP and peer.ability_set is None:
                    self._fall_asleep(peer)
        waits = []
        when = self._time_limits.next_time()
        if when is not None:
            waits.append(when - self.now)
        when = self._delayed.next_time()
        if when is not None:
            waits.append(when - self.wall)
        if self._escalations:
            waits.append(self._escalations[0][0] - self.now)
        return max(0.0, min(waits)) if waits else None

    def stored(self) -> None:
        """All records are on disk: what waited for that goes on."""
        self.records = []
        self._provisional = []
        storing, self._storing = self._storing, []
        for job in storing:
            if job.state is STORING:
                job.function.delayed[job.priority] -= 1
                self._place(job)

    def not_stored(self, reason: bytes) -> None:
        """The records could not be written: refuse the background jobs among them; keep the other records for later."""
        refused = {}  # type: Dict[bytes, Job]
        for peer, index, job in self._provisional:
            peer.outgoing[index] = pack_response(ERROR, b"QUEUE_ERROR", reason)
            refused[job.handle] = job
            self.totals.refused += 1
        self._provisional = []
        storing, self._storing = self._storing, []
        for job in storing:
            if job.state is STORING:
                job.function.delayed[job.priority] -= 1
                refused[job.handle] = job
                self._forget(job)
        self.records = [record for record in self.records if record[1] not in refused]
        for job in refused.values():
            job.background = False
            if not job.watchers and job.state is not GONE:
                self._unwatched(job)

    def restore(self, job: Job) -> None:
        """Take in a job from the store, in the order of the store."""
        job.background = True
        self._count_size(job, 1)
        if job.state is SET_ASIDE:
            self.aside[job.handle] = job
        else:
            self.jobs[job.handle] = job
            self._index(job)
            self._place(job)

    # ----------------------------------------------------------------------------------------------- packets from clients

    def on_submit_job(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_NORMAL, False)

    def on_submit_job_high(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_HIGH, False)

    def on_submit_job_low(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_LOW, False)

    def on_submit_job_bg(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_NORMAL, True)

    def on_submit_job_high_bg(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_HIGH, True)

    def on_submit_job_low_bg(self, peer: Peer, function: bytes, unique: bytes, workload: "Data") -> None:
        self._submit(peer, function, unique, workload, PRIORITY_LOW, True)

    def on_submit_job_epoch(self, peer: Peer, function: bytes, unique: bytes, epoch: bytes, workload: "Data") -> None:
        due = parse_number(epoch)
        if due >= 1 << 63:
            self._error(peer, b"INVALID_ARGUMENTS", b"The time is out of range")
        else:
            self._submit(peer, function, unique, workload, PRIORITY_NORMAL, True, due=float(due))

    def on_submit_job_sched(self, peer: Peer, function: bytes, unique: bytes, minute: bytes, hour: bytes, day_of_month: bytes,
                            month: bytes, day_of_week: bytes, workload: "Data") -> None:
        try:
            schedule = Schedule(b" ".join((minute, hour, day_of_month, month, day_of_week)))
            due = schedule.next_time(self.wall)
        except ValueError as error:
            self._error(peer, b"INVALID_ARGUMENTS", str(error).encode())
        else:
            self._submit(peer, function, unique, workload, PRIORITY_NORMAL, True, due=due, schedule=schedule)

    def on_submit_reduce_job(self, peer: Peer, function: bytes, unique: bytes, reducer: bytes, aggregator: bytes,
                             workload: "Data") -> None:
        self._submit_reduce(peer, function, unique, reducer, workload, False)

    def on_submit_reduce_job_background(self, peer: Peer, function: bytes, unique: bytes, reducer: bytes, aggregator: bytes,
                                        workload: "Data") -> None:
        self._submit_reduce(peer, function, unique, reducer, workload, True)

    def on_get_status(self, peer: Peer, handle: bytes) -> None:
        handle = handle.rstrip(b"\0")
        job = self.jobs.get(handle)
        if job is None:
            self._send(peer, pack_response(STATUS_RES, handle, b"0", b"0", b"0", b"0"))
        else:
            self._send(peer, pack_response(STATUS_RES, handle, *self._status(job)))

    def on_get_status_unique(self, peer: Peer, unique: bytes) -> None:
        job = self.uniques.get(unique)
        if isinstance(job, dict):
            job = next(iter(job.values()))
        if job is None:
            self._send(peer, pack_response(STATUS_RES_UNIQUE, unique, b"0", b"0", b"0", b"0", b"0"))
        else:
            self._send(peer, pack_response(STATUS_RES_UNIQUE, unique, *(self._status(job) + (b"%d" % len(job.watchers),))))

    def on_option_req(self, peer: Peer, option: bytes) -> None:
        if option.lower() == b"exceptions":
            peer.exceptions = True
            self._send(peer, pack_response(OPTION_RES, option))
        else:
            self._error(peer, b"UNKNOWN_OPTION", b"Server does not recognize given option")

    # ----------------------------------------------------------------------------------------------- packets from workers

    def on_can_do(self, peer: Peer, function: bytes) -> None:
        self._register(peer, function, 0.0)

    def on_can_do_timeout(self, peer: Peer, function: bytes, timeout_ms: bytes) -> None:
        milliseconds = parse_number(timeout_ms)
        if milliseconds >= 10 ** 20:
            self._error(peer, b"INVALID_ARGUMENTS", b"The time limit is out of range")
        else:
            # gearmand's floor of one second is kept: workers registered for it send smaller numbers meaning seconds.
            self._register(peer, function, max(1.0, milliseconds / 1000.0) if milliseconds > 0 else 0.0)

    def on_cant_do(self, peer: Peer, function: bytes) -> None:
        if function in peer.abilities:
            self._unregister(peer, [function])

    def on_reset_abilities(self, peer: Peer) -> None:
        self._unregister(peer, list(peer.abilities))

    def on_set_client_id(self, peer: Peer, client_id: bytes) -> None:
        peer.client_id = client_id[:MAX_CLIENT_ID_SIZE]

    def on_all_yours(self, peer: Peer) -> None:
        peer.all_yours = peer.all_yours or GRAB_JOB

    def on_pre_sleep(self, peer: Peer) -> None:
        self._fall_asleep(peer)

    def on_grab_job(self, peer: Peer) -> None:
        job = self._assign(peer)
        if job is None:
            self._send(peer, _NO_JOB_PACKET)
        else:
            self._send_data(peer, JOB_ASSIGN, job.workload, job.handle, job.function.name)

    def on_grab_job_uniq(self, peer: Peer) -> None:
        self._grab(peer, GRAB_JOB_UNIQ)

    def on_grab_job_all(self, peer: Peer) -> None:
        self._grab(peer, GRAB_JOB_ALL)

    def on_work_status(self, peer: Peer, handle: bytes, numerator: bytes, denominator: bytes) -> None:
        job = peer.running.get(handle)
        if job is None:
            self._error(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
            return
        job.progress = (parse_number(numerator) & 0xffffffff, parse_number(denominator) & 0xffffffff)
        if job.watchers:
            self._tell(job, pack_response(WORK_STATUS, handle, numerator, denominator))

    def on_work_data(self, peer: Peer, handle: bytes, data: "Data") -> None:
        self._relay(peer, WORK_DATA, handle, data)

    def on_work_warning(self, peer: Peer, handle: bytes, data: "Data") -> None:
        self._relay(peer, WORK_WARNING, handle, data)

    def on_work_complete(self, peer: Peer, handle: bytes, data: "Data") -> None:
        job = peer.running.pop(handle, None)
        if job is None:
            self._error(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
            return
        self.totals.completed += 1
        job.function.totals.completed += 1
        for watcher in job.watchers:
            self._send_data(watcher, WORK_COMPLETE, data, handle)
        self._finish(job)

    def on_work_fail(self, peer: Peer, handle: bytes) -> None:
        job = peer.running.get(handle.rstrip(b"\0"))
        if job is None:
            self._error(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
        else:
            self._attempt_failed(job, b"the worker failed it", None, handle)

    def on_work_exception(self, peer: Peer, handle: bytes, data: "Data") -> None:
        job = peer.running.get(handle)
        if job is None:
            self._error(peer, b"JOB_NOT_FOUND", b"An exception was received for a job that does not exist")
        else:
            self._attempt_failed(job, bytes(data[:1024]), data, handle)

    # ---------------------------------------------------------------------------------------------- packets from anybody

    def on_echo_req(self, peer: Peer, data: "Data") -> None:
        self._send_data(peer, ECHO_RES, data)

    def on_text_line(self, peer: Peer, line: bytes) -> None:
        reply = answer(self, peer, line)
        if reply is None:
            peer.closing = True
        else:
            self._send(peer, reply)

    def on_wrong_magic(self, peer: Peer) -> None:
        self._error(peer, b"INVALID_MAGIC", b"Request magic expected")

    def on_too_few_arguments(self, peer: Peer, name: bytes) -> None:
        self._error(peer, b"INVALID_ARGUMENTS", b"Too few arguments for " + name)

    def on_unexpected(self, peer: Peer, *arguments: "Data") -> None:
        self._error(peer, b"INVALID_COMMAND", b"Command not expected")

    def on_forbidden(self, peer: Peer, *arguments: "Data") -> None:
        self._error(peer, b"FORBIDDEN", b"This connection may not do that")

    # ------------------------------------------------------------------------------------------------ orders from an admin

    def drain(self, draining: bool) -> None:
        """Accept no new jobs, or accept them again."""
        self.draining = draining

    def stop(self, graceful: bool) -> None:
        """Ask the server to stop: at once, or when no job is left (with a store: when none runs and no client waits)."""
        if self.stopping != "now":
            self.stopping = "graceful" if graceful else "now"
        if self.durable:
            self.handing_out = False

    @property
    def idle(self) -> bool:
        """Whether a graceful stop may end."""
        if self.durable:
            return not any(job.state is RUNNING or not job.background for job in self.jobs.values())
        return not self.jobs

    def set_max_queue(self, name: bytes, limits: "Optional[Tuple[int, int, int]]") -> None:
        """Limit the jobs of a function, known or not, for high, normal and low submits; 0 or None: no limit."""
        if limits is None:
            self.max_queues.pop(name, None)
        else:
            self.max_queues[name] = limits
        if name in self.functions:
            self.functions[name].max_queue = limits

    def add_function(self, name: bytes) -> Function:
        """The function of that name, made if it is new."""
        function = self.functions.get(name)
        if function is None:
            function = self.functions[name] = Function(name, self.policies.get(name, self.policy))
            function.max_queue = self.max_queues.get(name)
        return function

    def drop_function(self, function: Function) -> int:
        """Forget a function without workers or running jobs; its other jobs are set aside.  Returns how many."""
        jobs = function.clear() + [job for job in self.jobs.values() if job.function is function and job.state is DELAYED]
        for job in jobs:
            if job.state is DELAYED:
                self._undelay(job)
            self._give_up(job, b"its function was dropped")
        del self.functions[function.name]
        return len(jobs)

    def cancel(self, job: Job) -> None:
        """End a job wherever it is; its watchers get WORK_FAIL, a worker's later result is ignored with an ERROR."""
        self.totals.cancelled += 1
        job.function.totals.cancelled += 1
        if job.state is SET_ASIDE:
            self.purge(job)
            return
        if job.state is RUNNING:
            self._stop_running(job)
        elif job.state is WAITING:
            job.function.remove(job, GONE)
        elif job.state is DELAYED:
            self._undelay(job)
        elif job.state is STORING:
            job.function.delayed[job.priority] -= 1
        self._fail(job)

    def requeue(self, job: Job) -> None:
        """Give a job that was set aside a new start."""
        del self.aside[job.handle]
        self._count_size(job, -1)
        job.function = self.add_function(job.function.name)
        self._count_size(job, 1)
        job.attempts = 0
        job.error = b""
        self.jobs[job.handle] = job
        self._index(job)
        self._record_update(job, WAITING)
        self._enqueue(job)

    def purge(self, job: Job) -> None:
        """Forget a job that was set aside."""
        del self.aside[job.handle]
        job.state = GONE
        self._count_size(job, -1)
        self._record_remove(job)

    def pause(self, function: Function) -> None:
        """Give out no more jobs of a function."""
        function.pause()

    def resume(self, function: Function) -> None:
        """Give out the jobs of a function again."""
        function.resume()
        for _ in range(min(sum(function.waiting), function.workers)):
            self._wake(function)

    # ------------------------------------------------------------------------------------------------------- submitting

    def _submit(self, peer: Peer, name: bytes, unique: bytes, workload: "Data", priority: int, background: bool,
                due: float = 0.0, reducer: "Optional[bytes]" = None, schedule: "Optional[Schedule]" = None) -> None:
        function = self.functions.get(name)
        if function is None:
            if self.limits.functions and len(self.functions) >= self.limits.functions:
                self._refuse_job(peer, b"Too many functions")
                return
            function = self.add_function(name)
        predecessor = None
        if unique:
            if len(unique) > MAX_UNIQUE_SIZE:
                self._error(peer, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
                return
            if unique == b"-":
                workload = bytes(workload)
            predecessor = function.uniques.get(unique_key(unique, workload))
            if predecessor is not None and not self._needs_successor(predecessor):
                self._coalesce(peer, predecessor, workload, priority, background)
                return
        reason = self._refusal(function, priority, len(workload), background)
        if reason:
            function.totals.refused += 1
            self._refuse_job(peer, reason)
            return
        self.number += 1
        handle = b"%s:%d" % (self.handle_prefix, self.number)
        job = Job(handle, function, unique, workload, priority, background, self.now)
        job.due = due
        job.reducer = reducer
        job.schedule = schedule
        self.jobs[handle] = job
        size = len(workload)
        self.size += size
        function.size += size
        function.totals.submitted += 1
        if predecessor is not None:
            predecessor.successor = job
        elif unique:
            self._index(job)
        if not background:
            self._watch(peer, job)
        elif self.durable:
            job.state = STORING
            function.delayed[priority] += 1
            self._storing.append(job)
            self._record_add(job)
            self._provisional.append((peer, len(peer.outgoing), job))
            self._send(peer, _CREATED_HEADS[len(handle)] + handle)
            return
        self._place(job)
        self._send(peer, _CREATED_HEADS[len(handle)] + handle)

    def _submit_reduce(self, peer: Peer, function: bytes, unique: bytes, reducer: bytes, workload: "Data",
                       background: bool) -> None:
        if len(reducer) > MAX_REDUCER_SIZE:
            self._error(peer, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
        else:
            self._submit(peer, function, unique, workload, PRIORITY_NORMAL, background, reducer=reducer)

    def _refusal(self, function: Function, priority: int, size: int, background: bool) -> bytes:
        """Why a new job cannot be taken, or nothing."""
        limits = self.limits
        if function.max_queue is not None and 0 < function.max_queue[priority] <= function.total:
            return b"Job queue is full"
        if self.draining:
            return b"The server is draining and takes no new jobs"
        if background and self.store_trouble:
            return self.store_trouble
        if limits.jobs and len(self.jobs) + len(self.aside) >= limits.jobs:
            return b"The server is full: too many jobs"
        if limits.job_bytes and self.size + size > limits.job_bytes:
            return b"The server is full: too many bytes"
        if limits.function_jobs and function.total >= limits.function_jobs:
            return b"The function is full: too many jobs"
        if limits.function_job_bytes and function.size + size > limits.function_job_bytes:
            return b"The function is full: too many bytes"
        return b""

    def _refuse_job(self, peer: Peer, reason: bytes) -> None:
        self.totals.refused += 1
        self._error(peer, b"QUEUE_ERROR", reason)

    def _needs_successor(self, job: Job) -> bool:
        return job.function.policy.coalescing == RERUN and job.state is RUNNING and job.successor is None

    def _coalesce(self, peer: Peer, job: Job, workload: "Data", priority: int, background: bool) -> None:
        """A submit met a job of the same function and unique."""
        coalescing = job.function.policy.coalescing
        if coalescing == REJECT:
            job.function.totals.refused += 1
            self.totals.refused += 1
            self._error(peer, b"JOB_EXISTS", b"A job with this unique exists: " + job.handle)
            return
        if job.successor is not None and coalescing == RERUN:
            job = job.successor
            self._replace_workload(job, workload)
        elif coalescing == REPLACE and job.state is not RUNNING:
            self._replace_workload(job, workload)
        job.joins += 1
        job.function.totals.joined += 1
        self.totals.joined += 1
        if priority < job.priority:
            self._raise_priority(job, priority)
        if not background:
            self._watch(peer, job)
        elif not job.background:
            job.background = True
            if self.durable:
                self._record_add(job)
                self._provisional.append((peer, len(peer.outgoing), job))
        if background and job.state is STORING:
            self._provisional.append((peer, len(peer.outgoing), job))
        self._send(peer, _CREATED_HEADS[len(job.handle)] + job.handle)

    def _replace_workload(self, job: Job, workload: "Data") -> None:
        self._count_size(job, -1)
        job.workload = workload
        self._count_size(job, 1)
        if job.state is STORING:
            self.records = [record for record in self.records if record[1] != job.handle]
            self._record_add(job)
        else:
            self._record_change(job, "workload", workload)

    def _raise_priority(self, job: Job, priority: int) -> None:
        if job.state is WAITING:
            job.function.move(job, priority)
        elif job.state is DELAYED or job.state is STORING:
            job.function.delayed[job.priority] -= 1
            job.function.delayed[priority] += 1
            job.priority = priority
        else:
            job.priority = priority  # should the running attempt be lost
        self._record_change(job, "priority", priority)

    def _index(self, job: Job) -> None:
        """Let later submits of the same function and unique, and GET_STATUS_UNIQUE, find a job."""
        key = unique_key(job.unique, job.workload)
        if key is None or key in job.function.uniques:
            return
        job.function.uniques[key] = job
        others = self.uniques.get(job.unique)
        if others is None:
            self.uniques[job.unique] = job
        elif isinstance(others, dict):
            others[job.handle] = job
        else:
            self.uniques[job.unique] = OrderedDict(((others.handle, others), (job.handle, job)))

    def _unindex(self, job: Job) -> None:
        key = unique_key(job.unique, job.workload)
        if key is None or job.function.uniques.get(key) is not job:
            return
        del job.function.uniques[key]
        others = self.uniques[job.unique]
        if others is job:
            del self.uniques[job.unique]
        else:
            del others[job.handle]
            if not others:
                del self.uniques[job.unique]

    def _watch(self, peer: Peer, job: Job) -> None:
        if job.watchers is NO_WATCHERS:
            job.watchers = [peer]
        else:
            job.watchers.append(peer)
        peer.watching[job] = None

    def _unwatch(self, job: Job) -> None:
        for peer in job.watchers:
            peer.watching.pop(job, None)
        job.watchers = NO_WATCHERS

    def _unwatched(self, job: Job) -> None:
        """The last watcher left: a foreground job that does not run is in vain."""
        if job.background or job.state is RUNNING:
            return
        if job.state is WAITING:
            job.function.remove(job, GONE)
        elif job.state is DELAYED:
            self._undelay(job)
        self._forget(job)

    # -------------------------------------------------------------------------------------------------------- the arrows

    def _place(self, job: Job) -> None:
        """Give a new job its first state."""
        predecessor = job.function.uniques.get(unique_key(job.unique, job.workload)) if job.unique else None
        if predecessor is not None and predecessor.successor is job:
            job.state = DELAYED
            job.function.delayed[job.priority] += 1
        elif job.due > self.wall:
            self._delay(job, job.due)
            self._rouse(job.function, self.wakeup or 0)  # as gearmand does; the job itself will wake them again
        else:
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        job.function.push(job)
        self._wake(job.function)

    def _delay(self, job: Job, due: float) -> None:
        job.state = DELAYED
        job.due = due
        job.timer = self._delayed.add(due, job)
        job.function.delayed[job.priority] += 1

    def _undelay(self, job: Job) -> None:
        if job.timer is not None:
            self._delayed.cancel(job.timer)
            job.timer = None
        job.function.delayed[job.priority] -= 1
        job.state = GONE

    def _assign(self, peer: Peer) -> "Optional[Job]":
        """Give a peer the next job that it can do."""
        ability_set = peer.ability_set or self._join(peer)
        if peer.sleep:
            if peer.sleep == ASLEEP:
                ability_set.sleepers.pop(peer, None)
            peer.sleep = AWAKE
        job = ability_set.take() if self.handing_out else None
        if job is None:
            return None
        job.state = RUNNING
        job.worker = peer
        job.function.running += 1
        peer.running[job.handle] = job
        if peer.time_limits:
            time_limit = peer.time_limits.get(job.function)
            if time_limit is not None:
                job.timer = self._time_limits.add(self.now + time_limit, job)
        return job

    def _stop_running(self, job: Job) -> None:
        """Take a job from its worker, whose later packets for it are answered with JOB_NOT_FOUND."""
        job.worker.running.pop(job.handle, None)
        job.worker = None
        job.state = GONE
        job.progress = None
        job.function.running -= 1
        if job.timer is not None:
            self._time_limits.cancel(job.timer)
            job.timer = None

    def _attempt_lost(self, job: Job, error: bytes) -> None:
        """A running job came to no end: try again, unless it did that too often or nobody cares any longer."""
        self._stop_running(job)
        job.attempts += 1
        if not job.background and not job.watchers:
            self._forget(job)
            return
        retries = job.function.policy.retries
        if retries and job.attempts >= retries:
            self._give_up(job, error)
            return
        job.error = error
        self.totals.requeued += 1
        job.function.totals.requeued += 1
        self._record_update(job, WAITING)
        self._enqueue(job)

    def _attempt_failed(self, job: Job, error: bytes, exception: "Optional[Data]", handle: bytes) -> None:
        """A worker failed a job: a background job tries again if the policy says so, all else ends.

        `handle` is as the worker wrote it, which may be with a NUL at its end.
        """
        self._stop_running(job)
        policy = job.function.policy
        if job.background and policy.attempts > 1:
            job.attempts += 1
            if job.attempts < policy.attempts:
                job.error = error
                jitter = (self.number + job.attempts) * 2654435761 % 1000 / 1000.0
                self._delay(job, self.wall + policy.delay(job.attempts, jitter))
                self._record_update(job, DELAYED)
                self.totals.requeued += 1
                job.function.totals.requeued += 1
                return
        self._tell_failure(job, exception, handle)
        self.totals.failed += 1
        job.function.totals.failed += 1
        if job.background and policy.attempts > 1:
            self._unwatch(job)
            self._set_aside(job, error)
        else:
            self._end(job)

    def _give_up(self, job: Job, error: bytes) -> None:
        """No attempts are left."""
        if job.background:
            self._tell_failure(job, None, job.handle)
            self._unwatch(job)
            self._set_aside(job, error)
        else:
            self._fail(job)

    def _fail(self, job: Job) -> None:
        """End a job in no state without a result."""
        self._tell_failure(job, None, job.handle)
        self.totals.failed += 1
        job.function.totals.failed += 1
        self._unwatch(job)
        self._forget(job)

    def _finish(self, job: Job) -> None:
        """A running job, already taken from its worker's list, is complete."""
        job.worker = None
        job.state = GONE
        job.function.running -= 1
        if job.timer is not None:
            self._time_limits.cancel(job.timer)
            job.timer = None
        self._end(job)

    def _end(self, job: Job) -> None:
        """Forget a job in no state, unless it recurs."""
        if job.watchers:
            self._unwatch(job)
        if job.schedule is None:
            self._forget(job)
        else:
            job.attempts = 0
            job.progress = None
            self._delay(job, job.schedule.next_time(self.wall))
            self._record_update(job, DELAYED)

    def _set_aside(self, job: Job, error: bytes) -> None:
        """Keep a background job in no state until somebody requeues or purges it."""
        job.state = SET_ASIDE
        job.error = error
        self.totals.set_aside += 1
        job.function.totals.set_aside += 1
        del self.jobs[job.handle]
        self.aside[job.handle] = job
        self._unindex(job)
        self._record_update(job, SET_ASIDE)
        if job.successor is not None:
            self._promote(job)

    def _forget(self, job: Job) -> None:
        """The end of a job in no state."""
        job.state = GONE
        del self.jobs[job.handle]
        size = len(job.workload)
        self.size -= size
        job.function.size -= size
        if job.unique:
            self._unindex(job)
            if job.successor is not None:
                self._promote(job)
            elif not job.background:
                self._disown(job)
        if job.background:
            self._record_remove(job)

    def _promote(self, job: Job) -> None:
        """The job that waited for the end of this one gets its turn."""
        successor, job.successor = job.successor, None
        assert successor is not None
        self._index(successor)
        if successor.state is DELAYED:
            successor.function.delayed[successor.priority] -= 1
            self._enqueue(successor)

    def _disown(self, successor: Job) -> None:
        """A job is gone that may have been waiting for the end of another."""
        predecessor = successor.function.uniques.get(unique_key(successor.unique, successor.workload))
        if predecessor is not None and predecessor.successor is successor:
            predecessor.successor = None

    def _count_size(self, job: Job, sign: int) -> None:
        size = sign * len(job.workload)
        self.size += size
        job.function.size += size

    # ------------------------------------------------------------------------------------------------ abilities and sleep

    def _register(self, peer: Peer, name: bytes, time_limit: float) -> None:
        if name not in peer.abilities:
            limits = self.limits
            if limits.abilities and len(peer.abilities) >= limits.abilities:
                self._error(peer, b"QUEUE_ERROR", b"Too many abilities on this connection")
                return
            if limits.functions and name not in self.functions and len(self.functions) >= limits.functions:
                self._error(peer, b"QUEUE_ERROR", b"Too many functions")
                return
            peer.abilities[name] = 0
            self._abilities_changed(peer)
        function = self.add_function(name)
        function.workers += 1
        peer.abilities[name] += 1
        if time_limit:
            peer.time_limits[function] = time_limit
        else:
            peer.time_limits.pop(function, None)

    def _unregister(self, peer: Peer, names: "Sequence[bytes]") -> None:
        self._abilities_changed(peer)
        for name in names:
            function = self.functions[name]
            function.workers -= peer.abilities.pop(name)
            peer.time_limits.pop(function, None)
        for job in [job for job in peer.running.values() if job.function.name not in peer.abilities]:
            self._attempt_lost(job, b"the worker gave it back")

    def _abilities_changed(self, peer: Peer) -> None:
        """Leave the ability set; a sleeper finds its new one when all packets of this wake-up are read."""
        if peer.sleep == ASLEEP and peer.ability_set is not None:
            self._changed.append(peer)
        self._leave(peer)

    def _leave(self, peer: Peer) -> None:
        ability_set = peer.ability_set
        if ability_set is not None:
            peer.ability_set = None
            ability_set.sleepers.pop(peer, None)
            ability_set.members -= 1
            if not ability_set.members:
                ability_set.dissolve()
                del self._ability_sets[frozenset(function.name for function in ability_set.functions)]

    def _join(self, peer: Peer) -> AbilitySet:
        key = frozenset(peer.abilities)
        ability_set = self._ability_sets.get(key)
        if ability_set is None:
            # gearmand looks first at what was registered last.
            functions = [self.functions[name] for name in reversed(peer.abilities)]
            ability_set = self._ability_sets[key] = AbilitySet(functions)
        ability_set.members += 1
        peer.ability_set = ability_set
        return ability_set

    def _fall_asleep(self, peer: Peer) -> None:
        ability_set = peer.ability_set or self._join(peer)
        if self.handing_out and ability_set.has_work():
            if peer.sleep == ASLEEP:
                ability_set.sleepers.pop(peer, None)
            self._wake_peer(peer)
        else:
            peer.sleep = ASLEEP
            ability_set.sleepers[peer] = None

    def _wake_peer(self, peer: Peer) -> None:
        peer.sleep = WOKEN
        if peer.all_yours:
            self._grab(peer, peer.all_yours)
        else:
            self._send(peer, _NOOP_PACKET)

    def _wake(self, function: Function) -> None:
        """One more job of a function waits: see that a sleeper comes for it."""
        for ability_set in function.ability_sets:
            if ability_set.sleepers and not function.paused and self.handing_out:
                break
        else:
            return
        if self.wakeup is not None:
            self._rouse(function, self.wakeup)
        elif self._rouse(function, 1) and not function.escalating:
            function.escalating = 2
            self._escalations.append((self.now + ESCALATION_DELAY, function))

    def _rouse(self, function: Function, count: int) -> bool:
        """Wake so many more sleepers of a function, 0 for all; return whether some still sleep."""
        for ability_set in list(function.ability_sets):
            sleepers = ability_set.sleepers
            while sleepers:
                peer, _ = sleepers.popitem(last=False)
                self._wake_peer(peer)
                if count == 1:
                    return any(others.sleepers for others in function.ability_sets)
                count -= 1
        return False

    def _escalate(self, function: Function) -> None:
        """A woken worker did not come in time for a job: wake twice as many as the last time."""
        count, function.escalating = function.escalating, 0
        if any(function.waiting) and not function.paused and self.handing_out and self._rouse(function, count):
            function.escalating = count * 2
            self._escalations.append((self.now + ESCALATION_DELAY, function))

    def _pass_on(self, ability_set: AbilitySet) -> None:
        """A woken worker left without a job: wake another."""
        for ready in ability_set.ready:
            for function in ready:
                self._wake(function)
                return

    def _grab(self, peer: Peer, packet_type: int) -> None:
        if peer.all_yours:
            peer.all_yours = packet_type
        job = self._assign(peer)
        if job is None:
            self._send(peer, _NO_JOB_PACKET)
        elif packet_type == GRAB_JOB:
            self._send_data(peer, JOB_ASSIGN, job.workload, job.handle, job.function.name)
        elif packet_type == GRAB_JOB_ALL and job.reducer is not None:
            self._send_data(peer, JOB_ASSIGN_ALL, job.workload, job.handle, job.function.name, job.unique, job.reducer)
        else:
            self._send_data(peer, JOB_ASSIGN_UNIQ, job.workload, job.handle, job.function.name, job.unique)

    # ----------------------------------------------------------------------------------------------------------- sending

    def _send(self, peer: Peer, packet: "Data") -> None:
        if not peer.outgoing:
            self.unsent.append(peer)
        peer.outgoing.append(packet)

    def _send_data(self, peer: Peer, packet_type: int, data: "Data", *leading: bytes) -> None:
        """Send a packet whose last argument may be large; then it is not copied."""
        if len(data) < LARGE_BODY:
            self._send(peer, pack_response(packet_type, *(leading + (data,))))
        else:
            self._send(peer, response_head(packet_type, len(data), *leading))
            peer.outgoing.append(data)
            peer.bulky = True

    def _tell(self, job: Job, packet: bytes) -> None:
        for watcher in job.watchers:
            self._send(watcher, packet)

    def _tell_failure(self, job: Job, exception: "Optional[Data]", handle: bytes) -> None:
        for watcher in job.watchers:
            if exception is not None and watcher.exceptions:
                self._send_data(watcher, WORK_EXCEPTION, exception, job.handle)
            else:
                self._send(watcher, pack_response(WORK_FAIL, job.handle if exception is not None else handle))

    def _relay(self, peer: Peer, packet_type: int, handle: bytes, data: "Data") -> None:
        job = peer.running.get(handle)
        if job is None:
            self._error(peer, b"JOB_NOT_FOUND", b"Job does not exist on server")
            return
        for watcher in job.watchers:
            self._send_data(watcher, packet_type, data, handle)

    def _error(self, peer: Peer, code: bytes, text: bytes) -> None:
        self._send(peer, pack_response(ERROR, code, text))

    def _status(self, job: Job) -> "Tuple[bytes, bytes, bytes, bytes]":
        numerator, denominator = job.progress or (0, 0)
        return b"1", b"1" if job.state is RUNNING else b"0", b"%d" % numerator, b"%d" % denominator

    # ----------------------------------------------------------------------------------------------------------- records

    def _record_add(self, job: Job) -> None:
        self.records.append(("add", job.handle, job.function.name, job.unique, job.workload, job.reducer, job.priority, job.due,
                             job.attempts, WAITING, job.error, job.schedule.text if job.schedule else None))

    def _record_update(self, job: Job, state: str) -> None:
        if self.durable and job.background:
            self.records.append(("update", job.handle, state, job.attempts, job.due, job.error))

    def _record_change(self, job: Job, column: str, value: "Any") -> None:
        if self.durable and job.background:
            self.records.append(("change", job.handle, column, value))

    def _record_remove(self, job: Job) -> None:
        if self.durable:
            self.records.append(("remove", job.handle))

    # ------------------------------------------------------------------------------------------------------------- rules

    def _handler_table(self, rights: "FrozenSet[str]") -> "List[Callable[..., None]]":
        table = [self.on_unexpected]  # type: List[Callable[..., None]]
        for number in sorted(PACKETS):
            name = PACKETS[number][0].lower()
            handler = getattr(self, "on_" + name, self.on_unexpected)
            if name.startswith("submit") and SUBMIT not in rights or name in _WORK_PACKETS and WORK not in rights:
                handler = self.on_forbidden
            table.append(handler)
        table += [self.on_text_line, self.on_wrong_magic, self.on_too_few_arguments]
        return table

    def check(self) -> None:
        """Assert every invariant; for tests, as it looks at everything."""
        waiting = []  # type: List[Job]
        for function in self.functions.values():
            jobs = function.jobs_waiting()
            waiting += jobs
            for priority in PRIORITY_CLASSES:
                assert function.waiting[priority] == sum(job.priority == priority for job in jobs), function
                for ability_set in function.ability_sets:
                    assert (function in ability_set.ready[priority]) == bool(
                        function.waiting[priority] and not function.paused), (function, ability_set)
            assert sum(map(len, function.queues)) == len(jobs) + function.dead, function
            mine = [job for job in self.jobs.values() if job.function is function]
            assert function.running == sum(job.state is RUNNING for job in mine), function
            assert sum(function.delayed) == sum(job.state in (DELAYED, STORING) for job in mine), function
            assert function.workers == sum(peer.abilities.get(function.name, 0) for peer in self.peers), function
            assert len(function.ability_sets) == len(set(map(id, function.ability_sets))), function
            assert all(unique_key(job.unique, job.workload) == key and job.state not in (GONE, SET_ASIDE)
                       for key, job in function.uniques.items()), function
            if jobs and not function.paused and self.handing_out:
                self._check_wake_up(function)
        assert len(waiting) == len(set(waiting)) == sum(job.state is WAITING for job in self.jobs.values())
        for job in self.jobs.values():
            assert job.state in (STORING, WAITING, RUNNING, DELAYED), job
            assert (job.state is RUNNING) == (job.worker is not None), job
            assert self.functions.get(job.function.name) is job.function, job
            assert job.state is RUNNING or job.background or job.watchers, job
            assert all(job in watcher.watching and watcher in self.peers for watcher in job.watchers), job
            assert job.state is not RUNNING or job.worker.running.get(job.handle) is job, job
            assert job.timer is None or job.state in (RUNNING, DELAYED), job
        for peer in self.peers:
            assert all(peer in job.watchers for job in peer.watching), peer
            assert all(job.worker is peer and job.state is RUNNING for job in peer.running.values()), peer
            assert peer.sleep != ASLEEP or peer in self._changed or (
                peer.ability_set is not None and peer in peer.ability_set.sleepers), peer
        for key, ability_set in self._ability_sets.items():
            assert ability_set.members == sum(peer.ability_set is ability_set for peer in self.peers) > 0, ability_set
            assert all(peer.sleep == ASLEEP for peer in ability_set.sleepers), ability_set
        assert all(job.state is SET_ASIDE and job.background for job in self.aside.values())
        assert len(self._time_limits) == sum(job.timer is not None and job.state is RUNNING for job in self.jobs.values())
        assert len(self._delayed) == sum(job.timer is not None and job.state is DELAYED for job in self.jobs.values())
        everything = list(self.jobs.values()) + list(self.aside.values())
        assert self.size == sum(len(job.workload) for job in everything)
        assert len(self.unsent) == len(set(self.unsent))

    def _check_wake_up(self, function: Function) -> None:
        """A job waits, so of the peers that can do it some are awake or on their way, or none sleeps, or an escalation is due."""
        able = [peer for peer in self.peers if function.name in peer.abilities]
        asleep = [peer for peer in able if peer.sleep == ASLEEP]
        assert not asleep or len(asleep) < len(able) or self._changed or function.escalating, function


_WORK_PACKETS = frozenset((
    "can_do", "can_do_timeout", "cant_do", "reset_abilities", "pre_sleep", "all_yours", "grab_job", "grab_job_uniq", "grab_job_all",
    "work_status", "work_complete", "work_fail", "work_exception", "work_data", "work_warning"))


def parse_number(text: bytes) -> int:
    """The number a text begins with, 0 if it begins with none, as the C server reads it."""
    text = bytes(text).strip()
    if text.isdigit():
        return int(text[:40])
    sign = -1 if text.startswith(b"-") else 1
    digits = text.lstrip(b"+-") if text[:1] in (b"+", b"-") else text
    end = 0
    while end < len(digits) and end < 40 and digits[end:end + 1].isdigit():
        end += 1
    return sign * int(digits[:end]) if end else 0


def unique_key(unique: bytes, workload: "Data") -> "Any":
    """By what a job coalesces within its function: its unique, its workload if the unique is ``-``, None for not at all."""
    if unique != b"-":
        return unique or None
    return (unique, workload) if workload else None
