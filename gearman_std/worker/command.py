"""Running a command for each job: the workload on its standard input, its standard output as the result."""
import errno
import os
import select
import signal
import threading
import time

from ..arguments import ENDLESS, check_kind, check_number
from ..errors import GearmanError
from ..net.logs import own_logger
from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

_logger_command = own_logger("gearman_std.command")

STDERR_TAIL = 8192   # bytes kept of what a command says on standard error
_PIPE_SIZE = 65536
_REAP_TIMEOUT = 5.0  # seconds for the end of what was killed, and for its pipes to close
_LONGEST_POLL = 3600.0  # seconds of one wait; poll refuses one of 25 days


class CommandFailed(GearmanError):
    """A command could not be run, ran too long, or ended with a status other than 0.

    The text is the end of what it said on standard error; if it said nothing, the text says what happened.  `status` is its
    exit status; minus the number of the signal that ended it; or None if it could not be run.  `timed_out` tells whether the
    time limit ended it.
    """

    def __init__(self, text: str, status: "Optional[int]" = None, timed_out: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.timed_out = timed_out

    def __reduce__(self) -> "Any":
        return type(self), (str(self), self.status, self.timed_out)


class Command:
    """A function for `Worker.register` that runs a program for each job.

        command = Command(["wc", "-c"], timeout=60)
        worker.register("wc", command, abandon=command.kill)

    `argv` is the program and its arguments.  Workload, output and error output may have any size: all three flow at the same
    time.  `timeout` is in seconds; when it is over, the program and all it has started are killed, as far as they have stayed
    in its process group.  The environment tells the program which job it runs for: GEARMAN_HANDLE, GEARMAN_FUNCTION,
    GEARMAN_UNIQUE (empty if there is none, or the server does not tell) and GEARMAN_ATTEMPT.  A script whose first line names
    no interpreter is run by /bin/sh.

    With `lines`, each line of output is sent as WORK_DATA as soon as it is there, without its line end if `strip`, and the
    result is empty; otherwise the output is the result, or, if the command fails, WORK_DATA.

    Calling it raises CommandFailed.

    Owner: its lock.
    """

    def __init__(self, argv: "Sequence[str]", timeout: "Optional[float]" = None, lines: bool = False, strip: bool = False,
                 cwd: "Optional[str]" = None, env: "Optional[Dict[str, str]]" = None) -> None:
        if not argv or not isinstance(argv, (list, tuple)):
            raise ValueError("a command is a list, the program first, not %r" % (argv,))
        if timeout is not None:
            timeout = check_number("timeout", timeout)
            if timeout == 0:
                raise ValueError("timeout is 0, which is none")
        for word in argv:
            check_kind("a word of the command", word, (str, bytes, os.PathLike), "a text or bytes")
        check_kind("cwd", cwd, (str, bytes, os.PathLike, type(None)), "a folder's path")
        check_kind("env", os.environ if env is None else env, (dict, type(os.environ)), "a dict of names and values")
        self.argv = list(argv)
        self.timeout = None if timeout is None or timeout >= ENDLESS else timeout
        self.lines = lines
        self.strip = strip
        self._cwd = cwd
        self._env = env
        self._lock = threading.Lock()
        self._runs = set()  # type: Set[_Run]

    def __repr__(self) -> str:
        return "<Command %s, %d running>" % (self.argv, len(self._runs))

    def __call__(self, job: "Any") -> bytes:
        """Run the command for a job."""
        env = dict(os.environ if self._env is None else self._env)
        for name in ("handle", "function", "unique", "attempt"):
            value = getattr(job, name, b"")  # any object with a view and send_data can be a job
            env["GEARMAN_" + name.upper()] = os.fsdecode(value) if isinstance(value, bytes) else str(value)
        run = _Run(self.argv, self._cwd, env, self.timeout)
        with self._lock:
            self._runs.add(run)
        try:
            run.feed(job.view)
            output = self._send_lines(run, job) if self.lines else b"".join(run.output())
            run.finish()
        finally:
            with self._lock:
                self._runs.discard(run)
            run.close()
        error = run.failure()
        if error is not None:
            if output:
                job.send_data(output)
            raise error
        if run.stderr:
            _logger_command.info("%s for %r said: %s", self.argv[0], job, run.stderr_text())
        return output

    def kill(self) -> None:
        """Kill the programs that run, and all that they have started; for a worker that leaves at once."""
        with self._lock:
            for run in self._runs:
                run.kill()

    def _send_lines(self, run: "_Run", job: "Any") -> bytes:
        rest = b""
        for piece in run.output():
            *lines, last = piece.split(b"\n")
            for line in lines:
                line, rest = rest + line, b""
                job.send_data(line + b"\n" if not self.strip else line[:-1] if line.endswith(b"\r") else line)
            rest += last
        if rest:
            job.send_data(rest)
        return b""


class _Run:
    """One run of a command, and the threads that feed it and listen to its standard error.

    Owner: the thread that runs the job, but for `kill`.
    """

    def __init__(self, argv: "List[str]", cwd: "Optional[str]", env: "Optional[Dict[str, str]]",
                 timeout: "Optional[float]") -> None:
        import subprocess
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timed_out = False
        self._reaped = False
        self._kill_lock = threading.Lock()  # a process that was reaped must not be killed: its number may be another's
        self._threads = []  # type: List[threading.Thread]
        self._timer = None  # type: Optional[threading.Timer]
        self.stderr = b""
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            raise CommandFailed("cannot run %s: this program ignores SIGCHLD, so that nobody could tell how it ended" % argv[0])
        options = {"start_new_session": True} if os.name == "posix" else {}  # type: Dict[str, Any]
        options.update(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=env)
        try:
            try:
                self._process = subprocess.Popen(argv, **options)
            except OSError as error:
                if error.errno != errno.ENOEXEC or os.name != "posix":
                    raise
                # As execvp does: the shell runs a script whose first line names no interpreter.
                from shutil import which
                path = which(argv[0], path=(env or {}).get("PATH")) if "/" not in argv[0] else argv[0]
                self._process = subprocess.Popen(["/bin/sh", path or argv[0]] + argv[1:], **options)
        except (OSError, ValueError) as error:
            raise CommandFailed("cannot run %s: %s" % (argv[0], getattr(error, "strerror", None) or error)) from None
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self._argv = argv
        self._expired = subprocess.TimeoutExpired

    def __repr__(self) -> str:
        return "<_Run of %s, process %d>" % (self._argv, self._process.pid)

    def feed(self, workload: "Any") -> None:
        """Write the workload, and read standard error, while the caller reads standard output.  Raises CommandFailed."""
        try:
            if self._timeout is not None:
                self._timer = threading.Timer(self._timeout, self._time_out)
                self._timer.daemon = True
                self._timer.start()
            self._threads.append(start_thread(self._listen, "gearman_std command's errors"))
            self._threads.append(start_thread(self._write, "gearman_std command's input", workload))
        except (OSError, RuntimeError) as error:  # the timer raises RuntimeError
            self.kill()
            for pipe in (self._process.stderr, self._process.stdin)[len(self._threads):]:
                assert pipe is not None
                pipe.close()
            raise CommandFailed("cannot run %s: %s" % (self._argv[0], getattr(error, "strerror", None) or error)) from None

    def output(self) -> "Iterator[bytes]":
        """Standard output, as it comes.

        With a time limit, this ends soon after the limit, even if a process that has left the group keeps the output open.
        """
        descriptor = self._stdout.fileno()
        poller = None
        if self._deadline is not None and hasattr(select, "poll"):
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
        while True:
            if poller is not None:
                assert self._deadline is not None
                left = self._deadline + _REAP_TIMEOUT - time.monotonic()
                if left <= 0:
                    return
                if not poller.poll(min(left, _LONGEST_POLL) * 1000):
                    continue
            piece = os.read(descriptor, _PIPE_SIZE)
            if not piece:
                return
            yield piece

    def finish(self) -> None:
        """Wait for the end of the process, whose standard output has ended already."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._deadline is None:
                self._process.wait()
            else:
                self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except self._expired:
            self._time_out()
            self._process.wait(_REAP_TIMEOUT)
        with self._kill_lock:
            self._reaped = True
        for thread in self._threads:
            thread.join(_REAP_TIMEOUT)  # longer only if something has escaped the process group and keeps a pipe open

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process.poll() is None:
            self.kill()
            self._process.wait()
        with self._kill_lock:
            self._reaped = True
        self._stdout.close()

    def failure(self) -> "Optional[CommandFailed]":
        """What went wrong, if anything did."""
        status = self._process.returncode
        if self._timed_out:
            return CommandFailed("%s was killed after its time limit of %s s" % (self._argv[0], self._timeout), status, True)
        if status == 0:
            return None
        text = self.stderr_text()
        if not text:
            text = "%s was killed by signal %d" % (self._argv[0], -status) if status < 0 else (
                "%s ended with status %d" % (self._argv[0], status))
        return CommandFailed(text, status)

    def stderr_text(self) -> str:
        """The end of what it said on standard error."""
        return self.stderr.decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """Kill the process, and with it all that it has started, where there are process groups."""
        with self._kill_lock:
            if self._reaped:
                return
            try:
                if os.name == "posix":
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            except OSError:
                pass  # it ended a moment ago

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def _write(self, workload: "Any") -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            for start in range(0, len(workload), _PIPE_SIZE):
                pipe.write(workload[start:start + _PIPE_SIZE])
        except OSError:
            pass  # a command need not read all that it is given
        try:
            pipe.close()
        except OSError:
            pass

    def _listen(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None
        with pipe:
            while True:
                said = os.read(pipe.fileno(), _PIPE_SIZE)
                if not said:
                    return
                self.stderr = (self.stderr + said)[-STDERR_TAIL:]
