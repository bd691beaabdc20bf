"""Process 1: it passes signals on and buries orphans, for the program that is its child."""
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import pytest

from gearman_std.client.client import Client
from gearman_std.cli.first_process import leave_first_process, look_after

from patience import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux")

Signalled = namedtuple("Signalled", "si_signo si_code")


def test_nothing_happens_in_other_processes():
    before = os.getpid()
    leave_first_process()
    assert os.getpid() == before


@pytest.mark.parametrize("code, status", [("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137),
                                          ("import time; time.sleep(60)", 143)])
def test_it_ends_as_its_child_does(code, status):
    """What the terminal sends reaches the child by itself, and is not passed on."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

    def signals():
        if status == 143:
            yield Signalled(signal.SIGKILL, 128)
            yield Signalled(signal.SIGTERM, 0)
        with process.stdout:
            process.stdout.read()  # up to its end
        while True:  # it may not be there to be waited for at once
            yield Signalled(signal.SIGCHLD, 1)
    stream = signals()
    assert look_after(process.pid, lambda _: next(stream)) == status
    process.returncode = status  # which it cannot find out by itself any more


@pytest.fixture
def contained(processes):
    """contained(words…) starts a command as process 1, which is the child of the process that is returned."""
    program = shutil.which("unshare")
    if not program or subprocess.call([program, "--pid", "--fork", "--kill-child", "true"], stderr=subprocess.DEVNULL):
        pytest.skip("process namespaces cannot be made here")

    def contained(*words, **options):
        process = processes.start([program, "--pid", "--fork", "--kill-child", sys.executable, "-m", "gearman_std"]
                                  + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        return process
    return contained


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


SERVER = ["server", "-p", "0", "-L", "127.0.0.1", "--print-address", "--config-file", os.devnull]


def test_a_server_stops_as_anywhere(contained, tmp_path):
    process = contained(*SERVER + ["-P", str(tmp_path / "pid")])
    assert process.stdout.readline().startswith(b"127.0.0.1:")
    os.kill(children_of(process.pid)[0], signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr.read() == b"" and not (tmp_path / "pid").exists()


def test_a_client_is_terminated(contained, server):
    process = contained("client", "-h", "%s:%d" % server, "-f", "nobody", "-v", "x")
    assert process.stdout.readline().startswith(b"Task created")
    os.kill(children_of(process.pid)[0], signal.SIGTERM)
    assert process.wait(20) == 143


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this Python, as PyPy, cannot be process 1 and the program, too")
def test_a_worker_stops_and_the_orphans_of_its_commands_are_buried(contained, server):
    """Each command leaves a process that ends after it; none may be left as a zombie."""
    process = contained("worker", "-h", "%s:%d" % server, "-f", "leave", "--", "sh", "-c",
                        "(exec >&- 2>&-; sleep 0.1) & echo $$")
    with Client([server], job_timeout=20) as client:
        for _ in range(5):
            assert client.run("leave").strip().isdigit()
    first = children_of(process.pid)[0]
    until(lambda: len(children_of(first)) == 1)
    os.kill(first, signal.SIGTERM)
    assert process.wait(20) == 0
