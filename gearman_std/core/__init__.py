"""Everything that the job server decides, without sockets, threads, clocks or random numbers.

Imports wire, schedule, timers, errors and arguments, and nothing from the standard library that does I/O.
"""
from .core import Core
from .jobs import FunctionPolicy, Job
from .limits import Limits
from .peers import Peer

__all__ = ["Core", "FunctionPolicy", "Job", "Limits", "Peer"]
