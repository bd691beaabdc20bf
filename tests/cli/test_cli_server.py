"""The command `server`: how it starts and ends, signals, the background, systemd, TLS and HTTP, its store."""
import gc
import http.client
import io
import os
import platform
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.cli import server as cli_server
from gearman_std.client.admin import AdminClient
from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.server_options import parse_server, server_settings
from gearman_std.client.client import Client
from gearman_std.core.core import Core
from gearman_std.cli.daemon import open_log
from gearman_std.errors import GearmanError
from gearman_std.server.server import Server
from patience import until
from samples import few, unmeasured
from server_tools import server_command as server

posix = pytest.mark.skipif(os.name != "posix", reason="about signals and processes as POSIX has them")


@pytest.mark.parametrize("number", ("0", "1", "8", "16"))
def test_so_few_open_files_that_nothing_would_work_are_not_believed(processes, number):
    process = processes.start([sys.executable, "-m", "gearman_std", "server", "-p", "0", "-L", "127.0.0.1", "-f", number,
                               "--print-address"], stdout=subprocess.PIPE)
    address = process.stdout.readline().decode().strip()
    assert command("admin", "-h", address, "--status") == (0, ".\n", "")


@posix
@pytest.mark.parametrize("words, told", [
    ([], True), (["--verbose", "NOTICE"], True), (["--print-address"], False), (["--verbose", "INFO"], False)])
