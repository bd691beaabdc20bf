"""The command `server`: runs a job server with gearmand's options and its own."""
import gc
import logging
import os
import threading
import time
from contextlib import ExitStack

from ..errors import Deposed, GearmanError
from ..net.addresses import show_address
from ..net.logs import own_logger
from ..net.threads import start_thread
from ..server.listeners import Listener, read_places
from ..server.server import Server
from ..server.tls import ServerTLS
from .console import DONE, FAILED, Console, is_terminal
from .daemon import (LOG_LEVELS, PidFile, SignalHandlers, allow_core_dump, allow_descriptors, become_user, detach,
                     inherited_sockets, notify_manager, open_log, watchdog_interval)
from .opening import check_link
from .options import UsageError
from .server_options import (DAEMON_LOG, LEAST_DESCRIPTORS, is_service_address, options_without_effect, parse_server,
                             server_settings)
from .supervisor import Supervised, is_supervised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Sequence
    from ..core.core import Core
    from .options import Parsed

_logger_cli = own_logger("gearman_std.cli")

_KEPT_MEMORY = 8 * 1024 * 1024
_TELL_INTERVAL = 1.0  # seconds between two messages about a start that takes long

# Modules that this program or the standard library imports only when needed; another user may not be allowed to read them.
_NEEDED_LATER = ("datetime", "encodings.idna", "ipaddress", "json", "pathlib", "traceback")


def _needs_root(settings: "Dict[str, Any]") -> bool:
    """Whether only root may listen where the server should."""
    places = read_places(settings["listen"] or [""], settings["port"], False)
    return any(not isinstance(place, Listener) and 0 < place[0][1] < 1024 for place in places)


def run_server(console: Console, arguments: "Sequence[str]") -> int:
    """Run `server`; return the exit status."""
    options = parse_server(arguments)
    for word in options.words:
        console.complain("%r in the config file is no option, which begins with --, and is ignored" % word)
    inherited = inherited_sockets(os.environ, os.getpid())
    settings = server_settings(options, os.environ, inherited)
    if options.check_args:
        Server(**settings)  # raises errors about the settings
        return DONE
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    supervised = is_supervised()
    with ExitStack() as stack:
        log_file = _open_server_log(console, options, settings["verbosity"])
        _note_options(options)
        if options.tls_certificate and settings["tls"] is None:
            _logger_cli.warning("the certificate is not used: no address speaks TLS")
        if options.port is None and is_service_address(os.environ):
            _logger_cli.warning("GEARMAND_PORT is the address of a service, %s, and no port to listen on; it is passed over",
                                os.environ["GEARMAND_PORT"])
        allow_descriptors(max(options.file_descriptors, LEAST_DESCRIPTORS) if options.file_descriptors else None)
        if options.coredump:
            allow_core_dump()
        detached = detach() if options.daemon else None
        pid_file = PidFile(options.pid_file) if options.pid_file else None
        if pid_file is not None:
            stack.callback(pid_file.discard)
            pid_file.open()  # now, because the user may not be allowed to; it may hold the id of a running server
        tls = None if settings["tls"] is None else ServerTLS(settings["tls"])  # the user may not be allowed to read its files
        if options.user and not _needs_root(settings):
            _become(options.user, log_file)
        elif options.user and options.standby:
            raise UsageError("--standby cannot become another user to listen on a port below 1024: it waits before it listens")

        def make_anew() -> Server:
            return Server(**dict(server_settings(options, os.environ, inherited), tls=tls))
        reign = _Reign(Server(**dict(settings, tls=tls)), make_anew)
        handlers = {"SIGTERM": reign.stop, "SIGINT": reign.stop, "SIGUSR1": _Graceful(reign),
                    "SIGHUP": _Reload(reign, log_file)}  # type: Dict[str, Callable[[], Any]]
        stack.enter_context(SignalHandlers(handlers))
        stack.callback(reign.end)
        if options.standby:
            _check_links(options)
        else:
            reign.server.bind()
            if options.user and _needs_root(settings):
                _become(options.user, log_file)
            _check_links(options)
        if supervised:
            Supervised(reign.stop).listen()
        presence = _Presence(reign, pid_file, detached)
        stack.callback(presence.end)
        if options.standby and not reign.server.stand_by(presence.begin_standby):
            notify_manager("STOPPING=1")
            return DONE
        starting = stack.enter_context(ExitStack())
        starting.enter_context(_Patience(reign.server))
        gc.disable()  # what is read from the store stays, so that looking at it again and again would be useless

        def ready() -> None:
            starting.close()
            presence.begin()
            addresses = list(map(show_address, reign.server.addresses))
            if options.print_address:
                console.write(b"".join(os.fsencode(address) + b"\n" for address in addresses))
            notify_manager("READY=1\nSTATUS=listening on %s" % ", ".join(addresses))
            presence.tell()
            if detached is None and is_terminal(console.stderr) and not (
                    options.print_address or _logger_cli.isEnabledFor(logging.INFO)):
                console.complain("listening on %s; Ctrl-C ends it" % ", ".join(addresses))
            _collect_rarely(reign.server.core)
            _keep_freed_memory()
        try:
            reign.serve(ready)
        except ValueError as error:  # the command line was checked before, so it is not to blame
            raise GearmanError("the server broke down: %s" % error) from error
        except (GearmanError, OSError) as error:
            if presence.stood_by:  # whoever started it may not read standard error any more
                _logger_cli.error("%s", error)
            raise
        finally:
            gc.enable()
        notify_manager("STOPPING=1")
    return DONE if reign.server.stored else FAILED


