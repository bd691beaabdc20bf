"""Life in the background: pid file, detaching, users, limits, log files, signals, the service manager."""
import logging
import os
import signal
import socket
import subprocess
import sys

import pytest

from gearman_std.cli.daemon import (LOG_LEVELS, CannotDetach, PidFile, SignalHandlers, allow_descriptors, become_user,
                                    inherited_sockets, notify_manager, open_log, watchdog_interval)
from gearman_std.errors import GearmanError

posix = pytest.mark.skipif(os.name != "posix", reason="about processes as POSIX has them")


def python(code, **options):
    """Run some code in another interpreter; return status, output and errors."""
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=50, **options)
    return done.returncode, done.stdout, done.stderr


# --- The pid file.


def test_the_pid_file_is_there_while_it_is_needed(tmp_path):
    path = tmp_path / "pid"
    with PidFile(str(path)):
        assert path.read_text() == "%d\n" % os.getpid()
    assert not path.exists()


def test_the_pid_file_of_another_process_stays(tmp_path):
    path = tmp_path / "pid"
    with PidFile(str(path)):
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_a_pid_file_that_was_only_opened_keeps_what_is_in_it(tmp_path):
    path = tmp_path / "pid"
    path.write_text("1\n")
    pid_file = PidFile(str(path))
    pid_file.open()
    assert path.read_text() == "1\n"
    pid_file.discard()
    assert path.read_text() == "1\n"
    with pid_file:
        assert path.read_text() == "%d\n" % os.getpid()


def test_a_pid_file_that_goes_between_opening_and_entering_is_made_again(tmp_path):
    path = tmp_path / "pid"
    pid_file = PidFile(str(path))
    pid_file.open()
    path.unlink()
    with pid_file:
        assert path.read_text() == "%d\n" % os.getpid()


@posix
def test_a_device_for_a_pid_file_is_neither_read_nor_removed(monkeypatch):
    monkeypatch.setattr(os, "unlink", None)
    pid_file = PidFile(os.devnull)
    pid_file.open()
    pid_file.discard()
    with pid_file:
        assert repr(pid_file) == "<PidFile /dev/null, written>"


def test_a_pid_file_that_is_gone_already_is_no_trouble(tmp_path):
    with PidFile(str(tmp_path / "pid")):
        (tmp_path / "pid").unlink()


def test_a_pid_file_that_cannot_be_written_names_itself(tmp_path):
    with pytest.raises(OSError) as caught:
        PidFile(str(tmp_path / "no" / "pid")).__enter__()
    assert str(tmp_path / "no" / "pid") in caught.value.strerror


HOLD = """if True:
    import sys
    from gearman_std.daemon import PidFile
    with PidFile(sys.argv[1]):
        print("there", flush=True)
        sys.stdin.read()
"""


@posix
def test_the_pid_file_of_a_process_that_runs_is_not_taken(tmp_path):
    path = tmp_path / "pid"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"there\n"
        for use in (lambda: PidFile(str(path)).open(), lambda: PidFile(str(path)).__enter__()):
            with pytest.raises(OSError) as caught:
                use()
            assert caught.value.strerror == "cannot write the pid file %s: process %d has it, and still runs" % (
                path, holder.pid)
        assert path.read_text() == "%d\n" % holder.pid
        holder.kill()
        holder.wait()
        with PidFile(str(path)):  # of a process that was killed
            assert path.read_text() == "%d\n" % os.getpid()
        assert not path.exists()
    finally:
        holder.kill()
        holder.communicate()


@posix
@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="needs Linux's /proc")
def test_the_pid_file_of_a_gearmand_that_runs_is_not_taken_though_it_is_not_locked(tmp_path):
    path = tmp_path / "pid"
    other = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()", "gearmand"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        path.write_text("%d\n" % other.pid)
        with pytest.raises(OSError) as caught:
            PidFile(str(path)).open()
        assert caught.value.strerror == "cannot write the pid file %s: process %d has it, and still runs" % (path, other.pid)
        assert path.read_text() == "%d\n" % other.pid
    finally:
        other.communicate(b"\n")
    with PidFile(str(path)):
        assert path.read_text() == "%d\n" % os.getpid()


@pytest.mark.parametrize("content", ["secret\n", "12 13\n", "[server]\n" + "x" * 40])
def test_what_is_no_pid_file_is_not_taken(tmp_path, content):
    path = tmp_path / "pid"
    path.write_text(content)
    with pytest.raises(OSError) as caught:
        PidFile(str(path)).__enter__()
    assert caught.value.strerror == "cannot write the pid file %s: it holds something else than a process's id" % path
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["", "\n", "99999999999999999999999\n", "\0\0\0\0", "{0}\n", "{1}\n"])
def test_a_pid_file_that_a_crash_has_left_is_taken(tmp_path, content):
    path = tmp_path / "pid"
    path.write_text(content.format(os.getpid(), os.getppid()))
    with PidFile(str(path)):
        assert path.read_text() == "%d\n" % os.getpid()
    assert not path.exists()


