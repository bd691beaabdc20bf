"""A parent process that keeps a number of child processes running, and how the children listen to it."""
import logging
import os
import queue
import signal
import sys
import threading

from ..net.logs import own_logger
from ..net.signals import make_handler
from ..net.system import REAL_SYSTEM
from ..net.threads import start_thread
from ..timers import growing_pause
from .early import hold_signals, release_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple
    from ..net.system import System

_logger_supervisor = own_logger("gearman_std.supervisor")

SUPERVISED = "GEARMAN_STD_SUPERVISED"  # set in the environment of a child
AT_WORK, LEAVING = b"w", b"l"  # what a child tells its parent by a descriptor, whose number is in SUPERVISED
SHORT_LIFE = 5.0      # seconds; a process that dies younger is not started again at once
FIRST_PAUSE = 0.5     # seconds of the first pause before it is started again, doubled each time
LONGEST_PAUSE = 30.0  # seconds of the longest pause
_TICK = 0.25          # seconds that a stop may go unnoticed: a signal handler can only count it
_STOP_STEPS = 3       # the third stop kills


class _Child:
    """A place for a process: the process, or when to start the next one.

    Owner: the thread in `Supervisor.run`.
    """

    __slots__ = ("number", "process", "said", "starts", "started", "deaths", "due")

    def __init__(self, number: int) -> None:
        self.number = number
        self.process = None  # type: Any
        self.said = b""      # what the process has told so far
        self.starts = 0
        self.started = 0.0
        self.deaths = 0      # in a row, of processes with a SHORT_LIFE
        self.due = 0.0

    def __repr__(self) -> str:
        return "<_Child %d, %s>" % (self.number, "process %d" % self.process.pid if self.process else "not running")


