# SPDX-License-Identifier: Apache-2.0
"""What a program needs to run, read from the ELF files themselves: no ldd, which would run the program.

Libraries are looked for as the dynamic loader does it in an image without /etc/ld.so.cache: the object's own RUNPATH, then
the folder where the loader itself lies, which is the machine's library folder on Debian. So no architecture is named here but
in the table of what OCI calls them.
"""
import os
import struct
import sys

OCI_ARCHITECTURE = {(21, "<"): "ppc64le", (22, ">"): "s390x", (62, "<"): "amd64", (183, "<"): "arm64", (243, "<"): "riscv64",
                    (258, "<"): "loong64"}  # by e_machine and byte order
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 1, 5, 15, 29


class Elf:
    """One 64-bit object: .machine, .loader (or None), .needed, .runpath."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:5] != b"\x7fELF\x02":
            sys.exit(f"{path}: not a 64-bit ELF file")
        self.path, self.order = path, "<" if self.data[5] == 1 else ">"
        self.machine = self._read("H", 18)[0], self.order
        self.segments = self._segments()
        self.loader = self._loader()
        self._read_dynamic()

    def _read(self, form, offset):
        return struct.unpack_from(self.order + form, self.data, offset)

    def _segments(self):
        """[(type, offset in the file, address, size in the file)]"""
        start, = self._read("Q", 32)
        size, count = self._read("HH", 54)
        headers = [self._read("IIQQQQ", start + i * size) for i in range(count)]
        return [(kind, offset, address, length) for kind, _, offset, address, _, length in headers]

    def _text(self, offset):
        return self.data[offset:self.data.index(b"\0", offset)].decode()

    def _in_file(self, address):
        for kind, offset, start, length in self.segments:
            if kind == PT_LOAD and start <= address < start + length:
                return offset + address - start
        sys.exit(f"{self.path}: address {address:#x} is in no segment")

    def _loader(self):
        for kind, offset, _, _ in self.segments:
            if kind == PT_INTERP:
                return self._text(offset)
        return None

    def _read_dynamic(self):
        entries = [self._read("qQ", offset + at) for kind, offset, _, length in self.segments if kind == PT_DYNAMIC
                   for at in range(0, length, 16)]
        strings = [value for tag, value in entries if tag == DT_STRTAB]

        def texts(*tags):
            return [self._text(self._in_file(strings[0]) + value) for tag, value in entries if tag in tags]
        self.needed = texts(DT_NEEDED)
        origin = os.path.dirname(os.path.realpath(self.path))
        self.runpath = [p.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
                        for text in texts(DT_RUNPATH, DT_RPATH) for p in text.split(":") if p]


class Closure:
    """Programs and everything that they load: .loader, .libraries {path: Elf}, .needs {path: [paths]}, .architecture."""

    def __init__(self, programs):
        objects = [Elf(p) for p in programs]
        first = objects[0]
        if not first.loader or first.machine not in OCI_ARCHITECTURE:
            sys.exit(f"{first.path}: no dynamic program of a known architecture")
        self.loader, self.architecture = first.loader, OCI_ARCHITECTURE[first.machine]
        self.machine = first.machine
        self.folders = self._folders(first.loader)
        self.libraries, self.needs = {}, {}
        while objects:
            o = objects.pop(0)
            self.needs[o.path] = [self._find(o, name) for name in o.needed]
            for path in self.needs[o.path]:
                if path not in self.libraries:
                    self.libraries[path] = Elf(path)
                    objects.append(self.libraries[path])

    @staticmethod
    def _folders(loader):
        folder = os.path.dirname(os.path.realpath(loader))
        plain = folder.removeprefix("/usr")
        return [f for f in ("/usr" + plain, plain) if os.path.isdir(f)]

    def _find(self, o, name):
        for folder in o.runpath + self.folders:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and Elf(path).machine == self.machine:
                return path
        return sys.exit(f"{o.path} needs {name}, which is not in {':'.join(o.runpath + self.folders)}")
