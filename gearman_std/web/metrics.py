"""The core's figures for Prometheus, in its text format, or as OpenMetrics if the request asks for that.

The first four gauges of functions, ``gearman_up`` and ``gearman_version_info`` have the names that exporters for gearmand gave
them, so that dashboards go on working.  Source: the Prometheus text exposition format 0.0.4, and OpenMetrics 1.0.
"""
from operator import add, attrgetter

from ..core.choosing import count_busy
from ..core.facts import neighbour_facts, text_of
from ..core.statistics import BUCKETS
from .exchange import Answer, joined, steps_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Sequence, Tuple
    from ..core.core import Core
    from ..core.jobs import Function
    from ..core.peers import Peer
    from .exchange import WebRequest

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
# Samples or histograms of one step, which takes less than a millisecond.  Fewer would cost more rounds of the server's loop.
_SAMPLES, _HISTOGRAMS = 2048, 64
_MOST_OF_A_STEP = 1 << 20  # bytes; no step has so many

# What is told of each function: name, kind, what it is, in the order of the figures in `_row`.
_OF_FUNCTIONS = (
    ("gearman_jobs", "gauge", "Jobs that wait or run"),
    ("gearman_jobs_running", "gauge", "Jobs that run"),
    ("gearman_jobs_waiting", "gauge", "Jobs that wait, delayed ones included"),
    ("gearman_workers", "gauge", "Workers that can do the function"),
    ("gearman_workers_busy", "gauge", "Workers that run jobs of the function"),
    ("gearman_jobs_delayed", "gauge", "Jobs that wait for a time, or for an equal job to end"),
    ("gearman_jobs_aside", "gauge", "Jobs that were set aside"),
    ("gearman_job_bytes", "gauge", "Bytes of the workloads of all jobs"),
    ("gearman_oldest_waiting_seconds", "gauge", "How long the oldest job that could run has waited, 0 if none waits"),
    ("gearman_function_paused", "gauge", "Whether the function is paused"),
    ("gearman_jobs_submitted_total", "counter", "Jobs that were submitted"),
    ("gearman_jobs_joined_total", "counter", "Submits that joined a job"),
    ("gearman_jobs_completed_total", "counter", "Jobs that are complete"),
    ("gearman_jobs_failed_total", "counter", "Jobs that failed"),
    ("gearman_jobs_requeued_total", "counter", "Attempts after whose failure or loss the job waits again"),
    ("gearman_jobs_set_aside_total", "counter", "Jobs that were set aside"),
    ("gearman_jobs_cancelled_total", "counter", "Jobs that were cancelled"),
    ("gearman_jobs_refused_total", "counter", "Submits that were refused"),
    ("gearman_jobs_lost_total", "counter", "Attempts whose worker was lost, was too slow, or gave the job back"),
    ("gearman_jobs_late_total", "counter", "Results from workers that no longer had the job"))
_totals_of = attrgetter(*("totals." + name[len("gearman_jobs_"):-len("_total")] for name, kind, _ in _OF_FUNCTIONS
                          if kind == "counter"))


def metrics_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """All metrics."""
    request.only()
    openmetrics = b"application/openmetrics-text" in request.accept
    return Answer(joined(_families(core, openmetrics), _MOST_OF_A_STEP), _OPENMETRICS if openmetrics else _TEXT)


