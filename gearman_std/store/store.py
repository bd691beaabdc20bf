"""What a server wants of the store that keeps its background jobs, whatever database that is."""
from collections import namedtuple

from ..core.jobs import HANDLE_BLOCK
from ..errors import StoreError
from .records import PIECE, time_to_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional
    from ..core.ledger import Piece, Record

# When a background job is safe: before its JOB_CREATED is sent; within a second; when the server stops.
EVERY, BATCH, EXIT = DURABILITIES = ("every", "batch", "exit")

# A server of a database that several share: its name and epoch; for how many seconds it has been silent, by the database's
# clock, and after how many the others may take its jobs over (0: never); whether it has ended in order; which server has taken
# its jobs over since it started (else ""), and how many seconds ago.
Neighbour = namedtuple("Neighbour", "name epoch silent take_over ended adopted_by adopted_ago")


class Store:
    """Keeps records of jobs, and of how jobs ended, until the next server reads them.

    A base class: `JobStore` keeps them in a file of SQLite.  To be defined are `open`, `load_records`, `write`, `replace`,
    `close` and `abandon`; also `begin_anew`, `add_anew` and `end_anew`, by a store that may stop being `usable`.

    `name` says in messages which store it is, without secrets.  `durability` says when a record is safe from a crash of the
    system: EVERY before `write` returns; BATCH within a second; EXIT when the server stops (before that, `write` is
    called only for the numbers of handles).  Once the store is open, `number` is that of the last handle that an earlier
    server may have given out, `jobs_stored` says how many jobs there are to be read, and `jobs_read` how many of them
    `load_records` has read.  Handles may be given out up to the number `reserved`: the store has that number, after which the
    next start goes on.

    The records are those of the module core.ledger: of the kind ADD for a job as a whole, UPDATE and CHANGE for what is
    different about it, REMOVE when it is gone; KEEP for how one ended, and FORGET when that is no longer kept.  The number at
    the end of the handle, which is used only once, tells which job is meant.  ORDER is for an order that stands, and its name
    and function tell which one; with the value None it stands no longer.  To carry out a record once more must do no harm:
    ADD, KEEP and ORDER take the place of what is there, the others do nothing where there is nothing.

    What fails raises StoreError (`error` makes one), with the reason in one line and without secrets; nothing else is raised
    on purpose.  A server that has opened a store has it for itself until `abandon` or `close`, or its process ends.  One thread
    at a time calls the methods; only `interrupt` and the attributes are there for other threads meanwhile.

    Owner: the server's dispatcher thread, which lends it to the thread that opens it, and to the one that writes.
    """

    is_shared = False  # several servers may use the database, each with jobs of its own
    server = ""        # the name of this one among them
    take_over = 0.0    # after so many seconds of silence, the servers of the database take over each other's jobs; 0: never
    most_bytes = 0    # of a job, or of what is kept of its end, all of its fields together; 0: as many as there are
    is_whole = False  # all that has to be in the store that is written anew has been given to it: only `end_anew` is missing

    def __init__(self, name: str, durability: str = EVERY) -> None:
        if durability not in DURABILITIES:
            raise ValueError("durability is one of %s, not %r" % (", ".join(DURABILITIES), durability))
        self.name = name
        self.durability = durability
        self.number = 0
        self.jobs_stored = 0
        self.jobs_read = 0
        self.reserved = 0

    def __repr__(self) -> str:
        return "<%s %s>" % (type(self).__name__, self.name)

    def error(self, reason: object) -> StoreError:
        """The StoreError for a reason, which is a text or an exception."""
        text = str(getattr(reason, "strerror", None) or reason)
        return StoreError("%s: %s" % (self.name, text), text)

    # ---------------------------------------------------------------------------------------------------------- the start

    def take(self) -> None:
        """Keep other servers from the store, as `open` does, and change nothing in it; raise StoreInUse if one has it."""

    def open(self, handle_prefix: bytes, wall: float, numbers: "Optional[Callable[[int], int]]" = None) -> None:
        """Open the store, which is made if it is missing; raise StoreInUse if another server has it.

        On return `number`, `jobs_stored` and `reserved` are known, and `reserved`, which is larger than `number`, is safe.
        After an error the store is closed.  Jobs of another program that are taken over get handles that begin with
        `handle_prefix`, with numbers after `numbers(number)`, as in the Core; `wall` is the unix time.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """Make `open`, which another thread is in, end soon, if need be with an error; may be called more than once."""

    def load_records(self) -> "Iterator[List[Record]]":
        """What is in the store, as records of the kinds ORDER, KEEP and ADD: some at a time, so that others are served in
        between; none when more have to be read before the next is known.

        It is called once, when the store is open and nothing has been written since.  First come the orders, then the ends of
        jobs, the first that ended first, then the jobs: those that are waiting or set aside by their positions; after them
        those that are delayed, by the time when they are due, then by their positions; at last those that are held back, by
        their positions.  The position of a job that was added with none is `place_of` its number.
        """
        raise NotImplementedError

    def load_pieces(self) -> "Iterator[Piece]":
        """The same for the server's start: instead of some records there may be UsualJobs, which are read more quickly."""
        yield from self.load_records()

    # ------------------------------------------------------------------------------------------------------------ writing

    def wants(self, number: int) -> bool:
        """Whether `write` is due, records or not, now that the last handle given out has this number."""
        return number > self.reserved - HANDLE_BLOCK // 2

    def write(self, records: "Iterable[Record]", number: int, flush: bool = True) -> None:
        """Carry out all these records, in their order, or none of them; `number` is that of the last handle.

        On return they are safe, and so are all that were written before; without `flush`, from a crash of the server, but
        perhaps not from one of the system.  If the store `wants` this number, there are also more numbers `reserved`, which is
        flushed in any case.  After an error none of these records counts as written, whatever is in the store (see
        `uncertain`): they will come again, all but those of new jobs.
        """
        raise NotImplementedError

    def replace(self, records: "Iterable[Record]", number: int) -> None:
        """Have what these records add in the store and nothing else, flushed, or leave it as it is."""
        raise NotImplementedError

    @property
    def usable(self) -> bool:
        """Whether the store is open and can be written; if not, it has to be written anew first."""
        return True

    @property
    def uncertain(self) -> bool:
        """After an error: whether what was to be written may be in the store all the same, now or later."""
        return not self.usable

    def prove_room(self, size: int) -> None:
        """Raise if so many bytes could not be written now.  After trouble, jobs are taken again when this returns."""

    def be_patient(self, seconds: float) -> None:
        """From now on, let `write` wait so long for others that have locked the store: the dispatcher does not wait for it."""

    def drop_connection(self) -> None:
        """Leave the store as it is, as nobody knows what has happened to what was under way; the next call begins afresh."""

    def close(self, number: int) -> None:
        """Close the store, with all on disk; handles go on after `number` at the next start, and others may open it."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Close the store as it is, open or not, and let others have it; raise nothing."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------- other servers

    # A store that `is_shared` raises Deposed, in all that writes and in `prove_room`, when another server has taken the jobs
    # over; when one of these returns, it had not when that was called.

    def look_around(self) -> "List[Neighbour]":
        """Prove that the jobs are still this server's; return what is known of all servers of the database."""
        raise NotImplementedError

    def adopt(self, name: str, epoch: int) -> bool:
        """Have the jobs of another server, and how its jobs have ended, as this server's, all or none, and end its epoch.

        Where it has paused a function of which it has jobs, that pause stands here from then on, too; its other orders do not.
        Returns False if it has been heard of meanwhile, if another server was faster, or if it cannot be told at present.
        After an error that leaves the store `uncertain`, it is called again, before the store is written anew or another server
        is adopted, and returns True also if that was done by the call before.
        """
        raise NotImplementedError

    def read_adopted(self) -> "List[Record]":
        """The next of these, pauses before all others, in the order of `load_records`, or none if that was all; after an error,
        the same come again."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------------- written anew

    def could_shrink(self, size: int) -> bool:
        """Whether there is room for what failed to be written once the store is written anew, with jobs of so many bytes."""
        return False

    def begin_anew(self, number: int, is_empty: bool) -> None:
        """Begin to write the store anew, for handles up to `number`, with nothing in it if `is_empty`.

        Unless it is empty, what was in the store remains until `end_anew` has done its work.  If that, or a step before it,
        fails, all begins again, or only `end_anew` is called again if the store `is_whole`.
        """
        raise NotImplementedError

    def add_anew(self, records: "Iterable[Record]") -> None:
        """Write what these records, of the kinds ADD, KEEP and ORDER, add."""
        raise NotImplementedError

    def end_anew(self) -> None:
        """Everything was added: put what was written anew in the place of what was there; the store is usable again."""
        raise NotImplementedError

    def renew(self, records: "Iterable[Record]", number: int) -> "Iterator[None]":
        """Do all of that, a piece at a time, yielding after each; the records are not used if the store `is_whole`."""
        if not self.is_whole:
            records = iter(records)
            first = next(records, None)
            self.begin_anew(number, first is None)
            some = [] if first is None else [first]  # type: List[Any]
            size = 0
            for record in records:
                some.append(record)
                size += time_to_write(record)
                if size >= PIECE:
                    self.add_anew(some)
                    some, size = [], 0
                    yield
            self.add_anew(some)
            yield
        self.end_anew()
