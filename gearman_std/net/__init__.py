"""What both ends of a connection do with sockets and signals.

Imports wire, arguments and errors.
"""
from .addresses import join_address, split_servers
from .connection import Connection, open_connection

__all__ = ["Connection", "join_address", "open_connection", "split_servers"]
