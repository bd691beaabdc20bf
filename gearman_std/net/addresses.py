"""How people write the address of a job server, and what a machine is called."""
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Tuple, Union
    Address = Tuple[str, int]  # host and port; a path and 0 for a Unix socket
    ServerAddress = Union[Tuple[str, int], str, bytes]  # where a server listens; a Unix socket's path, or its abstract name

DEFAULT_PORT = 4730
_LONGEST_HOST = 253  # characters of a name in the domain name system
_NOT_IN_HOSTS = frozenset(" \t\r\n/\\,;?#@[]")
_IN_NUMERIC = frozenset("0123456789abcdefABCDEF:.")
_LONGEST_PATH = 107  # bytes of a Unix socket's path on Linux


def split_address(spec: "Any", port: int = DEFAULT_PORT) -> "Address":
    """Host and port of `host`, `host:port`, `[::1]:port`, `::1`, a (host, port) pair, `unix:/path` or `/path`.

    For a Unix socket, the host is its absolute path, and the port is 0.  Raises ValueError if the port is not a number from 0
    to 65535, or if the address is too long or has characters that no address can have.
    """
    number = port  # type: Any
    if isinstance(spec, (tuple, list)) and len(spec) == 2 and isinstance(spec[0], str):
        host, number = spec
    elif not isinstance(spec, str):
        raise TypeError("an address is a str or a (host, port) pair, not %r" % (spec,))
    elif "://" in spec:
        raise ValueError("%r is a URL; an address is host, host:port, [::1]:port or unix:/path" % spec)
    elif spec.startswith("unix:") or spec.startswith("/"):
        host, number = spec[5:] if spec.startswith("unix:") else spec, 0
        if not host.startswith("/"):  # it would be taken for a name, or for every address
            raise ValueError("the path of a Unix socket begins with a slash, and %r does not" % (host,))
    elif spec.startswith("["):
        host, bracket, rest = spec[1:].partition("]")
        number = rest[1:] or port if bracket and rest[:1] in ("", ":") else None
    elif spec.count(":") == 1:
        host, _, rest = spec.partition(":")
        number = rest or port
    else:
        host = spec
    if isinstance(number, str):
        number = int(number) if number.strip("0123456789") == "" else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 65535:
        raise ValueError("the port of %r is not a number from 0 to 65535" % (spec,))
    if "\0" in host or not host.startswith("/") and (set(host) & _NOT_IN_HOSTS or ":" in host and not _is_numeric(host)):
        raise ValueError("not an address: %r" % (spec,))
    if len(host.encode("utf-8", "surrogateescape")) > (_LONGEST_PATH if host.startswith("/") else _LONGEST_HOST):
        raise ValueError("an address that is too long: %r…" % host[:40])
    return host, number


def _is_numeric(host: str) -> bool:
    """Whether a host with colons may be an IPv6 address; a zone after a percent sign is a name that only the system knows."""
    return host.count(":") > 1 and set(host.partition("%")[0]) <= _IN_NUMERIC


def split_servers(servers: "Any", environment: "Any", name: str = "servers") -> "List[Address]":
    """The addresses in a list, in one string with commas, or in one (host, port) pair; None means those that the environment
    variable GEARMAN_SERVERS names, or localhost:4730.

    Raises ValueError if there is none, TypeError if `servers` is not a list, and what `split_address` raises; each names the
    argument, `name`.
    """
    if servers is None:
        servers = environment.get("GEARMAN_SERVERS") or "localhost"
    if isinstance(servers, str):
        servers = [word.strip() for word in servers.split(",") if word.strip()]
    elif isinstance(servers, (tuple, list)) and len(servers) == 2 and str(servers[1]).isdigit():
        servers = [tuple(servers)]  # a (host, port) pair: no address in a list is a number
    if not hasattr(type(servers), "__iter__") or isinstance(servers, (bytes, dict)):
        raise TypeError("%s is %r, not an address or a list of addresses" % (name, servers))
    addresses = []  # type: List[Address]
    for spec in servers:
        try:
            address = split_address(spec)
        except (TypeError, ValueError) as error:
            raise (TypeError if isinstance(error, TypeError) else ValueError)("%s: %s" % (name, error)) from None
        if not address[0]:
            raise ValueError("%s: an address without a host: %r" % (name, spec))
        if not address[1] and not address[0].startswith("/"):
            raise ValueError("%s: nobody can listen on port 0: %r" % (name, spec))
        if address not in addresses:
            addresses.append(address)
    if not addresses:
        raise ValueError("%s: no job server was named" % name)
    return addresses


def show_address(address: "ServerAddress") -> str:
    """Where a server listens, as a person writes it: a (host, port) pair, or the path, or the bytes, of a Unix socket."""
    return join_address(address) if isinstance(address, tuple) else str(address)


def machine_name() -> str:
    """The name of this machine, without what a handle or a listing cannot show; the system's may be empty, or any bytes."""
    name = socket.gethostname()
    return "".join(letter if "!" <= letter <= "~" else "_" for letter in name) or "localhost"


def join_address(address: "Address") -> str:
    """An address as a person writes it."""
    host, port = address
    if host.startswith("/"):
        return host
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)
