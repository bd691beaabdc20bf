"""Who may do what: facts about a peer go in, its rights come out."""
from ..core.rights import ADMIN, ALL_RIGHTS, STEER, SUBMIT, WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Set, Tuple, Union

ANYBODY, NOBODY, LOOPBACK, UNIX = "any", "none", "loopback", "unix"


class PeerFacts:
    """What the server knows about a peer: its IP address ("" for a Unix socket), its user id (None if it cannot be known), and
    the names in its certificate, if that was checked.

    Owner: nobody, it does not change.
    """

    __slots__ = ("address", "shown", "uid", "names")

    def __init__(self, address: str = "", uid: "Optional[int]" = None, names: "Iterable[str]" = ()) -> None:
        self.address = plain_address(address)
        zone = address.partition("%")[2]
        self.shown = "%s%%%s" % (self.address, zone) if zone else self.address  # with the zone of a link-local address
        self.uid = uid
        self.names = tuple(names)

    def __repr__(self) -> str:
        return "<PeerFacts %s%s%s>" % (self.shown or "unix", "" if self.uid is None else ", uid %d" % self.uid,
                                       "".join(", certificate of " + name for name in self.names))


class Access:
    """Who may submit jobs and ask about them, work, ask with text commands (admin), and change things with them (steer).

    Each is a list of those who may, None for the default, which is everybody; steer is by default for loopback addresses and
    Unix sockets, and always needs admin, too.  A list has networks such as ``10.0.0.0/8``, ``::1`` or ``192.168.1.7``,
    ``loopback``, ``unix`` (every Unix socket), ``uid:1000`` or ``uid:www-data`` (that user, by a Unix socket), ``cert:NAME``
    (the common name, or an alternative name, in a certificate that was checked), ``any`` and ``none``.  Raises ValueError.

    Owner: nobody, it does not change.
    """

    __slots__ = ("_lists",)

    def __init__(self, submit: "Optional[Iterable[str]]" = None, work: "Optional[Iterable[str]]" = None,
                 admin: "Optional[Iterable[str]]" = None, steer: "Optional[Iterable[str]]" = None) -> None:
        everybody = _AllowList((ANYBODY,))
        self._lists = {right: everybody if words is None else _AllowList(words)
                       for right, words in ((SUBMIT, submit), (WORK, work), (ADMIN, admin))}  # type: Dict[str, _AllowList]
        self._lists[STEER] = _AllowList((LOOPBACK, UNIX) if steer is None else steer)

    def __repr__(self) -> str:
        return "<Access %s>" % ", ".join("%s: %s" % (right, self._lists[right]) for right in (SUBMIT, WORK, ADMIN, STEER))

    @property
    def certificate_names(self) -> "FrozenSet[str]":
        """The names in certificates that its lists have."""
        return frozenset(name for one in self._lists.values() for name in one.names)

    @property
    def uids(self) -> "FrozenSet[int]":
        """The user ids that its lists have."""
        return frozenset(uid for one in self._lists.values() for uid in one.uids)

    def rights(self, peer: PeerFacts) -> "FrozenSet[str]":
        """What a peer may do: some of SUBMIT, WORK, ADMIN, STEER."""
        rights = frozenset(right for right, allowed in self._lists.items() if allowed.has(peer))
        if ADMIN not in rights:
            rights -= {STEER}
        return ALL_RIGHTS if rights == ALL_RIGHTS else rights


class _AllowList:
    """One list of those who may."""

    __slots__ = ("words", "networks", "names", "uids")

    def __init__(self, words: "Iterable[str]") -> None:
        if isinstance(words, str):
            raise ValueError("a list of who may is wanted, not a string: %r" % words)
        self.words = tuple(map(str, words))
        self.networks = []  # type: List[Union[IPv4Network, IPv6Network]]
        self.names = set()  # type: Set[str]
        self.uids = set()   # type: Set[int]
        for word in self.words:
            if word.startswith("cert:") and word[5:]:
                self.names.add(word[5:])
            elif word.startswith("uid:"):
                self.uids.add(_read_uid(word[4:]))
            elif word == LOOPBACK:
                self.networks += map(_read_network, ("127.0.0.0/8", "::1"))
            elif word not in (ANYBODY, NOBODY, UNIX):
                self.networks.append(_read_network(word))
        if NOBODY in self.words and len(self.words) > 1:
            raise ValueError("%s stands for itself: %s" % (NOBODY, ", ".join(self.words)))

    def __str__(self) -> str:
        return " ".join(self.words) or NOBODY

    def has(self, peer: PeerFacts) -> bool:
        """Whether a peer is on the list."""
        if ANYBODY in self.words or not peer.address and (UNIX in self.words or peer.uid in self.uids):
            return True
        if peer.address and self.networks:
            from ipaddress import ip_address
            address = ip_address(peer.address)
            if any(address in network for network in self.networks):
                return True
        return not self.names.isdisjoint(peer.names)


def _read_network(word: str) -> "Union[IPv4Network, IPv6Network]":
    from ipaddress import ip_network  # a millisecond that clients do not have to spend
    try:
        return ip_network(word)
    except ValueError as error:
        raise ValueError("%r is no network (%s), nor any, none, loopback, unix, uid:… or cert:…" % (word, error)) from None


def _read_uid(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        from pwd import getpwnam
        return getpwnam(text).pw_uid
    except (ImportError, KeyError):
        raise ValueError("there is no user %r" % text) from None


def plain_address(text: str) -> str:
    """An IP address without the zone of a link-local one; an IPv4 address that an IPv6 socket shows as mapped is plain."""
    text = text.partition("%")[0]
    if text.lower().startswith("::ffff:") and "." in text:
        return text[7:]
    return text


def names_in_certificate(certificate: "Optional[Dict[str, Any]]") -> "Tuple[str, ...]":
    """The common names and alternative names in a certificate, as `SSLSocket.getpeercert` shows it if it was checked."""
    if not certificate:
        return ()
    subject = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str)]
    return tuple(dict.fromkeys(subject + others))
