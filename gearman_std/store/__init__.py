"""Where background jobs outlive the server.

Imports core, net, schedule, errors and arguments.
"""
from .sqlite import JobStore
from .store import Store
from .storekeeper import StoreKeeper

__all__ = ["JobStore", "Store", "StoreKeeper"]
