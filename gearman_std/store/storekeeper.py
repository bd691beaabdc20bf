"""Stands between the core and its store: restores jobs, has records written, and gets over times when the disk refuses them.

The records of the core go to the store's thread as one batch.  While that is written, the next batch gathers.  Nobody waits for
a batch but those who were promised something that depends on it.

While the store cannot be written, the core refuses new background jobs, and all else goes on.  Records about stored jobs stay
in memory until the store can be written again, which is tried several times a second.
"""
import itertools
import time

from ..core.jobs import GONE
from ..core.standing import standing_orders
from ..errors import Deposed, StoreError, StoreInUse
from ..net.logs import own_logger
from .loading import Loading
from .pace import Pace
from .records import PIECE, ROW_SIZE, compact, time_to_write
from .store import EVERY, EXIT
from .thread import StoreThread
from .neighbours import Lookout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional
    from ..core.core import Core
    from ..core.ledger import Record
    Then = Callable[[Optional[StoreError]], None]  # called with what went wrong, or None
    from .store import Store

_logger_keeper = own_logger("gearman_std.store")

RETRY_INTERVAL = 0.25  # seconds between attempts to write to a store that is in trouble
FLUSH_INTERVAL = 1.0   # seconds after which written records are flushed to the disk that were promised to nobody
CATCH_UP = 5000        # records written in one go after trouble, so that the server does not stand still
QUIET = 1.0            # seconds without trouble after which it is logged as over; four times as many whenever it came again
LONGEST_QUIET = 60.0
ROOM = 16384           # bytes for which the disk must have room, at least, before trouble is over
PATIENCE = 2.0         # seconds to wait for another program that has the file locked
SLOW_DISK = 10.0            # seconds that one order may take before new background jobs are refused
DISK_TIME = 30.0       # seconds that the server's end waits for a disk that does nothing
SLOWEST = 1 << 20      # bytes a second that even a slow disk writes
NOT_YET = float("inf")
_REFUSAL = b"Background jobs cannot be stored at present: "


