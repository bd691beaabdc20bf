"""What a program in the background needs: detaching, pid file, user, limits, log, signals, notes to the service manager."""
import errno
import logging
import os
import signal
import stat
import sys
import threading

from ..errors import GearmanError
from ..net.logs import own_logger
from ..net.signals import make_handler
from .early import release_signals
from .opening import open_to_write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type

_logger_daemon = own_logger("gearman_std.daemon")

LOG_FORMAT = "%(levelname)7s %(asctime)s [ %(threadName)s ] %(message)s"
_SYSLOG_DEVICES = ("/dev/log", "/var/run/syslog")
LOG_DATE_FORMAT = "%Y-%m-%d %H:%M:%S"

# gearmand's names of log levels, and Python's numbers.
LOG_LEVELS = {"FATAL": 60, "ALERT": 55, "CRITICAL": 50, "ERROR": 40, "WARNING": 30, "NOTICE": 25, "INFO": 20, "DEBUG": 10}


class CannotDetach(GearmanError):
    """The program cannot go into the background, or not become another user."""


class PidFile:
    """A file with this process's id while it is entered.

    It is locked, so that no other process of this program takes it meanwhile.  At the end it is removed only if it still has
    that id, because somebody else may have taken the path.  A file that holds something else than an id is not taken, nor the
    file of a running gearmand.  Opening and entering raise OSError.

    Owner: the thread that enters it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = 0
        self._file = -1  # its descriptor

    def __repr__(self) -> str:
        return "<PidFile %s%s>" % (self.path, ", written" if self._pid else "")

    def open(self) -> None:
        """Open the file and change nothing in it, as it may be another process's; entering opens it if that was not done."""
        try:
            while not self._is_there():
                self._close()  # the process that had it has just ended, and removed it
                self._file, _ = open_to_write(self.path, os.O_RDWR)
                if self._is_plain():
                    self._lock()
                    self._look()
                elif not os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                    raise OSError(errno.EEXIST, "something else has taken its place")
        except OSError as error:
            self._close()
            raise OSError(error.errno, "cannot write the pid file %s: %s" % (self.path, error.strerror)) from None

    def discard(self) -> None:
        """Close the file, and remove it if it is empty, since it was never entered."""
        self._remove(b"")

    def __enter__(self) -> "PidFile":
        self.open()
        try:
            if self._is_plain():
                os.lseek(self._file, 0, os.SEEK_SET)
                os.ftruncate(self._file, 0)
            os.write(self._file, b"%d\n" % os.getpid())
        except OSError as error:
            raise OSError(error.errno, "cannot write the pid file %s: %s" % (self.path, error.strerror)) from None
        self._pid = os.getpid()
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        if self._pid == os.getpid():
            self._pid = 0
            self._remove(b"%d" % os.getpid())

    def _remove(self, content: bytes) -> None:
        """Remove the file if it has that content, and close it."""
        try:
            if self._file >= 0 and self._is_plain() and self._is_there() and self._read() == content:
                os.unlink(self.path)
        except OSError as failure:  # its folder may belong to the user that the program was before
            _logger_daemon.info("the pid file %s stays: %s", self.path, failure.strerror)
        self._close()

    def _is_there(self) -> bool:
        try:
            return self._file >= 0 and os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except OSError:
            return False

    def _is_plain(self) -> bool:
        """Whether it is a regular file: a device cannot be truncated, may have no end, and must stay."""
        return stat.S_ISREG(os.fstat(self._file).st_mode)

    def _lock(self) -> None:
        """Lock it for this process, but not for its children.  Raises OSError."""
        try:
            from fcntl import LOCK_EX, LOCK_NB, lockf
        except ImportError:  # not on Windows
            return
        try:
            lockf(self._file, LOCK_EX | LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks
            raise OSError(error.errno, "process %s has it, and still runs" % self._read().decode("latin-1")) from None

    def _look(self) -> None:
        """Raise OSError if the file holds no process id, or that of a running job server without a lock, such as gearmand."""
        content = self._read().strip(b"\0")  # a file system may leave NULs after a crash
        if content and not content.isdigit():
            raise OSError(errno.EEXIST, "it holds something else than a process's id")
        try:
            if not content or int(content) in (os.getpid(), os.getppid()):
                return  # the file is from an earlier run in a container, where ids begin again
            with open("/proc/%d/cmdline" % int(content), "rb") as file:
                command = file.read(4096)
        except OSError:
            return  # that process has ended, or this system does not tell
        if b"gearman" in command:
            raise OSError(errno.EEXIST, "process %d has it, and still runs" % int(content))

    def _read(self) -> bytes:
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, 32).strip()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Detached:
    """The message of a program in the background to the process that started it: that it is ready.

    If it ends without that message, having said why on standard error, the first process ends with status 1.

    Owner: the thread that detached.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe  # -1: the message is sent

    def __repr__(self) -> str:
        return "<Detached, %s>" % ("not ready yet" if self._pipe >= 0 else "ready")

    def ready(self, keep_output: bool = False) -> None:
        """Let the first process end with status 0, and close standard input and, without `keep_output`, the outputs."""
        if self._pipe < 0:
            return
        let_go_of_streams(keep_output)
        pipe, self._pipe = self._pipe, -1
        try:
            os.write(pipe, b"\0")
        except OSError:  # nobody waits any more
            _logger_daemon.info("the process that started this one is gone")
        os.close(pipe)


def let_go_of_streams(keep_output: bool = False) -> None:
    """Close standard input and, without `keep_output`, the outputs: /dev/null takes their places."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0,) if keep_output else (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)


