"""The figures for Prometheus: names that dashboards know, one block a metric, labels of any bytes, OpenMetrics when asked."""
import json
import os
import re
import subprocess
from urllib.request import urlopen

import pytest

from gearman_std.client.client import Client
from gearman_std.server.server import Server
from gearman_std.web import metrics
from gearman_std.wire.protocol import WORK_COMPLETE
from patience import until
from programs import free_port
from web_tools import HOST, Browser

SAMPLE = re.compile(r'([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,le="[^"]+")?\})? (\d+(?:\.\d+)?)\Z')


def scrape(browser, *headers):
    """The text, and the samples by name and labels, after a look at the form of it."""
    status, fields, body = browser.asks("GET /metrics", *headers)
    assert status == 200
    text = body.decode()
    samples, blocks, block = {}, [], ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            block = line.split()[2]
            assert block not in blocks
            blocks.append(block)
        elif not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            assert name.startswith(block), (name, block)
            assert (name, labels) not in samples
            samples[name, labels or ""] = float(value)
    return text, samples, fields["content-type"]


@pytest.fixture
def browser(world):
    return Browser(world)


def test_the_names_of_the_exporter_that_people_run(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    for _ in range(3):
        client.submits_bg()
    worker.grabs()
    text, samples, kind = scrape(browser)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    of_f = '{function="f"}'
    assert samples["gearman_up", ""] == 1
    assert samples["gearman_version_info", '{version="%s"}' % world.core.version.decode()] == 1
    assert samples["gearman_jobs", of_f] == 3 and samples["gearman_jobs_running", of_f] == 1
    assert samples["gearman_jobs_waiting", of_f] == 2 and samples["gearman_workers", of_f] == 1
    assert samples["gearman_workers_busy", of_f] == 1
    assert "# TYPE gearman_jobs gauge\n" in text


def test_counters_and_durations(world, browser):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    client.submits_bg()
    world.passes(0.3)
    worker.grabs()
    world.passes(7.0)
    worker.says(WORK_COMPLETE, handle, b"")
    text, samples, _ = scrape(browser)
    of_f = '{function="f"}'
    assert samples["gearman_jobs_submitted_total", of_f] == 2 and samples["gearman_jobs_completed_total", of_f] == 1
    assert "# TYPE gearman_jobs_submitted_total counter\n" in text
    assert samples["gearman_job_waiting_seconds_bucket", '{function="f",le="0.25"}'] == 0
    assert samples["gearman_job_waiting_seconds_bucket", '{function="f",le="0.5"}'] == 1
    assert samples["gearman_job_running_seconds_bucket", '{function="f",le="+Inf"}'] == 1
    assert samples["gearman_job_running_seconds_sum", of_f] == 7 and samples["gearman_job_running_seconds_count", of_f] == 1
    assert samples["gearman_oldest_waiting_seconds", of_f] == pytest.approx(7.3)
    assert samples["gearman_server_refused_draining_total", ""] == 0


def test_openmetrics_when_asked(world, browser):
    world.connects().submits_bg()
    text, samples, kind = scrape(browser, b"Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text") and text.endswith("\n# EOF\n")
    assert "# TYPE gearman_jobs_submitted counter\n" in text and samples["gearman_jobs_submitted_total", '{function="f"}'] == 1
    assert "# TYPE gearman_version info\n" in text


def test_names_of_any_bytes(world, browser):
    for name in (b'a"b\\c', b"line\nend", b"\xff", "gr\u00fcn".encode()):
        world.core.add_function(name)
    _, samples, _ = scrape(browser)
    assert {labels for name, labels in samples if name == "gearman_jobs"} == {
        '{function="a\\"b\\\\c"}', '{function="line\\nend"}', '{function="\\\\xff"}', '{function="gr\u00fcn"}'}


def test_many_functions_are_told_in_turns(world, browser):
    for number in range(1000):
        world.core.add_function(b"f%d" % number)
    _, samples, _ = scrape(browser)
    assert sum(name == "gearman_jobs" for name, _ in samples) == 1000 and browser.turns > 20


def test_what_was_made_for_many_functions_is_freed_in_turns(world, browser, monkeypatch):
    freed, before = [], 0

    class Row(tuple):
        def __del__(self):
            freed.append(self)
    make = metrics._row
    monkeypatch.setattr(metrics, "_row", lambda *arguments: Row(make(*arguments)))
    monkeypatch.setattr(metrics, "_SAMPLES", 50)
    for number in range(1000):
        world.core.add_function(b"f%d" % number)
    packets = browser.session.feed(b"GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % HOST)
    while packets:
        packets = world.core.receive(browser.peer, packets)
        assert len(freed) - before <= 50
        before = len(freed)
    assert before == 1000


def test_two_names_never_have_the_same_label(world, browser):
    names = [b"\xff", b"\\xff", b"\\x5cxff", b"\\\\xff", b"a\nb", b"a\\nb", b'"', b'\\"']
    for name in names:
        world.core.add_function(name)
    _, samples, _ = scrape(browser)
    assert len([1 for name, labels in samples if name == "gearman_jobs"]) == len(names)


def test_the_manual_names_every_figure_and_no_other(world, browser, sources):
    """All but those whose name is not written out, of which there is one for each counter of the server."""
    world.connects().submits_bg()
    with open(os.path.join(sources, "docs", "OPERATIONS.md"), encoding="utf-8") as file:
        table = file.read().partition("| figures at `/metrics` |")[2].partition("\n\n")[0]
    text, _, _ = scrape(browser)
    told = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    assert set(re.findall(r"`(gearman_[a-z_]+)`", table)) == {name for name in told if not name.startswith("gearman_server_")}
    assert "`gearman_server_…_total`" in table and "gearman_server_refused_draining_total" in told


def fill(world):
    """Let there be some of every figure, for functions with all kinds of names."""
    client = world.connects()
    for name in (b"f", b'a"b\\c', "gr\u00fcn".encode(), b"\xff"):
        worker = world.worker(name)
        client.submits_bg(name), client.submits_bg(name)
        world.passes(0.3)
        worker.says(WORK_COMPLETE, worker.grabs(), b"")


@pytest.mark.interop
def test_promtool_finds_nothing_to_complain_of(world, browser, require):
    fill(world)
    done = subprocess.run([require("promtool"), "check", "metrics"], input=scrape(browser)[0].encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    assert (done.returncode, done.stdout.decode()) == (0, "")


@pytest.mark.interop
def test_prometheus_takes_what_it_asks_for(require, tmp_path):
    """It asks for OpenMetrics, which promtool cannot read."""
    def of_prometheus(path):
        try:
            with urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=20) as response:
                return json.loads(response.read().decode())["data"]
        except OSError:  # it does not listen yet
            return None

    def targets():
        told = of_prometheus("/api/v1/targets")
        return [one for one in told["activeTargets"] if one["health"] != "unknown"] if told else None
    port = free_port()
    with Server(listen=["127.0.0.1:0", "web:0"]) as server, Client([server.addresses[0]]) as client:
        client.submit("a\"b", b"", background=True).handle
        config = tmp_path / "prometheus.yml"
        config.write_text("""
global: {scrape_interval: 1s}
scrape_configs: [{job_name: gearman, static_configs: [{targets: ["127.0.0.1:%d"]}]}]
""" % server.addresses[1][1])
        process = subprocess.Popen([
            require("prometheus"), "--config.file", str(config), "--storage.tsdb.path", str(tmp_path / "data"),
            "--web.listen-address", "127.0.0.1:%d" % port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert [(one["lastError"], one["health"]) for one in until(targets)] == [("", "up")]
            found = until(lambda: of_prometheus("/api/v1/query?query=gearman_jobs")["result"])
            assert [(one["metric"]["function"], one["value"][1]) for one in found] == [('a"b', "1")]
        finally:
            process.kill()
            process.wait()


def test_where_the_parts_of_all_functions_begin_is_found_in_turns(world, monkeypatch):
    monkeypatch.setattr(metrics, "_SAMPLES", 2)
    for number in range(200):
        world.core.add_function(b"f%d" % number)
    found, steps_of = [], metrics.steps_of

    def note(*arguments):
        for part in steps_of(*arguments):
            found.append(part)
            yield part
    monkeypatch.setattr(metrics, "steps_of", note)
    browser, most = Browser(world), 0
    packets = browser.session.feed(b"GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % HOST)
    while packets:
        before = len(found)
        packets = world.core.receive(browser.peer, packets)
        most = max(most, len(found) - before)
    browser.peer.outgoing.clear()
    world.core.unsent.clear()
    assert len(found) > 50 and most <= 4
