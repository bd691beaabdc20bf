"""A disk that remembers what was really synced: a store lives on it while the n-th write or sync fails, then the power is cut.

LIBRARY is preloaded into the process that has the store, fails what it is told to, and notes all that is done to the files of
one folder.  `Disk` reads the notes and knows what may be on the disk after each of them: what a sync that succeeded covered is
there; of all else, any page may be there or not; after a sync that failed the pages are clean, and no later sync writes them.
"""
import os
import shutil
import struct
import subprocess
import sys

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static int notes = -1;
static char watched[65536];
static int fail_kind, fail_in, fail_times, fail_errno;
static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_truncate)(int, off_t);
static int (*real_unlink)(const char *);
static int (*real_close)(int);

__attribute__((constructor)) static void init(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_close = dlsym(RTLD_NEXT, "close");
}

static void note(char kind, int file, int64_t number, const void *data, uint32_t size) {
    struct { char kind; int32_t file; int64_t number; uint32_t size; } __attribute__((packed)) head = {
        kind, file, number, size};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, size}};
    if (notes >= 0 && writev(notes, parts, 2) < 0)
        abort();
}

static int fails(int kind) {
    if (kind != fail_kind || fail_times <= 0 || --fail_in > 0)
        return 0;
    fail_times--;
    errno = fail_errno;
    return 1;
}

static int is_watched(int file) { return notes >= 0 && file >= 0 && file < (int)sizeof watched && watched[file]; }

void disk_watch(const char *path, int file) {
    if (file < 0 && notes >= 0)
        real_close(notes);
    strcpy(folder, path);
    memset(watched, 0, sizeof watched);
    notes = file < 0 ? -1 : fcntl(file, F_DUPFD, 900);
    fail_times = 0;
}
void disk_arm(int kind, int in, int times, int error) {
    fail_kind = kind; fail_in = in; fail_times = times; fail_errno = error;
}
int disk_armed(void) { return fail_times > 0; }
void disk_mark(const char *text) { note('M', 0, 0, text, strlen(text)); }

static int opened(int file, const char *path) {
    size_t length = strlen(folder), own = strlen(path);
    if (own + 1 == length)
        length = own;  /* the folder itself */
    if (file < 0 || notes < 0 || file >= (int)sizeof watched || strncmp(path, folder, length) || strstr(path, "-shm"))
        return file;
    watched[file] = 1;
    note('O', file, 0, path + length, own - length);
    return file;
}
int open(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    return opened(real_open(path, flags, mode), path);
}
int open64(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    return opened(real_open(path, flags, mode), path);
}
ssize_t pwrite64(int file, const void *data, size_t size, off_t offset) {
    if (is_watched(file) && fails('W'))
        return -1;
    ssize_t done = real_pwrite(file, data, size, offset);
    if (is_watched(file) && done > 0)
        note('W', file, offset, data, done);
    return done;
}
ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return pwrite64(file, data, size, offset); }
ssize_t write(int file, const void *data, size_t size) {
    if (!is_watched(file))
        return real_write(file, data, size);
    if (fails('W'))
        return -1;
    off_t offset = lseek(file, 0, SEEK_CUR);
    ssize_t done = real_write(file, data, size);
    if (done > 0)
        note('W', file, offset, data, done);
    return done;
}
static int sync_file(int file) {
    if (!is_watched(file))
        return 0;
    int failed = fails('S');
    note('S', file, failed, 0, 0);
    return failed ? -1 : 0;
}
int fsync(int file) { return sync_file(file); }
int fdatasync(int file) { return sync_file(file); }
int ftruncate64(int file, off_t size) {
    if (is_watched(file) && fails('W'))
        return -1;
    int result = real_truncate(file, size);
    if (is_watched(file) && !result)
        note('T', file, size, 0, 0);
    return result;
}
int ftruncate(int file, off_t size) { return ftruncate64(file, size); }
int unlink(const char *path) {
    int result = real_unlink(path);
    size_t length = strlen(folder);
    if (!result && notes >= 0 && !strncmp(path, folder, length) && !strstr(path, "-shm"))
        note('U', 0, 0, path + length, strlen(path + length));
    return result;
}
int close(int file) {
    if (is_watched(file)) {
        watched[file] = 0;
        note('C', file, 0, 0, 0);
    }
    return real_close(file);
}
"""

# For each line "FOLDER KIND N TIMES ERRNO END", a core with a store in the folder lives, into whose life that failure comes.
# In the notes, what was promised and what has ended is marked.
LIFE = r"""
import ctypes, os, signal, sys
sys.path.insert(0, sys.argv[1])
from core_world import packets_of
from store_world import StoredWorld
from gearman_std.store import sqlite
from gearman_std.store.storekeeper import RETRY_INTERVAL
from gearman_std.wire.protocol import SUBMIT_JOB_BG, WORK_COMPLETE

sqlite.WAL_SIZE = 50000  # so that there are some checkpoints
disk = ctypes.CDLL(None)
mark = lambda kind, handle: disk.disk_mark(kind.encode() + b" " + handle)


def submit(world, workload):
    '''Whether a job was taken.'''
    client = world.connects()
    client.says(SUBMIT_JOB_BG, b"f", b"", workload)
    name, *arguments = packets_of(client.takes())[0]
    if name == "JOB_CREATED":
        mark("promised", arguments[0])
    client.leaves()
    return name == "JOB_CREATED"


def work(world):
    worker = world.worker(b"f")
    handle = worker.grabs()
    if handle is not None:
        mark("ended", handle)
        worker.says(WORK_COMPLETE, handle, b"")
    worker.takes()
    worker.leaves()