def detach() -> Detached:
    """Go on in a process with its own session and without a terminal; the first process waits for its message, and ends.

    No thread may have been started before.  Raises CannotDetach where there is no fork.
    """
    if not hasattr(os, "fork"):
        raise CannotDetach("this system has no way to detach a program")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    reader, writer = os.pipe()
    first = os.fork()
    if first:
        release_signals()
        os.close(writer)
        os.waitpid(first, 0)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    if os.fork():  # a second time, so that it is not a session leader and never gets a terminal
        os._exit(0)
    return Detached(writer)


def become_user(name: str, system: "Any" = os, find: "Optional[Callable[[str], Any]]" = None) -> bool:
    """Become another user, with that user's groups; return whether that was necessary.

    Raises CannotDetach for an unknown user, and if this user may not do that.
    """
    if find is None:
        try:
            from pwd import getpwnam as find
        except ImportError:
            raise CannotDetach("this system has no users to become") from None
    try:
        entry = find(name)  # type: ignore[misc]
    except KeyError:
        raise CannotDetach("there is no user %s" % name) from None
    if system.getuid() == system.geteuid() == entry.pw_uid:
        return False
    try:
        system.initgroups(entry.pw_name, entry.pw_gid)
        system.setgid(entry.pw_gid)
        system.setuid(entry.pw_uid)
    except PermissionError:
        raise CannotDetach("only root can become user %s" % name) from None
    return True


def allow_descriptors(number: "Optional[int]" = None) -> int:
    """Allow this process `number` open files, or as many as the system lets it have; return the number.

    Raises OSError if the system refuses.
    """
    try:
        import resource
    except ImportError:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number is None:
        number = hard
        if hard == resource.RLIM_INFINITY:
            return soft
    elif hard != resource.RLIM_INFINITY and number > hard:
        hard = number
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (ValueError, OSError) as error:
        raise OSError("cannot allow %d open files: %s" % (number, error)) from None
    return number


def allow_core_dump() -> None:
    """Let the system write a core file if the interpreter crashes.  Raises OSError if the system refuses."""
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


