"""The errors of python-gearman."""
import gearman_std
from gearman_std.legacy import errors


def test_every_error_is_a_gearman_error_of_both():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.GearmanError), name
    assert errors.GearmanError is gearman_std.GearmanError
    assert errors.ProtocolError is gearman_std.ProtocolError


def test_connection_error_is_not_pythons_own():
    assert not issubclass(errors.ConnectionError, OSError)