def live(folder, arm):
    world = StoredWorld([], folder + "jobs.db")
    for size in (10, 9000, 200):
        submit(world, b"x" * size)
    work(world)      # a commit that waits for no sync
    world.passes(0.1)
    arm()
    for size in (30000, 10, 5000, 20000, 10, 10, 9000, 10, 10):
        submit(world, b"y" * size)
        work(world)
        world.passes(0.1)
    for size in [10] + [3000] * 4:
        for _ in range(3000):
            if submit(world, b"z" * size):
                break
            world.passes(RETRY_INTERVAL)
        else:
            raise AssertionError("it does not recover: %r" % world.core.store_trouble)
    return world


for line in sys.stdin:
    folder, kind, n, times, error, end = line.split()
    os.makedirs(folder)
    notes = os.open(folder.rstrip("/") + ".notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    disk.disk_watch(os.fsencode(folder), notes)
    os.close(notes)
    world = live(folder, lambda: disk.disk_arm(ord(kind), int(n), int(times), int(error)))
    met = not disk.disk_armed()
    disk.disk_arm(0, 0, 0, 0)
    if end == "stop":
        world.keeper.close()
    else:
        world.store.abandon()
    disk.disk_watch(b"", -1)
    print("met" if met else "passed", flush=True)
"""

PAGE = 4096
HEAD = struct.Struct("<ciqI")


def build(compiler, folder):
    """The library to preload."""
    source, library = os.path.join(folder, "disk.c"), os.path.join(folder, "disk.so")
    with open(source, "w") as file:
        file.write(LIBRARY)
    subprocess.check_call([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"])
    return library


class Lives:
    """A process with the library in it."""

    def __init__(self, library, tests, package):
        environment = dict(os.environ, LD_PRELOAD=library, PYTHONPATH=package)
        self.process = subprocess.Popen([sys.executable, "-c", LIFE, tests], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment, universal_newlines=True)

    def live(self, folder, kind, n, times, error, end="crash"):
        """The notes of one life, of which nothing else is left, and whether the failure came."""
        self.process.stdin.write("%s/ %s %d %d %d %s\n" % (folder, kind, n, times, error, end))
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, "the life ended with a traceback"
        shutil.rmtree(folder)
        with open(folder + ".notes", "rb") as file:
            notes = file.read()
        os.unlink(folder + ".notes")  # the next life is another one
        return notes, answer == "met"

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


class File:
    """One file: for each page what may be on the disk, first what is there for certain if nothing else is."""

    def __init__(self):
        self.pages, self.dirty, self.now = {}, set(), {}
        self.sizes = [0]

    def write(self, offset, data):
        for page in range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1):
            content = self.now.setdefault(page, bytearray(PAGE))
            begin, end = max(offset, page * PAGE), min(offset + len(data), (page + 1) * PAGE)
            content[begin - page * PAGE:end - page * PAGE] = data[begin - offset:end - offset]
            self.put(page)
        self.sizes.append(max(self.sizes[-1], offset + len(data)))

    def put(self, page):
        self.pages.setdefault(page, [bytes(PAGE)]).append(bytes(self.now[page]))
        self.dirty.add(page)

    def truncate(self, size):
        for page, content in self.now.items():
            if (page + 1) * PAGE > size:
                keep = max(0, size - page * PAGE)
                content[keep:] = bytes(PAGE - keep)
                self.dirty.discard(page)
                if keep:
                    self.put(page)
        self.sizes.append(size)

    def sync(self, failed):
        if not failed:
            for page in list(self.pages):
                if page in self.dirty:
                    del self.pages[page][:-1]
                elif page * PAGE >= min(self.sizes):  # it was cut off
                    del self.pages[page]
            del self.sizes[:-1]
        self.dirty.clear()

    def image(self, chance):
        """What is on the disk: nothing but what is certain, or with `chance` any of what may be."""
        size = chance.choice(self.sizes) if chance else self.sizes[0]
        data = bytearray(size)
        for page, contents in self.pages.items():
            content = chance.choice(contents) if chance else contents[0]
            data[page * PAGE:(page + 1) * PAGE] = content[:max(0, size - page * PAGE)]
        return bytes(data)


class Disk:
    """The folder as it may be on the disk, and what has been promised, after each note."""

    def __init__(self):
        self.names, self.open = {}, {}
        self.folders = [{}]  # what may be in the folder, first what is certain
        self.promised, self.ended = set(), set()

    def steps(self, notes, ignored=""):
        """Obey the notes, and yield the kind of each after it."""
        at = 0
        while at < len(notes):
            kind, file, number, size = HEAD.unpack_from(notes, at)
            data = notes[at + HEAD.size:at + HEAD.size + size]
            at += HEAD.size + size
            kind = kind.decode()
            if kind not in ignored:
                self.obey(kind, file, number, data)
            yield kind

    def obey(self, kind, file, number, data):
        name = data.decode() if kind in "OU" else ""
        if kind == "O":
            if name and name not in self.names:
                self.names[name] = File()
                self.folders.append(dict(self.names))
            self.open[file] = self.names[name] if name else None
        elif kind == "U":
            del self.names[name]
            self.folders.append(dict(self.names))
        elif kind == "C":
            del self.open[file]
        elif kind == "M":
            word, handle = data.split(b" ")
            (self.promised if word == b"promised" else self.ended).add(handle)
        elif kind == "S" and self.open[file] is None:
            if not number:
                del self.folders[:-1]
        elif kind == "S":
            self.open[file].sync(number)
        elif kind == "W":
            self.open[file].write(number, data)
        else:
            self.open[file].truncate(number)

    def write_image(self, folder, chance=None):
        """What is left after a power failure now."""
        for name, file in (chance.choice(self.folders) if chance else self.folders[0]).items():
            with open(os.path.join(folder, name), "wb") as image:
                image.write(file.image(chance))
