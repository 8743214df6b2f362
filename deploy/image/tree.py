# SPDX-License-Identifier: Apache-2.0
"""The image's files: in memory, so that owners, modes and times are what we say and not what this machine's umask made them."""
import dataclasses
import hashlib
import os
import sys

FOLDER, LINK, FILE = "folder", "link", "file"


@dataclasses.dataclass
class Entry:
    kind: str
    mode: int = 0o755
    target: str = ""  # of a link
    data: bytes = b""  # of a file
    origin: str = ""  # of a file: where it lies on this machine, or "" if it was made here
    package: str = ""  # of a file: the Debian package; "" is ours

    def digest(self, algorithm="sha256"):
        return hashlib.new(algorithm, self.data).hexdigest()


class Tree:
    """.entries: {path without the leading slash: Entry}"""

    def __init__(self):
        self.entries = {}

    def _add(self, path, entry):
        path = path.strip("/")
        above = os.path.dirname(path)
        if above and above not in self.entries:
            self.folder(above)
        before = self.entries.get(path)
        if before and (before.kind, before.target) != (entry.kind, entry.target):
            sys.exit(f"/{path}: both a {before.kind} and a {entry.kind}")
        self.entries[path] = before or entry

    def folder(self, path, mode=0o755):
        self._add(path, Entry(FOLDER, mode))

    def file(self, path, data, mode=0o644, origin="", package=""):
        self._add(path, Entry(FILE, mode, data=data, origin=origin, package=package))

    def copy(self, path, mode=0o644):
        """A file of this machine to the same place, with the symbolic links that lead to it."""
        here, rest = "/", [p for p in path.split("/") if p]
        while rest:
            part = rest.pop(0)
            here = os.path.normpath(os.path.join(here, part))
            if os.path.islink(here):
                target = os.readlink(here)
                self._add(here, Entry(LINK, 0o777, target))
                rest = [p for p in target.split("/") if p] + rest
                here = "/" if target.startswith("/") else os.path.dirname(here)
            elif rest and here != "/":
                self.folder(here)
        with open(here, "rb") as f:
            self.file(here, f.read(), mode, origin=here)

    def sorted(self):
        """[(path, Entry)], each folder before what is in it."""
        return sorted(self.entries.items())

    def files(self):
        return [(path, e) for path, e in self.sorted() if e.kind == FILE]

    def write(self, folder):
        """As a folder, for those who build with an engine."""
        for path, e in self.sorted():
            at = os.path.join(folder, path)
            if e.kind == LINK:
                os.symlink(e.target, at)
                continue
            if e.kind == FOLDER:
                os.makedirs(at, exist_ok=True)
            else:
                with open(at, "xb") as f:
                    f.write(e.data)
            os.chmod(at, e.mode)
