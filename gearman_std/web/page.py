"""The page for people: HTML that shows everything without a script, made in steps.

    /                     the overview; search=, sort=
    /functions/NAME       one function: durations, history, last ends, jobs
    /jobs/HANDLE          one job
"""
from html import escape

from ..core.choosing import count_busy
from ..core.facts import ends_of, function_story, job_facts, neighbour_facts, peer_facts, text_of
from ..core.rights import STEER
from .exchange import Answer, as_bytes, joined
from .api import FUNCTION_ORDERS, choose_functions, choose_jobs, choose_schedules, find_function, find_job
from .looks import SCRIPT, STYLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Sequence
    from ..core.core import Core
    from ..core.jobs import Function, Job
    from ..core.ledger import KeepRecord
    from ..core.peers import Peer
    from .exchange import WebRequest

HTML = b"text/html; charset=utf-8"
SHOWN = 50   # rows of a table, at most
SHOWN_SIZE = 4000  # bytes of data, a result or a text, at most
POINTS = 60  # points of a line, and bars of a chart, over the last five minutes

_STATE_LOOKS = {"running": "run", "waiting": "wait", "set aside": "bad"}

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
<h1><a href="/">Gearman <span class="faint">%s</span></a></h1>
<span id="live" class="faint" role="status"></span>
<form action="/" role="search"><label>Search <input name="search" type="search" value="%s" \
placeholder="handle, unique, function"></label></form>
</header>
<main>
"""
_TAIL = """\
</main>
<footer><p id="said" role="status"></p>
<p>gearman_std %s · <a href="/metrics">metrics</a> · <a href="/api/server">JSON</a><noscript> · Without JavaScript, the page \
does not renew itself and has no buttons.</noscript></p></footer>
<dialog aria-label="Are you sure?"><form method="dialog"><p></p><menu><button value="no">No</button>
<button value="yes">Yes</button></menu></form></dialog>
</body>
</html>
"""


def style_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The style of the page."""
    return Answer([STYLE.encode()], b"text/css; charset=utf-8")


def script_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The script of the page."""
    return Answer([SCRIPT.encode()], b"text/javascript; charset=utf-8")


def overview_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The overview: functions, jobs, schedules and workers."""
    request.only("search", "sort", "part")
    order = request.one_of("sort", *FUNCTION_ORDERS)
    search = request.query.get("search", "")
    return _page(core, request, "Gearman", _overview(core, request.bytes_of("search"), order, STEER in peer.rights), search)


