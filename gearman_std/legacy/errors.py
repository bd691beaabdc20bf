"""The errors of python-gearman; all are also a GearmanError of gearman_std."""
from ..errors import GearmanError, ProtocolError


class ConnectionError(GearmanError):
    """A server cannot be reached, or its connection broke."""


class ServerUnavailable(GearmanError):
    """None of the servers can be reached."""


class UnknownCommandError(GearmanError):
    """A packet that nobody here can take."""


class ExceededConnectionAttempts(GearmanError):
    """No server accepted a job, as often as it was tried."""


class InvalidClientState(GearmanError):
    """A client was asked for what it cannot do now."""


class InvalidWorkerState(GearmanError):
    """A worker was asked for what it cannot do now."""


class InvalidAdminClientState(GearmanError):
    """A server did not answer a command of an admin client in time, or not what was asked."""


__all__ = ["ConnectionError", "ExceededConnectionAttempts", "GearmanError", "InvalidAdminClientState", "InvalidClientState",
           "InvalidWorkerState", "ProtocolError", "ServerUnavailable", "UnknownCommandError"]
