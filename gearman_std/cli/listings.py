"""What `admin` shows of jobs: all about one, also until it ends, and tables of jobs, of the last ends and of schedules."""
import time

from .console import Console, is_terminal
from .following import follow_anywhere, has_ended, look_anywhere
from .tables import make_bar, make_table, printable, show_duration, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple
    from ..client.admin import AdminClient
    from ..client.client import Client
    Entry = Dict[str, Any]  # what the server tells of a job or of an end

USUAL_ROWS = 100  # of a table, if nobody says how many
_JOB_HEADINGS = ("HANDLE", "FUNCTION", "UNIQUE", "STATE", "FOR", "DONE", "TRIES", "WORKER", "ERROR")
_END_HEADINGS = ("FUNCTION", "HANDLE", "UNIQUE", "ENDED", "AGO", "WAITED", "RAN", "WORKER", "TEXT")
_SCHEDULE_HEADINGS = ("FUNCTION", "UNIQUE", "SCHEDULE", "STATE", "NEXT", "HANDLE")
_BAR_WIDTH = 40


class Listings:
    """Shows what one server tells, as text or as a JSON document for each answer.

    `client` asks the same server for what text commands do not tell; `wall` tells unix time, `sleep` waits.

    Owner: whoever runs the command.
    """

    def __init__(self, admin: "AdminClient", client: "Client", console: Console,
                 as_json: "Optional[Callable[[Any], str]]" = None,
                 wall: "Callable[[], float]" = time.time, sleep: "Callable[[float], None]" = time.sleep) -> None:
        self._admin = admin
        self._client = client
        self._console = console
        self._as_json = as_json
        self._wall = wall
        self._sleep = sleep

    def __repr__(self) -> str:
        return "<Listings of %r>" % self._admin

    def table(self, what: str, function: bytes, limit: int) -> None:
        """Show jobs, the history or the schedules, of one function or of all; 0 is no limit."""
        ask, headings, make_row = {
            "jobs": (self._admin.job_details, _JOB_HEADINGS, self._job_row),
            "history": (self._admin.history, _END_HEADINGS, _end_row),
            "schedules": (self._admin.schedules, _SCHEDULE_HEADINGS, self._schedule_row),
        }[what]  # type: Tuple[Any, Sequence[str], Callable[[Entry], List[str]]]
        entries = ask(limit + 1 if limit else None, function or None)
        more = bool(limit) and len(entries) > limit
        if more:
            del entries[limit:]
        if what == "schedules":
            entries.sort(key=lambda entry: entry["due"] or 0.0)
        elif what == "history":
            entries.sort(key=lambda entry: -entry["time"])
        if self._as_json is not None:
            self._console.write(self._as_json(entries))
        else:
            lines = make_table(headings, [make_row(entry) for entry in entries], terminal_width(self._console.stdout))
            self._console.write("\n".join(lines) + "\n")
        if more:
            self._console.complain("there are more than %d: --limit N shows more, --limit 0 all" % limit)

    def _job_row(self, job: "Entry") -> "List[str]":
        return [job["handle"], job["function"], job["unique"], job["state"], self._since(job), _percent(job["progress"]),
                str(job["attempts"] or ""), _worker_name(job["worker"]), " ".join(job["error"].split())]

    def _schedule_row(self, job: "Entry") -> "List[str]":
        return [job["function"], job["unique"], job["schedule"] or "", job["state"], self._next(job), job["handle"]]

    def _since(self, job: "Entry") -> str:
        """For how long a job has been in its state, or in how long it will leave it."""
        if job["state"] == "delayed" and job["due"]:
            return self._next(job)
        measured = job["running"] if job["running"] is not None else job["waiting"]
        return show_duration(measured if measured is not None else job["age"] or 0.0)

    def _next(self, job: "Entry") -> str:
        return "in " + show_duration(max(0.0, job["due"] - self._wall())) if job["due"] else ""

    def job(self, handle: bytes, watch: bool = False) -> bool:
        """Show all about a job, with `watch` until it ends; return whether it is known."""
        known = False
        if not watch:
            story = look_anywhere(self._admin, self._client, handle)
            if story is not None:
                known = True
                self._console.write(self._as_json(story) if self._as_json is not None else
                                    "\n".join(self.about(story)) + "\n")
            return known
        shown = ""
        for story in follow_anywhere([self._admin], self._client, handle, self._sleep):
            known = True
            text = self._look(story)
            lines = text.count("\n")
            if self._as_json is None and is_terminal(self._console.stdout):
                again = "\x1b[%dA\x1b[J" % shown.count("\n") if shown else ""
                self._console.write(again + text)
            elif text != shown and lines:
                self._console.write(text)
            shown = text
        return known

    def _look(self, story: "Entry") -> str:
        """What one look at a job shows."""
        if self._as_json is not None:
            return self._as_json(story)
        width = terminal_width(self._console.stdout)
        if width is None and not has_ended(story):
            return " ".join(filter(None, (printable(story["handle"]), story["state"], _percent(story["progress"])))) + "\n"
        # No line may be broken by the terminal: the next look goes up by the number of lines, to draw over this one.
        return "".join(line[:None if width is None else width - 1] + "\n" for line in self.about(story))

    def about(self, story: "Entry") -> "List[str]":
        """All about a job, with a line for each fact."""
        facts = [("handle", story["handle"]), ("function", "(no name)" if story["function"] == "" else story["function"]),
                 ("unique", story["unique"]), ("state", self._state(story))]  # type: List[Tuple[str, Optional[str]]]
        progress = story["progress"]
        if progress is not None:
            facts.append(("progress", "%s %s (%d of %d)" % ((make_bar(_share(progress), _BAR_WIDTH), _percent(progress)) +
                                                            tuple(progress))))
        if story["attempts"]:
            facts.append(("attempts", "%d failed or were lost" % story["attempts"]))
        facts.append(("error", " ".join((story["error"] or "").split())))
        if story["priority"] is not None:
            ground = "background" if story["background"] else "foreground"
            facts += [("priority", "%s, in the %s" % (story["priority"], ground)),
                      ("data", "%d bytes" % story["size"]), ("joins", "%d" % story["joins"])]
        facts.append(("schedule", story["schedule"] or ""))
        if story["due"]:
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(story["due"]))
            facts.append(("next", "%s, %s" % (self._next(story), date)))
        if story["end"] is not None:
            facts += self._end_facts(story["end"])
        if story["function"] is None:
            facts.append(("more", "is not told by this server"))
        return ["%-9s %s" % (name, printable(value)) for name, value in facts if value]

    def _state(self, story: "Entry") -> str:
        state = story["state"]
        if state == "running" and story["running"] is not None:
            worker = _worker_name(story["worker"])
            return "running for %s%s, after %s of waiting" % (show_duration(story["running"]), worker and " on " + worker,
                                                              show_duration(story["waiting"]))
        if state == "waiting" and story["waiting"] is not None:
            return "waiting for " + show_duration(story["waiting"])
        if state == "ended" and story["end"] is None:
            return "ended, and it is not known how"
        return str(state) if story["age"] is None else "%s; submitted %s ago" % (state, show_duration(story["age"]))

    @staticmethod
    def _end_facts(end: "Entry") -> "List[Tuple[str, str]]":
        facts = [("ended", "%s %s ago, after %s of waiting and %s of running" % ((end["outcome"],) + tuple(
            show_duration(end[name]) for name in ("age", "waited", "ran")))), ("text", " ".join(end["text"].split()))]
        if end.get("worker") is not None:
            facts.append(("worker", _worker_name(end["worker"])))
        if end.get("result") is not None:
            facts.append(("result", "%d bytes" % (len(end["data"] or b"") + len(end["result"]))))
        return facts


def _end_row(end: "Entry") -> "List[str]":
    return [end["function"], end["handle"], end["unique"], end["outcome"], show_duration(end["age"]),
            show_duration(end["waited"]), show_duration(end["ran"]), _worker_name(end["worker"]), " ".join(end["text"].split())]


def _share(progress: "Sequence[int]") -> float:
    """How much is done, from 0 to 1."""
    return max(0.0, min(1.0, progress[0] / float(progress[1]))) if progress[1] > 0 else 0.0


def _percent(progress: "Optional[Sequence[int]]") -> str:
    return "" if progress is None else "%d%%" % (100 * _share(progress))


def _worker_name(worker: "Optional[Entry]") -> str:
    """What a worker calls itself and where it is."""
    if worker is None:
        return ""
    name = "connection %d" % worker["number"] if worker["client_id"] in ("", "-") else worker["client_id"]
    return "%s at %s" % (name, worker["address"])
