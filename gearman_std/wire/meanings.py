"""What packets and text commands mean, in words: who sends a packet, what its arguments are, what its receiver is to do.

The numbers and names are in the table of `protocol`; the tables here are for programs that explain the protocol.
"""
from collections import namedtuple

from .protocol import (ALL_YOURS, CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, GET_STATUS, GET_STATUS_UNIQUE,
                       GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB,
                       NOOP, OPTION_REQ, OPTION_RES, PRE_SLEEP, RESET_ABILITIES, SET_CLIENT_ID, STATUS_RES, STATUS_RES_UNIQUE,
                       SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW,
                       SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, UNUSED,
                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Tuple

CLIENT, WORKER, SERVER = "client", "worker", "server"

Meaning = namedtuple("Meaning", "ways says arguments expected answers later errors")
Meaning.__doc__ = """What a packet means.

`ways` are pairs of a sender and a receiver; `says` is what the packet says; `arguments` has a few words for each argument;
`expected` says for each receiver what that is to do.  If there are `answers`, exactly one of them comes back, or an ERROR, in
the order of the requests.  The packets in `later` may follow at any time, from the receiver.  `errors` are the codes of ERRORs
that answer this packet in particular; those of `GENERAL_ERRORS` may answer any packet.
"""

TextMeaning = namedtuple("TextMeaning", "says listing")
TextMeaning.__doc__ = """What a text command means: `says` is what it says.  With `listing`, the answer is lines up to one that
has only a dot, else it is one line.  In both cases a line that begins with ERR is the whole answer."""

_FROM_CLIENT = ((CLIENT, SERVER),)
_FROM_WORKER = ((WORKER, SERVER),)
_FROM_BOTH = ((CLIENT, SERVER), (WORKER, SERVER))
_TO_CLIENT = ((SERVER, CLIENT),)
_TO_WORKER = ((SERVER, WORKER),)
_TO_BOTH = ((SERVER, CLIENT), (SERVER, WORKER))
_THROUGH = ((WORKER, SERVER), (SERVER, CLIENT))

_OF_A_RUNNING_JOB = (WORK_DATA, WORK_WARNING, WORK_STATUS, WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION)
_ASSIGNS = (JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_ASSIGN_ALL)
_ALL_GRABS = (GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL)

_NAME = "the name of the function"
_UNIQUE = "what the client calls the job: two of one function with the same unique are one job; empty for a job of its own"
_WORKLOAD = "the bytes for the function, which no server looks at"
_HANDLE = "the name that the server gave the job"
_REDUCER = "the function that is to put partial results together"
_KNOWN = "1 if the server has the job, else 0"
_RUNNING = "1 if a worker has it, else 0"
_NUMERATOR = "how much is done, a number as text"
_DENOMINATOR = "of how much, a number as text"

_SUBMIT = (_NAME, _UNIQUE, _WORKLOAD)
_REDUCE = (_NAME, _UNIQUE, _REDUCER, "a word that libgearman sends and no server looks at; it may be left out", _WORKLOAD)
_SUBMIT_ERRORS = ("QUEUE_ERROR", "ARGUMENT_TOO_LARGE", "JOB_EXISTS")
_QUEUE_IT = "Give the job a handle, put it in its function's queue, wake a worker that sleeps, and answer with the handle."
_QUEUE_AND_TELL = _QUEUE_IT + "  What the worker sends goes on to this client."
_QUEUE_AND_KEEP = _QUEUE_IT + "  The client hears no more of it and may leave; the job stays."
_DO_IT = ("Run the function on the workload, and send WORK_DATA, WORK_WARNING and WORK_STATUS as there is something to tell, "
          "then one of WORK_COMPLETE, WORK_FAIL and WORK_EXCEPTION, which ends the job.")
_ASSIGN = "Give the worker the first job of the functions that it can do, or say that there is none."
_PASS_ON = "Pass it on to every client that waits for the job."
_END_IT = _PASS_ON + "  The job is over and forgotten."


def _a_submit(says: str, waits: bool) -> Meaning:
    return Meaning(_FROM_CLIENT, says, _SUBMIT, {SERVER: _QUEUE_AND_TELL if waits else _QUEUE_AND_KEEP}, (JOB_CREATED,),
                   _OF_A_RUNNING_JOB if waits else (), _SUBMIT_ERRORS)


def _a_grab(says: str, answers: "Tuple[int, ...]") -> Meaning:
    return Meaning(_FROM_WORKER, says, (), {SERVER: _ASSIGN}, answers + (NO_JOB,), (), ())


MEANINGS = {
    CAN_DO: Meaning(
        _FROM_WORKER, "I can do this function.", (_NAME,),
        {SERVER: "Note it, and give this worker jobs of the function when it asks for jobs; no answer."}, (), (),
        ("QUEUE_ERROR",)),
    CANT_DO: Meaning(
        _FROM_WORKER, "I no longer do this function.", (_NAME,),
        {SERVER: "Forget that it could, and put back in the queue its jobs of the function that are under way; no answer."},
        (), (), ()),
    RESET_ABILITIES: Meaning(
        _FROM_WORKER, "I no longer do any function.", (),
        {SERVER: "Do for each of its functions what CANT_DO does for one; no answer."}, (), (), ()),
    PRE_SLEEP: Meaning(
        _FROM_WORKER, "I ask for no more jobs until you wake me.", (),
        {SERVER: "Send NOOP when there is a job that this worker can do, which may be at once."}, (), (NOOP,), ()),
    UNUSED: Meaning(
        _TO_BOTH, "Nothing: the number is not in use.", (),
        {CLIENT: "Take it for a mistake.", WORKER: "Take it for a mistake."}, (), (), ()),
    NOOP: Meaning(
        _TO_WORKER, "Wake up, there may be a job for you.", (),
        {WORKER: "Ask for a job.  Another worker may have been faster, and NO_JOB the answer."}, (), _ALL_GRABS, ()),
    SUBMIT_JOB: _a_submit("Have this job done, and tell me how it goes.", True),
    JOB_CREATED: Meaning(
        _TO_CLIENT, "Your job is in the queue, and this is its handle.", (_HANDLE,),
        {CLIENT: "Note the handle, by which all later packets name the job.  It belongs to the oldest submit of this "
                 "connection that has no answer yet."}, (), (), ()),
    GRAB_JOB: _a_grab("Give me a job.", (JOB_ASSIGN,)),
    NO_JOB: Meaning(
        _TO_WORKER, "There is no job for you now.", (), {WORKER: "Send PRE_SLEEP, and wait for NOOP."}, (),
        (PRE_SLEEP,) + _ALL_GRABS, ()),
    JOB_ASSIGN: Meaning(
        _TO_WORKER, "This job is yours.", (_HANDLE, _NAME, _WORKLOAD), {WORKER: _DO_IT}, (), _OF_A_RUNNING_JOB, ()),
    WORK_STATUS: Meaning(
        _THROUGH, "So much of the job is done.", (_HANDLE, _NUMERATOR, _DENOMINATOR),
        {SERVER: _PASS_ON + "  Keep the numbers for who asks with GET_STATUS.", CLIENT: "Show it, or not; the job goes on."},
        (), (), ("JOB_NOT_FOUND",)),
    WORK_COMPLETE: Meaning(
        _THROUGH, "The job is done, and this is its result.", (_HANDLE, "the result"),
        {SERVER: _END_IT,
         CLIENT: "Take the data for the result, after what came in WORK_DATA.  Nothing more comes of this job."},
        (), (), ("JOB_NOT_FOUND",)),
    WORK_FAIL: Meaning(
        _THROUGH, "The job failed.", (_HANDLE,),
        {SERVER: "Have it tried again if it may be, else pass this on to every client that waits for the job, and forget it.",
         CLIENT: "Take the job for failed.  Nothing more comes of it."}, (), (), ("JOB_NOT_FOUND",)),
    GET_STATUS: Meaning(
        _FROM_CLIENT, "How is the job with this handle?", (_HANDLE,),
        {SERVER: "Answer, also for a handle that it does not know."}, (STATUS_RES,), (), ()),
    ECHO_REQ: Meaning(
        _FROM_BOTH, "Are you there?", ("any bytes",), {SERVER: "Send the same bytes back."}, (ECHO_RES,), (), ()),
    ECHO_RES: Meaning(
        _TO_BOTH, "I am here.", ("the bytes of the question",),
        {CLIENT: "Take the connection for alive.", WORKER: "Take the connection for alive."}, (), (), ()),
    SUBMIT_JOB_BG: _a_submit("Have this job done; I do not wait for it.", False),
    ERROR: Meaning(
        _TO_BOTH, "I do not do what you asked.", ("a word for programs, such as QUEUE_ERROR", "a sentence for people"),
        {CLIENT: "Take the oldest request of this connection that has no answer yet for refused.",
         WORKER: "After JOB_NOT_FOUND, give up that job: it is no longer this worker's."}, (), (), ()),
    STATUS_RES: Meaning(
        _TO_CLIENT, "So it is with the job.", (_HANDLE, _KNOWN, _RUNNING, _NUMERATOR, _DENOMINATOR),
        {CLIENT: "Take a job that is not known for finished, or for one that never was."}, (), (), ()),
    SUBMIT_JOB_HIGH: _a_submit("Have this job done before those of normal priority, and tell me how it goes.", True),
    SET_CLIENT_ID: Meaning(
        _FROM_BOTH, "I am called so.", ("the name, for people who look at lists",),
        {SERVER: "Show the name in the list of the text command `workers`; no answer."}, (), (), ()),
    CAN_DO_TIMEOUT: Meaning(
        _FROM_WORKER, "I can do this function, and within that time.",
        (_NAME, "milliseconds for one job, a number as text; 0 for no limit"),
        {SERVER: "Do what CAN_DO has it do, and take a job that takes longer for failed; no answer."}, (), (),
        ("INVALID_ARGUMENTS", "QUEUE_ERROR")),
    ALL_YOURS: Meaning(
        _FROM_WORKER, "Wake me with the job itself.", (),
        {SERVER: "When this worker sleeps and there is a job, assign it instead of sending NOOP; no answer."}, (), _ASSIGNS,
        ()),
    WORK_EXCEPTION: Meaning(
        _THROUGH, "The job failed, and this is why.", (_HANDLE, "what went wrong"),
        {SERVER: "Do what WORK_FAIL has it do; a client that did not ask for `exceptions` with OPTION_REQ gets WORK_FAIL.",
         CLIENT: "Take the job for failed, for the reason that the data tells.  Some servers let a WORK_FAIL follow."},
        (), (), ("JOB_NOT_FOUND",)),
    OPTION_REQ: Meaning(
        _FROM_BOTH, "Set this option for my connection.", ("the option; `exceptions` is the one that all servers have",),
        {SERVER: "Set it, and say so."}, (OPTION_RES,), (), ("UNKNOWN_OPTION",)),
    OPTION_RES: Meaning(
        _TO_BOTH, "The option is set.", ("the option",),
        {CLIENT: "Count on it from now on.", WORKER: "Count on it from now on."}, (), (), ()),
    WORK_DATA: Meaning(
        _THROUGH, "This is a part of the result.", (_HANDLE, "the part"),
        {SERVER: _PASS_ON, CLIENT: "Keep it; more may come, and WORK_COMPLETE has the last part."}, (), (),
        ("JOB_NOT_FOUND",)),
    WORK_WARNING: Meaning(
        _THROUGH, "Something is odd about the job, which goes on.", (_HANDLE, "what is odd"),
        {SERVER: _PASS_ON, CLIENT: "Show it; it is no part of the result."}, (), (), ("JOB_NOT_FOUND",)),
    GRAB_JOB_UNIQ: _a_grab("Give me a job, and tell me its unique.", (JOB_ASSIGN_UNIQ,)),
    JOB_ASSIGN_UNIQ: Meaning(
        _TO_WORKER, "This job is yours, and so the client calls it.", (_HANDLE, _NAME, _UNIQUE, _WORKLOAD),
        {WORKER: _DO_IT}, (), _OF_A_RUNNING_JOB, ()),
    SUBMIT_JOB_HIGH_BG: _a_submit("Have this job done before those of normal priority; I do not wait for it.", False),
    SUBMIT_JOB_LOW: _a_submit("Have this job done when none of normal priority waits, and tell me how it goes.", True),
    SUBMIT_JOB_LOW_BG: _a_submit("Have this job done when none of normal priority waits; I do not wait for it.", False),
    SUBMIT_JOB_SCHED: Meaning(
        _FROM_CLIENT, "Have this job done again and again, at the times of this schedule; I do not wait for it.",
        (_NAME, _UNIQUE, "minutes of the schedule, as in a crontab; an empty field means any", "hours", "days of the month",
         "months", "days of the week", _WORKLOAD),
        {SERVER: "Keep the job, answer with its handle, and queue it each time that it is due.  gearmand answers with "
                 "INVALID_COMMAND."}, (JOB_CREATED,), (), _SUBMIT_ERRORS + ("INVALID_ARGUMENTS",)),
    SUBMIT_JOB_EPOCH: Meaning(
        _FROM_CLIENT, "Have this job done, but not before that time; I do not wait for it.",
        (_NAME, _UNIQUE, "the time, in seconds since the beginning of 1970, as text", _WORKLOAD),
        {SERVER: "Keep the job, answer with its handle, and queue it when it is due."}, (JOB_CREATED,), (),
        _SUBMIT_ERRORS + ("INVALID_ARGUMENTS",)),
    SUBMIT_REDUCE_JOB: Meaning(
        _FROM_CLIENT, "Have this job done in parts, which the reducer puts together, and tell me how it goes.", _REDUCE,
        {SERVER: _QUEUE_AND_TELL + "  A worker that asks with GRAB_JOB_ALL gets the reducer's name."}, (JOB_CREATED,),
        _OF_A_RUNNING_JOB, _SUBMIT_ERRORS),
    SUBMIT_REDUCE_JOB_BACKGROUND: Meaning(
        _FROM_CLIENT, "Have this job done in parts, which the reducer puts together; I do not wait for it.", _REDUCE,
        {SERVER: _QUEUE_AND_KEEP + "  A worker that asks with GRAB_JOB_ALL gets the reducer's name."}, (JOB_CREATED,), (),
        _SUBMIT_ERRORS),
    GRAB_JOB_ALL: _a_grab("Give me a job, and tell me its unique and, if it has one, its reducer.",
                          (JOB_ASSIGN_UNIQ, JOB_ASSIGN_ALL)),
    JOB_ASSIGN_ALL: Meaning(
        _TO_WORKER, "This job is yours, and that is to put its parts together.",
        (_HANDLE, _NAME, _UNIQUE, _REDUCER, _WORKLOAD),
        {WORKER: _DO_IT + "  To do it in parts, submit these as jobs of your own, and give their results to the reducer."}, (),
        _OF_A_RUNNING_JOB, ()),
    GET_STATUS_UNIQUE: Meaning(
        _FROM_CLIENT, "How is the job with this unique?", ("what the client called the job",),
        {SERVER: "Answer, also for a unique that it does not know."}, (STATUS_RES_UNIQUE,), (), ()),
    STATUS_RES_UNIQUE: Meaning(
        _TO_CLIENT, "So it is with the job.",
        ("the unique of the question", _KNOWN, _RUNNING, _NUMERATOR, _DENOMINATOR, "how many clients wait for it"),
        {CLIENT: "Take a job that is not known for finished, or for one that never was."}, (), (), ()),
}  # type: Dict[int, Meaning] # by packet type

ERROR_MEANINGS = {
    "INVALID_COMMAND": "no server takes a packet of this type",
    "INVALID_MAGIC": "the packet was marked as a response, and a server takes requests",
    "INVALID_ARGUMENTS": "the packet has too few arguments, or one that cannot be",
    "FORBIDDEN": "this connection may not do that",
    "ARGUMENT_TOO_LARGE": "the packet, or one of its arguments, is longer than the server takes",
    "UNKNOWN_OPTION": "the server has no such option",
    "JOB_NOT_FOUND": "the worker does not have this job, or has it no longer",
    "QUEUE_ERROR": "the server takes no more jobs, or functions",
    "TOO_MANY_CONNECTIONS": "the server takes no more connections, and closes this one",
    "JOB_EXISTS": "there is a job with this unique, and this server was told to refuse a second one",
}  # type: Dict[str, str] # by code

GENERAL_ERRORS = ("INVALID_COMMAND", "INVALID_MAGIC", "INVALID_ARGUMENTS", "FORBIDDEN", "ARGUMENT_TOO_LARGE",
                  "TOO_MANY_CONNECTIONS")

TEXT_MEANINGS = {
    "status": TextMeaning("For each function: its name, its jobs, those of them that run, and its workers.", True),
    "prioritystatus": TextMeaning("For each function: its name, its jobs that wait by priority, high, normal, low, and its "
                                  "workers.", True),
    "workers": TextMeaning("For each connection: its number, its address, its client id, and after a colon its functions.",
                           True),
    "show": TextMeaning("A list of jobs, of uniques, of jobs that were set aside, of schedules, of the last ends, of "
                        "functions, or of totals.", True),
    "result": TextMeaning("All about a job as JSON, also how it ended and its result, if its function's policy keeps that.",
                          True),
    "version": TextMeaning("Which version the server is of.", False),
    "getpid": TextMeaning("The number of the server's process.", False),
    "verbose": TextMeaning("How much the server writes to its log.", False),
    "maxqueue": TextMeaning("How many jobs of a function the server takes at most: one limit, or three by priority.", False),
    "create": TextMeaning("Have a function before anybody can do it or has a job for it.", False),
    "drop": TextMeaning("Forget a function that nobody can do; with `force`, set its jobs aside.", False),
    "cancel": TextMeaning("End a job, or all of a function or a unique, wherever it is; who waits for it gets WORK_FAIL.",
                          False),
    "pause": TextMeaning("Take jobs of a function, but give workers none.", False),
    "resume": TextMeaning("End a pause.", False),
    "drain": TextMeaning("Refuse new jobs, while those that are there are done.", False),
    "requeue": TextMeaning("Put jobs that were set aside back in the queue.", False),
    "purge": TextMeaning("Throw away jobs that were set aside.", False),
    "run": TextMeaning("Run a job now that waits for a date or for its next attempt.", False),
    "shutdown": TextMeaning("End the server, at once or when no job is left.", False),
}  # type: Dict[str, TextMeaning] # by the first word
