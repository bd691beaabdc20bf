"""The one seam to the world: what is real in it, and that what somebody puts in its place is used."""
import os
import time

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.errors import NoServer
from gearman_std.net.connection import make_waiter, open_connection
from gearman_std.net.selector import PatientSelector
from gearman_std.net.system import REAL_SYSTEM, System, find_boot_clock, throw_dice

REAL = {"clock": time.monotonic, "boot_clock": REAL_SYSTEM.boot_clock, "wall_clock": time.time, "random": throw_dice,
        "sleep": time.sleep, "connect": open_connection, "make_selector": PatientSelector,
        "make_waiter": make_waiter}


def test_the_real_system_is_this_machines():
    assert {name: getattr(REAL_SYSTEM, name) for name in System.__slots__} == REAL
    assert repr(REAL_SYSTEM) == "<System: the real one>"


@pytest.mark.parametrize("name", sorted(REAL))
def test_any_part_may_be_somebodys_own(name):
    def own():
        """Somebody's own."""
    system = System(**{name: own})
    assert {part: getattr(system, part) for part in System.__slots__} == dict(REAL, **{name: own})
    assert repr(system) == "<System: one of somebody's own>"


@pytest.mark.parametrize("data, number", [(bytes(7), 0.0), (b"\x80" + bytes(6), 0.5), (b"\xff" * 7, 1 - 2.0 ** -53)])
def test_random_numbers_are_from_0_up_to_1(monkeypatch, data, number):
    monkeypatch.setattr(os, "urandom", lambda size: data[:size])
    assert throw_dice() == number < 1


def test_random_numbers_differ():
    assert len({throw_dice() for _ in range(1000)}) > 990


@pytest.mark.parametrize("call", [lambda system: Client("far:7", tls=True, connect_timeout=5, _system=system).ping(),
                                  lambda system: AdminClient("far:7", 5, tls=True, _system=system).ping()])
def test_who_is_handed_a_system_asks_nobody_else(call):
    asked = []

    def connect(address, timeout, tls):
        asked.append((address, timeout, tls))
        raise NoServer("there is no network here")

    with pytest.raises(NoServer, match="no network here"):
        call(System(clock=lambda: 7.0, connect=connect))
    assert asked == [(("far", 7), 5.0, True)]


@pytest.mark.skipif(not os.path.exists("/proc/uptime"), reason="where Linux tells how long ago it was booted")
def test_the_boot_clock_goes_on_while_the_machine_sleeps():
    """That of the system does."""
    before = REAL_SYSTEM.boot_clock()
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    assert before - 0.02 <= uptime <= REAL_SYSTEM.boot_clock() + 0.02


def test_where_there_is_no_such_clock_the_other_one_counts(monkeypatch):
    def refuse(number):
        raise OSError(22, "Invalid argument")
    monkeypatch.setattr(time, "clock_gettime", refuse, raising=False)
    assert find_boot_clock() is time.monotonic
    monkeypatch.delattr(time, "clock_gettime")
    assert find_boot_clock() is time.monotonic
