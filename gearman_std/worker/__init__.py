"""Running functions for jobs, over several servers.

Imports net, wire, timers, errors and arguments, never client, server or core.
"""
from .command import Command, CommandFailed
from .job import Retry, WorkerJob
from .settings import WorkerHealth
from .worker import Worker

__all__ = ["Command", "CommandFailed", "Retry", "Worker", "WorkerHealth", "WorkerJob"]
