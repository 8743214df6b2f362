# SPDX-License-Identifier: Apache-2.0
"""What dpkg knows about this machine's files."""
import dataclasses
import os
import re
import subprocess
import sys

FIELDS = {"name": "Package", "version": "Version", "architecture": "Architecture", "source": "source:Package",
          "source_version": "source:Version", "maintainer": "Maintainer", "homepage": "Homepage"}


@dataclasses.dataclass
class Package:
    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str
    homepage: str

    @property
    def status(self):
        """The paragraph by which scanners of images recognise a package without dpkg's own data base."""
        source = self.source if self.source_version == self.version else f"{self.source} ({self.source_version})"
        return (f"Package: {self.name}\nStatus: install ok installed\nMaintainer: {self.maintainer}\n"
                f"Architecture: {self.architecture}\nSource: {source}\nVersion: {self.version}\nDescription: {self.name}\n")


def _run(*command, check=True):
    done = subprocess.run(command, text=True, capture_output=True, check=False, env=dict(os.environ, LC_ALL="C.UTF-8"))
    if check and done.returncode:
        sys.exit(f"{' '.join(command[:4])}: {done.stderr.strip()}")
    return done.stdout


def owners(paths):
    """{path: package}. dpkg may know /usr/lib/x as /lib/x: the packages of Debian 12 still say so."""
    known, native = {}, _run("dpkg", "--print-architecture").strip()
    names = sorted({n for p in paths for n in (p, p.removeprefix("/usr"))})
    for line in _run("dpkg-query", "-S", *names, check=False).splitlines():
        names, _, path = line.partition(": ")
        if path.startswith("/"):  # of several, all but one are the same package for another architecture
            known[path] = max(names.split(", "), key=lambda n: n.endswith(":" + native))
    found = {p: known.get(p) or known.get(p.removeprefix("/usr")) for p in paths}
    missing = sorted(p for p, package in found.items() if not package)
    if missing:
        sys.exit(f"of no Debian package, so nobody could say what is in the image: {' '.join(missing)}")
    return found


def package(name):
    line = _run("dpkg-query", "-W", "-f", "\t".join(f"${{{f}}}" for f in FIELDS.values()), name)
    return Package(*line.split("\t"))


def files_of(name, pattern):
    return sorted(p for p in _run("dpkg-query", "-L", name).splitlines() if re.fullmatch(pattern, p))
