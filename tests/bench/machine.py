# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on: its counters, its memory, its page cache, and what can be said about it."""
import ctypes
import mmap
import os
import platform
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))
MIB = 1 << 20


def cpu_seconds():
    """Of all programs and the kernel, since the start."""
    with open("/proc/stat", encoding="ascii") as f:
        n = [int(x) for x in f.readline().split()[1:9]]
    return (sum(n) - n[3] - n[4]) / TICKS  # without idle and iowait


def busy(seconds=0.25):
    """The share of the cores that somebody uses while nothing is measured."""
    before, start = cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds() - before) / (time.monotonic() - start) / CORES


def written_bytes(path):
    """To the disk that holds path, since the start; 0 where that is no disk."""
    device = os.stat(path).st_dev
    with open("/proc/diskstats", encoding="ascii") as f:
        for line in f:
            n = line.split()
            if (int(n[0]), int(n[1])) == (os.major(device), os.minor(device)):
                return int(n[9]) * 512
    return 0


def sync(path):
    """Everything of this file system is on the disk when it returns."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if LIBC.syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)


def memory(what):
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith(what + ":"):
                return int(line.split()[1]) << 10
    return 0


def touch_memory(size):
    """Takes so much memory and gives it back. A virtual machine gets a page from its host on first touch, and that is slow: who
    comes first would pay for all."""
    size = min(size, memory("MemFree") - 512 * MIB)
    if size <= 0:
        return
    pid = os.fork()
    if pid == 0:
        try:
            with mmap.mmap(-1, size) as area:
                area[::mmap.PAGESIZE] = bytes(len(range(0, size, mmap.PAGESIZE)))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def read_into_page_cache(path):
    buffer = bytearray(8 * MIB)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass


def filesystem(path):
    done = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", path], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def describe(path):
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        lines = f.read().splitlines()
    for line in lines:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return {"cpu": model, "cores": CORES, "shaNi": "sha_ni" in flags, "memoryGiB": round(memory("MemTotal") / (1 << 30), 1),
            "kernel": platform.release(), "filesystem": filesystem(path)}
