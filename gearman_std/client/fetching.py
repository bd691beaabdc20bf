"""Waiting for the result of a job that somebody else submitted, by asking its server again and again."""
from ..errors import CommandTimeout, ConnectTimeout, JobFailed, JobTimeout, NoServer, ResultNotKept, ServerError, ServerLost
from ..timers import growing_pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Sequence, Tuple, Union
    from ..net.connection import Deadline
    from ..net.system import System
    from .admin import AdminClient

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds from one question to the next


def fetch_result(admins: "Sequence[AdminClient]", handle: bytes, deadline: "Deadline", system: "System") -> bytes:
    """The result of a job when it has ended, of the first of some servers that knows it."""
    asked = 0
    while True:
        admin, story = _ask_for(admins, handle, deadline)
        if _has_ended(story):
            return result_in(story, handle)
        admins = [admin]
        left = deadline.left()
        if left == 0:
            raise _late(handle)
        pause = growing_pause(_FIRST_PAUSE, _LONGEST_PAUSE, asked)
        system.sleep(pause if left is None else min(pause, left))
        asked += 1


def result_in(story: "Dict[str, Any]", handle: bytes) -> bytes:
    """The result of a job that has ended, of what `AdminClient.result` says of it.  Raises JobFailed, ResultNotKept."""
    name, end = handle.decode("utf-8", "backslashreplace"), story["end"]
    if story["state"] == "set aside":
        raise JobFailed("%s was set aside: %s" % (name, story["error"]), handle, story["error"].encode("utf-8") or None)
    if end is None:
        raise ResultNotKept("the results of %s are not kept" % story["function"], handle)
    text = end["text"]
    if end["outcome"] != "completed":
        raise JobFailed("%s %s%s" % (name, "failed" if end["outcome"] == "failed" else "was " + end["outcome"],
                                     ": " + text if text else ""), handle, text.encode("utf-8") or None)
    if end["result"] is None:
        raise ResultNotKept("%s is complete, but %s" % (name, text), handle)
    return end["result"]  # type: ignore[no-any-return]


def _has_ended(story: "Dict[str, Any]") -> bool:
    """Whether there is nothing to wait for; a job whose end will not be kept is none to wait for either."""
    return story["end"] is not None or story["state"] == "set aside" or not story["keep"]


def _ask_for(admins: "Sequence[AdminClient]", handle: bytes, deadline: "Deadline") -> "Tuple[AdminClient, Dict[str, Any]]":
    """What the first server that knows a job says of it, and what asked that."""
    failure = None  # type: Union[NoServer, ServerLost, None]
    for admin in admins:
        usual, left = admin.timeout, deadline.left()
        admin.timeout = usual if not left else left if usual is None else min(usual, left)
        try:
            return admin, admin.result(handle)
        except ServerError as error:
            if error.code != "UNKNOWN_JOB":
                raise
        except (NoServer, ServerLost) as error:
            if isinstance(error, (ConnectTimeout, CommandTimeout)) and admin.timeout != usual:
                raise _late(handle) from error
            failure = error
        finally:
            admin.timeout = usual
    if failure is not None:
        raise failure
    raise ResultNotKept("no server knows how %s ended" % handle.decode("utf-8", "backslashreplace"), handle)


def _late(handle: bytes) -> JobTimeout:
    return JobTimeout("%s did not end in time" % handle.decode("utf-8", "backslashreplace"), handle)
