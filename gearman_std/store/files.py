"""The files of a store in the file system: kept from other servers, watched for changes, and made sure to be on disk.

FILE-new exists while FILE is written anew.  Once it is whole, it counts in place of FILE and FILE-wal, until it is removed.
"""
import os
import struct
import sys
from errno import EACCES, EAGAIN

from ..errors import StoreError, StoreInUse
from ..net.forks import leave_in_children
from .records import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Union

APPLICATION_ID = 0x47534a51
BUSY_TIMEOUT = 0.01           # seconds to wait for a lock of another process; the whole server may wait meanwhile
SQLITE_LOCKS = 1 << 30, 512   # the bytes of a database that SQLite locks: the first one, and how many
OUR_LOCK = (1 << 30) + 4096, 1
UNSTEADY_AFTER = 5            # times in a row that only a file's time has changed, after which that counts as harmless
_F_OFD_SETLK = 37             # of Linux; the module fcntl has it from Python 3.9 on
_TELLS_TIMES = os.name == "posix"  # elsewhere the time of an open file is not always up to date
_NOT_THROUGH_LINKS = getattr(os, "O_NOFOLLOW", 0)
_CHANGED = "the file was moved, deleted, replaced or changed"

# Open files: descriptor, (device, inode).  None may be opened a second time, because closing it would end SQLite's locks.
_held_files = {}  # type: Dict[int, Tuple[int, int]]


