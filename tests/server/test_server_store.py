"""A server with a store, over real sockets: disk before reply, one line of trouble in the log, all back after a restart."""
import logging
import shutil
import socket

import pytest

from gearman_std.errors import StoreError
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_UNIQ,
                                       JOB_CREATED, NO_JOB, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH_BG,
                                       SUBMIT_JOB_LOW_BG, WORK_COMPLETE)
from gearman_std.server.server import Server
from gearman_std.store.sqlite import JobStore, connect_sqlite

from programs import free_port
from server_tools import TIMEOUT, Wire


def restarted(place, server, **settings):
    server.stop()
    server.join(TIMEOUT)
    return place.serve(**settings)


def test_a_graceful_stop_says_what_it_waits_for_which_a_store_changes(place, tmp_path, caplog):
    caplog.set_level(logging.INFO, "gearman_std.server")
    for store, words in ((None, "stopping when no job is left"), (tmp_path / "jobs.db", "the others stay in the store")):
        server = place.serve(**({"store": store} if store else {}))
        if store:
            wire = place.wire(server)
            wire.request(SUBMIT_JOB_BG, b"f", b"", b"it stays")
            wire.response(JOB_CREATED, b"H:t:1")
        caplog.clear()
        server.stop(graceful=True)
        server.join(TIMEOUT)
        assert [message for message in caplog.messages if message.startswith("stopping") and words in message], caplog.messages


def test_background_jobs_are_there_after_a_restart(place, tmp_path):
    server = place.serve(store=tmp_path / "jobs.db")
    wire = place.wire(server)
    wire.request(SUBMIT_JOB_BG, b"f", b"u", b"kept")
    wire.response(JOB_CREATED, b"H:t:1")
    wire.request(SUBMIT_JOB, b"f", b"", b"not kept")
    wire.response(JOB_CREATED, b"H:t:2")
    server = restarted(place, server, store=str(tmp_path / "jobs.db"))
    wire.ended()
    wire = place.wire(server)
    wire.request(CAN_DO, b"f")
    wire.request(GRAB_JOB)
    wire.response(JOB_ASSIGN, b"H:t:1", b"f", b"kept")
    wire.request(WORK_COMPLETE, b"H:t:1", b"")
    wire.request(GRAB_JOB)
    wire.response(NO_JOB)
    server = restarted(place, server, store=tmp_path / "jobs.db")
    wire.ended()
    wire = place.wire(server)
    wire.request(SUBMIT_JOB, b"f", b"", b"")
    wire.response(JOB_CREATED, b"H:t:3")


def test_a_job_is_on_disk_when_it_is_acknowledged(place, tmp_path):
    server = place.serve(store=tmp_path / "jobs.db")
    wire = place.wire(server)
    reader = connect_sqlite(str(tmp_path / "jobs.db"))
    for number in range(1, 20):
        wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
        wire.response(JOB_CREATED, b"H:t:%d" % number)
        assert reader.execute("SELECT max(number) FROM jobs").fetchone() == (number,)
    reader.close()


def test_a_server_whose_store_is_locked_by_another_program_answers_others_meanwhile(place, tmp_path, monkeypatch):
    monkeypatch.setattr("gearman_std.store.storekeeper.PATIENCE", 0.1)
    server = place.serve(store=tmp_path / "jobs.db")
    wire, other = place.wire(server), place.wire(server)
    lock = connect_sqlite(str(tmp_path / "jobs.db"))
    lock.execute("BEGIN IMMEDIATE")
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    wire.response(ERROR, b"QUEUE_ERROR", b"Background jobs cannot be stored at present: database is locked")
    other.request(ECHO_REQ, b"x")
    other.response(ECHO_RES, b"x")
    lock.execute("ROLLBACK")
    lock.close()
    submit_until_taken(wire)


def submit_until_taken(wire):
    """It recovers by itself; each attempt is a round trip."""
    kind = ERROR
    while kind == ERROR:
        wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
        kind, body = wire.packet()
        assert kind == JOB_CREATED or body.startswith(b"QUEUE_ERROR\0")


