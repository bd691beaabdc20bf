"""A program's signals are its own from its first moment on, whoever started it."""
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="about signals as POSIX has them")

BEGIN = """if True:
    import signal, time
    from gearman_std.cli.early import begin_with_signals, release_signals
    begin_with_signals()
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    release_signals()
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    for name in "CHLD PIPE HUP INT QUIT TERM TTOU".split():
        handler = signal.getsignal(getattr(signal, "SIG" + name))
        print(name, getattr(handler, "name", getattr(handler, "__name__", handler)))
    with open("/proc/self/status") as file:
        ignored = int(dict(line.split(":") for line in file if ":" in line)["SigIgn"], 16)
    print([name for name in "CHLD PIPE HUP INT QUIT TERM TTOU".split() if ignored >> getattr(signal, "SIG" + name) - 1 & 1])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="about signals as Linux shows them")
def test_what_whoever_started_a_program_ignores_or_blocks_is_nothing_to_it():
    """But for a SIGHUP that is ignored, which is nohup's way; the interpreter itself ignores SIGPIPE."""
    numbers = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTTOU]

    def spoil():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers + [signal.SIGUSR2])
    # Not measured: coverage.py has a handler of SIGTERM.
    there = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    done = subprocess.run([sys.executable, "-c", BEGIN], stdout=subprocess.PIPE, universal_newlines=True, timeout=50,
                          restore_signals=False, preexec_fn=spoil, env=there)
    hup = "HUP SIG_IGN" if sys.implementation.name == "cpython" else "HUP SIG_DFL"  # PyPy does not see it
    assert done.stdout.splitlines() == [
        repr(sorted([signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM])), "[]", "CHLD SIG_DFL", "PIPE SIG_IGN",
        hup, "INT default_int_handler", "QUIT SIG_DFL", "TERM SIG_DFL", "TTOU SIG_DFL", "['PIPE', 'HUP']"]


SIGNALLED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["WHEN"] and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["logging", "socket", "gearman_std.cli.common", "gearman_std.cli.client"])
def test_ctrl_c_while_modules_are_loaded_ends_it_without_a_traceback(root, tmp_path, module):
    if "." in module and not os.path.isdir(os.path.join(root, "gearman_std", "cli")):
        pytest.skip("the single file")
    (tmp_path / "sitecustomize.py").write_text(SIGNALLED)
    there = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    there.update(WHEN=module, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    done = subprocess.run([sys.executable, "-m", "gearman_std", "client", "-h", "127.0.0.1:1", "-f", "x", "x"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50, env=there)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
