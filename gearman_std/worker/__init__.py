"""Running functions for jobs, over several servers.

Imports net, wire, timers, errors and arguments, never client, server or core.
"""
from .command import Command, CommandFailed
from .job import Retry, WorkerJob
from .worker import Worker, WorkerHealth

__all__ = ["Command", "CommandFailed", "Retry", "Worker", "WorkerHealth", "WorkerJob"]
