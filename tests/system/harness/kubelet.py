# SPDX-License-Identifier: Apache-2.0
"""The parts of kubelet that a driver meets: the plugin manager, and how a ConfigMap is written into a volume."""
import os
import shutil
import stat
import threading

import grpc

from .process import wait_until


class Kubelet(threading.Thread):
    """The plugin manager: registers the driver whose socket appears in the folder, once."""

    def __init__(self, folder, accept=True):
        super().__init__(daemon=True)
        self.folder, self.accept = folder, accept
        self.info = self.node_id = self.failure = None
        self.start()

    def run(self):
        import csi_pb2
        import csi_pb2_grpc
        import registration_pb2
        import registration_pb2_grpc
        try:
            path = wait_until(self.find_socket, "a registration socket appears")
            with grpc.insecure_channel(f"unix:{path}") as channel:
                registration = registration_pb2_grpc.RegistrationStub(channel)
                self.info = registration.GetInfo(registration_pb2.InfoRequest(), timeout=10, wait_for_ready=True)  # kubelet dials for 10 s
                with grpc.insecure_channel(f"unix:{self.info.endpoint}") as endpoint:
                    self.node_id = csi_pb2_grpc.NodeStub(endpoint).NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=10).node_id
                registration.NotifyRegistrationStatus(
                    registration_pb2.RegistrationStatus(plugin_registered=self.accept, error="" if self.accept else "no such luck"),
                    timeout=10)
        except Exception as e:  # pylint: disable=broad-except
            self.failure = e

    def find_socket(self):
        for entry in os.scandir(self.folder):
            if not entry.name.startswith(".") and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                return entry.path
        return None

    def finished(self):
        self.join(timeout=60)
        assert not self.is_alive() and not self.failure, self.failure


class ConfigMap:
    """A folder as kubelet's atomic writer makes it: config.yaml -> ..data/config.yaml, ..data -> ..<time>."""

    def __init__(self, folder, text):
        self.folder, self.updates = folder, 0
        self._write(text)
        os.symlink("..data/config.yaml", folder / "config.yaml")

    @property
    def path(self):
        return self.folder / "config.yaml"

    def update(self, text):
        old = os.readlink(self.folder / "..data")
        self._write(text)
        shutil.rmtree(self.folder / old)

    def _write(self, text):
        self.updates += 1
        name = f"..2026_01_01_00_00_00.{self.updates}"
        (self.folder / name).mkdir()
        (self.folder / name / "config.yaml").write_text(text)
        os.symlink(name, self.folder / "..data_tmp")
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