def test_another_file_that_has_taken_the_pid_files_place_stays(tmp_path):
    path = tmp_path / "pid"
    with PidFile(str(path)):
        path.unlink()
        path.write_text("%d\n" % os.getpid())
    assert path.exists()


# --- Detaching.

DETACH = """if True:
    import os, sys
    from gearman_std.cli.daemon import detach
    detached = detach()
    %s
"""


@posix
def test_the_first_process_ends_well_when_the_other_is_ready(tmp_path):
    """Even though what it leaves behind lives on, holds no terminal, and writes to nowhere."""
    note = str(tmp_path / "note")
    os.mkfifo(note)
    code = DETACH % """print('before', flush=True)
    sid, pid = os.getsid(0), os.getpid()
    detached.ready()
    detached.ready()
    print('after', flush=True)
    os.read(0, 1)
    with open(%r, 'w') as file:
        file.write('%%d %%s %%s' %% (os.getppid() != 0, sid != pid, sid))""" % note
    status, output, errors = python(code)
    assert (status, output, errors) == (0, "before\n", "")
    with open(note) as pipe:
        has_parent, no_leader, session = pipe.read().split()
    assert (has_parent, no_leader) == ("1", "True")
    assert int(session) != os.getsid(0)


@posix
def test_the_first_process_fails_when_the_other_ends_without_a_word():
    status, output, errors = python(DETACH % "sys.exit('the port is taken')")
    assert (status, output, errors) == (1, "", "the port is taken\n")


@posix
def test_output_may_be_kept():
    assert python(DETACH % "detached.ready(keep_output=True); print('still there')") == (0, "still there\n", "")


# --- Users and limits.


class System:
    """What `become_user` needs of the os module."""

    def __init__(self, uid, allowed=True):
        self.calls = []
        self.uid = uid
        self.allowed = allowed

    def getuid(self):
        return self.uid

    geteuid = getuid

    def _change(self, *call):
        if not self.allowed:
            raise PermissionError(1, "Operation not permitted")
        self.calls.append(call)

    def initgroups(self, name, gid):
        self._change("initgroups", name, gid)

    def setgid(self, gid):
        self._change("setgid", gid)

    def setuid(self, uid):
        self._change("setuid", uid)


class Entry:
    pw_name, pw_uid, pw_gid = "gearman", 100, 200


def test_root_becomes_another_user_groups_first():
    system = System(0)
    assert become_user("gearman", system, lambda name: Entry)
    assert system.calls == [("initgroups", "gearman", 200), ("setgid", 200), ("setuid", 100)]


def test_nothing_happens_to_who_is_that_user_already():
    system = System(100, allowed=False)
    assert not become_user("gearman", system, lambda name: Entry)


def test_only_root_may_become_another_user():
    with pytest.raises(CannotDetach) as caught:
        become_user("gearman", System(1, allowed=False), lambda name: Entry)
    assert str(caught.value) == "only root can become user gearman"


@posix
def test_an_unknown_user():
    with pytest.raises(GearmanError) as caught:
        become_user("no such user")
    assert str(caught.value) == "there is no user no such user"


@posix
def test_descriptors_are_allowed():
    code = """if True:
        import resource
        from gearman_std.cli.daemon import allow_descriptors
        print(allow_descriptors(64), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        print(hard in (allow_descriptors(), resource.RLIM_INFINITY))"""
    assert python(code) == (0, "64 64\nTrue\n", "")


@posix
def test_more_descriptors_than_the_system_has():
    with pytest.raises(OSError) as caught:
        allow_descriptors(1 << 60)
    assert "cannot allow" in str(caught.value)


# --- The log.


def test_lines_of_the_log_look_like_gearmands(tmp_path, logger):
    path = tmp_path / "log"
    open_log("NOTICE", str(path))
    logger.info("unheard")
    logger.log(LOG_LEVELS["NOTICE"], "a %s", "notice")
    logger.error("an error")
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    level, date, hour, thread = lines[0].split(None, 3)
    assert (level, thread) == ("NOTICE", "[ MainThread ] a notice")
    assert len(date) == 10 and len(hour) == 15
    record = logging.makeLogRecord({"created": 1000000000.123456, "levelname": "X", "msg": "x", "threadName": "t"})
    assert ".123456 [ t ] x" in logger.handlers[-1].format(record)
    assert lines[1].startswith("  ERROR ")


def test_a_log_file_that_was_moved_away_is_opened_again(tmp_path, logger):
    path = tmp_path / "log"
    log_file = open_log("ERROR", str(path))
    logger.error("one")
    path.rename(tmp_path / "log.1")
    logger.error("two")
    log_file.reopen()
    logger.error("three")
    assert "one" in (tmp_path / "log.1").read_text()
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["two", "three"]


