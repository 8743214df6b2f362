# SPDX-License-Identifier: Apache-2.0
"""A model that a volume has got is read into the page cache, if there is room and the administrator wants it."""
import ctypes
import mmap
import os

import pytest
from harness.layout import file_sums
from harness.process import LIBC, wait_until

IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
CACHESTAT = 451  # on all machines
IDLE = (19, 3)

LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def files_below(path):
    return [os.path.join(top, name) for top, _, names in os.walk(path) for name in names]


def pages(path):
    """(in memory, all) of one file."""
    size = os.path.getsize(path)
    if size == 0:
        return 0, 0
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as m:
        count = -(-size // mmap.PAGESIZE)
        seen = ctypes.create_string_buffer(count)
        anchor = ctypes.c_char.from_buffer(m)
        result = LIBC.mincore(ctypes.addressof(anchor), size, seen)
        del anchor
        assert result == 0
        return sum(byte & 1 for byte in seen.raw), count


def taken_back(path):
    """Pages of a file that were in memory and that the kernel has taken back; before Linux 6.5 nobody can tell."""
    whole, found = (ctypes.c_uint64 * 2)(0, os.path.getsize(path)), (ctypes.c_uint64 * 5)()
    with open(path, "rb") as f:
        return found[3] if LIBC.syscall(CACHESTAT, f.fileno(), whole, found, 0) == 0 else 0


def is_warm(path):
    """All of it, but for what the kernel has taken back, because nobody has mapped it yet."""
    here, all_of_it = pages(path)
    return here == all_of_it or (here > 0.9 * all_of_it and here + taken_back(path) >= all_of_it)


def resident(path):
    return sum(pages(file)[0] for file in files_below(path))


def drop(path):
    """Forgets what is in memory of a tree's files."""
    for file in files_below(path):
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def counted(daemon):
    return {r: int(daemon.metrics().get(f'readahead_bytes_total{{result="{r}"}}', 0)) for r in ("read", "no_room", "stopped")}


def warm_and_drop(daemon, ref):
    daemon.cli("warm", ref).ok()
    drop(daemon.root / "models")
    if resident(daemon.root / "models"):
        pytest.skip("this file system keeps its pages")


@pytest.mark.parametrize("policy", ["auto", "on"])
def test_a_model_is_in_memory_soon_after_a_volume_has_it(life, registry, policy):
    daemon = life.daemon(registry, engine={"readahead": policy})
    warm_and_drop(daemon, registry.ref("big"))
    assert counted(daemon)["read"] == 0, "nobody has it yet"
    with daemon.published("v", registry.ref("big"), pullPolicy="IfNotPresent") as path:
        size = sum(os.path.getsize(file) for file in files_below(path))
        wait_until(lambda: counted(daemon)["read"], "it has been read")
        assert counted(daemon) == {"read": size, "no_room": 0, "stopped": 0}
        for file in files_below(path):
            assert is_warm(file), file


def test_a_volume_is_warm_after_a_miss_and_by_the_cli_too(life, registry):
    daemon = life.daemon(registry)
    with daemon.mounted(registry.ref("raw")) as path:
        wait_until(lambda: counted(daemon)["read"], "it has been read")
        assert counted(daemon)["read"] == sum(os.path.getsize(file) for file in files_below(path))
        assert all(map(is_warm, files_below(path)))
        assert file_sums(path) == registry.files("raw")


def threads(daemon):
    """[(nice, class of I/O priority)] of the daemon's threads."""
    found = []
    for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
        with open(f"/proc/{daemon.process.pid}/task/{task}/stat", encoding="ascii") as f:
            nice = int(f.read().rsplit(")", 1)[1].split()[16])
        found.append((nice, LIBC.syscall(IOPRIO_GET[os.uname().machine], 1, int(task)) >> 13))
    return found


def test_off_is_off(life, registry):
    daemon = life.daemon(registry, engine={"readahead": "off"})
    warm_and_drop(daemon, registry.ref("big"))
    assert IDLE not in threads(daemon), "there is no thread for it"
    with daemon.published("v", registry.ref("big"), pullPolicy="IfNotPresent"):
        pass
    assert counted(daemon) == {"read": 0, "no_room": 0, "stopped": 0}
    assert resident(daemon.root / "models") == 0


def test_one_thread_does_it_at_idle_priority(life, registry):
    daemon = life.daemon(registry)
    wait_until(lambda: threads(daemon).count(IDLE) == 1, "one idle thread")
