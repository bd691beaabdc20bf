"""`import gear`: what it has."""
import gearman_std.legacy.gear as gear


def test_every_name_is_there():
    assert len(gear.__all__) == len(set(gear.__all__)) and all(hasattr(gear, name) for name in gear.__all__)
    assert gear.constants.REQ == b"\0REQ"
    assert issubclass(gear.TextWorker, gear.Worker) and issubclass(gear.TextJob, gear.Job)
