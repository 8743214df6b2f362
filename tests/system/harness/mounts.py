# SPDX-License-Identifier: Apache-2.0
"""Mounts below a folder, from mountinfo."""
import re
import subprocess


def _plain(text):
    return re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), text)


def mounts_below(folder):
    """[(target, options)] in the order in which they were made."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            field = line.split()
            target = _plain(field[4])
            if target == str(folder) or target.startswith(str(folder) + "/"):
                found.append((target, set(field[5].split(","))))
    return found


def mount_options(target):
    """Of the topmost mount at exactly this place, or None."""
    options = [o for t, o in mounts_below(target) if t == str(target)]
    return options[-1] if options else None


def unmount_below(folder):
    """Takes down whatever is there and returns the targets."""
    targets = [t for t, _ in mounts_below(folder)]
    for target in reversed(targets):
        subprocess.run(["umount", "-l", target], check=True)
    return targets


def filesystem_type(path):
    """Of the file system that holds path: the longest mount point above it."""
    best, kind = "", ""
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            left, right = line.split(" - ")
            target = _plain(left.split()[4])
            if (str(path) + "/").startswith(target.rstrip("/") + "/") and len(target) >= len(best):
                best, kind = target, right.split()[0]
    return kind
