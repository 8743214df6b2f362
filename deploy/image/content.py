# SPDX-License-Identifier: Apache-2.0
"""What is in the image, and why. There is no list of libraries: they follow from the programs."""
import os

import debian
from elf import Closure
from tree import Tree

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = ("modelstaged", "modelstage")
# Where things are mounted; a root that is read-only from the start has no room for them otherwise.
FOLDERS = ("csi", "dev", "etc/modelstage", "proc", "registration", "run/modelstage", "sys", "var/lib/modelstage")
# What glibc opens at run time. Names in tars are UTF-8, and newlocale("C.UTF-8") reads this file.
LOCALE = "/usr/lib/locale/C.utf8/LC_CTYPE"
# By these, scanners see which release of Debian the packages below /var/lib/dpkg/status.d belong to.
RELEASE = ("/etc/os-release", "/etc/debian_version")


def _find(destdir, name):
    for folder in ("bin", "sbin"):
        for prefix in ("usr", "usr/local", ""):
            path = os.path.join(destdir, prefix, folder, name)
            if os.path.isfile(path):
                return path
    raise SystemExit(f"no {name} in {destdir}")


def _ca_bundle(tree):
    """Mozilla's certificates as Debian's package has them: this machine's bundle may have its owner's beside them."""
    paths = debian.files_of("ca-certificates", r"/usr/share/ca-certificates/.*\.crt")
    texts = []
    for path in paths:
        with open(path, encoding="ascii") as f:
            texts.append(f.read().strip() + "\n")
    tree.file("etc/ssl/certs/ca-certificates.crt", "".join(texts).encode(), package="ca-certificates")


def _documents(tree, names):
    """Whoever passes a program on passes its licence on: copyright files, and the texts that they point to."""
    for name in names:
        tree.copy(f"/usr/share/doc/{name}/copyright")
    for path in debian.files_of("base-files", "/usr/share/common-licenses/.*"):
        tree.copy(path)
    with open(os.path.join(HERE, "../../LICENSE"), "rb") as f:
        tree.file("usr/share/doc/modelstage/copyright", f.read())


def _own(tree):
    """Fills in the package of each file; returns the packages."""
    strangers = {e.origin: e for _, e in tree.files() if e.origin}
    for path, package in debian.owners(list(strangers)).items():
        strangers[path].package = package
    return {e.package for _, e in tree.files() if e.package}


def make(destdir):
    """(tree, packages by the name that dpkg gives them, closure)"""
    tree = Tree()
    programs = {name: _find(destdir, name) for name in PROGRAMS}
    closure = Closure(programs.values())
    tree.copy(closure.loader, mode=0o755)
    for path in closure.libraries:
        tree.copy(path)
    for name, path in programs.items():
        with open(path, "rb") as f:
            tree.file(f"usr/bin/{name}", f.read(), mode=0o755)

    for path in (LOCALE, *RELEASE):
        tree.copy(path)
    _ca_bundle(tree)
    for name in sorted(os.listdir(os.path.join(HERE, "etc"))):
        with open(os.path.join(HERE, "etc", name), "rb") as f:
            tree.file(f"etc/{name}", f.read())
    for folder in FOLDERS:
        tree.folder(folder)
    tree.folder("tmp", 0o1777)

    _documents(tree, sorted({name.partition(":")[0] for name in _own(tree)}))
    packages = {name: debian.package(name) for name in sorted(_own(tree))}
    for p in packages.values():
        tree.file(f"var/lib/dpkg/status.d/{p.name}", p.status.encode())
    return tree, packages, closure