class Supervisor:
    """Keeps `count` processes of the command `argv` running until it is stopped.

    A process that ends is started again, at once if it has lived for a while, else after a pause.  For each `stop`, the parent
    writes a byte to the child's standard input; that input ends if the parent dies.  A `Supervised` in the child listens.  A
    third `stop` kills the processes that are left.  If the first process of a place ends with the status `hopeless` before it
    has said that it is at work, the next one would do no better: the supervisor stops, and `hopeless` is its `status`, which is
    0 otherwise.  A process that ends in the middle of its work, for example because of a job, is always replaced.

    `begun` is called once, when a process has said that it is at work, or one that is not hopeless has to be started again.

    Raises ValueError for a count below 1.

    Owner: the thread in `run`.
    """

    def __init__(self, argv: "Sequence[str]", count: int = 1, start: "Optional[Callable[[Sequence[str]], Any]]" = None,
                 hopeless: "Optional[int]" = None, begun: "Optional[Callable[[], Any]]" = None,
                 _system: "System" = REAL_SYSTEM) -> None:
        if count < 1:
            raise ValueError("a supervisor of %r processes" % count)
        self.argv = list(argv)
        self.stops = 0
        self.status = 0
        self._hopeless = hopeless
        self._begun = begun
        self._system = _system
        self._start = start or start_child
        self._children = [_Child(number) for number in range(1, count + 1)]
        self._events = queue.Queue()  # type: queue.Queue[Tuple[_Child, Any, int]]
        self._told = 0  # how many stops the children have heard of

    def __repr__(self) -> str:
        return "<Supervisor of %d x %s%s>" % (len(self._children), self.argv, ", stopping" if self.stops else "")

    # --- Called by the owning thread.

    def run(self) -> None:
        """Keep the processes running until `stop`, and then until the last has ended."""
        children = self._children
        while not self.stops or any(child.process for child in children):
            now = self._system.clock()
            if not self.stops:
                for child in children:
                    if child.process is None and child.due <= now:
                        self._begin(child, now)
            elif self._told < self.stops:
                self._tell_children()
            waits = [child.due - now for child in children if child.process is None and not self.stops]
            try:
                self._bury(*self._events.get(timeout=max(0.0, min(waits + [_TICK]))))
            except queue.Empty:
                self._ask_whether_begun()

    def _ask_whether_begun(self) -> None:
        """Look whether a process is at work, as long as `begun` waits for one."""
        if self._begun is not None:
            for child in self._children:
                if child.process is not None and not child.said:
                    child.said = _read_word(child.process)
            if any(child.said for child in self._children):
                self._call_begun()

    def _call_begun(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun()

    def _begin(self, child: _Child, now: float) -> None:
        child.started = now
        child.starts += 1
        process = None
        try:
            process = self._start(self.argv)
            start_thread(lambda: self._events.put((child, process, process.wait())), "gearman_std supervisor")
        except OSError as error:
            _logger_supervisor.error("cannot start process %d: %s", child.number, error.strerror or error)
            if process is not None:
                process.kill()
                process.wait()
                process.stdin.close()
                _close_word(process)
            self._pause(child, now)
            self._call_begun()
            return
        child.process = process
        child.said = b""
        _logger_supervisor.info("process %d has started, its id is %d", child.number, process.pid)

    def _bury(self, child: _Child, process: "Any", status: int) -> None:
        now = self._system.clock()
        try:
            process.stdin.close()
        except OSError:
            pass  # a byte was still on its way to it
        child.process = None
        said = child.said + _read_word(process)
        _close_word(process)
        if status == self._hopeless and child.starts == 1 and not said and not self.stops:
            self.status = status
            self.stop()
        if self.stops:
            _logger_supervisor.info("process %d has ended with status %s", child.number, status)
            return
        self._call_begun()
        if said or now - child.started >= SHORT_LIFE:
            child.deaths = 0
        if now - child.started < SHORT_LIFE:
            self._pause(child, now)
        else:
            child.due = now
        broken = said == AT_WORK
        _logger_supervisor.log(logging.WARNING if status or broken else logging.INFO,
                               "process %d has ended with status %s%s; the next one starts in %.1f s", child.number, status,
                               ", in the middle of its work" if broken else "", child.due - now)

    def _pause(self, child: _Child, now: float) -> None:
        child.due = now + growing_pause(FIRST_PAUSE, LONGEST_PAUSE, child.deaths) * (0.5 + 0.5 * self._system.random())
        child.deaths += 1

    def _tell_children(self) -> None:
        while self._told < self.stops:
            self._told += 1
            for child in self._children:
                if child.process is None:
                    continue
                if self._told >= _STOP_STEPS:
                    child.process.kill()
                    continue
                try:
                    child.process.stdin.write(b"\0")
                    child.process.stdin.flush()
                except OSError:
                    pass  # it has just ended

    # --- Called by any thread, and by signal handlers.

    def stop(self) -> None:
        """Tell the processes to finish; the second call tells them to leave at once, the third kills them."""
        self.stops += 1


class Supervised:
    """In a child of a `Supervisor`: calls `stop` when the parent says so, when the parent is gone, or after a signal.

    SIGTERM often reaches parent and child at once, so that a stop that comes both ways counts once.  Programs that the child
    starts get an empty standard input, because they must not read the parent's bytes.

    Owner: its lock.
    """

    def __init__(self, stop: "Callable[[], Any]", descriptor: int = 0) -> None:
        self._stop = stop
        self._lock = threading.RLock()
        self._heard = {"parent": 0, "signals": 0}
        self._passed_on = 0
        self._descriptor = descriptor

    def __repr__(self) -> str:
        return "<Supervised: %r>" % self._heard

    def listen(self) -> None:
        """Listen from now on; to be called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, make_handler(lambda: self._hear("signals")))
        release_signals()
        inherited, self._descriptor = self._descriptor, os.dup(self._descriptor)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, inherited)
        os.close(nowhere)
        start_thread(self._listen, "gearman_std supervised")

    def _listen(self) -> None:
        while True:
            try:
                said = os.read(self._descriptor, 1)
            except OSError:
                said = b""
            if not said:
                if not self._heard["parent"]:
                    self._hear("parent")
                return
            self._hear("parent")

    def _hear(self, way: str) -> None:
        with self._lock:
            self._heard[way] += 1
            if self._heard[way] > self._passed_on:
                self._passed_on = self._heard[way]
                self._stop()


class CodeWatch:
    """Tells whether the files of imported modules have changed since they were imported; `paths` are watched, too.

    Owner: the thread that asks.
    """

    def __init__(self, paths: "Iterable[str]" = ()) -> None:
        self._paths = list(paths)
        self._seen = {}  # type: Dict[str, Optional[Tuple[int, ...]]]
        self()

    def __repr__(self) -> str:
        return "<CodeWatch of %d files>" % len(self._seen)

    def __call__(self) -> bool:
        """Whether anything has changed."""
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        changed = False
        for path in self._paths + [path for path in files if isinstance(path, str)]:
            mark = _file_mark(path)
            if self._seen.setdefault(path, mark) != mark:
                changed = True
        return changed


def _file_mark(path: str) -> "Optional[Tuple[int, ...]]":
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size  # the first two change when a link points elsewhere


def is_supervised() -> "Optional[Word]":
    """The Word with which this process tells its `Supervisor` something; None without a Supervisor, as in its own children."""
    descriptor = os.environ.pop(SUPERVISED, None)
    return None if descriptor is None else Word(int(descriptor) if descriptor.isdigit() else 0)


class Word:
    """What a child tells its `Supervisor`: AT_WORK, and then LEAVING.

    Owner: the main thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor if descriptor > 2 else 0  # 0: there is none
        if self._descriptor:
            os.set_inheritable(self._descriptor, False)

    def __repr__(self) -> str:
        return "<Word by %d>" % self._descriptor

    def give(self, word: bytes) -> None:
        """Tell it."""
        if self._descriptor:
            try:
                os.write(self._descriptor, word)
            except OSError:
                self._descriptor = 0  # the parent is gone


def _read_word(process: "Any") -> bytes:
    """What a process has told since this was asked last."""
    descriptor = getattr(process, "word", None)
    if descriptor is None:
        return b""
    try:
        return os.read(descriptor, 100)
    except OSError:
        return b""  # it told nothing, and it or a child of it still lives


def _close_word(process: "Any") -> None:
    """Close the descriptor by which a process told something."""
    descriptor = getattr(process, "word", None)
    if descriptor is not None:
        os.close(descriptor)


def start_child(argv: "Sequence[str]", read: bool = False, folder: "Optional[str]" = None) -> "Any":
    """Start a process in which a `Supervised` listens to this process; with `read`, this process can read its output.

    Signals that stop it, such as a Ctrl-C that reaches every process at the terminal, wait until the `Supervised` listens.
    """
    import subprocess
    place = {} if folder is None else {"PWD": folder}
    reader = writer = 0
    if os.name == "posix":
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
    mask = hold_signals()
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE if read else None, cwd=folder,
                                   env=dict(os.environ, **dict(place, **{SUPERVISED: "%d" % writer})),
                                   pass_fds=(writer,) if writer else ())
        if reader:
            process.word = reader  # type: ignore[attr-defined]
        return process
    except OSError:
        if reader:
            os.close(reader)
        raise
    finally:
        if writer:
            os.close(writer)
        if mask is not None:
            release_signals(mask)
