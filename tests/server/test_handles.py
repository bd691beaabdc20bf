"""The numbers in handles: never the same twice, whatever the clock says, and whoever else counts."""
import os
import socket
import subprocess
import sys

import pytest

from gearman_std.core.jobs import HANDLE_BLOCK, POSITIONS, place_of
from gearman_std.server import handles
from gearman_std.server.handles import take_handle_numbers
from gearman_std.server.server import Server
from gearman_std.wire.protocol import JOB_CREATED, SUBMIT_JOB, SUBMIT_JOB_BG

from core_world import World


def block(number):
    return range(number + 1, number + HANDLE_BLOCK)


def disjoint(blocks):
    blocks = sorted((part.start, part.stop) for part in blocks)
    return all(before[1] <= after[0] for before, after in zip(blocks, blocks[1:]))


def test_blocks_that_one_process_takes_in_one_second_differ():
    assert disjoint([block(take_handle_numbers(0)) for _ in range(1000)])


def test_blocks_of_processes_that_start_in_one_second_differ(monkeypatch):
    """Also where ids begin at 1 again, in the container of another server of the same host."""
    blocks = []
    for process in range(1, 3000):
        monkeypatch.setattr(handles, "_last_second", 0)
        monkeypatch.setattr(os, "getpid", lambda: process)
        blocks.append(block(take_handle_numbers(0, lambda: 1800000000.0)))
    assert disjoint(blocks)


def test_a_block_is_beyond_the_last_number_whatever_the_clock_says(monkeypatch):
    for wall in (1800000000.0, 1800000000.0, 1700000000.0, 0.0, -5.0):
        monkeypatch.setattr(handles, "_last_second", 0)
        before = take_handle_numbers(0, lambda: 1800000000.0) + 5
        monkeypatch.setattr(handles, "_last_second", 0)
        assert take_handle_numbers(before, lambda: wall) > before


@pytest.mark.parametrize("name", ["h", "x" * 253])
def test_a_handle_has_less_than_64_bytes_as_long_as_these_numbers_last(monkeypatch, name):
    monkeypatch.setattr(handles, "_last_second", 0)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    core = Server(port=0).core
    last = take_handle_numbers(0, lambda: 3725000000.0) + HANDLE_BLOCK  # in 2088
    assert len(b"%b:%d" % (core.handle_prefix, last)) < 64
    assert last < 1 << 63
    assert len("%s:%d" % ("p" * 43, last)) < 64


def test_a_clock_that_is_set_to_another_age_makes_no_number_that_is_too_large(monkeypatch):
    """SQLite's have 63 binary digits, and what a number is made of has to fit in."""
    for wall in (3725320448.0, 4102444800.0, 1e12):  # the last one that fits would be a second earlier
        monkeypatch.setattr(handles, "_last_second", 0)
        before = take_handle_numbers(0, lambda: 1800000000.0)
        assert before < take_handle_numbers(before, lambda: wall) < 1 << 62


def test_a_core_takes_another_block_when_one_is_used_up():
    taken = []

    def numbers(after):
        taken.append(after)
        return 10 ** 6 * len(taken)
    world = World(numbers=numbers)
    client = world.connects()
    assert client.submits() == b"H:x:1000001"
    world.core.handles.number += HANDLE_BLOCK - 3
    assert [client.submits(), client.submits()] == [b"H:x:%d" % (10 ** 6 + HANDLE_BLOCK - 1), b"H:x:2000001"]
    assert taken == [0, 10 ** 6 + HANDLE_BLOCK - 1]


@pytest.mark.parametrize("stored", [False, True])
def test_servers_of_one_host_at_the_same_time_and_one_after_the_other(place, tmp_path, stored):
    seen = set()
    for life in range(3):
        servers = [place.serve(handle_numbers=take_handle_numbers, store=tmp_path / ("%d.db" % n) if stored else None)
                   for n in range(3)]
        for server in servers:
            wire = place.wire(server)
            for _ in range(5):
                wire.request(SUBMIT_JOB_BG if stored else SUBMIT_JOB, b"f", b"", b"w")
                kind, handle = wire.packet()
                assert kind == JOB_CREATED and handle.startswith(b"H:t:") and handle[4:].isdigit()
                seen.add(handle)
            wire.abandon()
        for server in servers:
            server.stop()
            server.join()
    assert len(seen) == 45


def test_processes_take_different_blocks():
    code = "from gearman_std.server.handles import take_handle_numbers; print(take_handle_numbers(0))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert disjoint([block(int(process.communicate()[0])) for process in running])


def test_jobs_keep_their_order_over_blocks_of_numbers(monkeypatch):
    monkeypatch.setattr(handles, "_last_second", 0)
    numbers = [1, 5, 200000, (1 << 32) - 1, take_handle_numbers(0) + 1]
    for _ in range(20):
        numbers += [numbers[-1] + 1, numbers[-1] + HANDLE_BLOCK - 2, take_handle_numbers(numbers[-1]) + 1]
    places = [place_of(number) for number in numbers]
    assert places == sorted(set(places))
    assert all(after - before >= POSITIONS for before, after in zip(places, places[1:]))
    assert place_of(take_handle_numbers(0, lambda: 3725000000.0) + HANDLE_BLOCK) < 1 << 63