class StoreFile:
    """FILE of a store, with FILE-wal, FILE-shm, FILE-lock and FILE-new beside it.

    FILE is where a path leads through all links, because the other files are there.  If a link is put in the way, or pointed
    elsewhere, the path leads to another file: the one that the next server would open.  `check_link` raises OSError for a link
    that is not to be followed then.

    Raises StoreInUse for files that are in use, StoreError for files that somebody has changed, and OSError for anything else.

    Owner: the JobStore.
    """

    def __init__(self, path: "Union[str, bytes, os.PathLike[Any]]", check_link: "Callable[[str], Any]" = bool) -> None:
        self.path = real_path(path)  # first, because it says what is wrong with the current folder
        self._given = os.path.abspath(os.fsdecode(path))
        self._check_link = check_link
        self._name_others()
        self._lock = None    # type: Any # the connection that locks FILE-lock
        self._file = -1      # the descriptor of FILE, with OUR_LOCK, which holds whatever the file is called
        self._locked = None  # type: Any # the device and the inode of the FILE-lock that is locked
        self._noted = ()     # type: Tuple[Any, ...] # the state of the files after the last commit
        self._unsteady = 0   # how often in a row nothing but a time had changed

    def __repr__(self) -> str:
        return "<StoreFile %s%s>" % (self.path, ", ours" if self._lock is not None else "")

    def _name_others(self) -> None:
        self.wal, self.shm, self.lock_path, self.new = [self.path + end for end in ("-wal", "-shm", "-lock", "-new")]

    @property
    def is_elsewhere(self) -> bool:
        """Whether the path leads to another file by now."""
        return real_path(self._given) != self.path

    def follow(self) -> None:
        """Be the file to which the path leads; SQLite must have closed the one before."""
        if self.is_elsewhere:
            self._check_link(self._given)
            self.release()
            self.path = real_path(self._given)
            self._name_others()

    def take(self) -> None:
        """Keep other servers from the file, by any of its names, until `release`, or until this process ends in any way."""
        if self.is_elsewhere:
            raise StoreError(_CHANGED)
        if self._lock is not None and _file_identity(self.lock_path) != self._locked:
            self._unlock()
        if self._lock is None:
            lock = connect_sqlite(self.lock_path)
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except Exception as error:
                lock.close()
                if "locked" in str(error):
                    raise self._in_use() from None
                raise
            self._lock = lock
            self._locked = _file_identity(self.lock_path)
        if self._file < 0 or _file_identity(self.path) != _held_files[self._file]:
            self._close_file()
            self._open_file()

    def release(self) -> None:
        """Let other servers use the file; SQLite must have closed it."""
        self._close_file()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open_file(self) -> None:
        identity = _file_identity(self.path)
        if identity is not None and identity in _held_files.values():
            raise self._in_use()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | _NOT_THROUGH_LINKS | getattr(os, "O_BINARY", 0), 0o644)
        if not _lock_range(file, *OUR_LOCK):
            os.close(file)
            raise self._in_use()
        status = os.fstat(file)
        _held_files[file] = status.st_dev, status.st_ino
        self._file = file
        leave_in_children(self)

    def leave(self) -> None:
        """Close the file in a child of a fork; otherwise the child would keep the parent's lock."""
        self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            _held_files.pop(self._file, None)
            os.close(self._file)
            self._file = -1

    def _in_use(self) -> StoreInUse:
        return StoreInUse("%s is in use by another server" % self.path, "the file is in use by another server")

    # ----------------------------------------------------------------------------------------------------------- watching

    def note(self) -> None:
        """Remember the state of the files; everything in them is ours."""
        self._noted = self._look()

    def _look(self) -> "Tuple[Any, ...]":
        """The state of the files: FILE, its WAL, its lock, to which file the path leads, and FILE-shm."""
        return (_state_of(self.path, os.lstat), _state_of(self.wal), _state_of(self.lock_path),
                None if self._given == self.path else _file_identity(self._given), _state_of(self.shm))

    def note_commit(self) -> None:
        """Remember the state of the WAL after a commit, which has written only to the WAL."""
        before, after = self._noted[1], _state_of(self.wal)
        if after is None or after[:2] != before[:2]:
            raise StoreError(_CHANGED)
        self._noted = self._noted[:1] + (after,) + self._noted[2:]

    def check(self) -> None:
        """Raise StoreError if anybody else has moved, deleted, replaced or changed a file since the last note."""
        found = self._look()
        if not _same_memory(found[4], self._noted[4]) or found[3] != self._noted[3]:
            raise StoreError(_CHANGED)
        files, noted = found[:3], self._noted[:3]
        if files == noted and None not in files:
            self._unsteady = 0
            return
        if None not in files and None not in noted and all(now[:3] == before[:3] for now, before in zip(files, noted)):
            # Some network file systems change times by themselves, later.
            self._unsteady += 1
            if self._unsteady > UNSTEADY_AFTER:
                return
        raise StoreError(_CHANGED)

    # ------------------------------------------------------------------------------------------------------------ proving

    def prove(self) -> None:
        """Write again, and flush, what may be only in the system's memory, before anything is appended to it.

        After a failed flush, the system may take pages for written that are not on the disk; what is appended to such a WAL is
        lost in a power failure.  Nobody can know whether that has happened to the server before this one.
        """
        try:
            wal = os.open(self.wal, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            wal = -1
        if wal >= 0:
            try:
                offset = 0
                while True:
                    piece = _read_at(wal, offset, PIECE)
                    if not piece:
                        break
                    _write_at(wal, offset, piece)
                    offset += len(piece)
                os.fsync(wal)
            finally:
                os.close(wal)
        _write_at(self._file, 0, _read_at(self._file, 0, 65536))  # whatever else may not be on disk is in the WAL
        os.fsync(self._file)
        self.sync_folder()

    def sync_folder(self) -> None:
        """Make sure that the names of the files are on disk."""
        if os.name == "posix":
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    # ---------------------------------------------------------------------------------------------------------- renewing

    def size(self) -> int:
        """The bytes of the database and its WAL."""
        return sum(look[2] for look in (_state_of(self.path), _state_of(self.wal)) if look is not None)

    def room(self) -> "Optional[int]":
        """How many bytes can still be written, None if that cannot be known."""
        if not hasattr(os, "statvfs"):
            return None
        status = os.statvfs(os.path.dirname(self.path))
        return status.f_bavail * status.f_frsize

    def new_is_whole(self) -> bool:
        """Whether there is a FILE-new that was written completely."""
        try:
            with open(self.new, "rb") as file:
                return file.read(72)[68:] == struct.pack(">I", APPLICATION_ID)  # the last thing that is written
        except FileNotFoundError:
            return False

    def remove_new(self) -> None:
        """Remove FILE-new, if there is one."""
        for name in (self.new, self.new + "-journal", self.new + "-wal"):
            _remove_file(name)

    def empty(self) -> None:
        """Make the files empty, and give their room back."""
        self._lock_out_programs()
        try:
            os.ftruncate(self._file, 0)
            os.fsync(self._file)  # before the WAL is removed: SQLite ignores the WAL of an empty file
            self._remove_wal()
        finally:
            self._let_programs_in()

    def put_in_place(self) -> "Iterator[None]":
        """Copy FILE-new, which is whole and on disk, over FILE, one piece for each step; then remove FILE-new.

        FILE is not replaced by renaming, because it may be mounted by itself, or have other names.
        """
        self._lock_out_programs()
        try:
            self._remove_wal()
            with open(self.new, "rb") as source:
                os.ftruncate(self._file, os.fstat(source.fileno()).st_size)
                offset = 0
                while True:
                    piece = source.read(PIECE)
                    if not piece:
                        break
                    _write_at(self._file, offset, piece)
                    os.fsync(self._file)
                    offset += len(piece)
                    yield
            self.sync_folder()
            self.remove_new()
            self.sync_folder()
        finally:
            self._let_programs_in()

    def _lock_out_programs(self) -> None:
        """Keep all programs that use SQLite from the file; a backup may be reading it."""
        if not _lock_range(self._file, *SQLITE_LOCKS):
            raise StoreError("%s is locked by another program" % self.path, "the file is locked by another program")

    def _let_programs_in(self) -> None:
        if self._file >= 0:
            _lock_range(self._file, *SQLITE_LOCKS, free=True)

    def _remove_wal(self) -> None:
        """Remove the WAL before FILE gets other content, because the WAL does not belong to that."""
        for end in ("-wal", "-shm", "-journal"):
            _remove_file(self.path + end)
        self.sync_folder()


def connect_sqlite(path: str) -> "Any":
    """An SQLite connection without implicit transactions, usable in any thread."""
    from sqlite3 import connect
    name, uri = path, False
    if os.fsencode(path) != path.encode("utf-8", "replace"):  # Python 3.6 would take another file for such a name
        name, uri = "file:" + "".join("%%%02x" % byte for byte in os.fsencode(path)), True
    return connect(name, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=uri)


def real_path(path: "Union[str, bytes, os.PathLike[Any]]") -> str:
    """A path from the root on, without links.  Raises OSError if it is in the current folder, and that was deleted."""
    try:
        return os.path.realpath(os.fsdecode(path))
    except OSError as error:
        raise OSError(error.errno, "%s: the current folder: %s" % (os.fsdecode(path), error.strerror)) from None


def _file_identity(path: str) -> "Optional[Tuple[int, int]]":
    """The device and the inode of a file, which tell it from another file that gets its name later; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _same_memory(now: "Any", before: "Any") -> bool:
    """Whether FILE-shm, which all who use the database have in memory, is what it was: SQLite lets it grow, but if anybody else
    cuts it off, whoever touches what is missing is ended by SIGBUS.
    """
    return before is None or now is not None and now[:2] == before[:2] and bool(now[2] >= before[2])


def _state_of(path: str, look: "Callable[[str], os.stat_result]" = os.stat) -> "Any":
    """What changes when anybody writes to a file or replaces it: device, inode, size, time; None if there is no file."""
    try:
        status = look(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns if _TELLS_TIMES else 0


def _read_at(file: int, offset: int, size: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


def _write_at(file: int, offset: int, data: bytes) -> None:
    os.lseek(file, offset, os.SEEK_SET)
    while data:
        data = data[os.write(file, data):]


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _lock_range(file: int, start: int, length: int, free: bool = False) -> bool:
    """Lock bytes of an open file, or free them; return whether nobody else has locked any of them.

    The lock belongs to the open file: it excludes other processes, and also SQLite's locks of this process; it does not end
    when SQLite opens and closes the file.  Only Linux has such locks; elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return True
    import fcntl
    lock = struct.pack("hhqqi4x", fcntl.F_UNLCK if free else fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(file, _F_OFD_SETLK, lock)
    except OSError as error:
        return error.errno not in (EACCES, EAGAIN)  # any other error means that this file system has no such locks
    return True
