"""Answers that pages share: what many pages ask for again and again is made once a second.

The script of each open page asks for its part of the page every two seconds.  The first request for a part begins an answer,
which is made in steps.  Requests that come meanwhile read the same answer; whichever has its turn makes the next step.
"""
from collections import OrderedDict

from .exchange import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Tuple

SHARED_TIME = 1.0          # seconds for which an answer is shared
SHARED_SIZE = 1 << 20      # bytes that all shared answers may have together


class SharedAnswer:
    """An answer for several requests: the pieces that are made, and the steps that make the next ones.

    Owner: the SharedAnswers.
    """

    __slots__ = ("made_at", "size", "_answer", "_steps", "_pieces", "_error")

    def __init__(self, answer: Answer, made_at: float) -> None:
        self.made_at = made_at
        self.size = 0
        self._answer = answer
        self._steps = iter(answer.pieces)
        self._pieces = []   # type: List[bytes]
        self._error = None  # type: Optional[Exception] # what ended the steps too soon

    def __repr__(self) -> str:
        return "<SharedAnswer: %d bytes>" % self.size

    def copy(self) -> Answer:
        """The answer for one more request."""
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
        """Make the next step; return whether there was one."""
        try:
            piece = next(self._steps, None)
        except Exception as error:  # every request that has begun to read the answer gets it
            self._error = error
            piece = None
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)
        return piece is not None

    @property
    def failed(self) -> bool:
        """Whether an error has ended the steps."""
        return self._error is not None


class SharedAnswers:
    """The answers of the last second, by what was asked.

    Owner: the Entrance.
    """

    def __init__(self) -> None:
        self._known = OrderedDict()  # type: OrderedDict[Tuple[Any, ...], SharedAnswer] # the oldest first

    def __repr__(self) -> str:
        return "<SharedAnswers: %d>" % len(self._known)

    def find(self, key: "Tuple[Any, ...]", now: float, make: "Callable[[], Answer]") -> Answer:
        """The answer to a question: the one that an equal question got lately, or a new one from `make`."""
        self._forget_old(now)
        shared = self._known.get(key)
        if shared is None or shared.failed:
            self._known.pop(key, None)
            shared = self._known[key] = SharedAnswer(make(), now)
        return shared.copy()

    def clear(self) -> None:
        """Forget all answers: an order has changed something."""
        self._known.clear()

    def _forget_old(self, now: float) -> None:
        """Forget answers that are too old, and the oldest ones while all are too large together."""
        size = sum(shared.size for shared in self._known.values())
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if now - SHARED_TIME < oldest.made_at and size <= SHARED_SIZE:
                break
            size -= oldest.size
            del self._known[key]
