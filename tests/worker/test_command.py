"""Commands as functions: any size both ways, failures, time limits, lines."""
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.worker.command import Command, CommandFailed

from patience import until


class Job:
    """As much of a WorkerJob as a command sees."""

    handle, function, unique, attempt = b"H:1", b"f\xf6", b"", 2

    def __init__(self, workload=b""):
        self.view = memoryview(workload)
        self.sent = []
        self.arrived = threading.Event()

    def send_data(self, data):
        self.sent.append(bytes(data))
        self.arrived.set()


def python(code, **options):
    return Command([sys.executable, "-c", code], **options)


def gone(pid):
    """Whether a process has ended; it is nobody's child here that could be waited for."""
    try:
        os.kill(pid, 0)
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


COPY = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 3000001])
def test_workload_in_output_out_of_any_size(size):
    workload = (b"0123456789" * (size // 10 + 1))[:size]
    assert python(COPY)(Job(workload)) == workload


def test_a_time_limit_of_a_month_is_none_that_the_system_refuses_to_wait_for():
    assert python(COPY, timeout=30 * 86400.0)(Job(b"data")) == b"data"


def test_an_infinite_time_limit_is_none():
    assert Command(["cat"], float("inf")).timeout is None


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_time_limit_that_nothing_can_keep_is_an_error(timeout):
    with pytest.raises(ValueError, match="timeout is "):
        Command(["cat"], timeout)


def test_much_output_before_any_input_is_read():
    command = python("import sys; sys.stdout.write('x' * 1000000); sys.stderr.write('y' * 1000000); "
                     "print(len(sys.stdin.read()))")
    assert command(Job(b"z" * 1000000)) == b"x" * 1000000 + b"1000000\n"


def test_a_command_need_not_read_its_input():
    assert python("print('done')")(Job(b"z" * 1000000)).strip() == b"done"


def test_failure_carries_the_end_of_standard_error():
    job = Job()
    with pytest.raises(CommandFailed) as caught:
        python("import sys; print('part', end=''); sys.stderr.write('x' * 100000 + 'no such photo\\n'); sys.exit(3)")(job)
    assert str(caught.value).endswith("xno such photo") and len(str(caught.value)) < 10000
    assert caught.value.status == 3
    assert job.sent == [b"part"], "as `gearman -w` does"


def test_failure_without_a_word():
    with pytest.raises(CommandFailed, match="ended with status 1"):
        python("import sys; sys.exit(1)")(Job())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_death_by_a_signal():
    with pytest.raises(CommandFailed, match="killed by signal %d" % signal.SIGTERM) as caught:
        python("import os; os.kill(os.getpid(), %d)" % signal.SIGTERM)(Job())
    assert caught.value.status == -signal.SIGTERM


def test_a_program_that_is_not_there():
    with pytest.raises(CommandFailed, match="cannot run /no/such/program"):
        Command(["/no/such/program"])(Job())


def test_a_command_is_a_list():
    with pytest.raises(ValueError):
        Command("wc -c")
    with pytest.raises(ValueError):
        Command([])


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for a process in /proc")
def test_time_limit_ends_the_whole_family():
    job = Job()
    with pytest.raises(CommandFailed, match="time limit of 1.0 s") as caught:
        python(FAMILY, timeout=1.0)(job)
    assert caught.value.timed_out
    until(lambda: gone(int(job.sent[0])))


def test_time_limit_after_the_output_was_closed():
    with pytest.raises(CommandFailed) as caught:
        python("import os, time; os.close(1); os.close(2); time.sleep(60)", timeout=0.5)(Job())
    assert caught.value.timed_out


@pytest.mark.skipif(not hasattr(select, "poll") or shutil.which("setsid") is None,
                    reason="waits for the end of the output elsewhere; needs the program setsid")
@pytest.mark.parametrize("lines", [False, True])
def test_time_limit_although_something_has_left_the_group(monkeypatch, lines):
    """A daemon that the command has started keeps the pipe open; nobody can find it, and the thread must be free again."""
    monkeypatch.setattr("gearman_std.worker.command._REAP_TIMEOUT", 0.2)
    command = Command(["sh", "-c", "setsid sleep 20 & echo line; exec sleep 60"], timeout=0.5, lines=lines)
    job, before = Job(), time.monotonic()
    with pytest.raises(CommandFailed) as caught:
        command(job)
    assert caught.value.timed_out and time.monotonic() - before < 15
    assert b"".join(job.sent).strip() == b"line"


def test_a_time_limit_that_is_not_reached():
    assert python("print(1)", timeout=30)(Job()).strip() == b"1"


def test_kill_ends_what_runs():
    command, job, raised = python(FAMILY, lines=True), Job(), []

    def run():
        try:
            command(job)
        except CommandFailed as error:
            raised.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    assert job.arrived.wait(20)
    assert "1 running" in repr(command)
    command.kill()
    thread.join(10)
    assert raised and not thread.is_alive()
    assert "0 running" in repr(command)


@pytest.mark.parametrize("strip, sent", [(False, [b"a\n", b"\n", b"b\r\n", b"c"]), (True, [b"a", b"", b"b", b"c"])])
def test_each_line_is_sent_once(strip, sent):
    job = Job(b"a\n\nb\r\nc")
    assert python(COPY, lines=True, strip=strip)(job) == b""
    assert job.sent == sent


def test_lines_are_sent_as_they_come():
    job = Job()
    code = "import sys, time; print('first', flush=True); time.sleep(60)"
    command = python(code, lines=True)
    thread = threading.Thread(target=lambda: pytest.raises(CommandFailed, command, job))
    thread.start()
    assert job.arrived.wait(20), "the command has not ended, and the line is there"
    assert job.sent[0].strip() == b"first"
    command.kill()
    thread.join(10)
    assert not thread.is_alive()


def test_nothing_is_left_open():
    """Ten runs, and no descriptor more; ResourceWarnings are errors in this suite."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("counts descriptors in /proc")
    python(COPY)(Job(b"x"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        python(COPY)(Job(b"x"))
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("code, options", [("", {}), ("sys.exit(3)", {}), ("time.sleep(60)", {"timeout": 0.5}),
                                           ("os.close(0); os.close(1); os.close(2)", {})])
def test_no_zombie_stays(tmp_path, code, options):
    """Every command is waited for, however it ends."""
    note = tmp_path / "pid"
    try:
        begin = "import os, sys, time; file = open(%r, 'w'); file.write(str(os.getpid())); file.close(); " % str(note)
        python(begin + code, **options)(Job(b"x" * 1000000))
    except CommandFailed:
        assert code
    assert not os.path.exists("/proc/" + note.read_text())


def test_environment_and_folder(tmp_path):
    command = python("import os; print(os.environ['WHO'], os.getcwd())", cwd=str(tmp_path), env=dict(os.environ, WHO="me"))
    assert command(Job()).decode().split() == ["me", os.path.realpath(str(tmp_path))]


def test_the_error_survives_pickling():
    import pickle
    error = pickle.loads(pickle.dumps(CommandFailed("text", 3, True)))
    assert (str(error), error.status, error.timed_out) == ("text", 3, True)


def test_importing_does_not_import_subprocess():
    code = ("import sys; before = set(sys.modules); import gearman_std.worker.command; "
            "print('subprocess' in set(sys.modules) - before)")
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"False"


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="about POSIX")
def test_where_nobody_could_tell_how_it_ended_it_is_not_run(tmp_path):
    """The system forgets the status of each child of a program that ignores SIGCHLD, and Python takes that for 0."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(CommandFailed) as caught:
            Command(["touch", str(tmp_path / "file")])(Job(b""))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "ignores SIGCHLD" in str(caught.value) and not (tmp_path / "file").exists()


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_command_that_there_are_no_threads_for_fails_and_leaves_nothing(monkeypatch, allowed):
    left = [allowed]
    start = threading.Thread.start

    def fail(thread):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)
    monkeypatch.setattr(threading.Thread, "start", fail)
    command = Command([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(CommandFailed) as caught:
        command(Job(b""))
    assert "there may be no more threads" in str(caught.value) and caught.value.status is None
    assert repr(command).endswith("0 running>")


def test_the_program_is_told_of_its_job(monkeypatch):
    code = "import os; print([os.environ['GEARMAN_' + name] for name in ('HANDLE', 'FUNCTION', 'UNIQUE', 'ATTEMPT')])"
    assert eval(python(code)(Job()).decode()) == ["H:1", os.fsdecode(b"f\xf6"), "", "2"]
    monkeypatch.setenv("SOMETHING", "here")
    code = "import os; print(os.environ.get('SOMETHING'), os.environ['GEARMAN_HANDLE'])"
    assert python(code)(Job()).split() == [b"here", b"H:1"]
    assert python(code, env={"PATH": os.environ["PATH"]})(Job()).split() == [b"None", b"H:1"]


@pytest.mark.skipif(os.name != "posix", reason="about /bin/sh")
@pytest.mark.parametrize("by_path", [True, False])
def test_a_script_without_an_interpreter_is_the_shells(tmp_path, by_path):
    """As execvp does for it."""
    script = tmp_path / "work"
    script.write_text("read line\necho \"$0 $1 $line\"\n")
    script.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    command = Command([str(script) if by_path else "work", "a word"], env=dict(os.environ, PATH=path))
    assert command(Job(b"data\n")) == b"%s a word data\n" % str(script).encode()
    script.chmod(0o644)
    with pytest.raises(CommandFailed, match="Permission denied"):
        command(Job())