def _families(core: "Core", openmetrics: bool) -> "Iterator[bytes]":
    yield _metric(openmetrics, "gearman_up", "gauge", "Whether the server answers", 1)
    version = '{version="%s"}' % _escaped(text_of(core.version))
    if openmetrics:
        yield ("# HELP gearman_version The server's version.\n# TYPE gearman_version info\n"
               "gearman_version_info%s 1\n" % version).encode()
    else:
        yield _metric(False, "gearman_version_info", "gauge", "The server's version", 1, version)
    busy = yield from count_busy(core)
    functions = core.registry.all()
    rows = []    # type: List[Sequence[float]]
    labels = []  # type: List[str]
    for start, end in steps_of(functions, lambda function: len(function.name)):
        for function in functions[start:end]:
            rows.append(_row(core, function, busy.get(function, 0)))
            labels.append('{function="%s"} ' % _escaped(text_of(function.name)))
        yield b""
    # A short label counts twice, by its bytes and as a name.
    parts = []  # type: List[Tuple[int, int]]
    for part in steps_of(labels, len, 2 * _SAMPLES):
        parts.append(part)
        if len(parts) > 1:
            yield b""
    made = 0
    for place, (name, kind, what) in enumerate(_OF_FUNCTIONS):
        yield _heading(openmetrics, name, kind, what)
        for start, end in parts:
            some = [str(row[place]) for row in rows[start:end]]
            yield ("%s%s\n" % (name, ("\n" + name).join(map(add, labels[start:end], some)))).encode()
            made += len(some)
            if made >= _SAMPLES or len(parts) > 1:
                yield b""
                made = 0
    yield from _freed(rows)
    for name, what, attribute in (("gearman_job_waiting_seconds", "How long jobs waited before they ran", "waited"),
                                  ("gearman_job_running_seconds", "How long the completed jobs ran", "ran")):
        yield _heading(openmetrics, name, "histogram", what)
        yield from _histograms(name, functions, labels, attribute)
    yield from _freed(labels)
    for name, what, value in (
            ("connections", "Connections", len(core.peers)), ("functions", "Functions", len(functions)),
            ("draining", "Whether new jobs are refused", int(core.draining)),
            ("store_failing", "Whether background jobs are refused because the store fails", int(bool(core.store_trouble)))):
        yield _metric(openmetrics, "gearman_" + name, "gauge", what, value)
    yield from _servers(core, openmetrics)
    for name, count in sorted(core.counters.items()):
        yield _metric(openmetrics, "gearman_server_%s_total" % name, "counter", "What `show totals` calls " + name, count)
    if openmetrics:
        yield b"# EOF\n"


def _freed(things: "List[Any]") -> "Iterator[bytes]":
    """Empty a list in steps: to free very many things at once takes long, too."""
    while things:
        del things[-_SAMPLES:]
        yield b""


def _servers(core: "Core", openmetrics: bool) -> "Iterator[bytes]":
    """The servers of the same database, if it has others."""
    servers = neighbour_facts(core)
    for name, what, key in (("silent_seconds", "For how long a server of the same database has been silent", "silent"),
                            ("adopted", "Whether another server has taken over its jobs since it started", "adopted_by")):
        if servers:
            yield _heading(openmetrics, "gearman_neighbour_" + name, "gauge", what) + "".join(
                'gearman_neighbour_%s{server="%s"} %s\n' % (
                    name, _escaped(server["server"]), int(bool(server[key])) if key == "adopted_by" else server[key])
                for server in servers).encode()


def _row(core: "Core", function: "Function", busy: int) -> "Sequence[float]":
    """The figures of a function, all of the same moment, in the order of _OF_FUNCTIONS."""
    running, delayed = function.running, sum(function.delayed)
    waiting = sum(function.waiting) + delayed
    return (waiting + running, running, waiting, function.workers, busy, delayed, function.aside, function.size,
            function.oldest(core.now) or 0, int(function.paused)) + _totals_of(function)


def _heading(openmetrics: bool, name: str, kind: str, what: str) -> bytes:
    """What stands before the samples of a metric."""
    if openmetrics and kind == "counter":
        name = name[:-len("_total")]
    return ("# HELP %s %s.\n# TYPE %s %s\n" % (name, what, name, kind)).encode()


def _metric(openmetrics: bool, name: str, kind: str, what: str, value: int, labels: str = "") -> bytes:
    """A metric of a single sample."""
    return _heading(openmetrics, name, kind, what) + ("%s%s %d\n" % (name, labels, value)).encode()


def _histograms(name: str, functions: "List[Function]", labels: "List[str]", attribute: str) -> "Iterator[bytes]":
    """One of the histograms of all functions, which are most of what there is to tell."""
    lines = ['%s_bucket\0,le="%s"} %%d\n' % (name, bound) for bound in BUCKETS + ("+Inf",)]  # NUL stands for a label
    form = "".join(lines) + "%s_sum\0} %%s\n%s_count\0} %%d\n" % (name, name)
    for start, end in steps_of(labels, len, 2 * _HISTOGRAMS):
        texts = []
        for function, label in zip(functions[start:end], labels[start:end]):
            if function.statistics is not None:
                function.statistics.settle()
                histogram = getattr(function.statistics, attribute)
                counts = histogram.cumulative()
                texts.append((form % (*counts, round(histogram.seconds, 6), counts[-1])).replace("\0", label[:-2]))
        yield "".join(texts).encode()
        yield b""


def _escaped(text: str) -> str:
    """Text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
