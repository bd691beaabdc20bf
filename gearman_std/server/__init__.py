"""Sockets for the core: the job server, where it listens, and who may do what.

Imports core, store, web, net, wire, timers, errors, version and arguments.
"""
from .access import Access
from .server import Server

__all__ = ["Access", "Server"]
