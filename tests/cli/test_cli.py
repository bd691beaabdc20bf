"""The command gearman-std: its commands, its help, and that all of them are worth reading."""
import io
import os
import subprocess
import sys

import pytest

from gearman_std.cli.cli import _COMMANDS, main
from gearman_std.cli.console import Console
from gearman_std.server.server import Server
from samples import few, unmeasured

COMMANDS = sorted(_COMMANDS)


def run(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.mark.parametrize("word", ["--help", "-H", "-h", "help"])
def test_help_names_every_command(word):
    status, output, errors = run(word)
    assert (status, errors) == (0, "")
    for command in COMMANDS:
        assert "\n  %s " % command in output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples_and_exit_statuses(command):
    status, output, errors = run(command, "--help")
    assert (status, errors) == (0, "")
    assert output.startswith("usage: gearman-std %s" % command)
    assert "Examples:\n" in output and "Exit status:\n" in output
    assert run("help", command) == run(command, "-H") == (0, output, "")


@pytest.mark.parametrize("command", ["client", "worker", "admin"])
def test_h_and_p_are_host_and_port_where_gearmans_programs_have_them(command):
    output = run(command, "--help")[1]
    assert "-h, --host HOST" in output and "-p, --port PORT" in output


def test_without_a_command_the_help_is_an_error():
    status, output, errors = run()
    assert (status, output) == (2, "")
    assert errors.startswith("usage: gearman-std COMMAND")


def test_an_unknown_command():
    assert run("anything") == (2, "", "gearman-std: there is no command anything; see gearman-std --help\n")


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_version(word):
    status, output, _ = run(word)
    assert status == 0 and output.startswith("gearman_std ")


def test_as_a_process():
    done = subprocess.run([sys.executable, "-m", "gearman_std", "client", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=50)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"gearman-std client: -f needs a value; see gearman-std client --help\n"


_LOADED = """
import sys
before = set(sys.modules)
from gearman_std.cli import main
status = main(sys.argv[1:])
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(status)
"""
_ENDS = {"cli", "errors", "late", "moved", "version", "net", "wire", "timers", "arguments"}  # what most commands load
# Modules of the standard library that take a program long to load which a job of cron starts each minute.
_HEAVY = {"argparse", "asyncio", "concurrent.futures", "html", "http", "json", "logging.handlers", "multiprocessing", "random",
          "sqlite3", "ssl", "subprocess", "tempfile", "typing", "unittest", "urllib"}


@unmeasured
@pytest.mark.parametrize("words, folders", [
    (["client", "--help"], _ENDS | {"client", "schedule"}),
    (["client", "-b", "-f", "x", "data"], _ENDS | {"client", "schedule"}),
    (["admin", "--status"], _ENDS | {"client", "schedule"}),
    (["check"], _ENDS | {"client", "schedule"}),
    (["top", "--once"], _ENDS | {"client", "schedule"}),
    (["worker", "--help"], _ENDS | {"worker"}),
    (["--version"], {"arguments", "cli", "errors", "late", "moved", "version", "net", "wire"})])
def test_a_command_loads_nothing_that_it_does_not_use(sources, words, folders):
    with Server(port=0) as server:
        there = dict(os.environ, GEARMAN_SERVER="%s:%d" % server.address)
        done = subprocess.run([sys.executable, "-c", _LOADED] + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=50, env=there)
    loaded = done.stderr.splitlines()[-1].split()
    assert {name.split(".")[1] for name in loaded if name.startswith("gearman_std.")} <= folders
    asks_json = words[0] in ("check", "top")
    assert _HEAVY.intersection(loaded) == ({"json"} if asks_json else set())


_INTERRUPTED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.kill(os.getpid(), signal.SIGINT)  # it comes as soon as the program lets it
os.execv(sys.executable, [sys.executable, "-m", "gearman_std"] + sys.argv[1:])
"""


@pytest.mark.parametrize("command", few([["--version"], ["client"], ["nothing"], []] + [
    [command] for command in COMMANDS if command not in ("server", "worker", "client")], 3))
def test_ctrl_c_while_the_program_starts_ends_it_without_a_traceback(command):
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_with_closed_standard_streams():
    """As some cron and init programs start it."""
    code = "import os, sys; os.close(0); os.close(1); os.close(2); os.execv(sys.executable, [sys.executable] + sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, "-m", "gearman_std", "--version"], timeout=50)
    assert done.returncode == 1  # since nobody could read the version


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_fits_80_columns_and_every_command_has_a_version(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, output, errors = run(command, "--help")
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert run(command, "--version") == run("--version")
    assert [line for line in run("--help")[1].splitlines() if len(line) > 80] == []


def test_a_typo_of_a_command_gets_a_suggestion():
    assert run("sever")[2] == "gearman-std: there is no command sever (did you mean server?); see gearman-std --help\n"


TLS_FILE = os.path.join(os.path.dirname(__file__), "tls", "server.pem")


@pytest.mark.parametrize("words, lack, need", [
    (["server", "--sqlite3-db", "x.db"], "sqlite3", "a queue on disk"),
    (["server", "--tls", "--tls-certificate", TLS_FILE], "ssl", "TLS"),
    (["server", "-L", "tls:127.0.0.1", "--tls-certificate", TLS_FILE], "ssl", "TLS"),
    (["server", "--check-args", "--sqlite3-db", "x.db"], "sqlite3", "a queue on disk"),
    (["client", "-S", "-f", "x", "data"], "ssl", "TLS"),
    (["client", "-w", "-S", "-f", "x", "cat"], "ssl", "TLS"),
    (["worker", "-S", "-f", "x"], "ssl", "TLS"),
    (["admin", "-S", "--status"], "ssl", "TLS"),
])
def test_a_python_that_lacks_a_module_is_told_of_in_one_line(tmp_path, words, lack, need):
    (tmp_path / ("_%s.py" % lack)).write_text("raise ImportError('it was built without')")
    if words[0] == "server":
        words = words + ["-p", "0", "--config-file", os.devnull]
    done = subprocess.run([sys.executable, "-m", "gearman_std"] + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=50, cwd=str(tmp_path),
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gearman-std %s: this Python has no %s, which is needed for %s: it was built without\n" % (
        words[0], lack, need)
