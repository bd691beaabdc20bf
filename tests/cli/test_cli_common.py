"""What the commands share: where the server is, what ends them with which status, and how a program starts itself again."""
import errno
import io
import os
import subprocess
import sys

import pytest

from gearman_std.cli.common import address_options, find_servers, find_tls, own_command, run_command
from gearman_std.cli.console import FAILED, INTERRUPTED, TOO_LATE, UNREACHABLE, USAGE, Console, Quit
from gearman_std.cli.options import CommandLine, UsageError
from gearman_std.errors import JobTimeout, NoServer, ServerError, ServerLost


def console():
    return Console("test", io.BytesIO(), io.BytesIO(), io.BytesIO())


# --- Where the server is.


@pytest.mark.parametrize("words, environment, addresses", [
    ([], {}, [("localhost", 4730)]),
    (["-h", "one"], {}, [("one", 4730)]),
    (["-h", "one", "-p", "1"], {}, [("one", 1)]),
    (["-p", "1"], {}, [("localhost", 1)]),
    (["-h", "one:2", "-p", "1"], {}, [("one", 2)]),
    (["-h", "one, two:2", "-p", "1"], {}, [("one", 1), ("two", 2)]),
    (["-h", "::1", "-p", "1"], {}, [("::1", 1)]),
    (["-h", "/run/socket"], {}, [("/run/socket", 0)]),
    ([], {"GEARMAN_SERVERS": "one:1,two"}, [("one", 1), ("two", 4730)]),
    ([], {"GEARMAN_SERVERS": "one", "GEARMAN_SERVER": "two"}, [("two", 4730)]),
    (["-h", "three"], {"GEARMAN_SERVERS": "one", "GEARMAN_SERVER": "two"}, [("three", 4730)]),
    (["-p", "1"], {"GEARMAN_SERVERS": "one"}, [("localhost", 1)]),
])
def test_where_the_server_is(words, environment, addresses):
    line = CommandLine("test", [], "", [address_options()])
    assert find_servers(line.parse(words), environment) == addresses


@pytest.mark.parametrize("host", ["one:x", "one:99999", ",", "a b"])
def test_an_address_that_is_none(host):
    line = CommandLine("test", [], "", [address_options()])
    with pytest.raises(UsageError):
        find_servers(line.parse(["-h", host]), {})


def test_tls_is_set_up_by_options_and_by_libgearmans_environment():
    line = CommandLine("test", [], "", [address_options()])
    assert find_tls(line.parse([]), {"GEARMAND_CA_CERTIFICATE": "ca"}) is None
    for words in (["--tls-ca", "ca"], ["--tls-hostname", "h"], ["--tls-no-verify"]):
        with pytest.raises(UsageError, match="^%s needs --tls$" % words[0]):
            find_tls(line.parse(words), {})
    assert find_tls(line.parse(["-S"]), {}) == {"verify": True}
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")
    ca, other, own = [os.path.join(folder, name) for name in ("ca.pem", "server.pem", "client.pem")]
    environment = {"GEARMAND_CA_CERTIFICATE": ca, "GEARMAN_CLIENT_PEM": own, "GEARMAN_CLIENT_KEY": own}
    assert find_tls(line.parse(["-S"]), environment) == {"ca": ca, "certificate": own, "key": own, "verify": True}
    words = ["--ssl", "--tls-ca", other, "--tls-hostname", "h", "--tls-no-verify"]
    assert find_tls(line.parse(words), environment) == {"ca": other, "certificate": own, "key": own, "hostname": "h",
                                                        "verify": False}


# --- How it ends.


@pytest.mark.parametrize("error, status, message", [
    (UsageError("no"), USAGE, b"gearman-std test: no; see gearman-std test --help\n"),
    (ValueError("no"), USAGE, b"gearman-std test: no\n"),
    (ServerError("CODE", "text"), FAILED, b"gearman-std test: CODE: text\n"),
    (NoServer("gone"), UNREACHABLE, b"gearman-std test: gone\n"),
    (ServerLost("gone"), UNREACHABLE, b"gearman-std test: gone\n"),
    (JobTimeout("late"), TOO_LATE, b"gearman-std test: late\n"),
    (OSError(errno.ENOENT, "No such file", "name"), FAILED, b"gearman-std test: name: No such file\n"),
    (OSError("whatever"), FAILED, b"gearman-std test: whatever\n"),
    (MemoryError(), FAILED, b"gearman-std test: MemoryError\n"),
    (KeyboardInterrupt(), INTERRUPTED, b""),
    (Quit(7), 7, b""),
])
def test_what_goes_wrong_is_a_status_and_a_line(error, status, message):
    there = console()

    def fail(_, __):
        raise error
    assert run_command(there, fail, []) == status
    assert there.stderr.getvalue() == message
    assert there.stdout.getvalue() == b""


def test_help_goes_to_standard_output_with_status_0():
    there = console()
    line = CommandLine("test", ["test"], "", [("Options", [])])
    assert run_command(there, lambda _, words: line.parse(words), ["--help"]) == 0
    assert there.stdout.getvalue().startswith(b"usage: ")


def test_a_program_can_start_itself_again_from_anywhere(tmp_path):
    """Whatever the folder and the environment are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    printed = subprocess.check_output(own_command() + ["--version"], cwd=str(tmp_path), env=environment, timeout=50)
    assert printed.startswith(b"gearman_std ")
    assert own_command()[0] == sys.executable


@pytest.mark.parametrize("looks_here", [False, True])
def test_what_lies_in_the_current_folder_replaces_no_module_unless_it_looks_there(root, tmp_path, monkeypatch, looks_here):
    (tmp_path / "socket.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(str(tmp_path))
    here = [str(tmp_path)] if looks_here else []
    monkeypatch.setattr(sys, "path", here + [path for path in sys.path if path not in ("", str(tmp_path))])
    # The single file is a script, which looks where it is itself.
    replaced = looks_here and os.path.isdir(os.path.join(root, "gearman_std", "cli"))
    assert subprocess.call(own_command() + ["--version"], stdout=subprocess.DEVNULL, timeout=50) == (7 if replaced else 0)


@pytest.mark.skipif(os.name != "posix", reason="about folders that can be deleted while one is in them")
def test_a_program_can_start_itself_again_where_the_folder_was_deleted(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", [""] + sys.path)
    assert subprocess.check_output(own_command() + ["--version"], timeout=50).startswith(b"gearman_std ")
