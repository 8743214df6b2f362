# SPDX-License-Identifier: Apache-2.0
"""The image's files as a runtime shows them to a program: a read-only root, and what a pod mounts. No container engine.

Everything is mounted in the caller's mount namespace, which has to be one of its own (tools/check-image).
"""
import os
import pathlib
import subprocess
import tempfile

from .mounts import unmount_below


class Container:
    """.root to chroot into; .folder is at the same path inside and outside, writable, and mounts below it show on both sides."""

    def __init__(self, files):
        namespaces = {os.readlink(f"/proc/{pid}/ns/mnt") for pid in (os.getpid(), os.getppid())}
        assert len(namespaces) == 2, "this needs a mount namespace of its own"
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="ms-", dir="/var/tmp"))  # short: sockets lie in it
        self.folder, self.root = self.work / "f", self.work / "root"
        inside = files / str(self.folder)[1:]
        for path in (self.folder, self.root, inside):
            path.mkdir(parents=True)
        for name in ("hosts", "resolv.conf"):
            (files / "etc" / name).touch()
        self.hosts, self.resolv_conf = self.work / "hosts", self.work / "resolv.conf"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.resolv_conf.write_text("")
        self._mount("--bind", self.folder, self.folder)
        self._mount("--make-shared", self.folder)
        self._mount("--bind", files, self.root)
        self._mount("-o", "remount,bind,ro", self.root)
        for source in ("/proc", "/dev", self.folder):
            self._mount("--bind", source, self.root / str(source)[1:])
        self.mount_file(self.hosts, "etc/hosts")
        self.mount_file(self.resolv_conf, "etc/resolv.conf")

    @staticmethod
    def _mount(*args):
        subprocess.run(["mount", *map(str, args)], check=True)

    def mount_file(self, source, path):
        self._mount("--bind", "-o", "ro", source, self.root / path)

    def unmount_file(self, path):
        subprocess.run(["umount", str(self.root / path)], check=True)

    def wrapper(self, user=None):
        """Stands in front of a command to run it inside; for MS_WRAP too."""
        return ["chroot", *([f"--userspec={user}"] if user else []), str(self.root)]

    def run(self, *command, user=None, env=None):
        """Without this machine's environment: there is none of it in a pod."""
        return subprocess.run([*self.wrapper(user), *map(str, command)], text=True, capture_output=True, check=False, timeout=300,
                              env={"PATH": "/usr/bin:/usr/sbin", **(env or {})})

    def remove(self):
        unmount_below(self.root)
        unmount_below(self.folder)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.work)], check=True)