@posix
def test_when_it_cannot_be_opened_again_the_old_one_is_good_enough(tmp_path, logger):
    folder = tmp_path / "folder"
    folder.mkdir()
    log_file = open_log("ERROR", str(folder / "log"))
    folder.rename(tmp_path / "other")
    log_file.reopen()
    logger.error("one")
    assert "one" in (tmp_path / "other" / "log").read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_a_log_on_a_full_disk_is_told_of_once_and_harms_nobody(tmp_path, logger, capsys, monkeypatch):
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log_file = open_log("ERROR", str(path))
    logger.error("one")
    logger.error("two")
    assert capsys.readouterr().err == "cannot write to the log file %s\n" % path
    path.unlink()  # as somebody who makes room
    logger.error("three")
    assert path.read_text().endswith("three\n") and log_file is logger.handlers[-1]
    assert capsys.readouterr().err == ""
    path.unlink()
    path.symlink_to("/dev/full")
    monkeypatch.setattr(sys, "stderr", None)
    logger.error("four")
    log_file.close()


def test_a_log_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(OSError) as caught:
        open_log("ERROR", str(tmp_path / "no" / "log"))
    assert "cannot open the log file" in caught.value.strerror


def test_no_log(logger, capfd):
    assert open_log("DEBUG", "none") is None
    logger.error("unheard")
    assert capfd.readouterr() == ("", "")


def test_errors_of_this_package_take_one_line_others_have_their_traceback(tmp_path, logger):
    path = tmp_path / "log"
    open_log("ERROR", str(path))
    for error in (GearmanError("too late"), KeyError("what")):
        try:
            raise error
        except Exception:
            logger.exception("it %s", "failed")
    text = path.read_text()
    assert "] it failed: too late\n" in text
    assert text.count("Traceback") == 1 and "KeyError: 'what'" in text


def test_setting_up_the_log_again_replaces_it(tmp_path, logger):
    open_log("ERROR", str(tmp_path / "one"))
    open_log("ERROR", str(tmp_path / "two"))
    logger.error("once")
    assert (tmp_path / "one").read_text() == ""
    assert (tmp_path / "two").read_text().count("once") == 1


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_syslog(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / "syslog")
    monkeypatch.setattr(open_log.__module__ + "._SYSLOG_DEVICES", ("/no/such/device", path))
    open_log("INFO", "stderr", syslog=True)
    assert "there is no syslog on this machine" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(20)
        open_log("INFO", "none", syslog=True)
        logging.getLogger("gearman_std.server").warning("over there")
        heard = daemon.recv(1000).rstrip(b"\0")
        logging.getLogger("gearman_std.server").warning("a name that is no text: \udce9")
        assert daemon.recv(1000).rstrip(b"\0").endswith(b"no text: \\udce9")
    assert heard == b"<28>gearmand[%d]: over there" % os.getpid()  # 28: daemon, warning
    logging.getLogger("gearman_std.server").warning("nobody hears it")
    assert capsys.readouterr().err == ""


def test_sockets_are_inherited_by_the_process_that_they_are_meant_for():
    """Descriptor 3 is looked at in tests of the command, as here it may be anything."""
    for environment in ({}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "7"},
                        {"LISTEN_PID": "7", "LISTEN_FDS": "0"}, {"LISTEN_PID": "7", "LISTEN_FDS": "some"}):
        assert inherited_sockets(environment, 7) == []


# --- Signals.


@posix
def test_signals_call_functions_and_are_given_back():
    heard = []
    before = signal.getsignal(signal.SIGUSR1)
    with SignalHandlers({"SIGUSR1": lambda: heard.append("one"), "SIGNOSUCH": lambda: heard.append("none")}):
        with SignalHandlers({"SIGUSR1": lambda: heard.append("two")}):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == ["two", "one"]
    assert signal.getsignal(signal.SIGUSR1) == before


EARLY = """if True:
    import os, signal
    from gearman_std.cli.daemon import SignalHandlers
    from gearman_std.cli.early import begin_with_signals
    begin_with_signals()
    for number in (signal.SIGUSR1, signal.SIGHUP):
        os.kill(os.getpid(), number)
    heard = []
    with SignalHandlers({"SIGUSR1": lambda: heard.append("USR1"), "SIGHUP": lambda: heard.append("HUP")}):
        print(sorted(heard))
"""


@posix
def test_signals_that_came_too_early_come_when_all_have_their_functions():
    assert python(EARLY) == (0, "['HUP', 'USR1']\n", "")


# --- The service manager.


@posix
def test_the_service_manager_is_told(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        assert notify_manager("READY=1", {"NOTIFY_SOCKET": path})
        assert manager.recv(100) == b"READY=1"
    assert not notify_manager("READY=1", {"NOTIFY_SOCKET": path})


def test_without_a_service_manager_nothing_happens():
    assert not notify_manager("READY=1", {})
    assert not notify_manager("READY=1", {"NOTIFY_SOCKET": "relative"})


@pytest.mark.parametrize("environment, interval", [
    ({}, None), ({"WATCHDOG_USEC": "0"}, None), ({"WATCHDOG_USEC": "x"}, None), ({"WATCHDOG_USEC": "4000000"}, 2.0),
    ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "17"}, 2.0), ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "18"}, None),
])
def test_how_often_the_watchdog_wants_to_hear(environment, interval):
    assert watchdog_interval(environment, 17) == interval
