# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes does with a volume besides mounting it: read-write pods, subPath, user namespaces, many pods on a claim, a second
kubelet, SELinux, and a daemon that is told to stop while pods wait."""
import concurrent.futures
import contextlib
import ctypes
import errno
import os
import subprocess

import grpc
import pytest
from harness.layout import Layout, file_sums, tar_of
from harness.mounts import mount_options, mounts_below
from harness.process import LIBC, wait_until

Code = grpc.StatusCode


def mounts_of(daemon):
    return [m["mounts"] for m in daemon.cli("ls", "-o", "json").json()]


def test_pod_that_asks_for_read_write_gets_read_only(daemon, registry):
    with daemon.published("v", registry.ref("raw"), readonly=False) as path:
        assert {"ro", "nosuid", "nodev"} <= mount_options(path)
        with pytest.raises(OSError) as caught:
            (path / "new").touch()
        assert caught.value.errno == errno.EROFS


# ---- subPath: kubelet binds a folder of the volume; KServe's pvc://claim/path is one

@pytest.fixture
def folders(life):
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("v1", tar_of({"models/": b"", "models/a/": b"", "models/a/weights.bin": b"w" * 100, "models/b.txt": b"b"}))
    return f"oci-layout:{layout.path}:v1"


def refusal(daemon, model):
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", model)
    return caught.value.code(), caught.value.details()


def test_layout_is_for_pods_only_where_the_administrator_says(life, folders):
    at = life.folder()
    listed, (directory, _) = at / "models", folders.removeprefix("oci-layout:").rsplit(":", 1)
    listed.mkdir()
    (listed / "link").symlink_to(directory)
    daemon = life.daemon(policy={"layouts": [str(listed)]})
    daemon.cli("warm", folders).ok()  # whoever is root on the node is not held to the list
    code, text = refusal(daemon, folders)
    assert code == Code.PERMISSION_DENIED and "policy.layouts" in text, "not from the cache either"
    code, text = refusal(daemon, f"oci-layout:{listed}/link:v1")
    assert code == Code.INVALID_ARGUMENT and "symbolic link" in text
    Layout.create(listed / "own").add_image("v1", tar_of({"models/": b"", "models/a": b"a"}))
    with daemon.published("v", f"oci-layout:{listed}/own:v1") as path:
        assert (path / "a").read_bytes() == b"a"


@contextlib.contextmanager
def subpath(daemon, volume_path, folder, index):
    place = daemon.pods / "volume-subpaths" / str(index)
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume_path / folder, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def test_subpath_is_a_plain_read_only_folder(life, folders):
    daemon = life.daemon()
    with daemon.published("v", folders) as path, subpath(daemon, path, "a", 0) as place:
        assert (place / "weights.bin").read_bytes() == b"w" * 100
        assert {"ro", "nosuid", "nodev"} <= mount_options(place)


@pytest.mark.parametrize("folder", ["a", "."])
def test_subpath_is_no_publication_after_a_restart(life, folders, folder):
    daemon = life.daemon()
    path = daemon.publish("v", folders)
    with subpath(daemon, path, folder, 0) as place:
        daemon.restart()
        assert mounts_of(daemon) == [1]
        assert list(place.iterdir())
    daemon.unpublish("v")
    assert mounts_of(daemon) == [0]
    daemon.cli("rm", folders).ok()


# ---- hostUsers: false: the runtime makes an idmapped clone of the mount

SYS_open_tree, SYS_move_mount, SYS_mount_setattr = 428, 429, 442
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, AT_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, 4, 0x1000, 0x100000
AT_FDCWD, CLONE_NEWUSER = -100, 0x10000000


class MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def syscall(*args):
    ctypes.set_errno(0)
    result = ctypes.CDLL(None, use_errno=True).syscall(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@pytest.fixture
def user_namespace():
    """A descriptor of a user namespace whose root is user 100000 of the host."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go[1])  # or the read below would never see its end
        status = LIBC.unshare(CLONE_NEWUSER)
        os.write(ready[1], b"1" if status == 0 else b"0")
        os.read(go[0], 1)
        os._exit(0)
    try:
        if os.read(ready[0], 1) != b"1":
            pytest.skip("no user namespaces here")
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{kind}", "w", encoding="ascii") as f:
                f.write("0 100000 65536")
        fd = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        yield fd
        os.close(fd)
    finally:
        for end in (*ready, *go):
            os.close(end)
        os.waitpid(child, 0)


def idmapped_clone(source, user_namespace):
    """A descriptor of the clone, which is mounted nowhere yet."""
    tree = syscall(SYS_open_tree, AT_FDCWD, os.fsencode(source), OPEN_TREE_CLONE | os.O_CLOEXEC)
    attr = MountAttr(attr_set=MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
    try:
        syscall(SYS_mount_setattr, tree, b"", AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))
    except OSError:
        os.close(tree)
        raise
    return tree