def test_who_starts_a_server_at_a_terminal_is_told_when_it_is_ready(processes, words, told):
    import pty
    ours, theirs = pty.openpty()
    process = processes.start([sys.executable, "-m", "gearman_std", "server", "-p", "0", "-L", "127.0.0.1",
                               "--config-file", os.devnull, "-l", "stderr"] + words, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    address = re.search(r"127\.0\.0\.1:\d+", said).group()
    assert ("gearman-std server: listening on %s; Ctrl-C ends it" % address in said) == told
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    os.close(ours)


def test_what_kubernetes_puts_into_the_environment_is_noted_and_passed_over(start, tmp_path):
    """Where there is a service "gearmand"."""
    environment = {"GEARMAND_PORT": "tcp://10.96.0.17:4731"}
    log = ["--verbose", "WARNING", "-l"]
    start(*log + ["one"], environment=environment)
    assert "tcp://10.96.0.17:4731" not in (tmp_path / "one").read_text(), "the command line names a port"
    process = subprocess.Popen([sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "-L",
                                str(tmp_path / "socket"), "--print-address"] + log + [str(tmp_path / "two")],
                               env=dict(os.environ, **environment), stdout=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline().decode() == "%s\n" % (tmp_path / "socket")
        process.terminate()
        assert process.wait(20) == 0
    assert "address of a service, tcp://10.96.0.17:4731" in (tmp_path / "two").read_text()


ANY = b"\xe9\xff\xc3\xa4"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about file systems whose names are any bytes")
@pytest.mark.parametrize("where", ["options", "config"])
@pytest.mark.parametrize("locale", few(["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"]))
def test_names_are_any_bytes_in_every_locale(processes, tmp_path, locale, where):
    """Those of files, sockets, functions and handles."""
    words = [b"-L", b"unix:" + ANY, b"-l", b"log" + ANY, b"-P", b"pid" + ANY, b"--sqlite3-db", b"db" + ANY,
             b"--job-handle-prefix", b"H" + ANY, b"--policy", b"f" + ANY + b":coalescing=reject"]
    folder = os.fsencode(str(tmp_path))
    words[1] = b"unix:" + folder + b"/" + ANY
    if where == "config":
        (tmp_path / "conf").write_bytes(b"\n".join(words).replace(b"\n-", b"\r\n-"))
        words = []
    command = [os.fsencode(sys.executable), b"-m", b"gearman_std", b"server", b"--print-address", b"--config-file",
               b"conf" if where == "config" else b"/dev/null"] + words
    process = processes.start(command, cwd=str(tmp_path), stdout=subprocess.PIPE, env=dict(os.environ, LC_ALL=locale))
    assert process.stdout.readline() == folder + b"/" + ANY + b"\n"
    assert set(os.listdir(folder)) >= {b"log" + ANY, b"pid" + ANY, b"db" + ANY, ANY}
    with Client([os.fsdecode(folder + b"/" + ANY)]) as client:
        task = client.submit(b"f" + ANY, unique="u", background=True)
        assert task.handle.startswith(b"H" + ANY)
        with pytest.raises(GearmanError, match="JOB_EXISTS"):
            client.submit(b"f" + ANY, unique="u", background=True).handle
    process.terminate()
    assert process.wait(20) == 0
    assert not {b"pid" + ANY, ANY} & set(os.listdir(folder))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("log, given", [(os.devnull, False), ("theirs", False), ("link", False), ("new", True)])
def test_only_a_log_file_that_was_made_is_given_to_the_user(tmp_path, monkeypatch, log, given):
    """A device, a file of somebody else, or what a link points to, is not."""
    theirs = tmp_path / "theirs"
    theirs.write_text("")
    (tmp_path / "link").symlink_to(theirs)
    path = log if log == os.devnull else str(tmp_path / log)
    changed = []
    monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: changed.append(uid))
    open_log("ERROR", path).give_to("nobody")
    assert bool(changed) == given


def test_no_syslog_is_noted_and_it_goes_on(start, monkeypatch):
    if any(map(os.path.exists, ("/dev/log", "/var/run/syslog"))):
        pytest.skip("there is a syslog here")
    process, address = start("--syslog", stderr=subprocess.PIPE)
    assert _accepts(address)
    process.terminate()
    assert b"there is no syslog on this machine" in process.communicate(timeout=20)[1]


# --- The config file.


# --- What ends at once.


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        status, output, errors = server("-L", "127.0.0.1", "-p", str(port), "-l", "none")
    assert (status, output) == (1, "")
    assert "cannot listen on 127.0.0.1 port %d" % port in errors and errors.count("\n") == 1


def test_what_does_not_start_leaves_no_pid_file(tmp_path):
    assert server("-L", "nowhere.invalid", "-l", "none", "-P", str(tmp_path / "pid"))[0] == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words, complaint", [
    (["-P", "/no/such/folder/pid"], "cannot write the pid file /no/such/folder/pid"),
    (["-l", "/no/such/folder/log"], "cannot open the log file /no/such/folder/log"),
    (["-u", "no-such-user"], "there is no user no-such-user"),
    (["--tls", "--tls-certificate", "/no/such/file"], "cannot use the certificates or the key of /no/such/file"),
    (["-L", "nowhere.invalid"], "cannot listen on nowhere.invalid: "),
])
def test_what_keeps_it_from_starting(words, complaint):
    if words[0] != "-l":
        words = words + ["-l", "none"]
    status, output, errors = server("-L", "127.0.0.1", "-p", "0", *words)
    assert (status, output) == (1, "")
    assert complaint in errors and errors.count("\n") == 1


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_a_server_that_breaks_down_is_not_taken_for_a_wrong_command_line(monkeypatch, tmp_path, kind):
    def break_down(_):
        raise kind("out of sorts")
    monkeypatch.setattr(Server, "_loop", break_down)
    log = tmp_path / "log"
    status, output, errors = server("-L", "127.0.0.1", "-p", "0", "-l", str(log))
    assert (status, output) == (1, "") and "out of sorts" in errors and errors.count("\n") == 1
    assert "a fault of ours" in log.read_text() and "break_down" in log.read_text()


# --- As a process.


@pytest.fixture
def start(processes, tmp_path):
    """start(words…) starts a server on a free port of 127.0.0.1; returns the process and HOST:PORT."""
    def start(*words, **options):
        environment = dict(os.environ, **options.pop("environment", {}))
        command = [sys.executable, "-m", "gearman_std", "server", "-p", "0", "-L", "127.0.0.1", "--config-file", os.devnull,
                   "--print-address"] + list(words)
        process = processes.start(command, stdout=subprocess.PIPE, env=environment, cwd=str(tmp_path), **options)
        return process, process.stdout.readline().decode().strip()
    return start


