"""Opening files to write, also as root, where other users may have put something in the way."""
import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_MODE = 0o664  # less the umask; never for everybody to write


def open_to_write(path: str, flags: int) -> "Tuple[int, bool]":
    """Open a file, or make it; return its descriptor, and whether it was made.

    It follows no link that another user may have put there, and takes no file that has a second name where others may write:
    what root writes would get into a file of their choice.  Raises OSError.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, _MODE), True
    except FileExistsError:
        pass
    try:
        descriptor = os.open(path, flags | _NO_LINK)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        check_link(path)
        return os.open(path, flags | os.O_CREAT, _MODE), False
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and _others_write(os.stat(_folder(path))):
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it has another name, and others may write in its folder")
    return descriptor, False


def check_link(path: str) -> None:
    """Raise OSError if a path is a link that another user may have put there, or may replace."""
    if not os.path.islink(path) or not hasattr(os, "geteuid"):
        return
    folder, trusted = os.stat(_folder(path)), (0, os.geteuid())
    if os.lstat(path).st_uid not in trusted or folder.st_uid not in trusted or (
            _others_write(folder) and not folder.st_mode & stat.S_ISVTX):
        raise OSError(errno.ELOOP, "%s is a link that another user may have put there" % path)


def _folder(path: str) -> str:
    return os.path.dirname(path) or os.curdir


def _others_write(folder: os.stat_result) -> bool:
    return bool(folder.st_mode & stat.S_IWOTH)
