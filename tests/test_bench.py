"""The benchmark: each scenario runs, with a tiny load, and its figures can be true."""
import importlib.util
import json
import os
import socket

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load_bench():
    spec = importlib.util.spec_from_file_location("tools_bench", os.path.join(ROOT, "tools", "bench.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load_bench()


@pytest.fixture(autouse=True)
def same_cores():
    """The benchmark leaves a core to the server."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if cores is not None:
        os.sched_setaffinity(0, cores)


def run(tmp_path, capsys, *arguments):
    """Its exit status, its figures and its output.  The two that measure most leave it the cores that other tests leave it."""
    path = str(tmp_path / "figures.json")
    status = bench.main(["--alone", "--rounds", "1", "--load", "0.002", "--json", path] + list(arguments))
    with open(path) as file:
        return status, json.load(file), capsys.readouterr().out


@pytest.mark.long
def test_every_scenario_of_a_server_is_measured(tmp_path, capsys):
    status, figures, output = run(tmp_path, capsys, "--unpinned", "--only", "round trip,background,echo")
    by_scenario = figures["servers"]
    names = [name for name, _ in bench.SERVER_SCENARIOS]
    assert [name for name in by_scenario if name in names] == names
    for name, load in bench.SERVER_SCENARIOS:
        [one] = by_scenario[name]["gearman_std"]
        assert one["jobs"] == max(2, int(load["jobs"] * 0.002))
        assert 1 < one["per_second"] < 10000000
        assert name in output
        assert one.get("cpu_us", 1) > 0
    assert by_scenario["round trip, serial"]["gearman_std"][0]["p50_us"] > 1
    assert (status == 0) == (bench.DURABLE_SCENARIO[0] in by_scenario) == bool(figures["beside"]["gearman_std"])


@pytest.mark.long
def test_growth_and_idleness_are_measured(tmp_path, capsys):
    status, figures, output = run(tmp_path, capsys, "--unpinned", "--only", "growth,idle CPU")
    assert status == 0
    sizes = {title: [one["size"] for one in by_server["gearman_std"]] for title, by_server in figures["growth"].items()}
    assert sizes == {"growth: queued jobs": ["20", "200", "2000"],
                     "growth: idle connections": ["10", "10", "20"],
                     "growth: functions x workers": ["2 x 2", "2 x 2", "10 x 2"]}
    assert "growth: queued jobs" in output


@pytest.mark.long
def test_a_start_with_stored_jobs_is_measured(tmp_path, capsys):
    status, figures, output = run(tmp_path, capsys, "--unpinned", "--only", "stored jobs")
    assert status == 0
    found = figures["start"]["gearman_std"]
    assert [one["size"] for one in found] == ["2000 x 64 bytes", "1000 x 4096 bytes", "10 x 1048576 bytes"]
    assert all(0.05 < one["seconds"] < 60 for one in found) and "2000 x 64 bytes" in output


@pytest.mark.long
def test_clients_and_workers_are_measured(tmp_path, capsys):
    status, figures, output = run(tmp_path, capsys, "--only", "clients and workers")
    assert status == 0
    assert set(figures["clients"]) == {"serial calls", "background submits", "batches"}
    for by_kind in figures["clients"].values():
        assert by_kind["gearman_std"][0]["per_second"] > 1
    assert "batches" in output


@pytest.mark.long
def test_round_trips_are_measured_beside_durable_submits(tmp_path, capsys):
    pytest.importorskip("sqlite3")
    status, figures, output = run(tmp_path, capsys, "--only", "beside")
    assert status == 0 and not figures["servers"]
    pairs = figures["beside"]["gearman_std"]
    assert len(pairs) == bench.BESIDE_PAIRS
    for pair in pairs:
        assert pair["durable_per_second"] >= 0  # so few trips may take less time than one of these
        for key in ("alone", "beside"):
            assert pair[key]["jobs"] == 5 and pair[key]["per_second"] > 1 and pair[key]["p99_us"] > 1
    assert "rate x" in output and "p99 x" in output and "durable submits" in output


def test_durable_jobs_are_counted_by_their_function(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(bench.socket, "create_connection", lambda *_: ours)
        theirs.sendall(b"load0\t5\t0\t1\nstored\t37\t0\t0\nstored2\t9\t0\t0\n.\n")
        assert bench.stored_jobs(4730) == 37
        assert theirs.recv(100) == b"status\n"


@pytest.mark.long
def test_a_server_that_takes_no_durable_jobs_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "SUBMITTER", "import sys; sys.exit('refused')")
    status, figures, output = run(tmp_path, capsys, "--only", "beside")
    assert status == 1 and figures["beside"]["gearman_std"] == []
    assert "a durable job was not taken" in output


@pytest.mark.long
def test_a_drain_without_the_submits_before_it_makes_them_first(tmp_path, capsys):
    status, figures, _ = run(tmp_path, capsys, "--only", "background drain")
    assert status == 0
    assert list(figures["servers"]) == ["background submit", "background drain"]


@pytest.mark.long
def test_a_server_that_does_not_start_is_told_and_the_others_are_measured(tmp_path, capsys):
    status, figures, output = run(tmp_path, capsys, "--only", "echo", "--server", "broken=false {port}")
    assert status == 1
    assert list(figures["servers"]["echo"]) == ["gearman_std"]
    assert "broken" in output and "it ended at once" in output


def test_list_names_what_can_be_measured(capsys):
    assert bench.main(["--list"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert [name for name, _ in bench.SERVER_SCENARIOS] == names[:len(bench.SERVER_SCENARIOS)]


def test_a_client_counts_answers_that_come_in_two_reads():
    ours, theirs = socket.socketpair()
    answer = b"\0RES\0\0\0\x0d\0\0\0\x03h\0x"
    with ours, theirs:
        client = bench.LoadClient(ours, [b"request"], bench.WORK_COMPLETE)
        counts = []
        for byte in bytearray(answer * 2):
            theirs.sendall(bytes([byte]))
            counts.append(client.receive())
        assert sum(counts) == 2
        theirs.sendall(answer * 3 + answer[:5])
        assert client.receive() == 3
        theirs.sendall(answer[5:] + answer)
        assert client.receive() == 2


def test_a_client_sends_the_functions_in_turn():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = bench.LoadClient(ours, [b"a", b"b", b"c"], bench.WORK_COMPLETE)
        client.submit(2)
        client.submit(5)
        assert theirs.recv(100) == b"abcabca"


def test_a_worker_sends_workloads_back_and_sleeps_when_there_are_none():
    ours, theirs = socket.socketpair()
    response = b"\0RES\0\0\0\x0b\0\0\0\x05h\0f\0w"
    with ours, theirs:
        worker = bench.LoadWorker(ours)
        theirs.sendall(response + response[:9])
        assert worker.receive() == 1
        assert theirs.recv(100) == bench.request(bench.WORK_COMPLETE, b"h", b"w") + bench.GRAB
        theirs.sendall(response[9:] + b"\0RES\0\0\0\x0a\0\0\0\0")
        assert worker.receive() == 1
        assert theirs.recv(100) == (bench.request(bench.WORK_COMPLETE, b"h", b"w") + bench.GRAB
                                    + bench.request(bench.PRE_SLEEP))