def test_mount_can_be_idmapped_for_a_pod_with_users_of_its_own(daemon, registry, user_namespace):
    try:
        os.close(idmapped_clone(daemon.folder, user_namespace))
    except OSError as e:
        pytest.skip(f"this kernel or file system has no idmapped mounts: {e}")
    with daemon.published("v", registry.ref("raw")) as path:
        place = daemon.folder / "container"
        place.mkdir()
        tree = idmapped_clone(path, user_namespace)
        try:
            syscall(SYS_move_mount, tree, b"", AT_FDCWD, os.fsencode(place), MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(tree)
        try:
            assert file_sums(place) == registry.files("raw")
            assert {f.stat().st_uid for f in place.iterdir()} == {100000}, "root of the pod owns them, as seen from the host"
            with pytest.raises(OSError) as caught:
                (place / "new").touch()
            assert caught.value.errno == errno.EROFS
        finally:
            subprocess.run(["umount", place], check=True)


# ---- many pods on one claim, one claim on many nodes

def test_one_claim_in_many_pods_has_a_lease_for_each(daemon, registry):
    model = registry.ref("raw")
    targets = [daemon.target(f"pod-{n}") for n in range(5)]
    for target in targets:
        assert daemon.publish("pvc-1", model, target=target) == target
    assert mounts_of(daemon) == [5]
    daemon.restart()
    for n, target in enumerate(targets):
        assert daemon.cli("rm", model).status == 1, "it is in use"
        assert file_sums(target) == registry.files("raw")
        daemon.unpublish("pvc-1", target)
        assert not target.exists() and mounts_of(daemon) == [4 - n]
    assert daemon.requests_by_result()[1] == 0  # since the restart
    daemon.cli("rm", model).ok()


def test_one_claim_below_two_kubelet_roots(life, daemon, registry):
    other = life.folder() / "pods" / "pod"
    other.mkdir(parents=True)
    first = daemon.publish("pvc-1", registry.ref("raw"))
    second = daemon.publish("pvc-1", registry.ref("raw"), target=other / "mount")
    assert file_sums(first) == file_sums(second) == registry.files("raw")
    assert mounts_of(daemon) == [2]
    daemon.unpublish("pvc-1")
    assert file_sums(second) == registry.files("raw")
    daemon.unpublish("pvc-1", second)
    assert mounts_below(other) == [] and mounts_of(daemon) == [0]


# ---- what kubelet asks for only if the driver says that it can do it

def test_kubelet_leaves_fsgroup_and_selinux_to_nobody(daemon):
    """Neither VOLUME_MOUNT_GROUP nor anything else that changes the files; CSIDriver says the rest (fsGroupPolicy, seLinuxMount)."""
    import csi_pb2
    answer = daemon.node.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest(), timeout=30)
    assert [c.rpc.type for c in answer.capabilities] == [csi_pb2.NodeServiceCapability.RPC.GET_VOLUME_STATS]


@pytest.mark.parametrize("flag", ['context="system_u:object_r:container_file_t:s0:c1,c2"', "rw", "uid=1000", "exec"])
def test_mount_option_that_we_would_have_to_ignore_is_refused_and_not_quoted(daemon, registry, flag):
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", registry.ref("raw"), flags=["ro", flag])
    assert caught.value.code() == Code.INVALID_ARGUMENT
    assert "mount option number 2 is not supported" in caught.value.details() and flag not in caught.value.details()


# ---- the daemon is stopped while pods wait

def test_waiting_pods_are_told_that_the_daemon_stops_and_mounts_stay(daemon, registry):
    mounted = daemon.publish("mounted", registry.ref("tar"))
    registry.set(total="4MiB")
    models = [registry.ref("raw"), registry.ref("big")]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(daemon.publish, f"v{n}", models[n % 2]) for n in range(8)]
        wait_until(lambda: sorted((j["state"], j["waiting"]) for j in daemon.cli("status", "-o", "json").json()) == [("fetching", 4)] * 2,
                   "all of them wait")
        daemon.process.kill(15)
        for call in waiting:
            error = call.exception()
            assert error.code() == Code.UNAVAILABLE, error.details()
            assert "is not here yet (fetching, " in error.details() and "the daemon is stopping" in error.details()
    daemon.stop()
    assert file_sums(mounted) == registry.files("tar")
    assert mounts_below(daemon.pods) == [(str(mounted), mount_options(mounted))]
    registry.set(total=0)
    daemon.start()
    daemon.unpublish("mounted")
    with daemon.published("v0", models[0]) as path:
        assert file_sums(path) == registry.files("raw")