def test_jobs_are_kept_in_the_store_that_a_factory_makes(start, tmp_path):
    (tmp_path / "shelf.py").write_text("import gearman_std\ndef make(durability):\n"
                                       "    return gearman_std.JobStore('from_factory.db', durability)\n")
    process, address = start("-q", "shelf:make")
    with Client(address) as client:
        handle = client.submit("f", b"x", background=True).handle
    process.kill()
    process.wait()
    process, address = start("-q", "shelf:make")
    with AdminClient(address) as admin:
        assert [job.handle for job in admin.jobs()] == [handle]
    assert (tmp_path / "from_factory.db").exists()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not os.path.exists("/proc/self/stat"), reason="about glibc, and /proc")
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other Pythons keep memory in their own way")
def test_the_memory_of_large_jobs_is_kept_for_the_next_ones(start):
    """It is not fetched from the system, page by page, for each anew."""
    process, address = start()

    def faults():
        with open("/proc/%d/stat" % process.pid) as stat:
            return int(stat.read().rpartition(")")[2].split()[7])
    with AdminClient(address) as admin, Client(address) as client:
        for _ in range(5):
            before = faults()
            for _ in range(8):
                client.submit("f", bytes(2 ** 20), background=True)
            assert admin.cancel_function("f") == 8
    assert faults() - before < 8 * 2 ** 20 // os.sysconf("SC_PAGESIZE") // 4


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_once(start, tmp_path, number):
    process, address = start("-P", "pid")
    with Client(address) as client:
        client.submit("nobody", background=True)
        assert (tmp_path / "pid").read_text() == "%d\n" % process.pid
        process.send_signal(number)
        assert process.wait(20) == 0
    assert not (tmp_path / "pid").exists()


@posix
@pytest.mark.parametrize("number, left", [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGHUP, False),
                                          (signal.SIGUSR1, True)])
def test_a_signal_that_comes_while_the_store_is_read(monkeypatch, tmp_path, number, left):
    """One that stops does so at once, and cleanly; the others do what they do later."""
    path = str(tmp_path / "jobs.db")
    with Server(port=0, store=path) as server, Client([server.address]) as client:
        for _ in range(3):
            client.submit("f", background=True)
    seen = []

    def signalling(restore):
        def slow_restore(core, jobs):
            seen.append(jobs)
            if len(seen) == 1:
                os.kill(os.getpid(), number)
            restore(core, jobs)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGUSR1)  # the last of them, so that it ends
                os.kill(os.getpid(), signal.SIGUSR1)
        return slow_restore
    for name in ("restore_all", "restore_usual"):
        monkeypatch.setattr(Core, name, signalling(getattr(Core, name)))
    monkeypatch.setattr("gearman_std.store.sqlite.LOAD_STEP", 1)
    monkeypatch.setattr("gearman_std.server.server.READ_TIME", 0.0)
    stream = io.TextIOWrapper(io.BytesIO())
    status = main(["server", "-L", "127.0.0.1", "-L", str(tmp_path / "socket"), "-p", "0", "--config-file", os.devnull,
                   "--sqlite3-db", path, "-P", str(tmp_path / "pid")], Console(stdout=stream, stderr=stream))
    assert (status, len(seen)) == (0, 1 if left else 3)
    assert not (tmp_path / "socket").exists() and not (tmp_path / "pid").exists()
    monkeypatch.undo()
    with Server(port=0, store=path) as server, AdminClient(server.address) as admin:
        assert len(admin.jobs()) == 3


