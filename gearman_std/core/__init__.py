"""Everything that the job server decides, without a socket, a thread, a clock or chance.

Imports wire, schedule, timers, errors and arguments, and of the standard library nothing that could act.
"""
from .core import Core
from .jobs import FunctionPolicy, Job
from .limits import Limits
from .peers import Peer

__all__ = ["Core", "FunctionPolicy", "Job", "Limits", "Peer"]
