"""Opening files to write where others may have put something in the way."""
import os
import stat

import pytest

from gearman_std.cli.daemon import LogFile, PidFile
from gearman_std.cli.opening import check_link, open_to_write

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="about users as POSIX has them")
OTHER = 54399  # a user that is not there


@pytest.fixture
def write():
    """write(path) opens, writes a letter, and returns whether the file was made."""
    def write(path):
        descriptor, made = open_to_write(str(path), os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"x")
        os.close(descriptor)
        return made
    return write


def test_a_file_is_made_once_and_never_for_everybody_to_write(tmp_path, write):
    before = os.umask(0)
    try:
        assert write(tmp_path / "file")
    finally:
        os.umask(before)
    assert not write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "xx"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o664


def test_a_link_of_ones_own_is_followed_also_to_what_is_not_there_yet(tmp_path, write):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert not write(tmp_path / "link") and not write(tmp_path / "link")
    assert (tmp_path / "file").read_text() == "xx"
    check_link(str(tmp_path / "link"))


def spoil_link(folder):
    os.lchown(str(folder / "link"), OTHER, OTHER)


def spoil_folder(folder):
    os.chown(str(folder), OTHER, OTHER)


def spoil_mode(folder):
    os.chmod(str(folder), 0o777)


@pytest.mark.parametrize("spoil", [spoil_link, spoil_folder, spoil_mode])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_that_another_user_may_have_put_there_is_not_followed(tmp_path, write, spoil, there):
    if spoil is not spoil_mode and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    folder, target = tmp_path / "folder", tmp_path / "target"
    folder.mkdir()
    if there:
        target.write_text("before")
    (folder / "link").symlink_to(target)
    spoil(folder)
    for use in (write, check_link, LogFile, lambda path: PidFile(path).open(), lambda path: PidFile(path).__enter__()):
        with pytest.raises(OSError) as caught:
            use(str(folder / "link"))
        assert "is a link that another user may have put there" in str(caught.value)
    assert target.read_text() == "before" if there else not target.exists()


def test_a_log_that_is_opened_again_follows_no_such_link_either(tmp_path):
    import logging
    folder, target = tmp_path / "folder", tmp_path / "target"
    folder.mkdir()
    os.chmod(str(folder), 0o777)
    log = LogFile(str(folder / "log"))
    (folder / "log").rename(folder / "log.1")
    (folder / "log").symlink_to(target)
    log.reopen()
    log.emit(logging.makeLogRecord({"msg": "still there"}))
    log.close()
    assert not target.exists() and "still there" in (folder / "log.1").read_text()


def test_a_file_with_a_second_name_is_not_written_where_others_may_have_given_it(tmp_path, write):
    (tmp_path / "theirs").write_text("before")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.link(str(tmp_path / "theirs"), str(folder / "file"))
    assert not write(folder / "file")
    os.chmod(str(folder), 0o1777)
    with pytest.raises(OSError) as caught:
        write(folder / "file")
    assert "another name" in caught.value.strerror
    assert (tmp_path / "theirs").read_text() == "beforex"