class LogFile(logging.StreamHandler):  # type: ignore[type-arg] # subscripting it fails on old versions
    """Writes log records to a file that may be moved away: the next record goes to a new file with the same name.

    If the new file cannot be opened, it goes on with the old one.

    Owner: the lock that every logging handler has.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._reopen = False
        self._failing = False  # the last record did not get into the file
        self._made = False     # the file that is open was made by us
        super().__init__(self._open())

    def __repr__(self) -> str:
        return "<LogFile %s>" % self.path

    def _open(self) -> "Any":
        descriptor, self._made = open_to_write(self.path, os.O_WRONLY | os.O_APPEND)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def _moved(self) -> bool:
        try:
            there = os.stat(self.path)
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self.stream.fileno()))

    def emit(self, record: logging.LogRecord) -> None:
        """As every handler's."""
        if self._reopen or self._moved():
            self._reopen = False
            try:
                stream = self._open()
            except OSError:
                super().emit(record)  # the file may have been created by a user with more rights than the present one
                return
            self._close_stream()
            self.stream = stream
        failing, self._failing = self._failing, False
        super().emit(record)
        if self._failing and not failing:
            self._complain()

    def handleError(self, record: logging.LogRecord) -> None:
        """As every handler's; but a full disk is reported with a single line as long as it lasts."""
        if isinstance(sys.exc_info()[1], OSError):
            self._failing = True
        else:
            super().handleError(record)

    def _complain(self) -> None:
        try:
            sys.stderr.write("cannot write to the log file %s\n" % self.path)
        except (OSError, AttributeError, ValueError):  # there is nobody to tell
            return

    def _close_stream(self) -> None:
        try:
            self.stream.close()
        except OSError:  # the disk is full: what was still to be written is lost
            self._failing = True

    def reopen(self) -> None:
        """Open the file again before the next record is written; may be called from a signal handler."""
        self._reopen = True

    def give_to(self, user: str) -> None:
        """Let another user open it again, if this program made it; files and devices of others are not touched.

        Raises OSError, KeyError.
        """
        if self._made:
            import pwd
            entry = pwd.getpwnam(user)
            os.fchown(self.stream.fileno(), entry.pw_uid, entry.pw_gid)

    def close(self) -> None:
        """Close the file."""
        self._close_stream()
        super().close()