def function_page_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The page of a function."""
    request.only("part")
    function = find_function(core, request.parts[1])
    return _page(core, request, "%s - Gearman" % request.parts[1], _function_page(core, function, STEER in peer.rights))


def job_page_answer(core: "Core", peer: "Peer", request: "WebRequest") -> Answer:
    """The page of a job, also of one that has ended, while the server keeps how it ended."""
    request.only("part")
    handle = as_bytes(request.parts[1])
    kept = core.results.find(handle, core.now) if handle not in core.jobs and handle not in core.aside else None
    content = iter((_ended_job_page(core, kept),)) if kept is not None else _job_page(
        core, find_job(core, request.parts[1]), STEER in peer.rights)
    return _page(core, request, "%s - Gearman" % request.parts[1], content)


def _page(core: "Core", request: "WebRequest", title: str, content: "Iterable[str]", search: str = "") -> Answer:
    """The whole page; with `part=main`, only what the script renews."""
    def make() -> "Iterator[bytes]":
        whole = request.one_of("part", "", "main") != "main"
        if whole:
            host = text_of(core.handle_prefix).partition(":")[2]
            yield _bytes(_HEAD % (escape(title), escape(host), escape(search)))
        for piece in content:
            yield _bytes(piece)
        if whole:
            yield _bytes(_TAIL % escape(text_of(core.version)))
    return Answer(joined(make()), HTML)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


# ----------------------------------------------------------------------------------------------------------------- the pages

def _overview(core: "Core", search: bytes, order: str, steers: bool) -> "Iterator[str]":
    yield from _tiles(core, steers)
    yield from _functions_section(core, search, order, steers)
    if search:
        yield from _jobs_section(core, "Jobs found", core.jobs, core.job_chain, "", search, steers)
    else:
        yield from _jobs_section(core, "Running", core.jobs, core.job_chain, "running", b"", steers)
    yield from _jobs_section(core, "Set aside", core.aside, core.aside_chain, "", search, steers)
    if not search:
        yield from _schedules_section(core, steers)
        yield from _workers_section(core)
        yield from _servers_section(core)


def _tiles(core: "Core", steers: bool) -> "Iterator[str]":
    running = waiting = delayed = workers = 0
    for count, function in enumerate(core.registry.all(), 1):
        running += function.running
        waiting += sum(function.waiting)
        delayed += sum(function.delayed)
        if not count % 256:
            yield ""
    workers = sum(1 for peer in core.peers if peer.abilities)
    if core.stopping:
        state, kind = "stopping", "wait"
    elif core.store_trouble:
        state, kind = "store fails", "bad"
    elif core.draining:
        state, kind = "draining", "wait"
    else:
        state, kind = "takes jobs", "good"
    yield '<dl class="tiles">'
    for name, value, look in (("Waiting", waiting, "wait" if waiting else ""), ("Running", running, "run" if running else ""),
                              ("Delayed", delayed, ""), ("Set aside", len(core.aside), "bad" if core.aside else ""),
                              ("Functions", len(core.functions), ""), ("Workers", workers, ""),
                              ("Connections", len(core.peers), "")):
        yield '<div><dt>%s</dt><dd class="%s">%s</dd></div>' % (name, look, _count(value))
    yield '<div><dt>Server</dt><dd class="%s">%s</dd></div></dl>\n' % (kind, state)
    if core.store_trouble:
        yield '<p class="notice">The store: %s</p>\n' % escape(text_of(core.store_trouble))
    if steers and not core.stopping:
        if core.draining:
            yield _order("/api/server/accept", "Accept jobs", "Accept new jobs again?") + "\n"
        else:
            yield _order("/api/server/drain", "Drain", "Refuse new jobs, but go on with those that wait?") + "\n"


def _functions_section(core: "Core", search: bytes, order: str, steers: bool) -> "Iterator[str]":
    chosen = yield from _found(choose_functions(core, search, order, SHOWN + 1))
    busy = yield from _found(count_busy(core))
    yield "<h2>Functions <small>%s</small></h2>\n" % _shown(chosen, core.functions)
    if not chosen:
        yield '<p class="faint">%s</p>\n' % ("No function has that in its name." if search else "None.")
        return
    most = max(function.total for function in chosen[:SHOWN]) or 1
    keep = "&amp;search=" + _page_quoted(search) if search else ""
    heads = [("name", "Function", ""), ("waiting", "Waiting", "n"), ("running", "Running", "n"), ("", "", "wide"),
             ("oldest", "Oldest", "n"), ("completed", "Done", "n wide"), ("", "per second", "n"),
             ("", "last 5 minutes", "wide"), ("failed", "Failed", "n"), ("aside", "Aside", "n wide"),
             ("workers", "Workers", "n"), ("", "Busy", "n wide"), ("", "", "")]
    yield '<div class="scroll"><table><thead><tr>'
    for name, title, look in heads:
        sorts = name and name != order
        yield '<th class="%s"%s>%s</th>' % (look, ' aria-sort="other"' if name == order else "", (
            '<a href="/?sort=%s%s">%s</a>' % (name, keep, title) if sorts else title))
    yield "</tr></thead><tbody>\n"
    for function in chosen[:SHOWN]:
        yield _function_row(core, function, most, busy.get(function, 0), steers)
        yield ""
    yield "</tbody></table></div>\n"


def _function_row(core: "Core", function: "Function", most: int, busy: int, steers: bool) -> str:
    name, waiting = text_of(function.name), sum(function.waiting)
    statistics = function.statistics
    rate, line = "", ""
    if statistics is not None:
        function.update_statistics(core.now)
        rate = "%.1f" % (statistics.history.recent(core.now, 10)[1] / 10.0)
        line = _sparkline(statistics.history.line(core.now, POINTS, 1))
    orders = ""
    if steers:
        path = "/api/functions/%s/" % _page_quoted(function.name)
        orders = _pause_or_resume(function, path, name)
    return ('<tr><td class="k"><a href="/functions/%s">%s</a>%s</td><td class="n %s">%s</td><td class="n %s">%s</td>'
            '<td class="wide">%s</td><td class="n">%s</td><td class="n wide">%s</td><td class="n">%s</td>'
            '<td class="wide">%s</td><td class="n %s">%s</td><td class="n wide %s">%s</td><td class="n %s">%s</td>'
            '<td class="n wide">%s</td><td class="orders">%s</td></tr>\n' % (
                _page_quoted(function.name), escape(name) or "(no name)",
                ' <span class="wait">paused</span>' if function.paused else "",
                "wait" if waiting else "", _count(waiting), "run" if function.running else "", _count(function.running),
                _bar(waiting, function.running, most),
                _time(function.oldest(core.now)), _count(function.totals.completed), rate, line,
                "bad" if function.totals.failed else "", _count(function.totals.failed),
                "bad" if function.aside else "", _count(function.aside),
                "bad" if waiting and not function.workers else "", _count(function.workers), _count(busy), orders))


def _jobs_section(core: "Core", title: str, known: "Mapping[bytes, Job]", chain: "Any", state: str, search: bytes,
                  steers: bool, function: bytes = b"") -> "Iterator[str]":
    jobs = yield from _found(choose_jobs(core, known, chain, state, function, search, SHOWN + 1))
    aside = known is core.aside
    if not jobs and (search or aside):
        return
    yield "<h2>%s <small>%s</small></h2>\n" % (title, _shown(jobs, ()))
    if aside and steers and not search:
        path = "/api/functions/%s/" % _page_quoted(function) if function else "/api/aside/"
        whose = " of " + text_of(function) if function else ""
        yield _order(path + "requeue", "Requeue all", "Put all jobs%s that were set aside back into the queue?" % whose) + " "
        yield _order(path + "purge", "Purge all", "Throw all jobs%s that were set aside away?" % whose) + "\n"
    if not jobs:
        yield '<p class="faint">None.</p>\n'
        return
    yield ('<div class="scroll"><table><thead><tr><th>Job</th><th>Function</th><th class="wide">Unique</th><th%s>State</th>'
           '<th class="n">%s</th><th>%s</th><th></th></tr></thead><tbody>\n' % (
               (' class="wide"', "Attempts", "Error") if aside else ("", "For", "Progress or worker")))
    for job in jobs[:SHOWN]:
        yield _job_row(core, job, aside, steers)
        yield ""
    yield "</tbody></table></div>\n"


def _job_row(core: "Core", job: "Job", aside: bool, steers: bool) -> str:
    facts = job_facts(core, job)
    handle, path = facts["handle"], "/api/jobs/%s/" % _page_quoted(job.handle)
    if aside:
        measure, about = str(job.attempts), '<span class="bad">%s</span>' % escape(facts["error"])
        orders = _orders_aside(path, handle)
    else:
        measure = _time(facts["running"] if facts["running"] is not None else facts["waiting"])
        about = _progress(facts["progress"]) or escape(_name_of_worker(facts["worker"]))
        orders = _order(path + "cancel", "Cancel", "Cancel %s?" % handle)
        if job.schedule is not None and job.state == "delayed":
            orders = _order(path + "run", "Run now", "Run %s now?" % handle) + " " + orders
    return ('<tr><td class="k"><a href="/jobs/%s">%s</a></td><td class="k"><a href="/functions/%s">%s</a></td>'
            '<td class="k wide">%s</td><td class="%s">%s</td><td class="n">%s</td><td class="k">%s</td>'
            '<td class="orders">%s</td></tr>\n' % (
                _page_quoted(job.handle), escape(handle), _page_quoted(job.function.name),
                escape(facts["function"]) or "(no name)",
                escape(facts["unique"]), "bad wide" if aside else _STATE_LOOKS.get(job.state, ""), job.state,
                measure, about, orders if steers else ""))


def _schedules_section(core: "Core", steers: bool) -> "Iterator[str]":
    jobs = yield from _found(choose_schedules(core, b"", SHOWN + 1))
    if not jobs:
        return
    yield ("<h2>Schedules <small>%s</small></h2>\n" % _shown(jobs, core.recurring)) + (
        '<div class="scroll"><table><thead><tr><th>Function</th><th class="wide">Unique</th><th>Schedule</th>'
        '<th>Next</th><th>Last</th><th></th></tr></thead><tbody>\n')
    for job in jobs[:SHOWN]:
        statistics = job.function.statistics
        last = statistics.last_success if statistics is not None else None
        handle = text_of(job.handle)
        waits = job.state == "delayed"
        following = "in " + _time(max(0.0, job.due - core.wall)) if waits else '<a class="%s" href="/jobs/%s">%s</a>' % (
            _STATE_LOOKS.get(job.state, ""), _page_quoted(job.handle), job.state)
        orders = _order("/api/jobs/%s/run" % _page_quoted(job.handle), "Run now", "Run %s now?" % handle) if waits else ""
        yield ('<tr><td class="k"><a href="/functions/%s">%s</a></td><td class="k wide">%s</td><td class="k">%s</td>'
               '<td>%s</td><td>%s</td><td class="orders">%s</td></tr>\n' % (
                   _page_quoted(job.function.name), escape(text_of(job.function.name)), escape(text_of(job.unique)),
                   escape(text_of(job.schedule.text)), following,
                   '<span class="good">%s ago</span>' % _time(core.wall - last[3]) if last is not None else "",
                   orders if steers else ""))
    yield "</tbody></table></div>\n"


def _workers_section(core: "Core") -> "Iterator[str]":
    able = [peer for peer in core.peers if peer.abilities]
    yield "<h2>Workers <small>%s</small></h2>\n" % _shown(able[:SHOWN + 1], able)
    if not able:
        yield '<p class="faint">None.</p>\n'
        return
    yield ('<div class="scroll"><table><thead><tr><th>Worker</th><th>Address</th><th>Functions</th><th>Runs</th>'
           '<th class="n">Done</th><th class="n">Failed</th><th class="n">Heard</th></tr></thead><tbody>\n')
    for peer in able[:SHOWN]:
        facts = peer_facts(core, peer)
        jobs = ", ".join('<a href="/jobs/%s">%s</a> %s' % (
            _page_quoted(job["handle"].encode()), escape(job["function"]), _time(job["running"])) for job in facts["jobs"][:3])
        names = ", ".join(map(escape, facts["some_functions"][:5]))
        yield ('<tr><td class="k">%s</td><td>%s</td><td class="k">%s</td><td class="k run">%s</td><td class="n">%s</td>'
               '<td class="n">%s</td><td class="n">%s ago</td></tr>\n' % (
                   escape(facts["client_id"] if facts["client_id"] != "-" else "connection %d" % facts["number"]),
                   escape(facts["address"]), names + (" …" if facts["functions"] > 5 else ""),
                   jobs + (" …" if facts["running"] > 3 else ""), _count(facts["completed"]), _count(facts["failed"]),
                   _time(facts["heard"])))
    yield "</tbody></table></div>\n"


def _servers_section(core: "Core") -> "Iterator[str]":
    """The servers that share a database with this one, if there are any."""
    servers = neighbour_facts(core)
    if not servers:
        return
    yield ("<h2>Servers of the same database <small>%d</small></h2>\n" % len(servers) +
           '<div class="scroll"><table><thead><tr><th>Server</th><th>State</th><th class="n">Heard</th><th>Its jobs</th>'
           "</tr></thead><tbody>\n")
    for server in servers[:SHOWN]:
        jobs = "are its own"
        if server["adopted_by"]:
            jobs = "taken over by %s %s ago" % (server["adopted_by"], _time(server["adopted_ago"]))
        yield '<tr><td class="k">%s</td><td class="%s">%s</td><td class="n">%s ago</td><td>%s</td></tr>\n' % (
            escape(server["server"]), {"lives": "good", "silent": "bad"}.get(server["state"], "wait"), server["state"],
            _time(server["silent"]), escape(jobs))
    yield "</tbody></table></div>\n"


def _function_page(core: "Core", function: "Function", steers: bool) -> "Iterator[str]":
    name, totals = text_of(function.name), function.totals
    busy = yield from _found(count_busy(core))
    yield "<h2>%s</h2>\n" % escape(name)
    yield '<dl class="tiles">'
    for title, value in (("Waiting", _count(sum(function.waiting))), ("Running", _count(function.running)),
                         ("Delayed", _count(sum(function.delayed))), ("Set aside", _count(function.aside)),
                         ("Workers", _count(function.workers)), ("Busy", _count(busy.get(function, 0))),
                         ("Oldest", _time(function.oldest(core.now))),
                         ("Submitted", _count(totals.submitted)), ("Completed", _count(totals.completed)),
                         ("Failed", _count(totals.failed)), ("Cancelled", _count(totals.cancelled))):
        yield "<div><dt>%s</dt><dd>%s</dd></div>" % (title, value or "-")
    yield "</dl>\n"
    if steers:
        path = "/api/functions/%s/" % _page_quoted(function.name)
        yield _pause_or_resume(function, path, name)
        yield " " + _order(path + "cancel", "Cancel all", "Cancel all jobs of %s?" % name)
        yield " " + _order(path + "drop?force=1", "Drop", "Forget %s, and set its background jobs aside?" % name) + "\n"
    story = function_story(core, function)
    yield ""
    for history, title in zip(story["history"], ("Last 5 minutes", "Last day")):
        yield "<h2>%s <small>completed, failed</small></h2>\n" % title
        yield _chart(history["rows"], history["seconds"], core.wall, POINTS if history["seconds"] == 1 else 96)
    for key, title in (("waited", "How long jobs waited"), ("ran", "How long jobs ran")):
        if story[key] is not None and story[key]["counts"][-1]:
            yield "<h2>%s</h2>\n" % title + _histogram(story[key])
    yield from _jobs_section(core, "Jobs", core.jobs, core.job_chain, "", b"", steers, function.name)
    yield from _jobs_section(core, "Set aside", core.aside, core.aside_chain, "", b"", steers, function.name)
    yield from _ends_table(core, function)


def _ends_table(core: "Core", function: "Function") -> "Iterator[str]":
    head = ('<h2>Last ends</h2>\n<div class="scroll"><table><thead><tr><th>Job</th><th class="wide">Unique</th><th>Ended</th>'
            '<th class="n">When</th><th class="n">Waited</th><th class="n">Ran</th><th>Worker</th><th>Text</th></tr></thead>'
            '<tbody>\n')
    for ends in ends_of(core, function):
        yield head + "".join([_row_of_end(core, end) for end in ends])
        yield ""
        head = ""
    if not head:
        yield "</tbody></table></div>\n"


def _row_of_end(core: "Core", end: "Dict[str, Any]") -> str:
    return ('<tr><td class="k">%s</td><td class="k wide">%s</td><td class="%s">%s</td><td class="n">%s ago</td>'
            '<td class="n">%s</td><td class="n">%s</td><td class="k">%s</td><td class="k">%s</td></tr>\n' % (
                escape(end["handle"]), escape(end["unique"]), "good" if end["outcome"] == "completed" else "bad",
                end["outcome"], _time(core.wall - end["time"]), _time(end["waited"]), _time(end["ran"]),
                escape(_name_of_worker(end["worker"])), escape(end["text"])))


def _job_page(core: "Core", job: "Job", steers: bool) -> "Iterator[str]":
    facts = job_facts(core, job)
    yield "<h2>%s</h2>\n" % escape(facts["handle"])
    yield _job_table(core, job, facts)
    if steers:
        path = "/api/jobs/%s/" % _page_quoted(job.handle)
        if job.state == "set aside":
            yield _orders_aside(path, facts["handle"])
        else:
            yield _order(path + "cancel", "Cancel", "Cancel %s?" % facts["handle"])


def _ended_job_page(core: "Core", kept: "KeepRecord") -> str:
    """The content of the page of a job that has ended."""
    rows = []
    for name, value in (
            ("Function", '<a href="/functions/%s">%s</a>' % (_page_quoted(kept.function), escape(text_of(kept.function)))),
            ("Ended", '<span class="%s">%s</span> %s ago' % (
                "good" if kept.outcome == "completed" else "bad", kept.outcome, _time(core.wall - kept.ended))),
            ("Unique", escape(text_of(kept.unique))), ("Waited", _time(kept.waited)), ("Ran", _time(kept.ran)),
            ("Attempts that were lost or failed", str(kept.attempts)), ("Text", escape(text_of(kept.text[:SHOWN_SIZE]))),
            ("Data", _given(kept.data)), ("Result", _given(kept.result) if kept.outcome == "completed" else "")):
        if value:
            rows.append("<tr><th>%s</th><td class=\"k\">%s</td></tr>\n" % (name, value))
    return "<h2>%s</h2>\n<table><tbody>\n%s</tbody></table>\n" % (escape(text_of(kept.handle)), "".join(rows))


def _given(data: "Optional[bytes]") -> str:
    """The data or the result of a job; of a long one, the first bytes."""
    if not data:
        return ""
    more = " … (%s bytes)" % _count(len(data)) if len(data) > SHOWN_SIZE else ""
    return escape(text_of(data[:SHOWN_SIZE])) + more


def _job_table(core: "Core", job: "Job", facts: "Dict[str, Any]") -> str:
    rows = []
    for name, value in (
            ("Function", '<a href="/functions/%s">%s</a>' % (_page_quoted(job.function.name), escape(facts["function"]))),
            ("State", facts["state"]), ("Unique", escape(facts["unique"])), ("Priority", facts["priority"]),
            ("Kind", "background" if facts["background"] else "foreground"), ("Submitted", _time(facts["age"]) + " ago"),
            ("Waits" if facts["running"] is None else "Waited", _time(facts["waiting"])), ("Runs", _time(facts["running"])),
            ("Worker", escape(_name_of_worker(facts["worker"]))), ("Progress", _progress(facts["progress"])),
            ("Attempts that were lost or failed", str(facts["attempts"])), ("Error", escape(facts["error"])),
            ("Joined by", "%d submits" % facts["joins"] if facts["joins"] else ""), ("Size", "%d bytes" % facts["size"]),
            ("Due", "in " + _time(facts["due"] - core.wall) if facts["due"] and facts["due"] > core.wall else ""),
            ("Schedule", escape(facts["schedule"] or ""))):
        if value:
            rows.append("<tr><th>%s</th><td class=\"k\">%s</td></tr>\n" % (name, value))
    return "<table><tbody>\n%s</tbody></table>\n" % "".join(rows)


# ----------------------------------------------------------------------------------------------------------------- the parts

def _found(choosing: "Any") -> "Any":
    """Run a search that is made in steps; yield an empty string for each step, and return what was found."""
    while True:
        try:
            next(choosing)
        except StopIteration as end:
            return end.value
        yield ""


def _order(path: str, title: str, question: str) -> str:
    return '<button class="order" data-order="%s" data-ask="%s">%s</button>' % (escape(path), escape(question), title)


def _pause_or_resume(function: "Function", path: str, name: str) -> str:
    if function.paused:
        return _order(path + "resume", "Resume", "Give workers jobs of %s again?" % name)
    return _order(path + "pause", "Pause", "Give workers no more jobs of %s?" % name)


def _orders_aside(path: str, handle: str) -> str:
    """The buttons for a job that was set aside."""
    return (_order(path + "requeue", "Requeue", "Put %s back into the queue?" % handle) + " "
            + _order(path + "purge", "Purge", "Throw %s away?" % handle))


def _shown(chosen: "Sequence[Any]", all_of_them: "Any") -> str:
    if len(chosen) <= SHOWN:
        return str(len(chosen))
    return "%d of %s" % (SHOWN, _count(len(all_of_them)) if all_of_them else "more")


def _page_quoted(name: bytes) -> str:
    """A name as a part of a path; its bytes need not be text."""
    from urllib.parse import quote
    return quote(name, safe="")


def _count(number: int) -> str:
    return "{:,}".format(number)


def _time(seconds: "Optional[float]") -> str:
    """A duration for people, in one unit.  A negative one, as after the clock was set back, is shown as 0."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return ("%.2g ms" if seconds < 0.01 else "%d ms") % (seconds * 1000)
    if seconds < 100:
        return "%.1f s" % seconds
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 100:
        return "%d min" % minutes
    return "%d h" % hours if hours < 49 else "%d days" % days