@posix
@pytest.mark.parametrize("limit, status", [(100000, 1), (10000000, 0)])
def test_jobs_that_cannot_be_stored_at_the_end_are_told_by_the_exit_status(start, limit, status):
    import resource
    process, address = start("--sqlite3-db", "jobs.db", "--durability", "exit", stderr=subprocess.PIPE,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    with Client(address) as client:
        client.submit("f", bytes(200000), background=True)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == status
    assert (b"background jobs are lost" in errors) == (status == 1)


@posix
@pytest.mark.parametrize("second", [signal.SIGUSR1, signal.SIGTERM] if os.name == "posix" else [])
def test_a_graceful_stop_waits_for_the_last_job_and_a_second_does_not(start, second):
    process, address = start()
    with AdminClient(address) as admin, Client(address) as client:
        client.submit("nobody", background=True)
        assert len(admin.jobs()) == 1
        process.send_signal(signal.SIGUSR1)
        until(lambda: not _accepts(address))
        assert len(admin.jobs()) == 1  # old connections are served
        process.send_signal(second)
        assert process.wait(20) == 0


def _accepts(address):
    try:
        with AdminClient(address, 1) as admin:
            admin.version()
    except GearmanError:
        return False
    return True


@posix
def test_a_graceful_stop_when_there_is_no_job(start):
    process, _ = start()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0


@posix
def test_the_log_and_its_rotation(start, tmp_path):
    process, address = start("-l", "log", "--verbose", "NOTICE", "-t", "4")
    log = tmp_path / "log"
    log.rename(tmp_path / "log.1")
    process.send_signal(signal.SIGHUP)
    until(lambda: log.exists() and "opened again" in log.read_text())
    with AdminClient(address) as admin:
        assert admin.verbose() == "NOTICE"
        admin.shutdown()
    assert process.wait(20) == 0


@posix
def test_sighup_without_a_log_file_is_no_trouble(start):
    process, address = start()
    process.send_signal(signal.SIGHUP)
    assert _accepts(address)


def test_what_has_no_effect_is_noted(start, tmp_path):
    start("-l", "log", "--verbose", "INFO", "-t", "4", "-R", "--keepalive", "--http-port", "80",
          "--redis-server", "x")
    text = (tmp_path / "log").read_text()
    for name in ("--threads", "--round-robin", "--keepalive", "--http-port", "--redis-server"):
        assert "INFO" in text and name + " has no effect" in text


@posix
def test_the_exit_status_of_a_daemon_tells_whether_it_listens(processes, tmp_path):
    command = [sys.executable, "-m", "gearman_std", "server", "-d", "-L", "127.0.0.1", "-l", "log", "-P", "pid",
               "--print-address", "--config-file", os.devnull]
    first = processes.start(command + ["-p", "0"], cwd=str(tmp_path), stdout=subprocess.PIPE)
    address = first.stdout.readline().decode().strip()
    assert first.wait(20) == 0
    pid = int((tmp_path / "pid").read_text())
    with AdminClient(address) as admin:
        assert admin.getpid() == pid
        for more, trouble in ((["-p", address.split(":")[1]], b"process %d has it, and still runs" % pid),
                              (["-p", address.split(":")[1], "-P", "pid2"], b"cannot listen"), (["-p", "0"], b"has it")):
            second = processes.start(command[:-5] + command[-3:] + (more if "-P" in more else more + ["-P", "pid"]),
                                     cwd=str(tmp_path), stderr=subprocess.PIPE)
            errors = second.communicate(timeout=20)[1]
            assert second.returncode == 1 and trouble in errors
        assert (tmp_path / "pid").read_text() == "%d\n" % pid, "it is still that of the first"
        admin.shutdown()
    until(lambda: not _accepts(address))


@posix
def test_a_daemon_may_be_started_without_input_and_outputs(processes, tmp_path):
    command = [sys.executable, "-m", "gearman_std", "server", "-d", "-L", "127.0.0.1", "-p", "0", "-l", "log", "-P", "pid",
               "--verbose", "INFO", "--config-file", os.devnull]
    first = processes.start(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] + command, cwd=str(tmp_path))
    status = first.wait(20)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: not (tmp_path / "pid").exists())
    assert status == 0 and "stopped" in (tmp_path / "log").read_text()


@posix
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another user")
def test_it_becomes_another_user(start, tmp_path):
    import pwd
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("there is no user nobody")
    process, address = start("-u", "nobody", "-l", "log", "--verbose", "INFO")
    if not address:
        pytest.skip("this interpreter cannot be read by nobody")
    assert os.stat("/proc/%d" % process.pid).st_uid == nobody.pw_uid
    assert os.stat(str(tmp_path / "log")).st_uid == nobody.pw_uid


