# SPDX-License-Identifier: Apache-2.0
"""The daemon may be killed, stopped and started again under running pods."""
import grpc
import pytest
from harness.layout import file_sums
from harness.mounts import mount_options, mounts_below
from harness.process import wait_until

MOUNTED = "volume"


def entry(daemon):
    models = daemon.cli("ls", "-o", "json").json()
    assert len(models) == 1
    return models[0]


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_reads_go_on_while_the_daemon_is_gone_and_it_knows_the_mount_when_it_is_back(daemon, registry, end):
    path = daemon.publish(MOUNTED, registry.ref("raw"))
    with open(path / "model-00001.safetensors", "rb") as opened:
        first = opened.read(1000)
        getattr(daemon, end)()
        assert opened.read(1000) and file_sums(path) == registry.files("raw")
        daemon.start()
        opened.seek(0)
        assert opened.read(1000) == first
    assert entry(daemon)["mounts"] == 1
    assert daemon.metrics()["volumes"] == 1
    assert daemon.cli("rm", registry.ref("raw")).status == 1, "it is in use"
    daemon.publish(MOUNTED, registry.ref("raw"))  # kubelet asks again after a restart
    assert len(mounts_below(path)) == 1
    daemon.unpublish(MOUNTED)
    assert mounts_below(daemon.pods) == [] and not path.exists()
    assert entry(daemon)["mounts"] == 0


def test_sigterm_leaves_mounts(daemon, registry):
    path = daemon.publish(MOUNTED, registry.ref("raw"))
    daemon.stop()
    assert "ro" in mount_options(path)
    assert file_sums(path) == registry.files("raw")
    daemon.start()
    daemon.unpublish(MOUNTED)


def test_volume_unmounted_behind_our_back_has_no_lease_after_a_restart(daemon, registry):
    import subprocess
    path = daemon.publish(MOUNTED, registry.ref("raw"))
    daemon.stop()
    subprocess.run(["umount", path], check=True)
    daemon.start()
    assert entry(daemon)["mounts"] == 0
    daemon.unpublish(MOUNTED)


def test_killed_while_staging_nothing_partial_is_shown_or_trusted(daemon, registry):
    registry.set(total="24MiB")
    daemon.cli("warm", "--detach", registry.ref("big")).ok()
    wait_until(lambda: registry.blob_bytes(live=True) > 4 << 20, "some of the model has come")
    daemon.kill9()
    registry.set(total=0)
    daemon.start()
    assert [m for m in daemon.cli("ls", "-o", "json").json() if m["state"] == "ready"] == []
    assert [p for p in daemon.visible() if "/models/" in p] == []
    with daemon.published(MOUNTED, registry.ref("big")) as path:
        assert file_sums(path) == registry.files("big")


def test_killed_again_and_again_while_staging_ends_with_the_right_files(daemon, registry):
    registry.set(total="64MiB")
    for part in (1, 2, 4, 8):
        registry.reset_stats()
        daemon.cli("warm", "--detach", registry.ref("tar")).ok()
        wait_until(lambda part=part: registry.blob_bytes(live=True) > part << 20, "a part of the model has come")
        daemon.kill9()
        daemon.start()
    with daemon.published(MOUNTED, registry.ref("tar")) as path:
        assert file_sums(path) == registry.files("tar")


def test_lost_index_is_rebuilt_from_what_lies_on_the_disk(daemon, registry):
    path = daemon.publish(MOUNTED, registry.ref("raw"))
    daemon.stop()
    for file in daemon.root.glob("index.db*"):
        file.unlink()
    registry.reset_stats()
    daemon.start()
    assert (entry(daemon)["state"], entry(daemon)["mounts"]) == ("ready", 1)
    assert file_sums(path) == registry.files("raw")
    daemon.unpublish(MOUNTED)
    assert mounts_below(daemon.pods) == []
    with daemon.published("other", registry.ref("raw"), pullPolicy="Always") as again:
        assert file_sums(again) == registry.files("raw")
    assert registry.blob_bytes() < 100_000, "the layers were not fetched again"


def test_mounts_of_a_lost_index_can_be_measured_and_unmounted(daemon, registry):
    import csi_pb2
    by_hand = daemon.folder / "by-hand"
    by_hand.mkdir()
    daemon.cli("mount", registry.ref("tar"), by_hand).ok()
    path = daemon.publish(MOUNTED, registry.ref("raw"))
    daemon.stop()
    for file in daemon.root.glob("index.db*"):
        file.unlink()
    daemon.start()
    request = csi_pb2.NodeGetVolumeStatsRequest(volume_id=MOUNTED, volume_path=str(path))
    usage = daemon.node.NodeGetVolumeStats(request, timeout=30).usage
    assert usage[0].used == sum(f.stat().st_size for f in path.iterdir())
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish(MOUNTED, registry.ref("tar"), target=path)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS, "which volume it is is not known, which model is"
    daemon.publish(MOUNTED, registry.ref("raw"), target=path)
    done = daemon.cli("umount", path)
    assert done.status == 1 and f"belongs to volume {MOUNTED}" in done.stderr, "it is known again"
    daemon.cli("umount", by_hand).ok()
    daemon.unpublish(MOUNTED)
    assert mounts_below(daemon.folder) == []


def test_second_daemon_on_the_same_root_is_refused(daemon):
    from harness.daemon import wrapper
    import subprocess
    done = subprocess.run([*wrapper(), daemon.build / "modelstaged", "--config", daemon.config], text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 1 and str(daemon.root) in done.stderr + done.stdout
    assert daemon.ready()