def test_a_server_whose_directory_vanishes_recovers_with_all_jobs_when_it_is_there_again(place, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    server = place.serve(store=folder / "jobs.db")
    wire = place.wire(server)
    wire.request(SUBMIT_JOB_BG, b"f", b"first", b"w")
    wire.response(JOB_CREATED, b"H:t:1")
    shutil.rmtree(str(folder))
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    assert wire.packet()[0] == ERROR
    folder.mkdir()
    submit_until_taken(wire)
    server = restarted(place, server, store=folder / "jobs.db")
    wire.ended()
    assert len(server.core.jobs) == 2 and server.core.jobs[b"H:t:1"].unique == b"first"


def test_two_servers_cannot_have_one_store(place, tmp_path):
    place.serve(store=tmp_path / "jobs.db")
    second = Server(port=0, store=tmp_path / "jobs.db")
    with pytest.raises(StoreError, match="in use by another server"):
        second.start()
    assert not second.running


def test_a_store_that_cannot_be_opened_leaves_nothing_open(tmp_path):
    server = Server(port=0, store=tmp_path / "no" / "jobs.db")
    with pytest.raises(StoreError):
        server.start()
    with pytest.raises(OSError):
        socket.create_connection(server.address)


def test_an_idle_server_in_batch_mode_flushes_and_then_sleeps(place, tmp_path):
    store = JobStore(tmp_path / "jobs.db", "batch")
    flushes = []
    write = store.write

    def note(records, number, flush=True):
        write(records, number, flush)
        flushes.append(flush)
    store.write = note
    server = place.serve(store=store)
    wire = place.wire(server)
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"w")
    wire.response(JOB_CREATED, b"H:t:1")
    while len(flushes) < 2:
        wire.request(ECHO_REQ, b"x")
        wire.response(ECHO_RES, b"x")
    assert flushes == [False, True]


@pytest.mark.interop
@pytest.mark.parametrize("same_file", [False, True])
def test_the_queue_of_a_real_gearmand_is_taken_over(require, processes, place, tmp_path, same_file):
    """It keeps no reducers, NULL for an empty workload, and of jobs without a unique one for each function."""
    port, old = free_port(), str(tmp_path / "gearmand.db")
    gearmand = processes.start_server([require("gearmand"), "-p", str(port), "-L", "127.0.0.1", "-l", "none",
                                       "-P", str(tmp_path / "pid"), "-q", "libsqlite3", "--libsqlite3-db=" + old], port)
    wire = Wire(("127.0.0.1", port))
    jobs = [(SUBMIT_JOB_BG, b"f", b"u1", b"\x00binary\xff"), (SUBMIT_JOB_HIGH_BG, b"f", b"u2", b"high"),
            (SUBMIT_JOB_LOW_BG, b"f", b"u3", b"low"), (SUBMIT_JOB_BG, b"f", b"u4", b""), (SUBMIT_JOB_BG, b"g", b"", b"only"),
            (SUBMIT_JOB_EPOCH, b"f", b"u5", b"4000000000", b"far away")]
    for job in jobs:
        wire.request(*job)
        assert wire.packet()[0] == JOB_CREATED
    gearmand.terminate()
    gearmand.wait(TIMEOUT)
    wire.abandon()
    path = old if same_file else str(tmp_path / "jobs.db")
    server = place.serve(store=JobStore(path, gearmand_queue=(old, "gearman_queue")))
    wire = place.wire(server)
    wire.request(CAN_DO, b"f")
    wire.request(CAN_DO, b"g")
    taken = []
    for _ in range(5):
        wire.request(GRAB_JOB_UNIQ)
        kind, body = wire.packet()
        assert kind == JOB_ASSIGN_UNIQ
        taken.append(tuple(body.split(b"\0", 3)[1:]))
    wire.request(GRAB_JOB)
    wire.response(NO_JOB)
    assert taken[0] == (b"f", b"u2", b"high") and taken[-1] == (b"f", b"u3", b"low")
    assert sorted(taken[1:4]) == [(b"f", b"u1", b"\x00binary\xff"), (b"f", b"u4", b""), (b"g", b"", b"only")]
    assert [job.due for job in server.core.jobs.values() if job.unique == b"u5"] == [4000000000.0]
