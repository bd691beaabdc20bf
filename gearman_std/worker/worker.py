"""Running functions for jobs, in a pool of threads, over several servers."""
import signal
import threading

from ..arguments import ENDLESS, check_callable, check_number
from ..net.addresses import join_address
from ..net.signals import make_handler
from ..wire.protocol import encode_function
from .job import Ability, WorkerJob, show_name
from .settings import HOOKS, WorkerHealth, WorkerSettings
from .shift import Shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple, TypeVar, Union, overload
    Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Worker(WorkerSettings):
    """Runs functions for jobs.

        worker = Worker("localhost")

        @worker.function("reverse")
        def reverse(job):
            return job.workload[::-1]

        worker.work()

    A function returns bytes, str (sent as UTF-8) or None (an empty result), or whatever the `serializer` takes; an exception
    fails the job with the exception's text.  With one thread, functions run in the thread that called `work`, if that is the
    main thread, so that `signal.alarm` and what belongs to that thread can be used; otherwise, and where the program has a
    handler of its own for SIGURG or the system has no such signal, they run in threads of the worker.

    `servers` is a list, a string with commas, or None for GEARMAN_SERVERS or else localhost:4730.  `threads` is how many jobs
    run at a time; the worker never has more.  After `max_jobs` jobs, or `max_age` seconds and up to `splay` more, at random,
    it leaves by itself; so it does when `watch`, called every second, returns true.  When it leaves it finishes what runs, for
    at most `grace` seconds if that is not None.  `tls` is an `ssl.SSLContext`, True for the default one, or a dict (see
    `connection.open_connection`).

    Raises ValueError or TypeError for addresses and settings that make no sense, OSError for files of `tls` that fail to load.

    Owner: the lock of the shift that is at work, before and after that its maker.
    """

    _shift = None  # type: Optional[Shift] # the shift at work

    def __repr__(self) -> str:
        return "<Worker of %s at %s, %d threads%s>" % (
            ", ".join(map(show_name, self.abilities)) or "nothing", ",".join(map(join_address, self.addresses)), self.threads,
            ", at work" if self._at_work() else "")

    def function(self, name: "Union[str, bytes]", *, timeout: "Optional[float]" = None, limit: "Optional[int]" = None
                 ) -> "Callable[[Decorated], Decorated]":
        """The decorator form of `register`, with the function's name in parentheses."""
        if callable(name):
            raise TypeError("the name is missing: @worker.function(%r)" % getattr(name, "__name__", "name"))
        encode_function(name)

        def decorate(callable_: "Decorated") -> "Decorated":
            self.register(name, callable_, timeout, limit)
            return callable_
        return decorate

    def register(self, name: "Union[str, bytes]", callable_: "Callable[[WorkerJob], Any]", timeout: "Optional[float]" = None,
                 limit: "Optional[int]" = None, abandon: "Optional[Callable[[], Any]]" = None) -> None:
        """Do the jobs of a function by calling `callable_` with a `WorkerJob`.

        After `timeout` seconds the server takes the job away, and the worker logs that it still runs.  At most `limit` jobs of
        the function run at a time; a function with a limit has a connection of its own to each server, since the protocol knows
        no other way not to be given its jobs.  `abandon` is called if the worker leaves while jobs of the function run.  May be
        called while the worker works, from any thread.

        Raises ValueError for a name that the protocol cannot carry, a name already registered, and numbers out of bounds.
        """
        encoded = encode_function(name)
        check_callable("the function %r" % (name,), callable_)
        if encoded in self.abilities:
            raise ValueError("the function %r is registered already" % (name,))
        if limit is not None:
            limit = check_number("limit", limit, 1, whole=True)
        if timeout is not None:
            seconds = check_number("timeout", timeout, 0.001)
            timeout = None if seconds >= ENDLESS else seconds
        if abandon is not None:
            check_callable("abandon", abandon)
        ability = Ability(encoded, callable_, timeout, limit, abandon)
        self.abilities[encoded] = ability
        shift = self._at_work()
        if shift is not None:
            shift.learn(ability)

    def unregister(self, name: "Union[str, bytes]") -> None:
        """Do no more jobs of a function; those that run, or wait to be tried again, are finished.

        May be called while the worker works, from any thread.  Raises ValueError for a name that is not registered.
        """
        encoded = encode_function(name)
        if encoded not in self.abilities:
            raise ValueError("the function %r is not registered" % (name,))
        del self.abilities[encoded]
        shift = self._at_work()
        if shift is not None:
            shift.forget(encoded)

    if TYPE_CHECKING:
        @overload
        def hook(self, name: str) -> "Callable[[Decorated], Decorated]": ...

        @overload
        def hook(self, name: str, callable_: "Decorated") -> "Decorated": ...

    def hook(self, name: str, callable_: "Any" = None) -> "Any":
        """Have `callable_` called, or decorate it to be called: "before" with a job, "after" with a job and its result, "error"
        with a job and its exception, "connected" with a server's address, "disconnected" with that and the reason.

        An exception out of "before" fails the job; any other is logged.  Raises ValueError for another name.
        """
        if not isinstance(name, str):
            raise TypeError("the name of the hook is missing: @worker.hook(\"error\")")
        if name not in self.hooks:
            raise ValueError("a hook is one of %s, not %r" % (", ".join(HOOKS), name))
        if callable_ is None:
            return lambda decorated: self.hook(name, decorated)
        check_callable("the hook %s" % name, callable_)
        self.hooks[name].append(callable_)
        return callable_

    def work(self, signals: bool = True) -> int:
        """Work until `stop`, `max_jobs`, `max_age` or `watch` ends it; servers that are down are tried again and again.

        Returns how many jobs were left unfinished, which is 0 unless `stop` was called twice or `grace` was over; the servers
        give them to other workers, but their threads are still busy, and may keep a program that wants to end from ending.  A
        function in the main thread is ended by an exception, a `BaseException`, as soon as Python can raise one there.
        In the main thread, `signals` makes SIGTERM and SIGINT call `stop`, unless the program has handlers for them already;
        what those raise, and KeyboardInterrupt, ends the work at any point.
        Raises ValueError if no function is registered, RuntimeError if the worker is at work already, and OSError where the
        system does not let it have its threads.
        """
        if not self.abilities:
            raise ValueError("no function is registered")
        if self._at_work() is not None:
            raise RuntimeError("the worker is at work already")
        try:
            with _Signals(self.stop, signals):
                self._shift = Shift(self)
                return self._shift.run()
        finally:
            self._shift = None
            self.stops = 0

    def stop(self) -> None:
        """Grab no more jobs, finish what runs, and leave; called again, leave at once.

        May be called from any thread and from a signal handler; before `work`, it makes that return at once.
        """
        self.stops += 1
        shift = self._at_work()
        if shift is not None:
            shift.wake()

    def health(self) -> WorkerHealth:
        """How the worker is."""
        shift = self._at_work()
        return WorkerHealth(*(shift.health() if shift is not None else ((), (), (), 0)), **self.totals)

    def _at_work(self) -> "Optional[Shift]":
        shift = self._shift
        return shift if shift is not None and shift.at_work else None


class _Signals:
    """While it is entered, in the main thread, SIGTERM and SIGINT call a function unless they call another one already.

    Owner: the main thread.
    """

    def __init__(self, call: "Callable[[], None]", wanted: bool) -> None:
        self._call = call
        self._wanted = wanted and threading.current_thread() is threading.main_thread()
        self._replaced = []  # type: List[Tuple[int, Any]]

    def __repr__(self) -> str:
        return "<_Signals: %d replaced>" % len(self._replaced)

    def __enter__(self) -> None:
        for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if self._wanted and signal.getsignal(number) == default:
                self._replaced.append((number, signal.signal(number, make_handler(self._call))))

    def __exit__(self, *_: "Any") -> None:
        for number, handler in self._replaced:
            signal.signal(number, handler)
