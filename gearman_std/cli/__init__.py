"""The commands, their options, and what a process needs to be one of them.

Imports everything.
"""
from .cli import main

__all__ = ["main"]
