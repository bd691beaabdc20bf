"""Tables that never take long to grow, however much is in them."""
from collections import abc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, MutableMapping

# A dict moves all its entries when it grows.  CPython 3.11 takes some 4 ms for 87,381 of them, and 40 ms for 700,000.
LARGE_TABLE = 80000

_PARTS = 251  # a prime: hashes of objects are addresses, and their remainders by other numbers are mostly the same few


def in_parts(table: "MutableMapping[Any, Any]") -> "MutableMapping[Any, Any]":
    """A PartedTable in place of a large dict; one that is parted already is returned as it is."""
    return table if isinstance(table, PartedTable) else PartedTable(table)


def grown(table: "MutableMapping[Any, Any]") -> "MutableMapping[Any, Any]":
    """The table itself, or a PartedTable in its place if it has become large."""
    return PartedTable(table) if table.__class__ is dict and len(table) >= LARGE_TABLE else table


def lists_of(table: "MutableMapping[Any, Any]") -> "Iterator[List[Any]]":
    """All keys, in lists none of which takes long to make; entries may come and go from one to the next."""
    if isinstance(table, PartedTable):
        for part in table.parts():
            yield list(part)
    else:
        yield list(table)


def in_layers(table: "MutableMapping[Any, Any]") -> "MutableMapping[Any, Any]":
    """A LayeredTable in place of a large dict; one that is layered already is returned as it is."""
    return table if isinstance(table, LayeredTable) else LayeredTable(table)


class PartedTable(abc.MutableMapping):  # type: ignore[type-arg]
    """A table that takes the place of a large dict: new entries are spread over many small dicts, by their hash.

    It does not keep the order of its entries.

    Owner: that of the dict.
    """

    __slots__ = ("_first", "_parts", "_later", "_last")

    def __init__(self, first: "Any") -> None:
        self._first = first  # the large dict; nothing is added to it
        self._parts = [{} for _ in range(_PARTS)]  # type: List[Dict[Any, Any]]
        self._later = 0      # how many entries are in the parts
        self._last = 0       # all parts after this one are empty

    def __repr__(self) -> str:
        return "<PartedTable of %d>" % len(self)

    def __len__(self) -> int:
        return len(self._first) + self._later

    def __iter__(self) -> "Iterator[Any]":
        for part in self.parts():
            yield from part

    def parts(self) -> "List[Any]":
        """The dicts of which it is made."""
        return [self._first] + self._parts

    def __contains__(self, key: "Any") -> bool:
        return key in self._parts[hash(key) % _PARTS] or key in self._first

    def get(self, key: "Any", default: "Any" = None) -> "Any":
        part = self._parts[hash(key) % _PARTS]
        return part[key] if key in part else self._first.get(key, default)

    def __getitem__(self, key: "Any") -> "Any":
        part = self._parts[hash(key) % _PARTS]
        return part[key] if key in part else self._first[key]

    def __setitem__(self, key: "Any", value: "Any") -> None:
        part = self._parts[hash(key) % _PARTS]
        if key not in part:
            if key in self._first:
                self._first[key] = value
                return
            self._later += 1
            self._last = _PARTS - 1
        part[key] = value

    def update(self, pairs: "Any") -> None:  # type: ignore[override]
        """As that of a dict, of pairs alone."""
        parts, first = self._parts, self._first
        for key, value in pairs:
            (first if key in first else parts[hash(key) % _PARTS])[key] = value
        self._later = sum(map(len, parts))
        self._last = _PARTS - 1

    def __delitem__(self, key: "Any") -> None:
        part = self._parts[hash(key) % _PARTS]
        if key in part:
            del part[key]
            self._later -= 1
        else:
            del self._first[key]

    def pop(self, key: "Any", *default: "Any") -> "Any":
        part = self._parts[hash(key) % _PARTS]
        if key not in part:
            return self._first.pop(key, *default)
        self._later -= 1
        return part.pop(key)

    def popitem(self) -> "Any":
        """Take out any entry; raises KeyError if there is none."""
        if self._later:
            while not self._parts[self._last]:
                self._last -= 1
            self._later -= 1
            return self._parts[self._last].popitem()
        return self._first.popitem()


class LayeredTable(abc.MutableMapping):  # type: ignore[type-arg]
    """A table that takes the place of a large dict and keeps the order of its entries: when the newest of its dicts has become
    large, too, further ones go into another, of the same kind.

    Owner: that of the dict.
    """

    __slots__ = ("_layers",)

    def __init__(self, first: "Any") -> None:
        self._layers = [first, type(first)()]  # type: List[Any] # the last one takes new entries

    def __repr__(self) -> str:
        return "<LayeredTable of %d>" % len(self)

    def __len__(self) -> int:
        return sum(map(len, self._layers))

    def __iter__(self) -> "Iterator[Any]":
        for layer in self._layers:
            yield from layer

    def _layer_of(self, key: "Any") -> "Any":
        """The dict that has a key, or else would take it."""
        for layer in self._layers:
            if key in layer:
                return layer
        return layer

    def __getitem__(self, key: "Any") -> "Any":
        return self._layer_of(key)[key]

    def __setitem__(self, key: "Any", value: "Any") -> None:
        self._layer_of(key)[key] = value
        if len(self._layers[-1]) >= LARGE_TABLE:
            self._layers.append(type(self._layers[-1])())

    def __delitem__(self, key: "Any") -> None:
        layer = self._layer_of(key)
        del layer[key]
        if not layer and layer is not self._layers[-1]:
            self._layers.remove(layer)

    def popitem(self) -> "Any":
        """Take out the newest entry; raises KeyError if there is none."""
        while len(self._layers) > 1 and not self._layers[-1]:
            self._layers.pop()
        return self._layers[-1].popitem()
