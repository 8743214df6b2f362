# SPDX-License-Identifier: Apache-2.0
"""What a pod gets is read-only, is mounted once, and goes away when it is told to."""
import errno
import os
import subprocess

import grpc
import pytest
from harness.layout import file_sums
from harness.mounts import mount_options, mounts_below

Code = grpc.StatusCode


def test_volume_is_read_only_nosuid_and_nodev(daemon, registry):
    with daemon.published("v", registry.ref("raw")) as path:
        assert {"ro", "nosuid", "nodev"} <= mount_options(path)
        with pytest.raises(OSError) as caught:
            (path / "new").write_text("x")
        assert caught.value.errno == errno.EROFS
        with pytest.raises(OSError) as caught:
            os.chmod(path / "model-00001.safetensors", 0o777)
        assert caught.value.errno == errno.EROFS


def test_mount_by_the_cli_is_read_only_nosuid_and_nodev(daemon, registry):
    with daemon.mounted(registry.ref("raw")) as path:
        assert {"ro", "nosuid", "nodev"} <= mount_options(path)
    assert mounts_below(daemon.folder) == []


def test_publish_twice_mounts_once(daemon, registry):
    path = daemon.publish("v", registry.ref("raw"))
    assert daemon.publish("v", registry.ref("raw")) == path
    assert len(mounts_below(path)) == 1
    daemon.unpublish("v")
    assert mounts_below(daemon.pods) == []


def test_unpublish_twice_is_fine_and_removes_the_target(daemon, registry):
    path = daemon.publish("v", registry.ref("raw"))
    daemon.unpublish("v")
    assert not path.exists()
    daemon.unpublish("v")
    daemon.unpublish("never-published")


def test_other_model_at_the_same_target_exists_already(daemon, registry):
    with daemon.published("v", registry.ref("raw")) as path:
        with pytest.raises(grpc.RpcError) as caught:
            daemon.publish("v", registry.ref("tar"))
        assert caught.value.code() == Code.ALREADY_EXISTS
        assert file_sums(path) == registry.files("raw")


def test_foreign_mount_where_a_volume_was_is_refused_and_left_alone(daemon, registry):
    path = daemon.publish("v", registry.ref("raw"))
    subprocess.run(["umount", path], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "stranger", path], check=True)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            daemon.publish("v", registry.ref("raw"))
        assert caught.value.code() == Code.ALREADY_EXISTS
        assert f"something else is mounted at target {path}" in caught.value.details()
        with pytest.raises(grpc.RpcError) as caught:
            daemon.unpublish("v")
        assert caught.value.code() == Code.FAILED_PRECONDITION
        assert len(mounts_below(path)) == 1
    finally:
        subprocess.run(["umount", path], check=True)
    daemon.unpublish("v")
    assert not path.exists()


def test_volume_that_was_unmounted_by_hand_may_show_another_model(daemon, registry):
    path = daemon.publish("v", registry.ref("raw"))
    subprocess.run(["umount", path], check=True)
    assert daemon.publish("v", registry.ref("tar")) == path
    assert file_sums(path) == registry.files("tar")
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", registry.ref("raw"))
    assert caught.value.code() == Code.ALREADY_EXISTS
    daemon.unpublish("v")
    assert not path.exists()


@pytest.mark.parametrize("change", [{"tag": "tar"}, {"root": "tokenizer"}, {"include": "*.json"}], ids=str)
def test_other_request_for_a_published_volume_exists_already(daemon, registry, change):
    model = registry.ref("modelpacks", "raw")
    with daemon.published("v", model) as target:
        before = file_sums(target)
        attributes = {k: v for k, v in change.items() if k != "tag"}
        with pytest.raises(grpc.RpcError) as caught:
            daemon.publish("v", registry.ref("modelpacks", change.get("tag", "raw")), target=target, **attributes)
        assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
        assert file_sums(target) == before


def test_one_model_in_two_volumes_is_the_same_files(daemon, registry):
    with daemon.published("a", registry.ref("raw")) as a, daemon.published("b", registry.ref("raw")) as b:
        name = "model-00001.safetensors"
        assert (a / name).stat().st_ino == (b / name).stat().st_ino
        daemon.unpublish("a")
        assert file_sums(b) == registry.files("raw")


def test_target_inside_the_cache_is_refused(daemon, registry):
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", registry.ref("raw"), target=daemon.root / "models" / "v")
    assert caught.value.code() in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION)
    assert mounts_below(daemon.root) == []


def test_target_that_is_a_symbolic_link_is_refused(daemon, registry):
    elsewhere = daemon.folder / "elsewhere"
    elsewhere.mkdir()
    target = daemon.target("v")
    target.symlink_to(elsewhere)
    with pytest.raises(grpc.RpcError):
        daemon.publish("v", registry.ref("raw"))
    assert mounts_below(daemon.folder) == []


def test_volume_stats_are_those_of_the_model(daemon, registry):
    import csi_pb2
    with daemon.published("v", registry.ref("raw")) as path:
        usage = daemon.node.NodeGetVolumeStats(
            csi_pb2.NodeGetVolumeStatsRequest(volume_id="v", volume_path=str(path)), timeout=30).usage
        used = {csi_pb2.VolumeUsage.Unit.Name(u.unit): u.used for u in usage}
        assert used == {"BYTES": sum(f.stat().st_size for f in path.iterdir()), "INODES": 2}
    with pytest.raises(grpc.RpcError) as caught:
        daemon.node.NodeGetVolumeStats(
            csi_pb2.NodeGetVolumeStatsRequest(volume_id="v", volume_path=str(path)), timeout=30)
    assert caught.value.code() == Code.NOT_FOUND


def test_plugin_tells_who_it_is(daemon):
    import csi_pb2
    assert daemon.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=30).name == "csi.modelstage.io"
    assert daemon.identity.Probe(csi_pb2.ProbeRequest(), timeout=30).ready.value
    with pytest.raises(grpc.RpcError) as caught:
        daemon.node.NodeStageVolume(csi_pb2.NodeStageVolumeRequest(volume_id="v"), timeout=30)
    assert caught.value.code() == Code.UNIMPLEMENTED


@pytest.mark.parametrize("request_without", ["volume_id", "target_path", "volume_capability"])
def test_publish_without_a_required_field_is_invalid(daemon, registry, request_without):
    import csi_pb2
    request = csi_pb2.NodePublishVolumeRequest(
        volume_id="v", target_path=str(daemon.target("v")), volume_context={"model": registry.ref("raw")},
        volume_capability=csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(),
            access_mode=csi_pb2.VolumeCapability.AccessMode(mode="SINGLE_NODE_WRITER")))
    request.ClearField(request_without)
    with pytest.raises(grpc.RpcError) as caught:
        daemon.node.NodePublishVolume(request, timeout=30)
    assert caught.value.code() == Code.INVALID_ARGUMENT


def test_secret_of_the_volume_opens_the_registry(daemon, registry):
    registry.set(auth="bearer", user="u", password="p")
    config = '{"auths": {"%s": {"username": "u", "password": "p"}}}' % registry.host
    with daemon.published("v", registry.ref("raw"), secrets={".dockerconfigjson": config}) as path:
        assert file_sums(path) == registry.files("raw")
