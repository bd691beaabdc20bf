"""The check of the whole file of a store from outside, whether a server uses it or not; nothing is changed."""
import os

from ..errors import StoreError
from .files import StoreFile
from .gearmand_queue import GEARMAND_TABLE
from .schema import MIGRATIONS, check_whole, schema_version

CHECK_PATIENCE = 10.0  # seconds to wait for a server that writes its file anew


def check_store(path: str) -> int:
    """Read the whole file; return how many jobs are in it.

    Raises StoreError for a file that is damaged, is no store or cannot be read, and OSError if there is none.
    """
    from sqlite3 import Error
    os.stat(path)
    file = StoreFile(os.path.realpath(path))
    try:
        if file.new_is_whole():  # it counts in place of the other
            return _check_file(file.new, path, "mode=ro")
        if not os.path.exists(file.wal):
            # No server has it.  So SQLite need not make files beside it, unless one starts meanwhile.
            before = os.stat(path)
            try:
                jobs = _check_file(file.path, path, "mode=ro&immutable=1")
            except (Error, StoreError):
                if _has_not_changed(before, os.stat(path)) and not os.path.exists(file.wal):
                    raise
            else:
                if _has_not_changed(before, os.stat(path)) and not os.path.exists(file.wal):
                    return jobs
        return _check_file(file.path, path, "mode=ro")
    except Error as error:
        raise StoreError("%s: %s" % (path, error), str(error)) from None


def _has_not_changed(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_dev, before.st_ino, before.st_size, before.st_mtime) == (
        now.st_dev, now.st_ino, now.st_size, now.st_mtime)


def _check_file(path: str, name: str, how: str) -> int:
    from pathlib import Path
    from sqlite3 import connect
    connection = connect("%s?%s" % (Path(path).as_uri(), how), uri=True, timeout=CHECK_PATIENCE)
    connection.text_factory = bytes
    try:
        if not schema_version(connection, name, len(MIGRATIONS), GEARMAND_TABLE):
            raise StoreError("%s is no store of a job server" % name)
        check_whole(connection, name)
        return int(connection.execute("SELECT count(*) FROM jobs").fetchone()[0])
    finally:
        connection.close()
