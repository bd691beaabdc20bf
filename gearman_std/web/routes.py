"""What can be asked for, and what answers it.

    GET  /                                     the page for people
         /metrics                              for Prometheus
         /healthz  /readyz                     whether it lives, and whether it takes jobs
         /api/server                           the server's own figures
         /api/functions                        all functions; search=, sort=, after=, limit=
         /api/functions/NAME                   one, with its durations, history and last ends
         /api/jobs                             jobs that wait or run; function=, state=, search=, after=, limit=
         /api/aside                            those set aside, likewise
         /api/jobs/HANDLE                      one
         /api/schedules                        jobs that recur, the next first; function=, after=, limit=
         /api/workers                          connections; after=, limit=
    POST /api/functions/NAME/ORDER             pause, resume, cancel, requeue, purge, drop
         /api/jobs/HANDLE/ORDER                cancel, requeue, purge, run
         /api/aside/ORDER                      requeue, purge
         /api/server/ORDER                     drain, accept

Every answer but the page and the metrics is JSON.
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
    """It lives: that it answers says so."""
    return json_answer({"alive": True})


def readiness_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """Whether it takes jobs, and if not, why."""
    checks = {"loaded": not core.loading, "accepts": not core.draining, "stores": not core.store_trouble}
    ready = all(checks.values())
    return json_answer(dict(checks, ready=ready), 200 if ready else 503)


# By method, and by the parts of the path, of which None stands for a name or a handle.
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
_OPEN = (health_answer, readiness_answer, style_answer, script_answer)  # for who may ask nothing else, too


def find_route(method: bytes, request: "WebRequest") -> "Route":
    """What answers a request.  Raises ProtocolError if nothing does."""
    kind, parts = "POST" if method == b"POST" else "GET", tuple(request.parts)
    others = False
    for (one, pattern), route in _ROUTES.items():
        if len(pattern) == len(parts) and all(want is None or want == part for want, part in zip(pattern, parts)):
            if one == kind:
                return route if route in _OPEN else _guarded(route)
            others = True
    if others:
        raise refused(405, "that can be asked with another method alone")
    raise refused(404, "there is nothing at %s, only at %s" % (
        request.shown[:80], ", ".join(sorted("/" + "/".join("NAME" if part is None else part for part in pattern)
                                             for one, pattern in _ROUTES if one == "GET"))))


def _guarded(route: "Route") -> "Route":
    def ask(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
        if ADMIN not in peer.rights:
            raise refused(403, "this connection may not ask that")
        return route(core, peer, request)
    return ask
