"""The thread that writes the store: it carries out one order after the other while the dispatcher serves its peers."""
import threading

from ..net.logs import own_logger
from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

_logger_store_thread = own_logger("gearman_std.store")


class StoreThread:
    """Carries out orders, one at a time.  Each is a call of a method of the store.

    From `give` until `over` is true, the order and the store belong to the thread.  At all other times they belong to the
    dispatcher, which takes the result with `take` and gives the next order.  Without `begin`, or if no thread can be started,
    `give` carries the order out itself.  With `waits_for_test`, a test does it with `run_one`.

    Owner: the dispatcher thread; for the order and its result, the thread whose turn it is.
    """

    def __init__(self) -> None:
        self.busy = False       # an order was given, and its result was not taken yet
        self.waits_for_test = False
        self._over = False
        self._function = None   # type: Optional[Callable[..., Any]] # what to call; None ends the thread
        self._arguments = ()    # type: Any
        self._failure = None    # type: Optional[BaseException]
        self._result = None     # type: Any
        self._report = None     # type: Any
        self._thread = None     # type: Optional[threading.Thread]
        self._given = threading.Semaphore(0)
        self._done = threading.Event()

    def __repr__(self) -> str:
        return "<StoreThread%s%s>" % ("" if self._thread is not None else " without a thread", ", busy" if self.busy else "")

    def begin(self, report: "Callable[[], Any]") -> bool:
        """Start a thread that carries out the orders and calls `report` after each; return whether it could be started."""
        self._report = report
        try:
            self._thread = start_thread(self._run, "gearman_std-store")
        except OSError as error:
            _logger_store_thread.warning("the store has no thread of its own, so everybody waits for the disk: %s", error)
        return self._thread is not None

    def give(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Give an order: call `function` with the arguments."""
        assert not self.busy, self
        self.busy = True
        self._function, self._arguments = function, arguments
        self._over = False
        if self._thread is not None:
            self._done.clear()
            self._given.release()
        elif not self.waits_for_test:
            self.run_one()

    @property
    def over(self) -> bool:
        """Whether the order was carried out, so that its result can be taken."""
        return self._over

    def take(self) -> "Any":
        """The result of the order that is over.  Raises what the order raised."""
        assert self.busy and self._over, self
        self.busy = self._over = False
        failure, self._failure = self._failure, None
        result, self._result = self._result, None
        if failure is not None:
            raise failure
        return result

    def wait(self, timeout: float) -> bool:
        """Wait until the order is over, at most `timeout` seconds; return whether it is over."""
        if not self._over and self._thread is not None and self._done.wait(timeout) and not self._over:
            self._done.clear()  # it was set for the order before
        return self._over

    def end(self) -> None:
        """End the thread, which must have nothing to do; from then on `give` carries orders out itself."""
        assert not self.busy, self
        thread, self._thread = self._thread, None
        if thread is not None:
            self._given.release()
            thread.join()

    # ------------------------------------------------------------------------------------------------- called by the thread

    def run_one(self) -> None:
        """Carry the order out."""
        function, arguments = self._function, self._arguments
        assert function is not None
        self._function, self._arguments = None, ()
        try:
            self._result = function(*arguments)
        except BaseException as error:  # `take` raises it in the dispatcher
            self._failure = error
        self._over = True

    def _run(self) -> None:
        while True:
            self._given.acquire()
            if self._function is None:
                return
            self.run_one()
            self._done.set()
            self._report()
