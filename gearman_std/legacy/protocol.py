"""python-gearman's names for packets and text commands, and its functions that pack and parse them."""
from ..wire.protocol import (HEADER_SIZE, PACKETS, REQUEST_MAGIC, RESPONSE_MAGIC, WRONG_MAGIC, PacketReader,
                             pack_request, pack_response)
from .constants import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE
from .errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple
    Parsed = Tuple[Optional[int], Optional[Dict[str, bytes]], int]

NULL_CHAR = b"\0"
MAGIC_REQ_STRING = REQUEST_MAGIC
MAGIC_RES_STRING = RESPONSE_MAGIC
COMMAND_HEADER_SIZE = HEADER_SIZE
GEARMAN_COMMAND_TEXT_COMMAND = 9999  # not a packet: a line of the text protocol

GEARMAN_SERVER_COMMAND_STATUS = "status"
GEARMAN_SERVER_COMMAND_VERSION = "version"
GEARMAN_SERVER_COMMAND_WORKERS = "workers"
GEARMAN_SERVER_COMMAND_MAXQUEUE = "maxqueue"
GEARMAN_SERVER_COMMAND_SHUTDOWN = "shutdown"
GEARMAN_SERVER_COMMAND_GETPID = "getpid"
GEARMAN_SERVER_COMMAND_SHOW_JOBS = "show jobs"
GEARMAN_SERVER_COMMAND_SHOW_UNIQUE_JOBS = "show unique jobs"
GEARMAN_SERVER_COMMAND_CANCEL_JOB = "cancel job"

_LABELS = {"function": "task", "workload": "data", "handle": "job_handle", "code": "error_code", "text": "error_text"}
_TYPES = {"GEARMAN_COMMAND_" + name: number for number, (name, _, _) in PACKETS.items() if name != "UNUSED"}
globals().update(_TYPES)  # GEARMAN_COMMAND_CAN_DO and so on

GEARMAN_COMMAND_TO_NAME = {number: name for name, number in _TYPES.items()}
GEARMAN_COMMAND_TO_NAME[GEARMAN_COMMAND_TEXT_COMMAND] = "GEARMAN_COMMAND_TEXT_COMMAND"
GEARMAN_PARAMS_FOR_COMMAND = {number: [_LABELS.get(label, label) for label in PACKETS[number][2]] for number in _TYPES.values()}
GEARMAN_PARAMS_FOR_COMMAND[GEARMAN_COMMAND_TEXT_COMMAND] = ["raw_text"]

_SUBMIT = {PRIORITY_NONE: "SUBMIT_JOB", PRIORITY_LOW: "SUBMIT_JOB_LOW", PRIORITY_HIGH: "SUBMIT_JOB_HIGH"}


def get_command_name(cmd_type: int) -> "Any":
    """The name of a packet type, or the number itself if it has no name."""
    return GEARMAN_COMMAND_TO_NAME.get(cmd_type, cmd_type)


def submit_cmd_for_background_priority(background: "Any", priority: "Any") -> int:
    """The type of the packet that submits a job.  Raises ProtocolError for an unknown priority."""
    if priority not in _SUBMIT:
        raise ProtocolError("a priority is PRIORITY_NONE, PRIORITY_LOW or PRIORITY_HIGH, not %r" % (priority,))
    return _TYPES["GEARMAN_COMMAND_" + _SUBMIT[priority] + ("_BG" if background else "")]


def pack_binary_command(cmd_type: int, cmd_args: "Dict[str, Any]", is_response: bool = False) -> bytes:
    """The bytes of a packet.  `cmd_args` has its arguments by the names in GEARMAN_PARAMS_FOR_COMMAND; text becomes UTF-8.

    Raises ProtocolError for an unknown type, and for arguments that do not fit the type.
    """
    labels = GEARMAN_PARAMS_FOR_COMMAND.get(cmd_type)
    if labels is None or cmd_type == GEARMAN_COMMAND_TEXT_COMMAND:
        raise ProtocolError("%s is no packet" % get_command_name(cmd_type))
    if set(labels) != set(cmd_args):
        raise ProtocolError("the arguments of %s are %s, not %s" % (
            get_command_name(cmd_type), ", ".join(labels) or "none", ", ".join(sorted(cmd_args)) or "none"))
    arguments = []
    for label in labels:
        value = cmd_args[label].encode("utf-8") if isinstance(cmd_args[label], str) else cmd_args[label]
        if not isinstance(value, bytes):
            raise ProtocolError("%s is %r, neither bytes nor text" % (label, value))
        arguments.append(value)
    if any(NULL_CHAR in argument for argument in arguments[:-1]):
        raise ProtocolError("a NUL before the last argument of %s: %r" % (get_command_name(cmd_type), cmd_args))
    return (pack_response if is_response else pack_request)(cmd_type, *arguments)


def parse_binary_command(in_buffer: "Any", is_response: bool = True) -> "Parsed":
    """The type, the arguments by name, and the size of the packet at the begin of a buffer; (None, None, 0) if it is not whole.

    Raises ProtocolError for what is not a packet.
    """
    data = bytes(in_buffer)
    if len(data) < HEADER_SIZE:
        return None, None, 0
    size = HEADER_SIZE + int.from_bytes(data[8:12], "big")
    reader = PacketReader(MAGIC_RES_STRING if is_response else MAGIC_REQ_STRING, text=False)
    packets = reader.feed(data[:size])
    if reader.error is not None:
        raise reader.error
    if not packets:
        return None, None, 0
    cmd_type, arguments = packets[0]
    if cmd_type == WRONG_MAGIC:
        raise ProtocolError("the magic of the wrong direction: %r" % data[:4])
    labels = GEARMAN_PARAMS_FOR_COMMAND.get(cmd_type)
    if labels is None or len(arguments) != len(labels) or not labels and size > HEADER_SIZE:
        raise ProtocolError("a packet whose arguments do not fit its type: %r" % data[:64])
    return cmd_type, dict(zip(labels, map(bytes, arguments))), size


def pack_text_command(cmd_type: int, cmd_args: "Dict[str, Any]") -> str:
    """The line of a text command.  Raises ProtocolError for another type, or without `raw_text`."""
    if cmd_type != GEARMAN_COMMAND_TEXT_COMMAND:
        raise ProtocolError("%s is no text command" % get_command_name(cmd_type))
    if cmd_args.get("raw_text") is None:
        raise ProtocolError("a text command without raw_text: %r" % (cmd_args,))
    return str(cmd_args["raw_text"])


def parse_text_command(in_buffer: "Any") -> "Parsed":
    """The type, the arguments, and the size of the line at the begin of a buffer; (None, None, 0) if it is not whole.

    Raises ProtocolError for a NUL in the line.
    """
    data = bytes(in_buffer)
    if b"\n" not in data:
        return None, None, 0
    line = data[:data.index(b"\n")]
    if NULL_CHAR in line:
        raise ProtocolError("a NUL within a line: %r" % line[:64])
    return GEARMAN_COMMAND_TEXT_COMMAND, {"raw_text": line}, len(line) + 1
