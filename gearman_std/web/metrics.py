"""The core's figures for Prometheus, in its text format, or as OpenMetrics if the request asks for that.

The first four gauges of functions, ``gearman_up`` and ``gearman_version_info`` have the names that exporters for gearmand gave
them, so that dashboards go on working.  Source: the Prometheus text exposition format 0.0.4, and OpenMetrics 1.0.
"""
from ..core.facts import text_of
from ..core.statistics import BUCKETS
from .exchange import Answer, joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple
    from ..core.core import Core
    from ..core.jobs import Function
    from ..core.peers import Peer
    from .exchange import WebRequest
    Sample = Tuple[str, Any]  # labels, value

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_STEP = 100  # samples made in one step
# The lines with the counts of a histogram; NUL stands for the name and the labels.
_COUNTS = "".join('\0,le="%s"} %%d\n' % bound for bound in [str(bound) for bound in BUCKETS] + ["+Inf"])

# The gauges of each function: name, help, and what finds the value.
_GAUGES = (
    ("gearman_jobs", "Jobs that wait or run", lambda core, function: function.total),
    ("gearman_jobs_running", "Jobs that run", lambda core, function: function.running),
    ("gearman_jobs_waiting", "Jobs that wait, delayed ones included", lambda core, function: function.total - function.running),
    ("gearman_workers", "Workers that can do the function", lambda core, function: function.workers),
    ("gearman_jobs_delayed", "Jobs that wait for a time, or for an equal job to end",
     lambda core, function: sum(function.delayed)),
    ("gearman_jobs_aside", "Jobs that were set aside", lambda core, function: function.aside),
    ("gearman_job_bytes", "Bytes of the workloads of all jobs", lambda core, function: function.size),
    ("gearman_oldest_waiting_seconds", "How long the oldest job that could run has waited, 0 if none waits",
     lambda core, function: function.oldest(core.now) or 0),
    ("gearman_function_paused", "Whether the function is paused", lambda core, function: int(function.paused)),
)  # type: Tuple[Tuple[str, str, Callable[[Core, Function], Any]], ...]

# The counters of each function: attribute of Totals, help.
_COUNTERS_OF_FUNCTIONS = (
    ("submitted", "Jobs that were submitted"), ("joined", "Submits that joined a job"), ("completed", "Jobs that are complete"),
    ("failed", "Jobs that failed"), ("requeued", "Attempts after whose failure or loss the job waits again"),
    ("set_aside", "Jobs that were set aside"), ("cancelled", "Jobs that were cancelled"),
    ("refused", "Submits that were refused"), ("lost", "Attempts whose worker was lost, was too slow, or gave the job back"),
    ("late", "Results from workers that no longer had the job"))


def metrics_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """All metrics."""
    request.only()
    openmetrics = b"application/openmetrics-text" in request.accept
    return Answer(joined(_families(core, openmetrics)), _OPENMETRICS if openmetrics else _TEXT)


def _families(core: "Core", openmetrics: bool) -> "Iterator[bytes]":
    functions = list(core.functions.values())
    labels = {}  # type: Dict[Function, str]
    for count, function in enumerate(functions, 1):
        labels[function] = '{function="%s"}' % _escaped(text_of(function.name))
        if not count % _STEP:
            yield b""
    yield from _family(openmetrics, "gearman_up", "gauge", "Whether the server answers", [("", 1)])
    version = '{version="%s"}' % _escaped(text_of(core.version))
    if openmetrics:
        yield ("# HELP gearman_version The server's version.\n# TYPE gearman_version info\n"
               "gearman_version_info%s 1\n" % version).encode()
    else:
        yield from _family(False, "gearman_version_info", "gauge", "The server's version", [(version, 1)])
    for name, what, figure in _GAUGES:
        yield from _family(openmetrics, name, "gauge", what, ((labels[one], figure(core, one)) for one in functions))
    for name, what in _COUNTERS_OF_FUNCTIONS:
        yield from _family(openmetrics, "gearman_jobs_%s_total" % name, "counter", what,
                           ((labels[one], getattr(one.totals, name)) for one in functions))
    for name, what, attribute in (("gearman_job_waiting_seconds", "How long jobs waited before they ran", "waited"),
                                  ("gearman_job_running_seconds", "How long the completed jobs ran", "ran")):
        yield ("# HELP %s %s.\n# TYPE %s histogram\n" % (name, what, name)).encode()
        yield from _histograms(name, functions, labels, attribute)
    yield from _family(openmetrics, "gearman_connections", "gauge", "Connections", [("", len(core.peers))])
    yield from _family(openmetrics, "gearman_functions", "gauge", "Functions", [("", len(functions))])
    yield from _family(openmetrics, "gearman_draining", "gauge", "Whether new jobs are refused", [("", int(core.draining))])
    yield from _family(openmetrics, "gearman_store_failing", "gauge",
                       "Whether background jobs are refused because the store fails", [("", int(bool(core.store_trouble)))])
    for name, count in sorted(core.counters.items()):
        yield from _family(openmetrics, "gearman_server_%s_total" % name, "counter",
                           "What `show totals` calls %s" % name, [("", count)])
    if openmetrics:
        yield b"# EOF\n"


def _family(openmetrics: bool, name: str, kind: str, what: str, samples: "Iterable[Sample]") -> "Iterator[bytes]":
    """The lines of one metric: its help, its type and its samples."""
    shown = name[:-len("_total")] if openmetrics and kind == "counter" else name
    lines = ["# HELP %s %s.\n# TYPE %s %s\n" % (shown, what, shown, kind)]
    for count, (labels, value) in enumerate(samples, 1):
        lines.append("%s%s %s\n" % (name, labels, value))
        if not count % _STEP:
            yield "".join(lines).encode()
            yield b""
            lines = []
    yield "".join(lines).encode()


def _histograms(name: str, functions: "List[Function]", labels: "Dict[Function, str]", attribute: str) -> "Iterator[bytes]":
    """One histogram for each function.  Its lines are formatted at once, because most lines of the answer are of histograms."""
    for count, function in enumerate(functions, 1):
        if function.statistics is not None:
            function.statistics.settle()
            histogram = getattr(function.statistics, attribute)
            label = labels[function]
            counts = histogram.cumulative()
            text = (_COUNTS % tuple(counts)).replace("\0", name + "_bucket" + label[:-1])
            yield ("%s%s_sum%s %s\n%s_count%s %s\n" % (
                text, name, label, round(histogram.seconds, 6), name, label, counts[-1])).encode()
        if not count % 16:
            yield b""


def _escaped(text: str) -> str:
    """Text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