class StoreKeeper:
    """Keeps the background jobs of a core in a store.  `clock` tells monotonic seconds; by it, proofs grow old.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, core: "Core", store: "Store", clock: "Callable[[], float]" = time.monotonic) -> None:
        if store.take_over and store.durability == EXIT:
            raise ValueError("a store with take_over cannot have the durability exit: there would be nothing to be taken over")
        self.complete = True            # what was to be written at the end was written
        self._core = core
        self._store = store
        self._is_open = False
        self._loading = Loading(core, store)
        self._retry_at = 0.0            # monotonic seconds, while there is trouble
        self._anew = None               # type: Optional[Iterator[List[Record]]] # still to be written anew
        self._thread = StoreThread()
        self._then = None               # type: Optional[Then] # what follows the order under way
        self._slow_at = NOT_YET         # when the order will have taken too long, monotonic seconds
        self._kept = []                 # type: List[Record] # those of the order, if they were kept during trouble
        self._compacted = 0             # how many records were left when those that were out of date were dropped
        self._room = 0                  # bytes for which the disk has to have room before trouble is over
        self._quiet = QUIET
        self._well_since = NOT_YET        # since when there is no trouble, until the log says so; monotonic seconds
        self._told = False              # the log says that there is trouble, and not yet that it is over
        self.deposed = None             # type: Optional[Deposed] # another server has taken the jobs over
        self.proved_until = NOT_YET     # until when what was released may be sent, monotonic seconds; the sender resets it
        self._clock = clock
        self._ordered_at = 0.0          # when the order was given, by `clock`
        self._doubted = False           # the last proof is too old: a new one comes before anything else
        self._result = None             # type: Any # of the last order
        self._watch = Lookout(core, store)
        self._pace = Pace()
        self._piece_next = False        # if both are due, read a piece of the adopted jobs before writing the next batch
        self._unflushed_since = None    # type: Optional[float] # monotonic seconds, None if all is on disk

    def __repr__(self) -> str:
        return "<StoreKeeper of %r%s>" % (self._store, ", in trouble" if self._core.store_trouble else "")

    def take(self) -> bool:
        """Keep other servers from the store; return False if one has it.  Raises StoreError."""
        try:
            self._store.take()
        except StoreInUse:
            return False
        return True

    def open(self) -> None:
        """Open the store and give its jobs to the core, whose time is set.  Raises StoreError."""
        if self._is_open:
            return
        try:
            self._loading.open()
            while not self.go_on():
                continue
        except BaseException:
            self._loading.give_up()
            raise

    def begin(self, done: "Callable[[], Any]") -> None:
        """Begin what `open` does; `done` is called, in any thread, when `go_on` has something to do.  Raises StoreError."""
        if not self._is_open:
            self._loading.begin(done)

    def go_on(self) -> bool:
        """Do a step of what `begin` has begun; return whether that was the last.  Raises StoreError."""
        if not self._is_open:
            self._is_open = self._loading.step()
        return self._is_open

    @property
    def name(self) -> str:
        """The store's name, for people."""
        return self._store.name

    @property
    def waiting(self) -> bool:
        """Whether `go_on` has nothing to do until `done` is called."""
        return self._loading.waiting

    @property
    def starting(self) -> str:
        """How far the start has come, for people; any thread may ask."""
        return self._loading.progress

    def begin_to_write(self, report: "Callable[[], Any]") -> None:
        """Let a thread write from now on; it calls `report` when `save` has something to do."""
        if self._thread.begin(report):
            self._store.be_patient(PATIENCE)

    @property
    def settled(self) -> bool:
        """Whether nobody waits for the store; while it refuses records, nobody does."""
        ledger = self._core.ledger
        return not self._is_open or ledger.refusal is None and (not ledger.holds_back or not (
            self._thread.busy or ledger.going_on or ledger.awaited))

    def due(self) -> bool:
        """Whether `save` has something to do."""
        core = self._core
        if self._thread.busy:
            return self._thread.over or core.now >= self._slow_at
        ledger = core.ledger
        if core.store_trouble:
            return ledger.refusal is None and core.now >= self._retry_at
        if ledger.going_on:
            return False
        return (bool(ledger.records or ledger.holding) and core.now >= self._gathers_until()
                or self._store.wants(core.number) or self._flush_due()
                or core.now >= self._well_since + self._quiet or self._watch.due() or bool(self._watch.adopting)
                or self._doubted)

    def next_time(self) -> float:
        """When `save` has something to do even if nothing happens, in monotonic seconds."""
        if self._thread.busy:
            return self._slow_at
        if self._core.store_trouble:
            return self._retry_at
        if self._watch.adopting or self._doubted:
            return self._core.now
        when = min(self._well_since + self._quiet, self._watch.next_time())
        if self._unflushed_since is not None:
            when = min(when, self._unflushed_since + FLUSH_INTERVAL)
        if self._core.ledger.awaited:
            when = min(when, self._gathers_until())
        return when

    def _gathers_until(self) -> float:
        """When the batch that gathers is to be handed over, in monotonic seconds."""
        ledger = self._core.ledger
        patient = ledger.can_wait and not self._core.stopping and self._store.durability != EXIT
        return self._pace.gathers_until(ledger.foreground, patient)

    def save(self) -> None:
        """Do the next step of putting the core's records on disk, and go on with what waited for that."""
        if self._thread.busy:
            if self._thread.over:
                self._finish()
            else:
                self._too_slow()
        elif self._core.store_trouble and not (self._doubted and self._core.ledger.under_way is not None):
            self._catch_up()
        else:
            if self._core.now >= self._well_since + self._quiet:
                self._tell_the_end()
            if self._doubted:
                self._prove_anew()
            elif self._watch.due():
                self._look_around()
            elif self._watch.adopting and (self._piece_next or not self._core.ledger.awaited):
                self._piece_next = False
                self._order_result(self._after_piece, self._store.read_adopted)
            else:
                self._piece_next = True
                self._write()

    def _write(self) -> None:
        """Have the batch written; flushed to the disk, too, if somebody was promised something or that is due anyway."""
        core, store = self._core, self._store
        ledger = core.ledger
        wanted = store.wants(core.number)
        if store.durability == EXIT:
            ledger.hand_over()
            core.stored()
            if wanted and not ledger.going_on:
                ledger.hand_over()  # an empty batch
                self._order(self._after_write, store.write, [], core.number)
            return
        flush = self._flush_due() or bool(store.durability == EVERY and ledger.promises)
        proving = bool(ledger.proving or self._doubted)
        self._pace.hand_over(core.now, ledger.foreground)
        records = ledger.hand_over()
        if not (records or flush or wanted or proving):
            core.stored()
            return
        flush = flush or not (records or proving)
        if not flush and self._unflushed_since is None:
            self._unflushed_since = core.now
        self._order(self._after_flush if flush else self._after_write, store.write, records, core.number, flush)

    # ------------------------------------------------------------------------------------------------------ other servers

    def doubt(self) -> None:
        """The last proof that the jobs are this server's is too old: get a new one."""
        self._doubted = True

    def _prove_anew(self) -> None:
        """Get a proof by writing the batch that gathers, or nothing if a written batch waits as its proof came late."""
        if self._core.ledger.under_way is None:
            self._write()
        else:
            self._order(self._after_write, self._store.write, [], self._core.number, False)

    def _look_around(self) -> None:
        wanted = self._watch.wanted
        if wanted is not None:
            self._order_result(self._after_adoption, self._store.adopt, *wanted[:2])
        else:
            self._order_result(self._after_look, self._store.look_around)

    def _after_look(self, failure: "Optional[StoreError]", servers: "Any") -> None:
        if failure is not None:
            self._watch.put_off()
            self._trouble_begins(failure)
        else:
            self._note_proof()
            self._watch.note(servers)

    def _after_adoption(self, failure: "Optional[StoreError]", adopted: "Any") -> None:
        if failure is None:
            self._watch.begin(adopted)
        elif not self._store.uncertain:
            self._watch.give_up(failure)
        else:
            self._watch.in_doubt = True
            self._refused(failure)

    def _after_piece(self, failure: "Optional[StoreError]", records: "Any") -> None:
        if failure is None:
            self._watch.take_in(records)
            self._retry_at = self._core.now + 0.001
        else:
            self._refused(failure)

    def _refused(self, failure: StoreError) -> None:
        if self._core.store_trouble:
            self._still_refused(failure)
        else:
            self._trouble_begins(failure)

    def _note_proof(self) -> bool:
        """The jobs were this server's when the order was given; return whether that is recent enough."""
        if self._watch.lease == NOT_YET:
            return True
        self.proved_until = self._ordered_at + self._watch.lease
        self._doubted = self._clock() >= self.proved_until
        return not self._doubted

    # ------------------------------------------------------------------------------------------------------------- orders

    def _order_result(self, then: "Callable[[Optional[StoreError], Any], None]", function: "Callable[..., Any]",
                      *arguments: "Any") -> None:
        """Give an order whose result is wanted: `then` gets it, too."""
        self._order(lambda failure: then(failure, self._result), function, *arguments)

    def _order(self, then: "Then", function: "Callable[..., Any]", *arguments: "Any") -> None:
        self._then = then
        self._slow_at = self._core.now + SLOW_DISK
        self._ordered_at = self._clock()
        self._thread.give(function, *arguments)

    def _finish(self) -> None:
        """The order is over: do what follows it."""
        then, self._then = self._then, None
        assert then is not None
        failure = None  # type: Optional[StoreError]
        try:
            self._result = self._thread.take()
        except Deposed as error:
            self.deposed = error
            return
        except StoreError as error:
            failure = error
        except Exception as error:
            _logger_keeper.exception("a fault of ours, the store is written anew")
            self._store.drop_connection()
            failure = StoreError(repr(error))
        then(failure)

    def _after_write(self, failure: "Optional[StoreError]") -> None:
        if failure is not None:
            self._trouble_begins(failure)
            return
        if not self._note_proof():
            return  # a new proof comes first, and then this is called again
        was_slow = bool(self._core.store_trouble)
        self._core.stored()
        if was_slow:
            self._well_since = self._core.now

    def _after_flush(self, failure: "Optional[StoreError]") -> None:
        self._unflushed_since = None
        self._after_write(failure)

    def _too_slow(self) -> None:
        """The disk takes very long: refuse further new jobs, and go on waiting."""
        self._slow_at = NOT_YET
        if self._core.store_trouble:
            return
        self._tell_the_beginning("the disk does not answer")
        self._core.store_trouble = _REFUSAL + b"the disk does not answer"

    def _tell_the_beginning(self, reason: object) -> None:
        """Log that trouble begins, but not if it comes back before the log has said that it is over."""
        if not self._told:
            # The end of trouble is logged at this level, too: by default nothing below it is logged.
            _logger_keeper.error("background jobs are refused: %s", reason)
            self._told = True
            self._room = 0
        elif self._well_since != NOT_YET:
            self._quiet = min(4 * self._quiet, LONGEST_QUIET)
        self._well_since = NOT_YET

    # ------------------------------------------------------------------------------------------------------------ trouble

    def _trouble_begins(self, error: StoreError) -> None:
        """The store has refused the batch: refuse the new jobs."""
        core = self._core
        self._tell_the_beginning(error)
        self._unflushed_since = None
        self._compacted = 0
        self._retry_at = core.now + RETRY_INTERVAL
        # Where nothing reached the disk, nothing of the refused jobs has to be removed from it.
        core.not_stored(_REFUSAL + error.reason.encode("utf-8", "backslashreplace"),
                        written=self._store.uncertain or self._doubted)

    def _tell_the_end(self) -> None:
        _logger_keeper.error("%s can be written again", self._store.name)
        self._told = False
        self._quiet = QUIET
        self._well_since = NOT_YET

    def _catch_up(self) -> None:
        """Try to write again: what was kept, or the store anew; then see whether there is room for what was refused."""
        core, store = self._core, self._store
        ledger = core.ledger
        if self._anew is not None:
            self._go_on_anew(self._anew)
        elif self._watch.in_doubt:
            self._look_around()
        elif not store.usable and self._watch.adopting:
            self._order_result(self._after_piece, store.read_adopted)  # else they would be missing in the new store
        elif not store.usable:
            self._begin_anew()
        elif len(ledger.records) > 2 * self._compacted + CATCH_UP:
            self._kept, ledger.records = ledger.records, []
            self._order(self._after_compacting, _replace_by_compact, self._kept)  # in the thread, as it takes long
        elif ledger.records:
            self._kept, ledger.records = ledger.records[:CATCH_UP], ledger.records[CATCH_UP:]
            self._order(self._after_catching_up, store.write, self._kept, core.number)
        else:
            if ledger.under_way is None:
                ledger.hand_over()  # an empty batch, so that what comes meanwhile belongs to the next one
            self._room = max(self._room, ROOM + 2 * ledger.refused_size)
            self._order(self._after_proof, store.prove_room, self._room)

    def _after_compacting(self, failure: "Optional[StoreError]") -> None:
        ledger = self._core.ledger
        ledger.records = self._kept + ledger.records
        self._kept = []
        self._compacted = len(ledger.records)
        if failure is not None:
            self._still_refused(failure)

    def _after_catching_up(self, failure: "Optional[StoreError]") -> None:
        core, store = self._core, self._store
        kept, self._kept = self._kept, []
        if failure is None:
            # Others get their turn before the rest is written.
            self._retry_at = core.now + (0.001 if core.ledger.records else 0.0)
            return
        core.ledger.records = kept + core.ledger.records
        if store.usable and store.could_shrink(core.results.size + self._size):
            self._begin_anew()
        else:
            self._still_refused(failure)

    def _after_proof(self, failure: "Optional[StoreError]") -> None:
        if failure is not None:
            self._still_refused(failure)
        elif self._note_proof():
            self._well_since = self._core.now
            self._core.stored()
        else:
            self._prove_anew()  # by writing nothing, which is faster than this order was

    def _still_refused(self, failure: StoreError) -> None:
        _logger_keeper.debug("still refused: %s", failure)
        self._anew = None
        self._core.ledger.anew = False
        self._retry_at = self._core.now + RETRY_INTERVAL

    def _begin_anew(self) -> None:
        """Have the store written anew from what the core has; its ledger gathers what happens meanwhile."""
        core, store = self._core, self._store
        _logger_keeper.info("%s is written anew", store.name)
        if store.is_whole:
            self._anew = iter(())
            self._order(self._after_anew, store.end_anew)
            return
        core.ledger.begin_anew()
        pieces = self._pieces()
        first = next(pieces, None)
        self._anew = pieces if first is None else itertools.chain([first], pieces)
        self._order(self._after_step, store.begin_anew, core.number, first is None)

    def _go_on_anew(self, pieces: "Iterator[List[Record]]") -> None:
        some = next(pieces, None)
        if some is not None:
            self._order(self._after_step, self._store.add_anew, some)
        else:
            self._order(self._after_anew, self._store.end_anew)

    def _pieces(self) -> "Iterator[List[Record]]":
        """The records of all that is to be stored, some at a time: orders that stand, background jobs, ends of jobs.

        The record of a job tells its state at the time when it has its turn.
        """
        some = []  # type: List[Record]
        size = 0
        for record in self._records():
            some.append(record)
            size += time_to_write(record)
            if size >= PIECE:
                yield some
                some, size = [], 0
        if some:
            yield some

    def _records(self) -> "Iterator[Record]":
        core = self._core
        yield from standing_orders(core)
        # In this order, because a job may be set aside meanwhile; the ledger records one that is requeued.
        for jobs in (core.job_chain, core.aside_chain):
            for those in jobs.walk():
                for job in those:
                    if job.background and job.state is not GONE:
                        yield core.record_of(job)
        yield from core.results.records()

    def _after_step(self, failure: "Optional[StoreError]") -> None:
        if failure is not None:
            self._still_refused(failure)
        else:
            self._retry_at = self._core.now + 0.001

    def _after_anew(self, failure: "Optional[StoreError]") -> None:
        self._anew = None
        self._core.ledger.anew = False
        self._after_step(failure)

    # ------------------------------------------------------------------------------------------------------------ the end

    def close(self) -> None:
        """Write what is not written yet, with the durability EXIT all jobs; then close the store.

        Waits for the disk as long as a slow one needs, and no longer.
        """
        if not self._is_open:
            self._loading.give_up()
            return
        while self._thread.busy and self.deposed is None:  # an order may be followed by another one
            if not self._wait():
                self._give_up("the disk does not answer")
                return
            self._finish()
        while self._core.ledger.refusal is not None:  # else records that it keeps would not be written
            self._core.turns.work()
        self._is_open = False
        if self.deposed is not None:
            self._store.abandon()
            self._thread.end()
            return
        self._order(lambda _: None, self._write_out)  # the dispatcher waits meanwhile, so that the thread may use the core
        if not self._wait():
            self._give_up("the disk does not answer")
            return
        try:
            self._thread.take()
        except StoreError as error:
            self._give_up(error)
            self._store.abandon()
        self._thread.end()

    def _wait(self) -> bool:
        """Wait until the order is over, at most as long as a slow disk needs to write all jobs; return whether it is over."""
        patience = DISK_TIME + self._size / SLOWEST
        while self._thread.busy and not self._thread.wait(min(patience, 1.0)):
            patience -= 1.0
            if patience <= 0:
                return False
        return True

    @property
    def _size(self) -> int:
        """The bytes of all jobs, about."""
        core = self._core
        return core.size + ROW_SIZE * (len(core.jobs) + len(core.aside))

    def _give_up(self, reason: object) -> None:
        self._is_open = False
        _logger_keeper.error("background jobs are lost, the file has those of the start: %s" if self._store.durability == EXIT
                             else "not all is stored, jobs that are done may run again: %s", reason)
        self.complete = False

    def _write_out(self) -> None:
        try:
            self._write_all()
        except StoreError as error:
            _logger_keeper.info("trying once more: %s", error)
            self._write_all()

    def _write_all(self) -> None:
        core, store = self._core, self._store
        if not store.usable:
            if self._watch.wanted is not None and self._watch.in_doubt:
                self._watch.begin(store.adopt(*self._watch.wanted[:2]))
            while self._watch.adopting:
                self._watch.take_in(store.read_adopted())
            records = []  # type: List[Record]
            if not store.is_whole:
                records = core.snapshot()
                core.ledger.records = []
            for _ in store.renew(records, core.number):
                continue
        if store.durability == EXIT:
            store.replace(core.snapshot(), core.number)
        elif core.ledger.records:
            store.write(core.ledger.records, core.number)
        if core.ledger.under_way is None:
            core.ledger.hand_over()
        core.stored()
        store.close(core.number)

    def _flush_due(self) -> bool:
        return self._unflushed_since is not None and self._core.now >= self._unflushed_since + FLUSH_INTERVAL


def _replace_by_compact(records: "List[Record]") -> None:
    records[:] = compact(records)
