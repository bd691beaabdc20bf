"""Bytes and packets, without a socket: the wire format, and what each end of a connection has to say.

Imports errors, and nothing from the standard library that does I/O.
"""
from .client_session import ClientSession, read_number
from .worker_session import GRAB_TYPES, Assignment, WorkerSession

__all__ = ["Assignment", "ClientSession", "GRAB_TYPES", "WorkerSession", "read_number"]
