"""The version number."""
import re

import gearman_std
from gearman_std.version import VERSION


def test_the_version_is_three_numbers_and_the_packages():
    assert re.match(r"\d+\.\d+\.\d+\Z", VERSION)
    assert gearman_std.__version__ == VERSION
