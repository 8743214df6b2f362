# SPDX-License-Identifier: Apache-2.0
"""kubelet finds the driver without a registrar sidecar, as it does with one: it watches a folder, asks GetInfo on the socket there, dials
the endpoint that it is told, calls NodeGetInfo, and says how it went."""
import os
import socket

import grpc
import pytest
from harness.kubelet import Kubelet
from harness.process import Process, wait_until


def test_kubelet_registers_the_driver_and_it_is_ready_then(life):
    folder = life.folder()
    kubelet = Kubelet(folder)
    daemon = life.daemon(csi={"kubeletRegistration": str(folder)})  # returns when /readyz says yes
    kubelet.finished()
    assert (kubelet.info.type, kubelet.info.name) == ("CSIPlugin", "csi.modelstage.io")
    assert list(kubelet.info.supported_versions) == ["1.0.0"]
    assert kubelet.info.endpoint == str(daemon.csi_socket)
    assert kubelet.node_id == "test-node"
    daemon.stop()
    assert not [name for name in os.listdir(folder) if not name.startswith(".")], "kubelet sees that the driver has gone"


def test_a_refused_registration_is_logged_and_not_ready(life, build):
    folder, root = life.folder(), life.folder()
    kubelet = Kubelet(folder, accept=False)
    process = Process([build / "modelstaged", f"--csi.endpoint=unix://{root}/csi.sock", f"--csi.kubeletRegistration={folder}",
                       f"--control.socket={root}/control.sock", f"--cache.root={root}/cache", "--http.address=127.0.0.1:0",
                       "--log.format=json"], root / "log")
    try:
        kubelet.finished()
        wait_until(lambda: "no such luck" in process.log, "the refusal is in the log")
        port = wait_until(process.listening_port, "the daemon listens")
        import urllib.error
        import urllib.request
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)
        assert caught.value.code == 503
    finally:
        assert process.stop() == 0


def test_a_socket_that_somebody_removes_comes_back(life):
    folder = life.folder()
    kubelet = Kubelet(folder)
    daemon = life.daemon(csi={"kubeletRegistration": str(folder)})
    kubelet.finished()
    for name in os.listdir(folder):  # with the lock file, as a cleaning of the node does it
        os.unlink(folder / name)
    wait_until(lambda: daemon.http("/readyz")[0] == 503, "kubelet does not know the driver any more: it is not ready")
    again = Kubelet(folder)
    again.finished()
    assert again.info.endpoint == str(daemon.csi_socket)
    wait_until(lambda: daemon.http("/readyz")[0] == 200, "it is ready again")
    assert "csi.modelstage.io-reg.sock has gone" in daemon.log
    daemon.stop()
    assert not [name for name in os.listdir(folder) if not name.startswith(".")]


def test_a_socket_that_is_not_ours_any_more_is_left_alone_and_not_ready(life):
    folder = life.folder()
    kubelet = Kubelet(folder)
    daemon = life.daemon(csi={"kubeletRegistration": str(folder)})
    kubelet.finished()
    path = folder / "csi.modelstage.io-reg.sock"
    os.rename(path, folder / ".old")  # keeps the inode's number from being used again
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        inode = path.stat().st_ino
        wait_until(lambda: daemon.http("/readyz")[0] == 503, "kubelet would find another one there")
        wait_until(lambda: "is not ours any more" in daemon.log, "that is logged")
        assert path.stat().st_ino == inode
    path.unlink()
    Kubelet(folder).finished()
    wait_until(lambda: daemon.http("/readyz")[0] == 200, "it is ready again")


def test_the_endpoint_may_have_another_path_for_kubelet(life):
    folder, host = life.folder(), life.folder()
    daemon_path = host / "link.sock"
    kubelet = Kubelet(folder)
    real = life.folder() / "real.sock"
    os.symlink(real, daemon_path)
    life.daemon(csi={"endpoint": f"unix://{real}", "kubeletRegistration": str(folder), "kubeletPath": str(daemon_path)})
    kubelet.finished()
    assert kubelet.info.endpoint == str(daemon_path)


def test_controller_role_has_no_node_and_needs_no_cache(life, build):
    import csi_pb2
    import csi_pb2_grpc
    root = life.folder()
    process = Process([build / "modelstaged", "--role", "controller", f"--csi.endpoint=unix://{root}/csi.sock",
                       "--http.address=127.0.0.1:0", f"--cache.root={root}/cache"], root / "log")
    try:
        wait_until(lambda: process.check_running() and (root / "csi.sock").exists(), "the socket is there")
        with grpc.insecure_channel(f"unix:{root}/csi.sock") as channel:
            controller = csi_pb2_grpc.ControllerStub(channel)
            capability = csi_pb2.VolumeCapability(mount=csi_pb2.VolumeCapability.MountVolume())
            capability.access_mode.mode = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY
            request = csi_pb2.CreateVolumeRequest(name="pvc-1", volume_capabilities=[capability],
                                                  parameters={"model": "registry.example.com/m:1", "root": "a"})
            volume = controller.CreateVolume(request, timeout=10).volume
            assert dict(volume.volume_context) == dict(request.parameters)
            assert controller.CreateVolume(request, timeout=10).volume.volume_id == volume.volume_id
            request.parameters["model"] = "registry.example.com/other:1"
            with pytest.raises(grpc.RpcError) as caught:
                controller.CreateVolume(request, timeout=10)
            assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
            request.parameters["modle"] = "x"
            with pytest.raises(grpc.RpcError) as caught:
                controller.CreateVolume(request, timeout=10)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "modle" in caught.value.details()
            with pytest.raises(grpc.RpcError) as caught:
                csi_pb2_grpc.NodeStub(channel).NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=10)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert not (root / "cache").exists()
    finally:
        assert process.stop() == 0
