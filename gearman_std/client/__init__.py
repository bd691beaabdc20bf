"""Submitting jobs and waiting for them, over several servers; the text commands.

Imports net, wire, schedule, timers, errors and arguments, never worker, server or core.
"""
from .admin import AdminClient
from .client import Client
from .task import HIGH, LOW, NORMAL, JobStatus, Task

__all__ = ["AdminClient", "Client", "HIGH", "JobStatus", "LOW", "NORMAL", "Task"]
