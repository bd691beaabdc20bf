"""What a command uses of its process: standard input and output as bytes, and exit statuses."""
import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Union

PROGRAM = "gearman-std"

DONE, FAILED, USAGE, UNREACHABLE, TOO_LATE, NOT_KNOWN = range(6)
INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141


class Quit(BaseException):
    """Raised to end the program with a status; as a BaseException, it passes every ``except Exception`` on the way."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Console:
    """Standard input, output and error output, as bytes.

    Owner: whoever runs the command; single writes may come from any thread.
    """

    def __init__(self, command: str = "", stdin: "Any" = None, stdout: "Any" = None, stderr: "Any" = None) -> None:
        self.program = PROGRAM  # or one of gearmand's names, see the module names
        self.command = command
        # Each is None if it was closed before the program started.
        self.stdin = stdin if stdin is not None else getattr(sys.stdin, "buffer", None)  # type: Any
        self.stdout = stdout if stdout is not None else getattr(sys.stdout, "buffer", None)  # type: Any
        self.stderr = stderr if stderr is not None else getattr(sys.stderr, "buffer", None)  # type: Any

    def __repr__(self) -> str:
        return "<Console of %s>" % self.command

    @property
    def label(self) -> str:
        """The program and its command, as the user wrote them."""
        return " ".join(filter(None, (self.program, self.command)))

    def read(self) -> bytes:
        """All of standard input.  Raises OSError."""
        stdin = self._open(self.stdin, "input")
        pieces = [stdin.read()]
        while pieces[-1] != b"" and _is_non_blocking(stdin):  # a non-blocking read returns what is there, None for nothing
            if pieces[-1] is None:
                select.select([stdin], [], [])
            pieces.append(stdin.read())
        return pieces[0] if len(pieces) == 1 else b"".join(filter(None, pieces))

    def read_line(self) -> bytes:
        """The next line of standard input as soon as it is there, empty at the end.  Raises OSError."""
        stdin = self._open(self.stdin, "input")
        line = bytes(stdin.readline())
        while not line.endswith(b"\n") and _is_non_blocking(stdin):
            more = stdin.read(1)
            if more is None:
                select.select([stdin], [], [])
            elif not more:
                break
            else:
                line += more if more == b"\n" else more + stdin.readline()
        return line

    def write(self, data: "Union[bytes, str]") -> None:
        """Write to standard output at once.

        Raises Quit if nobody reads it any more, and OSError for other trouble.
        """
        stdout = self._open(self.stdout, "output")
        rest = memoryview(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        try:
            while rest:
                rest = rest[_write_some(stdout.write, rest, stdout):]
            _write_some(stdout.flush, None, stdout)
        except OSError as error:
            self._give_up(stdout)
            if error.errno == errno.EPIPE:
                raise Quit(PIPE_CLOSED) from None
            raise OSError(error.errno, "cannot write to standard output: %s" % error.strerror) from None

    def warn(self, data: "Union[bytes, str]") -> None:
        """Write to standard error; errors are ignored, because there is no other place where to report them."""
        try:
            self.stderr.write(_readable(data) if isinstance(data, str) else data)
            self.stderr.flush()
        except (OSError, AttributeError, ValueError):
            self.stderr = None

    def complain(self, text: str) -> None:
        """Tell on standard error, in one line, what is wrong."""
        self.warn("%s: %s\n" % (self.label, " ".join(text.split())))

    @staticmethod
    def _open(stream: "Optional[Any]", name: str) -> "Any":
        if stream is None:
            raise OSError(errno.EBADF, "standard %s is closed" % name)
        return stream

    @staticmethod
    def _give_up(stream: "Any") -> None:
        """Throw away what is left in the stream's buffer; otherwise the interpreter would complain about it at its end."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except (OSError, AttributeError):
            return


def _readable(text: str) -> bytes:
    """A text as UTF-8, with \\x and two digits for each byte of the command line in it that is no text."""
    if "\\udc" in text:  # bytes of the command line that are no text in the locale, and that `repr` has escaped
        import re
        text = re.sub(r"(?<!\\)\\ud(c[89a-f][0-9a-f])", lambda found: chr(int("d" + found.group(1), 16)), text)
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # there are surrogates that stand for no byte
        pass
    return text.encode("utf-8", "backslashreplace")


def _is_non_blocking(stream: "Any") -> bool:
    """Whether reading a stream returns at once if nothing is there yet; another program may have set that."""
    try:
        return not os.get_blocking(stream.fileno())
    except (OSError, AttributeError):
        return False


def _write_some(write: "Callable[..., Any]", data: "Optional[memoryview]", stream: "Any") -> int:
    """Write as much as possible, or flush; wait while nothing can be written; return how much was written.

    With PYTHONUNBUFFERED, standard output has no buffer and may take only a part; other programs may have made it non-blocking.
    """
    while True:
        try:
            written = write() if data is None else write(data)
        except BlockingIOError as error:
            written = error.characters_written if data is not None else None
        else:
            if data is None:
                return 0
        if written:
            return int(written)
        select.select([], [stream], [])


def is_terminal(stream: "Any") -> bool:
    """Whether a stream is a terminal, with a person at it."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


def show(word: str) -> str:
    """A word of the command line as text for a person; its bytes may not be text in the locale."""
    return os.fsencode(word).decode("utf-8", "backslashreplace")


def read_words() -> "List[str]":
    """The words of this process's command line; `os.fsencode` turns them back into the bytes that they were.

    PyPy reads them as UTF-8 whatever the locale is, and cannot encode them in the locale C.
    """
    words = sys.argv[1:]
    try:
        for word in words:
            os.fsencode(word)
    except UnicodeEncodeError:
        return [os.fsdecode(word.encode("utf-8", "surrogateescape")) for word in words]
    return words


def fill_standard_descriptors(nowhere: str = os.devnull) -> None:
    """Open /dev/null for each of the descriptors 0 to 2 that is closed, so that no socket or log gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            try:
                os.open(nowhere, os.O_RDWR)  # this takes the lowest free number
            except OSError:  # in a jail without devices; a folder can neither be read nor written
                os.open(os.sep, os.O_RDONLY)
