# SPDX-License-Identifier: Apache-2.0
"""The agent is killed, upgraded and rolled back, and kubelet restarted, while a pod reads: no read fails, and new pods work."""
import subprocess

import objects
import pytest
from harness.process import wait_until

READER = """
cd /mnt/models || exit 1
/bin/busybox find . -type f | /bin/busybox sort >/tmp/list
/bin/busybox xargs /bin/busybox sha256sum </tmp/list >/tmp/first || exit 1
trap exit TERM
while :; do
    /bin/busybox xargs /bin/busybox sha256sum </tmp/list >/tmp/now && /bin/busybox cmp -s /tmp/first /tmp/now || { echo FAILED; exit 1; }
    echo read
done
"""


KILL_AGENT = """
for p in /proc/[0-9]*; do
    case $(/bin/busybox tr '\\0' ' ' <$p/cmdline 2>/dev/null) in
    '/usr/bin/modelstaged --config /etc/modelstage/config.yaml --role node '*) kill -9 ${p#/proc/}; echo killed ;;
    esac
done | /bin/busybox grep -q killed
"""


@pytest.fixture
def reader(driver, cluster, models, node, tools, space):
    """A pod that reads without end; check() says whether every read was good and that it goes on."""
    where = space()
    cluster.apply(objects.pod("reader", tools, objects.inline_volume(models.ref("faults", "big/read")), node, script=READER,
                              restartPolicy="Never"), namespace=where)
    cluster.wait_ready(where, "reader")

    def reads():
        return cluster.logs(where, "reader").count("read\n")

    def check():
        seen = reads()
        wait_until(lambda: reads() > seen + 1, "the reader reads on")
        assert "FAILED" not in cluster.logs(where, "reader")
        assert cluster.pod(where, "reader")["status"]["phase"] == "Running"
    check()
    yield check
    check()


@pytest.fixture
def new_pod(driver, cluster, models, node, tools, space, sums):
    """A pod that is made now gets the cached model, another one a new model."""
    def make():
        driver.agent()
        where = space()
        fresh = models.ref("faults", "many/1")
        driver.forget(fresh)
        cluster.apply(objects.pod("hit", tools, objects.inline_volume(models.ref("faults", "big/read")), node),
                      objects.pod("miss", tools, objects.inline_volume(fresh), node), namespace=where)
        cluster.wait_ready(where, "hit", "miss")
        assert sums(where, "miss") == models.files("faults", "many/1")
    return make


def test_agent_killed(driver, reader, new_pod, host, cluster):
    before = driver.agents()[0]["status"]["containerStatuses"][0]["restartCount"]
    host(KILL_AGENT)
    wait_until(lambda: driver.agents()[0]["status"]["containerStatuses"][0]["restartCount"] > before, "kubelet restarts the agent")
    new_pod()


def test_agent_deleted_by_force(driver, reader, new_pod, cluster):
    cluster.kubectl("-n", "modelstage", "delete", "pod", driver.agent(), "--force", "--grace-period=0")
    new_pod()


def test_upgrade_and_rollback(driver, reader, new_pod, option):
    if not option("--next-image"):
        pytest.skip("no second image was given: --next-image")
    old = driver.agent()
    driver.upgrade(option("--next-image"))
    wait_until(lambda: driver.agent() != old, "a new agent")
    new_pod()
    newer = driver.agent()
    driver.rollback()
    wait_until(lambda: driver.agent() != newer, "the old agent again")
    new_pod()


def test_change_of_the_configuration(driver, reader, new_pod):
    old = driver.agent()
    values = driver.values()
    values["config"]["log"] = {"level": "debug"}
    driver.upgrade(config=values["config"])
    wait_until(lambda: driver.agent() != old, "a new agent with the new configuration")
    new_pod()


def test_kubelet_restarted(driver, reader, new_pod, option):
    if not option("--restart-kubelet"):
        pytest.skip("how to restart kubelet was not said: --restart-kubelet")
    subprocess.run(option("--restart-kubelet"), shell=True, executable="/bin/bash", check=True, timeout=300)
    new_pod()
