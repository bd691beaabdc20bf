"""The command `top`: what it shows of several servers, how it sorts and filters, what keys do."""
import io
import os
import signal
import subprocess
import sys
import termios

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.tables import show_duration
from gearman_std.cli.top import Screen, Watch
from gearman_std.client.client import Client
from gearman_std.errors import NoServer, ServerError
from gearman_std.server.server import Server
from worker_tools import FakeServer


def figures(name, **others):
    return dict({"function": name, "waiting": 0, "running": 0, "oldest": None, "completed": 0, "failed": 0, "aside": 0,
                 "workers": 1, "paused": False}, **others)


class Told:
    """An AdminClient of a server that says what it is told to say."""

    def __init__(self, *functions, port=4730):
        self.address = ("queue", port)
        self.functions = list(functions)

    def function_details(self):
        if isinstance(self.functions, Exception):
            raise self.functions
        return self.functions

    def status(self):
        from gearman_std.client.admin import FunctionStatus
        return [FunctionStatus(b"old", 5, 2, 1)]


def shown(watch, sort="waiting", text="", width=90):
    return [line.split() for line in watch.table(sort, text, width)[1:]]


def watch_of(*admins, times=(0.0, 2.0, 4.0, 6.0)):
    ticks = iter([time for time in times for _ in range(3 * len(admins))])
    return Watch(admins, lambda: next(ticks))


def test_functions_are_sorted_and_filtered():
    watch = watch_of(Told(figures("small", waiting=1), figures("Large", waiting=9), figures("old", oldest=90.0)))
    watch.look()
    assert [row[0] for row in shown(watch)] == ["Large", "small", "old"]
    assert [row[0] for row in shown(watch, "name")] == ["Large", "old", "small"]
    assert [row[0] for row in shown(watch, "oldest")] == ["old", "Large", "small"]
    assert [row[0] for row in shown(watch, text="L")] == ["Large", "small", "old"]
    assert [row[0] for row in shown(watch, text="lar")] == ["Large"]


def test_a_rate_is_measured_between_two_looks():
    admin = Told(figures("f", completed=10, failed=1))
    watch = watch_of(admin, times=(0.0, 2.0))
    ticks = iter((0.0, 2.0, 4.0))
    watch._clock = lambda: next(ticks)
    watch.look()
    assert watch.rows[0]["rate"] is None
    admin.functions = [figures("f", completed=18, failed=3)]
    watch.look()
    assert watch.rows[0]["rate"] == 5.0
    admin.functions = [figures("f", completed=0)]  # the server began anew
    watch.look()
    assert watch.rows[0]["rate"] is None


def test_a_server_that_is_not_ours_tells_less():
    admin = Told()
    admin.functions = ServerError(b"UNKNOWN_SHOW_ARGUMENTS", b"")
    watch = watch_of(admin)
    watch.look()
    lines = watch.table("waiting", "", 80)
    assert lines[0].split() == ["FUNCTION", "WAITING", "RUNNING", "PER", "S", "WORKERS"]
    assert lines[1].split() == ["old", "3", "2", "-", "1"]


def test_several_servers_are_told_apart_and_one_that_does_not_answer_is_named():
    dead = Told(port=4731)
    dead.functions = NoServer("cannot connect")
    watch = watch_of(Told(figures("f", waiting=2, paused=True)), dead)
    watch.look()
    assert shown(watch)[0][:4] == ["f", "at", "queue", "(paused)"] or shown(watch)[0][:3] == ["f", "at", "queue:4730"]
    assert watch.summary() == ["2 waiting, 0 running, 0.0 a second, 1 functions, 2 servers",
                               "queue:4731: cannot connect"]


def test_what_a_terminal_could_take_for_an_order_is_not_shown():
    watch = watch_of(Told(figures("\x1b[2Jevil")))
    watch.look()
    assert "\x1b" not in "".join(watch.table("name", "", 80))
    assert max(map(len, watch.table("name", "", 60))) <= 60


def test_letters_that_take_two_places_leave_the_columns_where_they_are():
    watch = watch_of(Told(figures("\u6f22\u5b57" * 40), figures("\u6f22", waiting=7)))
    watch.look()
    lines = watch.table("name", "", 60)
    assert [sum(2 if ord(letter) > 255 else 1 for letter in line) for line in lines] == [len(lines[0])] * 3
    window = Window([ord("q")], (5, 20))
    Screen(window, watch, "name", "", 2.0).run()
    assert window.lines[4].startswith("\u6f22") and all(
        sum(2 if ord(letter) > 255 else 1 for letter in line) <= 19 for line in window.lines.values())


@pytest.mark.parametrize("seconds, text", [(0, "0.0s"), (99.94, "99.9s"), (100, "1m"), (6000, "1h"), (360000, "4d")])
def test_durations(seconds, text):
    assert show_duration(seconds) == text


