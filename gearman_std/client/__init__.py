"""Submitting jobs and waiting for them, over several servers; the text commands.

Imports net, wire, schedule, timers, errors and arguments, never worker, server or core.
"""
from .admin import AdminClient
from .client import Client
from .link import JobStatus
from .plan import HIGH, LOW, NORMAL
from .task import Task

__all__ = ["AdminClient", "Client", "HIGH", "JobStatus", "LOW", "NORMAL", "Task"]
