"""The words of python-gearman."""
from gearman_std.legacy import constants


def test_the_words_are_what_scripts_compare_with():
    assert (constants.PRIORITY_NONE, constants.PRIORITY_LOW, constants.PRIORITY_HIGH) == (None, "LOW", "HIGH")
    assert [constants.JOB_UNKNOWN, constants.JOB_PENDING, constants.JOB_CREATED, constants.JOB_FAILED,
            constants.JOB_COMPLETE] == ["UNKNOWN", "PENDING", "CREATED", "FAILED", "COMPLETE"]
    assert constants.DEFAULT_GEARMAN_PORT == 4730