class OneLineFormatter(logging.Formatter):
    """Formats records; an exception of this package is one line instead of a traceback.

    Owner: nobody, it does not change.
    """

    def __repr__(self) -> str:
        return "<OneLineFormatter>"

    def formatTime(self, record: logging.LogRecord, datefmt: "Optional[str]" = None) -> str:
        """As every formatter's, with microseconds."""
        return "%s.%06d" % (super().formatTime(record, datefmt), record.created % 1 * 1e6)

    def format(self, record: logging.LogRecord) -> str:
        """As every formatter's."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, GearmanError):
            record = logging.makeLogRecord(dict(vars(record), msg="%s: %s", args=(record.getMessage(), error), exc_info=None))
        return super().format(record)


def open_log(level: str, path: str = "stderr", syslog: bool = False) -> "Optional[LogFile]":
    """Set up the package's log: at a level of LOG_LEVELS, to a file, to "stderr" or to "none", and also to syslog if told.

    Returns the file, None if there is none.  If there is no syslog, the log says so.  Raises OSError if the file
    cannot be opened.
    """
    for name, number in LOG_LEVELS.items():
        if logging.getLevelName(number) == "Level %d" % number:
            logging.addLevelName(number, name)
    logger = logging.getLogger("gearman_std")
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.NullHandler):
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(LOG_LEVELS[level])
    log_file = None  # type: Optional[LogFile]
    if path == "stderr":
        logger.addHandler(_formatted(logging.StreamHandler(), LOG_FORMAT))
    elif path != "none":
        try:
            log_file = LogFile(path)
        except OSError as error:
            raise OSError(error.errno, "cannot open the log file %s: %s" % (path, error.strerror)) from None
        logger.addHandler(_formatted(log_file, LOG_FORMAT))
    if syslog:
        over_there = _open_syslog()
        if over_there is None:
            _logger_daemon.error("there is no syslog on this machine, the log goes on without it")
        else:
            logger.addHandler(_formatted(over_there, "gearmand[%(process)d]: %(message)s"))
    return log_file


def _open_syslog() -> "Optional[logging.Handler]":
    """A handler that writes to syslog, None if nobody listens there; records that come while syslog restarts are lost."""
    import socket
    from logging.handlers import SysLogHandler

    class SysLog(SysLogHandler):
        def format(self, record: logging.LogRecord) -> str:
            return super().format(record).encode("utf-8", "backslashreplace").decode()

        def handleError(self, record: logging.LogRecord) -> None:
            if not isinstance(sys.exc_info()[1], OSError):
                super().handleError(record)

    for device in _SYSLOG_DEVICES:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            try:
                with socket.socket(socket.AF_UNIX, kind) as probe:
                    probe.connect(device)
            except OSError:
                continue
            return SysLog(device, SysLogHandler.LOG_DAEMON)
    return None


def _formatted(handler: logging.Handler, text: str) -> logging.Handler:
    handler.setFormatter(OneLineFormatter(text, LOG_DATE_FORMAT))
    return handler


class SignalHandlers:
    """While it is entered, signals call functions; signals that the system does not know are left out.

    Signals that were held back come when all handlers are set.

    Owner: the main thread.
    """

    def __init__(self, handlers: "Mapping[str, Callable[[], Any]]") -> None:
        self._handlers = handlers
        self._replaced = []  # type: List[Tuple[int, Any]]

    def __repr__(self) -> str:
        return "<SignalHandlers for %s>" % ", ".join(self._handlers)

    def __enter__(self) -> "SignalHandlers":
        if threading.current_thread() is threading.main_thread():
            for name, call in self._handlers.items():
                number = getattr(signal, name, None)
                if number is not None:
                    self._replaced.append((number, signal.signal(number, make_handler(call))))
            release_signals()
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        while self._replaced:
            number, handler = self._replaced.pop()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def notify_manager(state: str, environment: "Optional[Dict[str, str]]" = None) -> bool:
    """Tell systemd a state, such as ``READY=1``; return whether there is somebody to tell.

    Source: the manual page sd_notify(3).
    """
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode("utf-8", "backslashreplace"), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            _logger_daemon.warning("cannot tell the service manager %s: %s", state, error.strerror)
            return False
    return True


def inherited_sockets(environment: "Mapping[str, str]", pid: int) -> "List[Tuple[str, Any]]":
    """The names and sockets that systemd has opened for this process to listen on; none if they are for another process.

    Source: the manual page sd_listen_fds(3).  Raises OSError if a descriptor is something else.
    """
    if environment.get("LISTEN_PID") != "%d" % pid:
        return []
    import socket
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = []  # type: List[Tuple[str, Any]]
    number = environment.get("LISTEN_FDS", "")
    for index in range(int(number) if number.isdigit() else 0):
        descriptor = 3 + index
        try:
            with socket.socket(fileno=os.dup(descriptor)) as probe:  # before Python 3.7, its family may be wrong
                family, kind, listens = (probe.getsockopt(socket.SOL_SOCKET, option) for option in (
                    socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_ACCEPTCONN))
        except OSError as error:
            raise OSError(error.errno, "cannot inherit the file descriptor %d: %s" % (descriptor, error.strerror)) from None
        if kind != socket.SOCK_STREAM or not listens:
            raise OSError("the inherited socket %d is none that listens for streams" % descriptor)
        os.set_inheritable(descriptor, False)
        found.append((names[index] if index < len(names) else "", socket.socket(family, kind, 0, descriptor)))
    return found


def watchdog_interval(environment: "Mapping[str, str]", pid: int) -> "Optional[float]":
    """How often, in seconds, systemd wants to hear from this process, halved for safety; None if it does not."""
    if environment.get("WATCHDOG_PID", "%d" % pid) != "%d" % pid:
        return None
    wanted = environment.get("WATCHDOG_USEC", "")
    return int(wanted) / 2e6 if wanted.isdigit() and int(wanted) else None
