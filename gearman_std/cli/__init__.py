"""The commands, their options, and what a process needs to be one of them.

Imports everything.
"""
from .cli import main, run_and_exit

__all__ = ["main", "run_and_exit"]
