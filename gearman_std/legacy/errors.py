"""The errors of python-gearman; each is also a GearmanError of gearman_std."""
from ..errors import GearmanError, ProtocolError


class ConnectionError(GearmanError):
    """A server cannot be reached, or the connection to it broke."""


class ServerUnavailable(GearmanError):
    """None of the servers can be reached."""


class UnknownCommandError(GearmanError):
    """A packet of a type that is not known."""


class ExceededConnectionAttempts(GearmanError):
    """No server accepted a job in as many tries as were allowed."""


class InvalidClientState(GearmanError):
    """A client cannot do now what it was asked for."""


class InvalidWorkerState(GearmanError):
    """A worker cannot do now what it was asked for."""


class InvalidAdminClientState(GearmanError):
    """A server did not answer a command of an admin client in time."""


__all__ = ["ConnectionError", "ExceededConnectionAttempts", "GearmanError", "InvalidAdminClientState", "InvalidClientState",
           "InvalidWorkerState", "ProtocolError", "ServerUnavailable", "UnknownCommandError"]