UNREADABLE = """if True:
    import os, sys
    from gearman_std.cli.cli import main
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if os.geteuid():
                raise ImportError("%s cannot be read" % name)
    sys.meta_path.insert(0, Finder())
    sys.exit(main(sys.argv[1:]))
"""


@posix
@unmeasured
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another user")
def test_the_other_user_need_not_be_allowed_to_read_the_interpreter(processes, root):
    process = processes.start([sys.executable, "-c", UNREADABLE, "server", "-u", "nobody", "-L", "127.0.0.1", "-p", "0",
                               "--allow-steer", "127.0.0.0/8", "--print-address", "--config-file", os.devnull], cwd=root,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    address = process.stdout.readline().decode().strip()
    with Client([address]) as client, AdminClient(address) as admin:
        assert client.submit("f", b"x", background=True).handle
        assert len(admin.job_details()) == 1
    process.terminate()
    assert process.wait(20) == 0 and process.stderr.read() == b""


@posix
def test_the_service_manager_hears_from_it(start, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        process, address = start(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000"})
        assert manager.recv(1000) == b"READY=1\nSTATUS=listening on " + address.encode()
        assert manager.recv(1000) == b"WATCHDOG=1"
        before = time.monotonic()
        process.send_signal(signal.SIGHUP)
        heard = b"WATCHDOG=1"
        while heard == b"WATCHDOG=1":
            heard = manager.recv(1000)
        assert heard.startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert before - 1 < int(heard.partition(b"USEC=")[2]) / 1e6 < time.monotonic() + 1
        while heard != b"READY=1":
            heard = manager.recv(1000)
        process.send_signal(signal.SIGTERM)
        heard = b""
        while heard != b"STOPPING=1":
            heard = manager.recv(1000)
        assert process.wait(20) == 0


@posix
def test_the_service_manager_hears_what_a_start_with_a_store_does(start, tmp_path):
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(20)
        process, address = start("--sqlite3-db", "jobs.db", environment={"NOTIFY_SOCKET": notify})
        first = manager.recv(1000)
        assert first.startswith(b"EXTEND_TIMEOUT_USEC=30000000\nSTATUS=opening and checking ") and first.endswith(b"jobs.db")
        heard = b""
        while not heard.startswith(b"READY=1\nSTATUS=listening on "):
            heard = manager.recv(1000)
        process.send_signal(signal.SIGTERM)
        assert manager.recv(1000) == b"STOPPING=1"
        assert process.wait(20) == 0


def test_a_start_that_takes_long_goes_on_telling_so(monkeypatch):
    told, over = [], threading.Event()

    class Slow:
        starting = "reading jobs.db: 5 jobs so far"

    def notify(state):
        told.append(state)
        if len(told) > 3:
            over.set()
    monkeypatch.setattr(cli_server, "notify_manager", notify)
    monkeypatch.setattr(cli_server, "_TELL_INTERVAL", 0.001)
    with cli_server._Patience(Slow()):
        assert over.wait(20)
    count = len(told)
    assert set(told) == {"EXTEND_TIMEOUT_USEC=30000000\nSTATUS=reading jobs.db: 5 jobs so far"}
    assert len(told) == count, "it is silent after that"


def test_several_addresses(start, tmp_path):
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")
    process, address = start("-L", "unix:%s" % (tmp_path / "socket"))
    second = process.stdout.readline().decode().strip()
    assert second == str(tmp_path / "socket")
    assert _accepts(address) and _accepts(second)
    with AdminClient(address) as admin:
        admin.shutdown()
    assert process.wait(20) == 0
    assert not (tmp_path / "socket").exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_the_mode_of_a_unix_socket(start, tmp_path):
    start("-L", "unix:%s" % (tmp_path / "socket"), "--socket-mode", "620")
    assert os.stat(str(tmp_path / "socket")).st_mode & 0o777 == 0o620


# --- TLS.


def tls_file(name):
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls", name + ".pem")


TLS = ["--tls-certificate", tls_file("server")]
TRUST = ["--tls", "--tls-ca", tls_file("ca")]
OPERATOR = TRUST + ["--tls-certificate", tls_file("client")]


def command(*words):
    """Run a command here; return status, output and errors."""
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.mark.parametrize("secured, credentials", [
    (TLS, TRUST), (TLS, ["--tls", "--tls-no-verify"]),
    (TLS + ["--tls-ca", tls_file("ca"), "--tls-require-certificate"], OPERATOR),
])
def test_the_commands_work_through_tls(start, processes, secured, credentials):
    _, address = start("--tls", *secured)
    worker = processes.start([sys.executable, "-m", "gearman_std", "worker", "-h", address, "-f", "upper", "-c", "1"]
                             + credentials + ["--", "tr", "a-z", "A-Z"])
    assert command("client", "-h", address, "-f", "upper", "hello", *credentials) == (0, "HELLO", "")
    assert worker.wait(20) == 0
    status, output, _ = command("admin", "-h", address, "--status", *credentials)
    assert (status, output.split()[0]) == (0, "upper")


@pytest.mark.parametrize("credentials, why", [
    (["--tls"], "certificate verify failed"), (["--tls", "--tls-ca", tls_file("stranger")], "certificate verify failed"),
    (TRUST + ["--tls-hostname", "elsewhere.example"], "match"), (TRUST, "lost the connection"),
    (TRUST + ["--tls-certificate", tls_file("stranger")], "lost the connection"),
])
def test_the_commands_tell_why_they_cannot_work_through_tls(start, credentials, why):
    """Who does not show the certificate that it should may be told so by an alert, or find the connection reset."""
    _, address = start("--tls", "--tls-ca", tls_file("ca"), "--tls-require-certificate", *TLS)
    status, output, errors = command("admin", "-h", address, "--server-version", *credentials)
    assert (status, output) == (3, "")
    assert why in errors or why == "lost the connection" and "closed the connection" in errors, errors


def test_a_plain_port_may_stand_beside_one_with_tls(start):
    process, plain = start("-L", "tls:127.0.0.1", *TLS)
    secure = process.stdout.readline().decode().strip()
    assert command("admin", "-h", plain, "--getpid") == (0, "%d\n" % process.pid, "")
    assert command("admin", "-h", secure, "--getpid", *TRUST) == (0, "%d\n" % process.pid, "")


@posix
def test_sighup_reads_the_certificate_again(start, tmp_path):
    path = tmp_path / "pem"

    def write(name):
        with open(tls_file(name), "rb") as file:
            path.write_bytes(file.read())
    write("expired")
    process, address = start("--tls", "--tls-certificate", str(path), "-l", "log", "--verbose", "INFO")
    assert command("admin", "-h", address, "--getpid", *TRUST)[0] == 3
    write("server")
    process.send_signal(signal.SIGHUP)
    until(lambda: command("admin", "-h", address, "--getpid", *TRUST)[0] == 0)
    assert "the files of TLS were read again" in (tmp_path / "log").read_text()


def test_a_certificate_that_no_address_needs_is_told_of(start, tmp_path):
    start("-l", "log", "--verbose", "WARNING", *TLS)
    assert "WARNING" in (tmp_path / "log").read_text() and "no address speaks TLS" in (tmp_path / "log").read_text()


def test_who_may_do_what_over_sockets(start):
    _, address = start("--allow-steer", "none", "--allow-submit", "10.0.0.0/8")
    status, _, errors = command("admin", "-h", address, "--shutdown")
    assert status == 1 and "PERMISSION_DENIED" in errors
    status, _, errors = command("client", "-h", address, "-f", "x", "-b", "data")
    assert status == 1 and "FORBIDDEN" in errors
    assert command("admin", "-h", address, "--status")[0] == 0


# --- HTTP.


def _asks_http(address, context=None):
    """The status with which the server answers to a request that names no function."""
    host, _, port = address.rpartition(":")
    connection = (http.client.HTTPConnection(host, int(port), timeout=20) if context is None
                  else http.client.HTTPSConnection(host, int(port), timeout=20, context=context))
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_job_by_http(start):
    process, address = start("-r", "http", "--http-port", "0")
    host, port = process.stdout.readline().decode().strip().split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("POST", "/f", b"data", {"X-Gearman-Background": "true"})
        assert connection.getresponse().status == 200
    finally:
        connection.close()
    with AdminClient(address) as admin:
        assert [(status.function, status.total) for status in admin.status()] == [(b"f", 1)]


# --- Sockets that were opened by the service manager.

AS_SYSTEMD_DOES = """
import fcntl, os, sys
environment = dict(os.environ, LISTEN_PID=str(os.getpid() + int(sys.argv[1])), LISTEN_FDS=sys.argv[2],
                   LISTEN_FDNAMES=sys.argv[3])
descriptors = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 100) for word in sys.argv[4].split(",")]
for index, descriptor in enumerate(descriptors):
    os.dup2(descriptor, 3 + index)
os.execve(sys.executable, [sys.executable, "-m", "gearman_std", "server", "--config-file", os.devnull, "--print-address"]
          + sys.argv[5:], environment)
"""


@pytest.fixture
def inherit(processes, tmp_path):
    """inherit(sockets, names, words…) starts a server with open sockets, as systemd does; `aside` is how far it is from the
    process that they are meant for."""
    def inherit(sockets, names, *words, aside=0):
        descriptors = [one.fileno() for one in sockets]
        return processes.start([sys.executable, "-c", AS_SYSTEMD_DOES, str(aside), str(len(sockets)), names,
                                ",".join(map(str, descriptors))] + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               pass_fds=descriptors, cwd=str(tmp_path))
    return inherit


@pytest.fixture
def listening(tmp_path):
    """Two TCP sockets and a Unix socket that listen, and their addresses as the server writes them."""
    sockets = [socket.socket(), socket.socket(), socket.socket(socket.AF_UNIX)]
    sockets[0].bind(("127.0.0.1", 0))
    sockets[1].bind(("127.0.0.1", 0))
    sockets[2].bind(str(tmp_path / "inherited"))
    for one in sockets:
        one.listen(5)
    yield sockets, ["127.0.0.1:%d" % one.getsockname()[1] for one in sockets[:2]] + [str(tmp_path / "inherited")]
    for one in sockets:
        one.close()


@posix
def test_it_listens_on_inherited_sockets(inherit, listening, tmp_path):
    """And on nothing else; the file of a Unix socket belongs to who made it."""
    sockets, addresses = listening
    process = inherit(sockets, "plain:tls:local", *TLS)
    assert [process.stdout.readline().decode().strip() for _ in sockets] == addresses
    for address, credentials in zip(addresses, ([], TRUST, [])):
        assert command("admin", "-h", address, "--getpid", *credentials) == (0, "%d\n" % process.pid, "")
    assert command("admin", "-h", addresses[2], "--shutdown")[0] == 0
    assert process.wait(20) == 0
    assert process.stdout.read() == b""
    assert (tmp_path / "inherited").exists()


@posix
def test_http_is_spoken_on_inherited_sockets_of_that_name_and_beside_others(inherit, listening):
    sockets, addresses = listening
    process = inherit(sockets, "http:tls:local", "-r", "http", "--http-port", "0", *TLS)
    assert [process.stdout.readline().decode().strip() for _ in sockets] == addresses
    beside = process.stdout.readline().decode().strip()
    assert _asks_http(addresses[0]) == 404
    assert _asks_http(beside, ssl.create_default_context(cafile=TRUST[-1])) == 404
    assert command("admin", "-h", addresses[2], "--shutdown")[0] == 0
    assert process.wait(20) == 0
    assert process.stdout.read() == b"", "and on nothing else"


@posix
def test_it_listens_on_what_it_inherits_and_on_what_it_is_told(inherit, listening):
    sockets, addresses = listening
    process = inherit(sockets[:1], "", "-L", "127.0.0.1:0")
    assert process.stdout.readline().decode().strip() == addresses[0]
    second = process.stdout.readline().decode().strip()
    assert second != addresses[0] and _accepts(second) and _accepts(addresses[0])


@posix
def test_what_another_process_is_to_inherit_is_left_alone(inherit, listening):
    sockets, addresses = listening
    process = inherit(sockets[:1], "", "-L", "127.0.0.1:0", aside=1)
    assert process.stdout.readline().decode().strip() != addresses[0]


@posix
def test_what_is_inherited_must_listen(inherit):
    with socket.socket() as idle, open(os.devnull) as file:
        for one, why in ((idle, b"the inherited socket 3 is none that listens"),
                         (file, b"cannot inherit the file descriptor 3")):
            process = inherit([one], "")
            output, errors = process.communicate(timeout=20)
            assert (process.returncode, output) == (1, b"") and why in errors


# --- The store.

def test_a_store_that_cannot_be_opened_is_told_in_one_line(tmp_path):
    path = str(tmp_path / "nowhere" / "jobs.db")
    status, output, errors = server("-p", "0", "-L", "127.0.0.1", "-q", "sqlite3", "--sqlite3-db", path)
    assert (status, output) == (1, "")
    complaint = r"gearman-std server: %s: (unable to|Could not) open database.*\n$"  # the second is PyPy's
    assert re.match(complaint % re.escape(os.path.realpath(path)), errors)


def test_a_gearmands_jobs_are_taken_over_by_option(tmp_path):
    import sqlite3
    old = str(tmp_path / "old.db")
    connection = sqlite3.connect(old)
    connection.execute("CREATE TABLE q (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, when_to_run INTEGER)")
    connection.execute("INSERT INTO q VALUES ('u', 'f', 1, 'data', 0)")
    connection.commit()
    connection.close()
    handles = set()
    for words in (["--import-gearmand", old + ":q"], ["--import-gearmand", old, "--libsqlite3-table", "q"]):
        words = ["-p", "0", "-L", "127.0.0.1", "--sqlite3-db", str(tmp_path / "jobs.db")] + words
        there = Server(**server_settings(parse_server(words), {}))
        with there, Client([there.address]) as client, AdminClient("%s:%d" % there.address) as admin:
            assert admin.unique_jobs() == [b"u"]
            handles.add(client.submit("f", b"data", unique="u", background=True).handle)
    assert len(handles) == 1


@pytest.fixture
def looks():
    """The generations at which the collector of cycles has looked, as a list; its settings are as before afterwards."""
    if not hasattr(gc, "get_threshold"):
        pytest.skip("PyPy collects in another way")
    threshold, generations = gc.get_threshold(), []

    def note(phase, info):
        if phase == "start":
            generations.append(info["generation"])
    gc.callbacks.append(note)
    yield generations
    gc.callbacks.remove(note)
    gc.set_threshold(*threshold)
    if hasattr(gc, "unfreeze"):
        gc.unfreeze()


def test_what_is_young_is_looked_at_each_second_even_if_no_more_objects_come_than_go(looks):
    """Otherwise, all jobs of a queue that has turned over are looked at in one go: 0.2 seconds for 200,000 of them."""
    core = Core()
    core.tick(1000.0, 1.6e9)
    cli_server._collect_rarely(core)
    del looks[:]
    for now in (1000.5, 1001.0, 1001.5, 1002.0):
        core.tick(now, 1.6e9)
    assert looks == [1, 1]


def test_very_many_new_objects_are_looked_at_seldom_and_never_all_of_them(looks):
    cli_server._collect_rarely(Core())
    del looks[:]
    kept = [[] for _ in range(200000)]
    assert 0 < len(looks) < 20 and set(looks) <= {0, 1}, (looks, len(kept))


def test_a_python_whose_collector_cannot_be_told_anything_serves_all_the_same(monkeypatch):
    """PyPy's is one."""
    for name in ("freeze", "set_threshold"):
        monkeypatch.delattr(gc, name, raising=False)
    cli_server._collect_rarely(Core())
