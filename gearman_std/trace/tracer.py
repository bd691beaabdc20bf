"""All that passes becomes records: those of every connection are made here, sifted, and handed to whoever writes them down."""
from .conversation import Conversation
from .jobs import JobBook
from .records import TraceRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Sequence
    from .units import Chunk

SLOW = 0.1      # seconds after which an answer is slow, unless the command line says otherwise
KEPT = 1 << 20  # bytes of a packet that are kept, unless the command line says otherwise


class Sieve:
    """Which records are wanted.  A record must match one word of each filter; a filter without words lets all pass.

    Owner: nobody, it does not change.
    """

    __slots__ = ("_jobs", "_functions", "_packets", "_peers")

    def __init__(self, jobs: "Sequence[str]" = (), functions: "Sequence[str]" = (), packets: "Sequence[str]" = (),
                 peers: "Sequence[str]" = ()) -> None:
        self._jobs = frozenset(jobs)            # handles, numbers, uniques
        self._functions = frozenset(functions)
        self._packets = frozenset(packet.upper() for packet in packets)  # names, numbers of types
        self._peers = frozenset(peers)          # labels, roles, numbers, client ids

    def __repr__(self) -> str:
        return "<Sieve %s>" % [sorted(getattr(self, name)) for name in self.__slots__]

    def passes(self, record: TraceRecord) -> bool:
        """Whether a record is wanted."""
        if self._packets and self._packets.isdisjoint((record.name.upper(), str(record.type))):
            return False
        if self._peers and self._peers.isdisjoint((
                "%s %d" % (record.role, record.connection), record.role, str(record.connection), _text(record.client_id))):
            return False
        if self._functions and _text(record.function) not in self._functions:
            return False
        if self._jobs:
            job = record.job
            if job is None:
                return False
            if self._jobs.isdisjoint((str(job.number), _text(job.handle), _text(job.unique or job.handle))):
                return False
        return True


class Tracer:
    """Turns what happens on connections into records, and calls each of `takers` with the records that pass the sieve.

    `captures` have the same methods; they are called first, whatever the sieve.

    Owner: the thread that runs the proxy.
    """

    def __init__(self, takers: "Iterable[Callable[[TraceRecord], None]]", sieve: "Sieve" = Sieve(), slow: float = SLOW,
                 keep: int = KEPT, captures: "Sequence[Any]" = ()) -> None:
        self._takers = list(takers)
        self._captures = list(captures)
        self._sieve = sieve
        self._slow = slow
        self._keep = keep
        self._book = JobBook()
        self._conversations = {}  # type: Dict[int, Conversation] # by number
        self._count = 0

    def __repr__(self) -> str:
        return "<Tracer of %d connections, %d records>" % (len(self._conversations), self._count)

    def opened(self, number: int, time: float, address: str, server: str) -> None:
        """A client has connected from `address`; the proxy connects it to `server`."""
        for capture in self._captures:
            capture.opened(number, time, address, server)
        conversation = self._conversations[number] = Conversation(number, server, self._book, self._slow, self._keep)
        self._hand_on([conversation.opened(time, address)])

    def failed(self, number: int, time: float, reason: str) -> None:
        """The server of a connection cannot be reached."""
        for capture in self._captures:
            capture.failed(number, time, reason)
        self._hand_on([self._conversations[number].failed(time, reason)])

    def took(self, number: int, from_client: bool, time: float, data: "Chunk") -> None:
        """Bytes came from one end of a connection."""
        for capture in self._captures:
            capture.took(number, from_client, time, data)
        self._hand_on(self._conversations[number].took(from_client, time, data))

    def ended(self, number: int, from_client: bool, time: float, reset: bool) -> None:
        """One end of a connection sends no more, or has broken it."""
        for capture in self._captures:
            capture.ended(number, from_client, time, reset)
        self._hand_on(self._conversations[number].ended(from_client, time, reset))

    def closed(self, number: int, time: float) -> None:
        """A connection is over."""
        for capture in self._captures:
            capture.closed(number, time)
        self._hand_on([self._conversations.pop(number).closed(time)])

    def _hand_on(self, records: "List[TraceRecord]") -> None:
        for record in records:
            self._count += 1
            record.number = self._count
            if self._sieve.passes(record):
                for take in self._takers:
                    take(record)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