def _name_of_worker(worker: "Optional[Dict[str, Any]]") -> str:
    if worker is None:
        return ""
    name = worker["client_id"] if worker["client_id"] != "-" else "connection %d" % worker["number"]
    return "%s at %s" % (name, worker["address"])


def _progress(progress: "Optional[Sequence[int]]") -> str:
    if progress is None or not progress[1]:
        return ""
    done = min(progress)
    return '<progress value="%d" max="%d"></progress> %d %%' % (
        done, progress[1], 100 * done // progress[1])


def _bar(waiting: int, running: int, most: int) -> str:
    """A bar that shows how many jobs wait and run; `most` jobs fill it."""
    run, wait = 100.0 * running / most, 100.0 * waiting / most
    return ('<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="%d waiting, %d running">'
            '<rect class="fill-none" width="100" height="8"/><rect class="fill-run" width="%.1f" height="8"/>'
            '<rect class="fill-wait" x="%.1f" width="%.1f" height="8"/></svg>' % (waiting, running, run, run, wait))


def _sparkline(values: "Sequence[int]") -> str:
    most = max(values) or 1
    points = " ".join("%d,%.1f" % (2 * index, 23 - 21.0 * value / most) for index, value in enumerate(values))
    return ('<svg class="spark" viewBox="0 0 %d 24" preserveAspectRatio="none" role="img" aria-label="at most %d in a step">'
            '<polyline class="stroke-good" points="%s"/></svg>' % (2 * len(values) - 2, max(values), points))


def _chart(rows: "Sequence[Sequence[int]]", seconds: int, wall: float, bars: int) -> str:
    """Bars of the jobs that completed and failed over time, the newest at the right."""
    length = {1: 300, 60: 86400}[seconds]
    width = length / float(bars)
    done, failed = [0] * bars, [0] * bars
    for row in rows:
        place = bars - 1 - int((wall - row[0]) // width)
        if 0 <= place < bars:
            done[place] += row[2]
            failed[place] += row[3]
    most = max(map(sum, zip(done, failed))) or 1
    parts = []
    for place in range(bars):
        good, bad = 90.0 * done[place] / most, 90.0 * failed[place] / most
        if good or bad:
            parts.append('<rect class="fill-good" x="%d" y="%.1f" width="8" height="%.1f"/>'
                         '<rect class="fill-bad" x="%d" y="%.1f" width="8" height="%.1f"/>' % (
                             10 * place, 100 - good, good, 10 * place, 100 - good - bad, bad))
    return ('<svg class="chart" viewBox="0 0 %d 100" preserveAspectRatio="none" role="img" aria-label="%d done, %d failed">'
            '<rect class="fill-none" y="99" width="%d" height="1"/>%s</svg>\n' % (
                10 * bars, sum(done), sum(failed), 10 * bars, "".join(parts)))


def _histogram(facts: "Dict[str, Any]") -> str:
    """A table of durations: how many there were in each bucket; empty buckets are left out."""
    rows, before, lower = [], 0, 0.0
    most = max(count - earlier for count, earlier in zip(facts["counts"], [0] + facts["counts"]))
    for bound, count in zip(facts["bounds"], facts["counts"]):
        if count > before:
            title = "up to " + _time(bound) if bound is not None else "more than " + _time(lower)
            rows.append('<tr><th>%s</th><td class="n">%s</td><td>%s</td></tr>\n' % (
                title, _count(count - before), _bar(0, count - before, most)))
        before, lower = count, bound or lower
    mean = facts["seconds"] / facts["counts"][-1]
    return "<table><tbody>\n%s</tbody></table>\n<p class=\"faint\">%s on average</p>\n" % ("".join(rows), _time(mean))