def _check_links(options: "Parsed") -> None:
    for suffix in ("", "-lock", "-wal", "-shm", "-new") if options.sqlite3_db else ():
        check_link(options.sqlite3_db + suffix)


def _open_server_log(console: Console, options: "Parsed", level: str) -> "Any":
    """Set logging up; return the log file, if there is one."""
    path = options.log_file or (DAEMON_LOG if options.daemon and not options.syslog else "stderr")
    try:
        return open_log(level, path, options.syslog)
    except OSError as error:
        if options.log_file or not options.daemon:
            raise
        console.complain("%s; there will be no log" % error.strerror)
        return open_log(level, "none", options.syslog)


def _note_options(options: "Parsed") -> None:
    """Log options that may surprise."""
    if options.job_retries == 0:
        _logger_cli.warning("-j 0: a job that loses its worker once gets no second attempt; -1 is no limit")
    for note in options_without_effect(options):
        _logger_cli.info("%s", note)


def _become(user: str, log_file: "Any") -> None:
    from importlib import import_module
    for name in _NEEDED_LATER:
        import_module(name)
    if log_file is not None:
        log_file.give_to(user)
    become_user(user)


def _collect_rarely(core: "Core") -> None:
    """Let the cycle collector look at each object once, while it is young, and never at all objects.

    By default the collector takes a fifth of the time of a submit (benchmark: background submit), and a quarter of a second at
    a time with a million jobs.  The server makes no cycles that live longer; with these thresholds the collector looks at so
    few objects at a time that it takes a few milliseconds (-1: the second generation is never left for later).  CPython counts
    how many more objects there are, so that it would not look at all while as many old jobs end as new ones come, and at all of
    those at once in the end: therefore once a second, too.
    """
    gc.enable()
    if hasattr(gc, "freeze"):  # not in Python 3.6
        gc.freeze()
    if hasattr(gc, "set_threshold"):  # not in PyPy, which collects in another way
        gc.set_threshold(16000, -1, 1 << 30)
        core.each_second = lambda: gc.collect(1)


def _keep_freed_memory() -> None:
    """Let glibc keep up to twice _KEPT_MEMORY of the memory that large jobs free, for the next ones.

    How much it keeps depends on the largest freed block for which it had mapped memory of its own (see mallopt(3),
    M_MMAP_THRESHOLD).  To fetch the pages again takes a fifth of the time of a large job (benchmark: round trip, 1 MiB).
    """
    bytes(_KEPT_MEMORY)