class Window:
    """A screen of curses that notes what is drawn."""

    def __init__(self, keys=(), size=(10, 80)):
        self.keys = list(keys)
        self.size = size
        self.lines = {}

    def timeout(self, milliseconds):
        self.waits = milliseconds

    def getmaxyx(self):
        return self.size

    def getch(self):
        return self.keys.pop(0)

    def erase(self):
        self.lines = {}

    def addnstr(self, row, column, text, width, look):
        assert row < self.size[0] and column + len(text) < self.size[1]
        self.lines[row] = text

    def refresh(self):
        pass


def screen_of(*keys, functions=30, size=(10, 80)):
    watch = watch_of(Told(*[figures("f%02d" % number, waiting=number) for number in range(functions)]), times=range(100))
    window = Window([ord(key) if isinstance(key, str) else key for key in keys] + [ord("q")], size)
    screen = Screen(window, watch, "waiting", "", 2.0)
    screen.run()
    return window


def names(window):
    return [line.split()[0] for row, line in sorted(window.lines.items()) if line.startswith("f")]


def test_the_screen_shows_as_much_as_there_is_room_for():
    window = screen_of(-1)
    assert names(window) == ["f%02d" % number for number in range(29, 23, -1)] and window.waits == 2000
    assert window.lines[0] == "gearman-std top  sorted by waiting"
    assert names(screen_of(-1, size=(2, 20))) == []


def test_keys():
    assert names(screen_of("n"))[0] == "f00"
    assert names(screen_of(258, 258))[0] == "f27" and names(screen_of(258, 259))[0] == "f29"
    assert names(screen_of(338))[0] == "f19" and names(screen_of(338, 339, 339))[0] == "f29"
    assert names(screen_of(*([338] * 5))) == ["f00"]
    assert names(screen_of("/", "f", "0", "1", "\n")) == ["f01"]
    assert names(screen_of("/", "f", "0", "1", "\x7f", "2", "\x1b", "n")) == ["f02"]
    assert screen_of("p").lines[0].endswith("paused")


def test_a_pause_asks_nothing():
    window = screen_of("p", -1, -1)
    assert window.lines[0].endswith("paused")


def top(*words):
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    return main(["top"] + list(words), there), there.stdout.getvalue().decode(), there.stderr.getvalue().decode()


def test_on_no_terminal_it_prints_one_table():
    with Server(port=0) as server, Client([server.address]) as client:
        client.submit("wc", b"one", background=True)
        status, output, errors = top("-h", "%s:%d" % server.address)
    assert (status, errors) == (0, "")
    heading, row = output.splitlines()
    assert heading.startswith("FUNCTION") and row.split()[:3] == ["wc", "1", "0"]


def test_a_terminal_of_an_unknown_type_is_told():
    pytest.importorskip("curses")
    ours, theirs = os.openpty()
    try:
        done = subprocess.run([sys.executable, "-m", "gearman_std", "top", "-h", "127.0.0.1:1"], stdin=theirs, stdout=theirs,
                              stderr=subprocess.PIPE, env=dict(os.environ, TERM="nonsense"), timeout=50)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"'nonsense'" in done.stderr and b"--once" in done.stderr


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_full_screen_and_leaves_the_terminal_as_it_was(number, status):
    pytest.importorskip("curses")
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    shown = b""
    with Server(port=0) as server:
        watching = subprocess.Popen([sys.executable, "-m", "gearman_std", "top", "-h", "%s:%d" % server.address], stdin=theirs,
                                    stdout=theirs, stderr=subprocess.PIPE, env=dict(os.environ, TERM="xterm"))
        try:
            while b"FUNCTION" not in shown:
                shown += os.read(ours, 65536)
            watching.send_signal(number)
            assert (watching.communicate(timeout=50)[1], watching.returncode) == (b"", status)
            assert termios.tcgetattr(theirs) == before
            while not shown.endswith(b"\x1b[?1l\x1b>"):  # what xterm is told last
                shown += os.read(ours, 65536)
        finally:
            if watching.poll() is None:
                watching.kill()
                watching.communicate()
            os.close(ours)
            os.close(theirs)


def test_a_server_that_is_not_there():
    server = FakeServer()
    server.close()
    status, output, errors = top("--once", "-h", server.address)
    assert status == 3 and output.startswith("FUNCTION") and server.address in errors


@pytest.mark.parametrize("words", [["nothing"], ["--sort", "x"], ["--interval", "x"]])
def test_what_makes_no_sense(words):
    assert top(*words)[0] == 2


def test_the_filter_takes_letters_of_several_bytes():
    screen = Screen(None, watch_of(), "waiting", "", 2.0)
    for key in [ord("/")] + list("gr\u00f6\u4e2d\U0001f600x".encode("utf-8")):
        assert screen.press(key)
    assert screen._text == "gr\u00f6\u4e2d\U0001f600x"
