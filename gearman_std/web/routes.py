"""The paths of the page and the API, and the function that answers each.

    GET  /                                     the page for people; search=, sort=
         /functions/NAME  /jobs/HANDLE         the same for one function, one job
         /metrics                              for Prometheus
         /healthz  /readyz                     whether the server lives; whether it takes jobs
         /api/server                           the server's own figures
         /api/functions                        functions; search=, sort=, after=, limit=
         /api/functions/NAME                   one function, with its durations, history and last ends
         /api/jobs                             jobs that are not set aside; function=, state=, search=, after=, limit=
         /api/aside                            jobs that were set aside; function=, search=, after=, limit=
         /api/jobs/HANDLE                      one job, also one that was set aside or has ended
         /api/schedules                        jobs that recur, the next first; function=, after=, limit=
         /api/workers                          connections; after=, limit=
    POST /api/functions/NAME/ORDER             pause, resume, cancel, requeue, purge, drop (force=1: although it has jobs)
         /api/jobs/HANDLE/ORDER                cancel, requeue, purge, run
         /api/aside/ORDER                      requeue, purge
         /api/server/ORDER                     drain, accept

Answers are JSON, except those of the page and the metrics; errors are lines of text.
"""
from ..core.rights import ADMIN
from ..wire.http import refused
from .exchange import Answer, json_answer
from .api import (aside_answer, function_answer, functions_answer, job_answer, jobs_answer, order_answer,
                  schedules_answer, server_answer, workers_answer)
from .metrics import metrics_answer
from .page import function_page_answer, job_page_answer, overview_answer, script_answer, style_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple
    from ..core.core import Core
    from ..core.peers import Peer
    from .exchange import WebRequest
    Route = Callable[[Core, Peer, WebRequest], Answer]


def health_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The server lives: the answer itself shows it."""
    return json_answer({"alive": True})


def readiness_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """Whether the server takes jobs, and if not, why."""
    checks = {"loaded": not core.loading, "accepts": not core.draining, "stores": not core.store_trouble}
    ready = all(checks.values())
    return json_answer(dict(checks, ready=ready), 200 if ready else 503)


# By the method and the parts of the path; None stands for a name, a handle or an order.
_ROUTES = {
    ("GET", ("",)): overview_answer, ("GET", ("functions", None)): function_page_answer,
    ("GET", ("jobs", None)): job_page_answer, ("GET", ("page.css",)): style_answer, ("GET", ("page.js",)): script_answer,
    ("GET", ("metrics",)): metrics_answer, ("GET", ("healthz",)): health_answer, ("GET", ("readyz",)): readiness_answer,
    ("GET", ("api", "server")): server_answer, ("GET", ("api", "functions")): functions_answer,
    ("GET", ("api", "functions", None)): function_answer, ("GET", ("api", "jobs")): jobs_answer,
    ("GET", ("api", "jobs", None)): job_answer, ("GET", ("api", "aside")): aside_answer,
    ("GET", ("api", "schedules")): schedules_answer, ("GET", ("api", "workers")): workers_answer,
    ("POST", ("api", "functions", None, None)): order_answer,
    ("POST", ("api", "jobs", None, None)): order_answer, ("POST", ("api", "aside", None)): order_answer,
    ("POST", ("api", "server", None)): order_answer,
}  # type: Dict[Tuple[str, Tuple[Any, ...]], Route]
_OPEN = (health_answer, readiness_answer, style_answer, script_answer)  # also for those without any right


def find_route(method: bytes, request: "WebRequest") -> "Route":
    """The function that answers a request.  Raises ProtocolError if there is none."""
    kind, parts = "POST" if method == b"POST" else "GET", tuple(request.parts)
    others = False
    for (one, pattern), route in _ROUTES.items():
        if len(pattern) == len(parts) and all(want is None or want == part for want, part in zip(pattern, parts)):
            if one == kind:
                return route if route in _OPEN else _guarded(route)
            others = True
    if others:
        raise refused(405, "this path takes only %s" % ("GET" if kind == "POST" else "POST"))
    raise refused(404, "there is nothing at %s, only at %s" % (
        request.shown[:80], ", ".join(sorted("/" + "/".join("NAME" if part is None else part for part in pattern)
                                             for one, pattern in _ROUTES if one == "GET"))))


def _guarded(route: "Route") -> "Route":
    def ask(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
        if ADMIN not in peer.rights:
            raise refused(403, "this connection may not ask for that")
        return route(core, peer, request)
    return ask
