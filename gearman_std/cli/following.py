"""A job is watched until it ends: its server is asked again and again, and in the end how the job ended, if that is known."""
from ..errors import GearmanError, ServerError
from ..timers import growing_pause
from .console import DONE, FAILED, NOT_KNOWN, Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence
    from ..client.admin import AdminClient
    from ..client.client import Client
    Story = Dict[str, Any]  # what AdminClient.result tells of a job

_FIRST_LOOK_PAUSE, _LONGEST_LOOK_PAUSE = 0.05, 1.0  # seconds from one look to the next
# The facts that are unknown if only the end of a job is remembered, or if its server tells no more than its status.
_NOT_TOLD = dict.fromkeys(("priority", "state", "background", "age", "attempts", "joins", "size", "due", "schedule", "worker",
                           "waiting", "running", "progress", "keep"))  # type: Story


def look_for_job(admin: "AdminClient", handle: bytes, function: "Optional[str]" = None) -> "Optional[Story]":
    """All that the server knows of a job, which may have ended; None if the server does not know the job.

    `function` is the name of the job's function if the caller knows it.  Raises GearmanError.
    """
    try:
        return admin.result(handle)
    except ServerError as error:
        if error.code != "UNKNOWN_JOB":
            raise
    ends = _ends_of(admin, handle, function)
    if not ends:
        return None
    end = dict(ends[0], data=None, result=None)
    return dict(_NOT_TOLD, handle=end["handle"], function=end["function"], unique=end["unique"], state="ended",
                error=end["text"], end=end)


def _ends_of(admin: "AdminClient", handle: bytes, function: "Optional[str]") -> "List[Story]":
    """How those attempts of a job ended that the server remembers, the newest first."""
    shown = handle.decode("utf-8", "backslashreplace")
    try:
        ends = admin.history(function=function)
    except ValueError:  # no text command can carry that name
        ends = admin.history()
    return sorted((end for end in ends if end["handle"] == shown), key=lambda end: -float(end["time"]))


def has_ended(story: "Story") -> bool:
    """Whether a job has ended, or will not go on by itself."""
    return story["state"] in ("ended", "set aside")


def follow_job(admin: "AdminClient", handle: bytes, sleep: "Callable[[float], None]") -> "Iterator[Story]":
    """What a server tells of a job, asked again and again until the job ends or, if it recurs, until a run of it ends.

    The last story has the `end`, None if nobody knows how the job ended.  Nothing comes if the server does not know the job.
    Raises GearmanError.
    """
    story = look_for_job(admin, handle)
    if story is None:
        return
    before = _ends_of(admin, handle, story["function"])[:1] if story["schedule"] else []
    looks = 0
    while not has_ended(story):
        yield story
        sleep(growing_pause(_FIRST_LOOK_PAUSE, _LONGEST_LOOK_PAUSE, looks))
        looks += 1
        later = look_for_job(admin, handle, story["function"])
        if later is None:
            yield dict(story, state="ended", end=None)
            return
        if later["schedule"] and not later["attempts"] and later["state"] != "running":
            ends = _ends_of(admin, handle, later["function"])[:1]
            if ends and ends != before and (not before or ends[0]["time"] > before[0]["time"]):
                yield dict(later, state="ended", end=later["end"] or dict(ends[0], data=None, result=None))
                return
        story = later
    yield story


def first_that_knows(admins: "Sequence[AdminClient]", handle: bytes) -> "Optional[AdminClient]":
    """Which of several servers has a job, or has had it.

    None if none has it; raises GearmanError if none has it and one could not be asked.
    """
    trouble = None  # type: Optional[GearmanError]
    for admin in admins:
        try:
            if look_for_job(admin, handle) is not None:
                return admin
        except GearmanError as error:
            trouble = error
    if trouble is not None:
        raise trouble
    return None


def look_anywhere(admin: "AdminClient", client: "Client", handle: bytes) -> "Optional[Story]":
    """The same as `look_for_job`, or what every Gearman server knows of a job, if this one does not tell more.

    `client` has the same server.  Raises GearmanError.
    """
    try:
        return look_for_job(admin, handle)
    except ServerError:  # not gearman_std's, or one that tells this peer no more
        return _look_by_status(client, handle)


def _look_by_status(client: "Client", handle: bytes) -> "Optional[Story]":
    """Whether a job runs, and its progress; its function is None, as no such server tells that.  None if it is not known."""
    status = client.status(handle)
    if not status.known:
        return None
    progress = [status.numerator, status.denominator] if status.denominator else None
    return dict(_NOT_TOLD, handle=handle.decode("utf-8", "backslashreplace"), function=None, unique="", error="", end=None,
                state="running" if status.running else "waiting", progress=progress)


def follow_anywhere(admins: "Sequence[AdminClient]", client: "Client", handle: bytes,
                    sleep: "Callable[[float], None]") -> "Iterator[Story]":
    """The same as `follow_job`, at whichever server has the job; where servers do not tell all about jobs, with what they tell.

    `client` has the same servers.  Raises GearmanError.
    """
    try:
        admin = first_that_knows(admins, handle)
    except ServerError:  # not gearman_std's, or one that tells this peer no more
        yield from _follow_by_status(client, handle, sleep)
        return
    if admin is not None:
        yield from follow_job(admin, handle, sleep)


def _follow_by_status(client: "Client", handle: bytes, sleep: "Callable[[float], None]") -> "Iterator[Story]":
    last = None  # type: Optional[Story]
    looks = 0
    story = _look_by_status(client, handle)
    while story is not None:
        yield story
        last = story
        sleep(growing_pause(_FIRST_LOOK_PAUSE, _LONGEST_LOOK_PAUSE, looks))
        looks += 1
        story = _look_by_status(client, handle)
    if last is not None:
        yield dict(last, state="ended")


def show_following(console: Console, stories: "Iterator[Story]", handle: bytes) -> int:
    """Print what a client in the foreground would have printed of a job; return the exit status that it would have had."""
    last = None  # type: Optional[Story]
    progress = None  # type: Any
    for last in stories:
        if last["progress"] and last["progress"] != progress:
            progress = last["progress"]
            console.write("%d%% Complete\n" % (progress[0] * 100 // progress[1] if progress[1] else 0))
    end = last["end"] if last is not None else None
    name = handle.decode("utf-8", "backslashreplace")
    if last is not None and last["state"] == "set aside":
        console.complain("%s was set aside: %s" % (name, last["error"]))
        return FAILED
    if end is None:
        console.complain("%s has ended, or never was: nobody knows how" % name)
        return NOT_KNOWN
    if end["outcome"] != "completed":
        console.complain("%s %s%s" % (name, "failed" if end["outcome"] == "failed" else "was " + end["outcome"],
                                      ": " + end["text"] if end["text"] else ""))
        return FAILED
    console.write((end["data"] or b"") + (end["result"] or b""))
    return DONE
