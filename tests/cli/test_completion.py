"""The command `completion`: the scripts do in real shells what they are for, with all commands and options that there are."""
import io
import os
import pty
import select
import shlex
import subprocess
import sys
import time

import pytest

from gearman_std.cli.cli import _COMMANDS, describe_commands, _load, main
from gearman_std.cli.completion import make_bash, make_fish, make_zsh
from gearman_std.cli.console import Console
from gearman_std.client.admin import AdminClient
from gearman_std.server.server import Server


def run(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    status = main(list(words), there)
    return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with the program gearman-std in it, which is found, and a server that knows functions."""
    program = tmp_path / "gearman-std"
    program.write_text("#!/bin/sh\nexec %s -m gearman_std \"$@\"\n" % shlex.quote(sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "%s%s%s" % (tmp_path, os.pathsep, os.environ["PATH"]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HOME", str(tmp_path))
    with Server(port=0) as server, AdminClient(server.address) as admin:
        for name in ("resize", "reverse", "$(touch\tx)", "gr\xf6\xdfe", "-x", "wc"):
            admin.create_function(name)
        yield server.address


def test_functions_are_asked_of_the_server_of_the_line(there):
    words = ["-h", "%s:%d" % tuple(there), "-x", "--nonsense", "-f"]
    assert run("completion", "functions", *words) == (0, "-x\nresize\nreverse\nwc\n", "")
    assert run("completion", "functions", "--host", "=", there[0], "-p", str(there[1]), "-f") == (
        0, "-x\nresize\nreverse\nwc\n", "")


def test_who_cannot_be_asked_has_no_functions():
    with Server(port=0) as server:
        address = server.address
    assert run("completion", "functions", "-h", "%s:%d" % tuple(address)) == (0, "", "")
    assert run("completion", "functions", "-h", "") == (0, "", "")


@pytest.mark.parametrize("words, complaint", [
    ([], "which shell? bash, zsh or fish"), (["tcsh"], "which shell?"), (["fsih"], "(did you mean fish?)"),
    (["bash", "zsh"], "which shell?")])
def test_what_makes_no_sense(words, complaint):
    status, output, errors = run("completion", *words)
    assert (status, output) == (2, "") and complaint in errors


@pytest.mark.parametrize("make", [make_bash, make_zsh, make_fish])
def test_every_command_and_option_is_in_every_script(make):
    script = make(describe_commands())
    for name in _COMMANDS:
        assert name in script
        for option in _load(name)[1]().options:
            for word in option.names if option.help else ():
                if make is make_fish:
                    word = "-%s %s" % ("l" if word[1] == "-" else "s", word.lstrip("-"))
                assert word in script


class Bash:
    """What bash completes."""

    def __init__(self, program, script):
        self.program, self.script = program, script

    def complete(self, *words):
        code = self.script + "\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_gearman_std\nprintf '%%s\\n' \"${COMPREPLY[@]}\"" % (
            " ".join(map(shlex.quote, words)), len(words) - 1)
        done = subprocess.run([self.program, "--norc", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              universal_newlines=True)
        assert done.stderr == ""
        return done.stdout.split()


def test_bash_completes(there, require):
    bash = Bash(require("bash"), run("completion", "bash")[1])
    address = "%s:%d" % tuple(there)
    assert bash.complete("gearman-std", "wor") == ["worker"]
    assert set(bash.complete("gearman-std", "")) == set(_COMMANDS) | {"--help", "--version"}
    assert bash.complete("gearman-std", "client", "--req") == ["--require-worker"]
    assert bash.complete("gearman-std", "top", "--sort", "o") == ["oldest"]
    assert bash.complete("gearman-std", "top", "--sort", "=", "o") == ["oldest"]
    assert bash.complete("gearman-std", "admin", "--drain", "=") == ["on", "off"]
    assert bash.complete("gearman-std", "client", "-h", address, "-f", "re") == ["resize", "reverse"]
    assert bash.complete("gearman-std", "help", "cl") == ["client"]
    assert bash.complete("gearman-std", "completion", "f") == ["fish"]
    assert bash.complete("gearman-std", "worker", "-f", "x", "--", "--he") == []


def test_fish_completes(there, require, tmp_path):
    program, script = require("fish"), tmp_path / "gearman-std.fish"
    script.write_text(run("completion", "fish")[1])

    def complete(line):
        done = subprocess.run([program, "--no-config", "-c", "source %s; complete -C %s" % (
            shlex.quote(str(script)), shlex.quote(line))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
            universal_newlines=True)
        assert done.stderr == ""
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert complete("gearman-std wor") == ["worker"]
    assert set(complete("gearman-std ")) == set(_COMMANDS)
    assert complete("gearman-std client --req") == ["--require-worker"]
    assert complete("gearman-std top --sort o") == ["oldest"]
    assert complete("gearman-std client -h %s:%d -f re" % tuple(there)) == ["resize", "reverse"]
    assert complete("gearman-std help cl") == ["client"]


class Typist:
    """A shell at a terminal, to which keys are sent until it has shown something."""

    def __init__(self, command):
        self.process, self.master = pty.fork()
        if not self.process:
            os.execvpe(command[0], command, dict(os.environ, TERM="dumb"))
        self.shown = ""

    def type(self, keys, until):
        self.shown = ""
        os.write(self.master, keys.encode())
        end = time.monotonic() + 60
        while until not in self.shown:
            assert select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0], self.shown
            self.shown += os.read(self.master, 4096).decode("utf-8", "replace")
        return self.shown

    def end(self):
        os.close(self.master)
        os.waitpid(self.process, 0)


def test_zsh_completes(there, require, tmp_path):
    script = tmp_path / "script.zsh"
    script.write_text(run("completion", "zsh")[1])
    shell = Typist([require("zsh"), "-f", "-i"])
    try:
        shell.type("PS1=ready'> '; unsetopt ZLE_RPROMPT PROMPT_SP BEEP; setopt NO_LIST_BEEP\n", "ready> ")
        shell.type("autoload -U compinit; compinit -u -D; source %s; echo set''up\n" % shlex.quote(str(script)), "setup")
        shell.type("gearman-std wor\t", "gearman-std worker ")
        shell.type("\x15gearman-std client --req\t", "--require-worker ")
        shell.type("\x15gearman-std client -h %s:%d -f rev\t" % tuple(there), "-f reverse ")
        shell.type("\x15gearman-std top --sort=o\t", "--sort=oldest")
        shell.type("\x15gearman-std help insta\t", "help install-names")
    finally:
        shell.end()
