# SPDX-License-Identifier: Apache-2.0
"""Pods go by drain, by force and after the driver: nothing stays behind on the node."""
import objects
from driver import NAMESPACE
from harness.process import wait_until


def left(host, uid):
    """Mounts and folders of a pod on the node."""
    mounts = host(f"/bin/busybox grep -c '/{uid}/volumes/kubernetes.io~csi/' /proc/1/mountinfo || true").strip()
    folder = host(f"/bin/busybox ls -d /host/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/* 2>/dev/null || true").strip()
    return (mounts, folder)


def start(cluster, models, node, tools, where, name):
    cluster.apply(objects.pod(name, tools, objects.inline_volume(models.ref("faults", "big/read")), node), namespace=where)
    cluster.wait_ready(where, name)
    return cluster.pod(where, name)["metadata"]["uid"]


def assert_clean(host, uid):
    wait_until(lambda: left(host, uid) == ("0", ""), "nothing of the pod is left on the node", 90)


def leases(driver):
    import json
    return sum(m["mounts"] for m in json.loads(driver.cli("ls", "-o", "json").stdout))


def test_drain(driver, cluster, models, node, tools, space, host):
    where = space()
    uid = start(cluster, models, node, tools, where, "p")
    try:
        cluster.kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--pod-selector=modelstage-e2e=model",
                        "--timeout=90s")
        assert_clean(host, uid)
    finally:
        cluster.kubectl("uncordon", node)
    wait_until(lambda: leases(driver) == 0, "no lease is left")


def test_pod_deleted_by_force(driver, cluster, models, node, tools, space, host):
    where = space()
    uid = start(cluster, models, node, tools, where, "p")
    cluster.kubectl("-n", where, "delete", "pod", "p", "--force", "--grace-period=0")
    assert_clean(host, uid)
    wait_until(lambda: leases(driver) == 0, "no lease is left")


def test_uninstalled_with_pods_there(driver, cluster, models, node, tools, space, host):
    """The pods read on; they can end once the driver is back, which is what docs/kubernetes.md says to do."""
    where = space()
    uid = start(cluster, models, node, tools, where, "p")
    driver.uninstall()
    assert objects.DRIVER not in [d["name"] for d in cluster.get("csinode", node)["spec"].get("drivers") or []]
    cluster.exec(where, "p", "/bin/busybox", "sh", "-c", "/bin/busybox cat /mnt/models/* >/dev/null")
    cluster.kubectl("-n", where, "delete", "pod", "p", "--wait=false")
    driver.install()
    assert_clean(host, uid)
    wait_until(lambda: leases(driver) == 0, "no lease is left")


def test_uninstalled_in_order_leaves_nothing(driver, cluster, node, host):
    driver.uninstall()
    assert host("/bin/busybox grep -c csi.modelstage.io /proc/1/mountinfo || true").strip() == "0"
    assert host("/bin/busybox ls /host/var/lib/kubelet/plugins_registry").count("modelstage") == 0
    gone = [cluster.find("csidriver", objects.DRIVER), cluster.find("storageclass", "modelstage"), cluster.find("namespace", NAMESPACE)]
    assert gone == [None, None, None]
    driver.install()
