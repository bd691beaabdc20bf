"""What waits for sockets: a selector that a crowd of peers leaving together does not hold up."""
import select
import selectors
from math import ceil
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

# One call of `select` returns at most this many sockets whose other end is gone, because each of them may cost much.
MOST_ENDED = 256
# The same for ready sockets of any kind, where the system does not tell which have lost their other end.
MOST_READY = 512
# The system is asked for so many at once, which takes a few milliseconds.
_MOST_FOUND = 4096


class BoundedSelector(selectors.DefaultSelector):
    """A selector whose `select` returns at most MOST_READY sockets; if more are ready, they take turns.

    Owner: whoever made it.
    """

    _turn = 0  # where the next answer begins among the sockets that are ready

    def __repr__(self) -> str:
        return "<BoundedSelector of %d>" % len(self.get_map() or ())

    def select(self, timeout: "Optional[float]" = None) -> "List[Tuple[SelectorKey, int]]":
        """Like `select` of every selector, with at most MOST_READY sockets."""
        ready = super().select(timeout)
        if len(ready) <= MOST_READY:
            return ready
        first = self._turn if self._turn < len(ready) else 0
        self._turn = first + MOST_READY
        return ready[first:self._turn]

    def modify(self, fileobj: "Any", events: int, data: "Any" = None) -> SelectorKey:
        """Like `modify` of every selector, and also for no events, of which select and kqueue know nothing."""
        if fileobj in self.get_map():
            self.unregister(fileobj)
        return self.register(fileobj, events, data) if events else SelectorKey(fileobj, fileobj.fileno(), 0, data)


if hasattr(select, "epoll"):
    _END_MASK = getattr(select, "EPOLLRDHUP", 0x2000)  # for which PyPy has no name
    _READ_MASK, _WRITE_MASK = select.EPOLLIN | _END_MASK, select.EPOLLOUT
    _MASKS = (0, _READ_MASK, _WRITE_MASK, _READ_MASK | _WRITE_MASK)  # by the events asked for
    _ENDED_MASK = _END_MASK | select.EPOLLHUP | select.EPOLLERR
    _MEANINGS = {select.EPOLLIN: EVENT_READ, _READ_MASK: EVENT_READ, select.EPOLLOUT: EVENT_WRITE}
    _OTHER_MEANING = EVENT_READ | EVENT_WRITE

    class PatientSelector(selectors.BaseSelector):
        """A selector whose `select` returns all ready sockets, but at most MOST_ENDED of those whose other end is gone.

        If there are more of these, they take turns: peers that are still there do not have to wait for thousands that left
        together.  `held_back` has the data of the sockets that were left out the last time.

        Owner: whoever made it.
        """

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._keys = {}  # type: Dict[int, SelectorKey] # by descriptor
            self._turn = 0   # where the next answer begins among those whose other end is gone
            self._rest = []  # type: List[Tuple[SelectorKey, int]] # of an answer, that was put back
            self.held_back = []  # type: List[Any] # always the same list

        def __repr__(self) -> str:
            return "<PatientSelector of %d>" % len(self._keys)

        def register(self, fileobj: "Any", events: int, data: "Any" = None) -> SelectorKey:
            """The same as `register` of every selector."""
            key = SelectorKey(fileobj, fileobj.fileno(), events, data)
            if key.fd in self._keys:
                raise KeyError("%r is registered already" % (fileobj,))
            self._epoll.register(key.fd, _MASKS[events])
            self._keys[key.fd] = key
            return key

        def modify(self, fileobj: "Any", events: int, data: "Any" = None) -> SelectorKey:
            """The same as `modify` of every selector."""
            before = self._keys[fileobj.fileno()]
            if events != before.events:
                self._epoll.modify(before.fd, _MASKS[events])
            key = self._keys[before.fd] = SelectorKey(fileobj, before.fd, events, data)
            return key

        def unregister(self, fileobj: "Any") -> SelectorKey:
            """The same as `unregister` of every selector."""
            key = self._keys.pop(fileobj.fileno())
            try:
                self._epoll.unregister(key.fd)
            except FileNotFoundError:  # it was closed, and another file may have its number now
                pass
            return key

        def select(self, timeout: "Optional[float]" = None) -> "List[Tuple[SelectorKey, int]]":
            """Like `select` of every selector, with at most MOST_ENDED sockets whose other end is gone."""
            # Rounded up to a whole millisecond: rounded down to 0, it would not wait at all in the last one.
            wait = -1.0 if timeout is None else ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0.0
            keys, ready = self._keys, []
            if self.held_back:
                self.held_back.clear()
            if self._rest:
                ready = self._still_wanted()
                if ready:
                    return ready
            found = self._epoll.poll(wait, min(len(keys) or 1, _MOST_FOUND))
            if len(found) > MOST_ENDED:
                found = self._some_of(found)
            for descriptor, mask in found:
                key = keys.get(descriptor)
                if key is not None:
                    ready.append((key, _MEANINGS.get(mask, _OTHER_MEANING) & key.events))
            return ready

        def put_back(self, rest: "List[Tuple[SelectorKey, int]]") -> None:
            """The next answer is this rest of the last one, without sockets that are not watched for that any longer."""
            self._rest = rest

        def _still_wanted(self) -> "List[Tuple[SelectorKey, int]]":
            rest, self._rest = self._rest, []
            wanted = []
            for key, events in rest:
                now = self._keys.get(key.fd)
                if now is not None and now.fileobj is key.fileobj and events & now.events:
                    wanted.append((now, events & now.events))
            return wanted

        def _some_of(self, found: "List[Tuple[int, int]]") -> "List[Tuple[int, int]]":
            ended = [pair for pair in found if pair[1] & _ENDED_MASK]
            if len(ended) <= MOST_ENDED:
                return found
            first = self._turn if self._turn < len(ended) else 0
            self._turn = first + MOST_ENDED
            self.held_back += [self._keys[descriptor].data for descriptor, _ in ended[:first] + ended[self._turn:]
                               if descriptor in self._keys]
            return [pair for pair in found if not pair[1] & _ENDED_MASK] + ended[first:self._turn]

        def get_map(self) -> "Dict[Any, SelectorKey]":
            """The same as `get_map` of every selector."""
            return {key.fileobj: key for key in self._keys.values()}

        def close(self) -> None:
            """The same as `close` of every selector."""
            self._epoll.close()
            self._keys.clear()
else:
    PatientSelector = BoundedSelector  # type: ignore[misc,assignment]
