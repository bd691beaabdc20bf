"""What process 1, such as a container's program, has to do for the system: pass signals on, and reap orphans."""
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional


def leave_first_process() -> None:
    """In process 1, go on in a child, which process 1 looks after; in any other process, do nothing.

    Process 1 gets no signal for which it has no handler, and becomes the parent of all orphans.  No thread may have been
    started before.
    """
    if os.getpid() != 1 or not hasattr(signal, "sigwaitinfo"):
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    child = os.fork()
    if child:
        os._exit(look_after(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for name in ("LISTEN_PID", "WATCHDOG_PID"):  # they name process 1, but mean the program
        if os.environ.get(name) == "1":
            os.environ[name] = "%d" % os.getpid()


def look_after(child: int, wait: "Optional[Callable[[Any], Any]]" = None) -> int:
    """Pass signals on to a child, and reap all processes that end, until the child has ended; return its exit status.

    Signals from a terminal reach the child by themselves.
    """
    wait = wait or signal.sigwaitinfo
    while True:
        signalled = wait(set(signal.Signals))
        if signalled.si_signo != signal.SIGCHLD:
            if signalled.si_code <= 0:  # a process has sent it
                os.kill(child, signalled.si_signo)
            continue
        pid = -1
        while pid:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
