"""The figures for Prometheus: names that dashboards know, one block a metric, labels of any bytes, OpenMetrics when asked."""
import re

import pytest

from gearman_std.wire.protocol import WORK_COMPLETE
from web_tools import Browser

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
    assert sum(name == "gearman_jobs" for name, _ in samples) == 1000 and browser.turns > 100


def test_two_names_never_have_the_same_label(world, browser):
    names = [b"\xff", b"\\xff", b"\\x5cxff", b"\\\\xff", b"a\nb", b"a\\nb", b'"', b'\\"']
    for name in names:
        world.core.add_function(name)
    _, samples, _ = scrape(browser)
    assert len([1 for name, labels in samples if name == "gearman_jobs"]) == len(names)
