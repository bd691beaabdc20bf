"""What many pages ask for again and again is made once a second, and shared by all who ask the same.

The script of each open page asks for its part of the page every two seconds.  Who asks first has it made, step by step; who
asks meanwhile goes along, and whose turn it is makes the next step.
"""
from collections import OrderedDict

from .exchange import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Tuple

SHARED_TIME = 1.0          # seconds for which an answer is given again
SHARED_SIZE = 1 << 20      # bytes of all answers that are to be given again


class SharedAnswer:
    """An answer that several get, as far as it is made.

    Owner: the SharedAnswers.
    """

    __slots__ = ("made_at", "size", "_answer", "_steps", "_pieces", "_error")

    def __init__(self, answer: Answer, made_at: float) -> None:
        self.made_at = made_at
        self.size = 0
        self._answer = answer
        self._steps = iter(answer.pieces)
        self._pieces = []   # type: List[bytes]
        self._error = None  # type: Optional[Exception] # what ended it in the middle

    def __repr__(self) -> str:
        return "<SharedAnswer: %d bytes>" % self.size

    def copy(self) -> Answer:
        """The answer for one more of those who ask for it."""
        return Answer(self._read(), self._answer.content_type, self._answer.status)

    def _read(self) -> "Iterator[bytes]":
        place = 0
        while True:
            if place < len(self._pieces):
                yield self._pieces[place]
                place += 1
            elif self._make_step():
                if place == len(self._pieces):
                    yield b""
            elif self._error is not None:
                raise self._error
            else:
                return

    def _make_step(self) -> bool:
        """Make the next step, if there is one."""
        try:
            piece = next(self._steps, None)
        except Exception as error:  # which all get who have begun to read
            self._error = error
            piece = None
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)
        return piece is not None

    @property
    def failed(self) -> bool:
        """Whether something went wrong in the middle of it."""
        return self._error is not None


class SharedAnswers:
    """The answers of the last second, by what was asked for.

    Owner: the Entrance.
    """

    def __init__(self) -> None:
        self._known = OrderedDict()  # type: OrderedDict[Tuple[Any, ...], SharedAnswer] # the oldest first

    def __repr__(self) -> str:
        return "<SharedAnswers: %d>" % len(self._known)

    def find(self, key: "Tuple[Any, ...]", now: float, make: "Callable[[], Answer]") -> Answer:
        """What answers a question: what was made for an equal one lately, or what is made now."""
        self._forget_old(now)
        shared = self._known.get(key)
        if shared is None or shared.failed:
            self._known.pop(key, None)
            shared = self._known[key] = SharedAnswer(make(), now)
        return shared.copy()

    def clear(self) -> None:
        """Something was ordered, so what was made before is out of date."""
        self._known.clear()

    def _forget_old(self, now: float) -> None:
        """Forget what is too old, and the oldest of what is too large together."""
        size = sum(shared.size for shared in self._known.values())
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if now - SHARED_TIME < oldest.made_at and size <= SHARED_SIZE:
                break
            size -= oldest.size
            del self._known[key]