class _Reign:
    """The server that serves now.  If another one takes over its jobs, so that it is deposed, a new server takes its place.

    Owner: the main thread, and its signal handlers.
    """

    def __init__(self, server: Server, make_anew: "Callable[[], Server]") -> None:
        self.server = server
        self._make_anew = make_anew
        self._told_to_stop = False

    def __repr__(self) -> str:
        return "<_Reign of %r>" % self.server

    def serve(self, ready: "Callable[[], Any]") -> None:
        """As `Server.serve`, but also after it was deposed, unless it was told to stop."""
        while True:
            self.server.hands_on = True
            try:
                self.server.serve(ready)
                return
            except Deposed as error:
                deposed = str(error)
            if self._told_to_stop:
                self.server.close_addresses()
                return
            _logger_cli.error("%s; beginning anew", deposed)
            before, self.server = self.server, self._make_anew()
            self.server.take_place(before)
            if hasattr(gc, "unfreeze"):  # so that what the old one had is freed
                gc.unfreeze()
            gc.collect()
            if self._told_to_stop:  # a stop came before the new one could be told
                return

    @property
    def starting(self) -> str:
        """As `Server.starting`."""
        return self.server.starting

    @property
    def standing_by(self) -> bool:
        """As `Server.standing_by`."""
        return self.server.standing_by

    def stop(self, graceful: bool = False) -> None:
        """As `Server.stop`."""
        self._told_to_stop = True
        self.server.stop(graceful)

    def call_soon(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """As `Server.call_soon`."""
        self.server.call_soon(function, *arguments)

    def reload(self) -> None:
        """As `Server.reload`."""
        self.server.reload()

    def end(self) -> None:
        """As `Server.close`; no other takes its place."""
        self.server.close()
        self.server.close_addresses()


class _Graceful:
    """Stops a server when no job is left; at once if it is called a second time.

    Owner: the main thread, whose signal handler it is.
    """

    def __init__(self, server: _Reign) -> None:
        self._server = server
        self._calls = 0

    def __repr__(self) -> str:
        return "<_Graceful, called %d times>" % self._calls

    def __call__(self) -> None:
        self._calls += 1
        self._server.stop(graceful=self._calls == 1)


class _Presence:
    """What shows that the server is there, from when it stands by or serves: its pid file, the watchdog, and with -d the end of
    the process that was started.

    Owner: the main thread.
    """

    def __init__(self, server: _Reign, pid_file: "Optional[PidFile]", detached: "Any") -> None:
        self.stood_by = False
        self._begun = False
        self._server = server
        self._pid_file = pid_file
        self._detached = detached
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return "<_Presence of %r>" % self._server

    def begin_standby(self) -> None:
        """Show that it stands by."""
        self.stood_by = True
        self.begin()
        notify_manager("READY=1\nSTATUS=standing by")
        self.tell()

    def begin(self) -> None:
        """Show that it stands by, or serves."""
        if not self._begun:
            self._begun = True
            if self._pid_file is not None:
                self._stack.enter_context(self._pid_file)
            self._stack.enter_context(_Watchdog(self._server))

    def tell(self) -> None:
        """Tell the process that was started with -d."""
        if self._detached is not None:
            self._detached.ready()

    def end(self) -> None:
        """Show that it has ended."""
        self._stack.close()


class _Reload:
    """Opens a log file again, and says so in it; reads the files of TLS again.

    Owner: the main thread, whose signal handler it is.
    """

    def __init__(self, server: _Reign, log_file: "Any") -> None:
        self._server = server
        self._log_file = log_file

    def __repr__(self) -> str:
        return "<_Reload %r>" % (self._log_file,)

    def __call__(self) -> None:
        call_soon = self._server.call_soon
        has_begun = self._server.standing_by or not self._server.starting
        if has_begun:
            call_soon(notify_manager, "RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic() * 1e6))
        if self._log_file is not None:
            self._log_file.reopen()
            call_soon(_logger_cli.log, LOG_LEVELS["NOTICE"], "the log file was opened again")
        self._server.reload()
        if has_begun:
            call_soon(notify_manager, "READY=1")


class _Patience:
    """While it is entered, tells systemd and the log that a long start goes on, and how far it is.

    Owner: the thread that enters it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = None  # type: Optional[threading.Thread]

    def __repr__(self) -> str:
        return "<_Patience of %r>" % self._server

    def __enter__(self) -> None:
        if self._server.starting:
            self._tell()
            self._thread = start_thread(self._go_on, "gearman_std start")

    def __exit__(self, *_: "Any") -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()  # so that its messages do not come after the next ones

    def _go_on(self) -> None:
        count = 0
        while not self._over.wait(_TELL_INTERVAL):
            self._tell()
            count += 1
            if count % 10 == 0:
                _logger_cli.log(LOG_LEVELS["NOTICE"], "starting: %s", self._server.starting)

    def _tell(self) -> None:
        notify_manager("EXTEND_TIMEOUT_USEC=%d\nSTATUS=%s" % (30e6, self._server.starting))


class _Watchdog:
    """While it is entered, tells systemd that the server's loop runs, as often as systemd wants to know.

    Owner: the thread that enters it.
    """

    def __init__(self, server: _Reign) -> None:
        self._server = server
        self._interval = watchdog_interval(os.environ, os.getpid())
        self._over = threading.Event()

    def __repr__(self) -> str:
        return "<_Watchdog, every %s s>" % self._interval

    def __enter__(self) -> None:
        if self._interval is not None:
            start_thread(self._bark, "gearman_std watchdog")

    def __exit__(self, *_: "Any") -> None:
        self._over.set()

    def _bark(self) -> None:
        while not self._over.wait(self._interval):
            self._server.call_soon(notify_manager, "WATCHDOG=1")
