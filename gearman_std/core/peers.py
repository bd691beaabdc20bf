"""What the core knows about a connection: its rights and abilities, its jobs, and what is to be sent to it."""
from collections import OrderedDict

from ..wire.protocol import (ERROR, GRAB_JOB, GRAB_JOB_ALL, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, JOB_CREATED,
                             LARGE_BODY, pack_response, response_head)
from .rights import ALL_RIGHTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterator, List, MutableMapping, Optional, Sequence
    from ..wire.protocol import Data
    from .jobs import AbilitySet, Function, Job

# Whether a peer sleeps: after its PRE_SLEEP it is ASLEEP, after the server's NOOP WOKEN, after its next grab AWAKE.
AWAKE, ASLEEP, WOKEN = range(3)

NO_HOLDS = ()  # type: Any # most peers never wait for the store
PIECE_COST = 100   # bytes of memory that a piece of output costs besides its contents
MOST_TAKEN_AWAY = 100  # jobs that were taken away from a worker, and are remembered

_CREATED = response_head(JOB_CREATED, 0)[:8]


class Peer:
    """One connection as the core sees it; it may be a client, a worker, an admin, or all of them.

    Owner: the Core.
    """

    __slots__ = ("number", "address", "client_id", "channel", "handlers", "rights", "outgoing", "unsent", "bulky", "closing",
                 "ended", "exceptions", "abilities", "time_limits", "ability_set", "sleep", "running", "watching",
                 "all_yours", "errand", "errand_lasts", "gone", "heard", "completed", "failed", "identity", "holds", "taken",
                 "parked", "put_off", "taken_away", "measured", "held_size")

    def __init__(self, number: int, address: bytes, channel: "Any" = None) -> None:
        self.number = number      # the first column of the text command `workers`
        self.address = address    # the second column: its IP address, or what stands for one
        self.channel = channel    # the server's channel, None once closed; the core does not look at it
        self.client_id = b"-"
        self.handlers = []        # type: List[Callable[..., None]] # by packet type
        self.rights = ALL_RIGHTS  # type: FrozenSet[str]
        self.outgoing = []        # type: List[Data] # what the server has to send
        self.unsent = []          # type: List[Peer] # the core's list of peers with something outgoing
        self.bulky = False        # outgoing holds large pieces that should not be joined
        self.closing = False      # the connection is to be closed when all is sent
        self.ended = False        # the server knows that the peer has sent its last byte; earlier ones may still be unread
        self.exceptions = False   # it wants WORK_EXCEPTION rather than WORK_FAIL
        self.abilities = OrderedDict()  # type: OrderedDict[bytes, int] # function name: how often it was registered
        self.time_limits = {}     # type: Dict[Function, float] # seconds
        self.ability_set = None   # type: Optional[AbilitySet] # None: not known since the abilities changed
        self.sleep = AWAKE
        self.running = {}         # type: MutableMapping[bytes, Job] # by handle, in the order in which it got them
        self.watching = {}        # type: MutableMapping[Job, int] # how often it submitted each, and so gets every packet of it
        self.all_yours = 0        # after ALL_YOURS, the type of its last grab: it gets such answers without asking
        self.errand = None        # type: Optional[Iterator[Data]] # the rest of the long work that it asked for
        self.gone = False         # the connection is lost
        self.identity = (number, address, self.client_id)  # who it is
        self.heard = 0.0          # monotonic seconds: when it last said something
        self.completed = 0        # jobs that it has done
        self.failed = 0
        self.taken_away = {}      # type: Dict[bytes, Function] # by handle: the last jobs that it lost while it ran them
        self.errand_lasts = False  # that is done whether the peer is there or not
        self.holds = NO_HOLDS     # type: Sequence[List[int]] # what in outgoing waits for the store, see `hold`
        self.taken = 0            # pieces taken out of outgoing since something in it began to wait for the store
        self.parked = False       # the server found nothing to send: all that is in outgoing waits for the store
        self.measured = 0         # pieces in outgoing whose bytes are in held_size, see `measure`
        self.held_size = 0
        self.put_off = False      # its next packets are obeyed when the store has what the peer waits for

    def __repr__(self) -> str:
        return "<Peer %d %s: %d abilities, %d running, %d watched, %s>" % (
            self.number, self.address.decode("latin-1"), len(self.abilities), len(self.running), len(self.watching),
            ("awake", "asleep", "woken")[self.sleep])

    def identify(self, client_id: bytes) -> None:
        """The peer has told its client id."""
        self.client_id = client_id
        self.identity = (self.number, self.address, client_id)

    def lose(self, job: "Job") -> None:
        """A job is taken away from it; what it says of that from now on comes late."""
        self.taken_away[job.handle] = job.function
        if len(self.taken_away) > MOST_TAKEN_AWAY:
            del self.taken_away[next(iter(self.taken_away))]

    def send(self, packet: "Data") -> None:
        """Let the server send some bytes."""
        outgoing = self.outgoing
        if not outgoing:
            self.unsent.append(self)
        outgoing.append(packet)

    def send_data(self, packet_type: int, data: "Data", *leading: bytes) -> None:
        """Let the server send a response whose last argument may be large; a large one is not copied."""
        if len(data) < LARGE_BODY:
            self.send(pack_response(packet_type, *leading, data))
        else:
            self.send(response_head(packet_type, len(data), *leading))
            self.outgoing.append(data)
            self.bulky = True

    def hand_over(self, job: "Job", packet_type: int) -> None:
        """Send a job to its worker; `packet_type` says as the answer to which kind of grab."""
        if packet_type == GRAB_JOB:
            self.send_data(JOB_ASSIGN, job.workload, job.handle, job.function.name)
        elif packet_type == GRAB_JOB_ALL and job.reducer is not None:
            self.send_data(JOB_ASSIGN_ALL, job.workload, job.handle, job.function.name, job.unique, job.reducer)
        else:
            self.send_data(JOB_ASSIGN_UNIQ, job.workload, job.handle, job.function.name, job.unique)

    # ----------------------------------------------------------------------------------------------- what waits for the store

    def hold(self, batch: int) -> None:
        """Whatever is sent from now on waits until the store has this batch of records; the batches come in their order."""
        if self.holds is NO_HOLDS:
            self.holds = []
        self.holds.append([batch, len(self.outgoing)])  # type: ignore[attr-defined]

    def take_ready(self) -> "List[Data]":
        """Take the pieces out of outgoing that do not wait for the store."""
        place = self.holds[0][1] if self.holds else len(self.outgoing)
        ready = self.outgoing[:place]
        del self.outgoing[:place]
        self.taken += place
        self.measured = self.held_size = 0
        for hold in self.holds:
            hold[1] -= place
        self.parked = bool(self.outgoing)
        return ready

    def measure(self) -> int:
        """Bytes of memory, about, of what is outgoing while it waits for the store; each piece is looked at once."""
        outgoing = self.outgoing
        self.held_size += sum(map(len, outgoing[self.measured:])) + PIECE_COST * (len(outgoing) - self.measured)
        self.measured = len(outgoing)
        return self.held_size

    def release(self, batch: int) -> bool:
        """The store has a batch of records; return whether packets that were put off are to be obeyed now."""
        holds = self.holds
        while holds and holds[0][0] <= batch:
            del holds[0]  # type: ignore[attr-defined]
        if not holds:
            self.holds = NO_HOLDS
            self.taken = self.measured = self.held_size = 0
        if self.parked:
            self.parked = False
            self.unsent.append(self)
        put_off, self.put_off = self.put_off, False
        return put_off

    def break_promise(self, place: int, refusal: bytes) -> None:
        """The store has refused a job: replace the promised JOB_CREATED by this ERROR, which is held until its turn."""
        place -= self.taken
        assert self.outgoing[place].startswith(_CREATED), self  # type: ignore[union-attr]
        self.outgoing[place] = refusal

    def error(self, code: bytes, text: bytes) -> None:
        """Answer with an ERROR packet."""
        self.send(pack_response(ERROR, code, text))
