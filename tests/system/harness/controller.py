# SPDX-License-Identifier: Apache-2.0
"""modelstaged --role controller under test, called as external-provisioner would."""
import json

import grpc

from .daemon import Server, wrapper
from .process import DEADLINE, Process, wait_until


class Controller(Server):
    def __init__(self, build, folder, api=None, layouts=(), **kubernetes):
        """layouts: directories. api: an ApiServer, or None for a controller without one. kubernetes: more of that section."""
        section = {"serviceAccount": str(api.account), "apiServer": api.url} if api else {"serviceAccount": ""}
        self.build, self.folder, self.csi_socket = build, folder, folder / "csi.sock"
        (folder / "config.yaml").write_text(json.dumps({
            "csi": {"endpoint": f"unix://{self.csi_socket}"}, "http": {"address": "127.0.0.1:0"}, "cache": {"root": str(folder / "cache")},
            "kubernetes": {**section, **kubernetes}, "policy": {"layouts": list(layouts)}, "log": {"level": "debug", "format": "json", "debug": "all"}}))
        self.start()

    def start(self):
        self.process = Process([*wrapper(), self.build / "modelstaged", "--role", "controller", "--config", self.folder / "config.yaml"],
                               self.folder / "controller.log")
        wait_until(lambda: self.process.check_running() and self.ready(), "the controller is ready")

    @property
    def stub(self):
        import csi_pb2_grpc
        return csi_pb2_grpc.ControllerStub(self._connect())

    def request(self, name, claim="llama", namespace="ml", mode="MULTI_NODE_READER_ONLY", block=False, **parameters):
        """mode, block: of the capability. claim None: a provisioner without --extra-create-metadata. allow="…" is the class's modelstage.io/allow."""
        import csi_pb2
        kind = {"block": csi_pb2.VolumeCapability.BlockVolume()} if block else {"mount": csi_pb2.VolumeCapability.MountVolume()}
        capability = csi_pb2.VolumeCapability(access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode), **kind)
        if "allow" in parameters:
            parameters["modelstage.io/allow"] = parameters.pop("allow")
        if claim is not None:
            parameters.update({"csi.storage.k8s.io/pvc/name": claim, "csi.storage.k8s.io/pvc/namespace": namespace,
                               "csi.storage.k8s.io/pv/name": name})
        return csi_pb2.CreateVolumeRequest(name=name, volume_capabilities=[capability], parameters=parameters,
                                           capacity_range=csi_pb2.CapacityRange(required_bytes=1 << 30))

    def create(self, name, timeout=DEADLINE, **more):
        """Returns the volume; raises grpc.RpcError."""
        return self.stub.CreateVolume(self.request(name, **more), timeout=timeout).volume

    def refusal(self, name, **more):
        """(code's name, text) of a CreateVolume that has to fail."""
        try:
            volume = self.create(name, **more)
        except grpc.RpcError as e:
            return e.code().name, e.details()
        raise AssertionError(f"it was made: {volume}")
