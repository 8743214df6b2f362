# SPDX-License-Identifier: Apache-2.0
"""
How long a pod with a cold 2 GiB modelcar takes to be Ready: an empty pod, ours cold and cached, and Kubernetes' own image
volume at containerd's defaults and at its best setting. All pull from one registry on the node, on the host's network:
containerd takes plain HTTP from 127.0.0.1 only, the agent asks the node's address.
"""
import statistics
import subprocess
import time

import objects
import pytest
import servers

PORT = 35000
ROUNDS = 3
BASH = ("bash", "-euc")
COLD = f"cold-{int(time.time())}"  # a run's own: containerd keeps the images of earlier runs
pytestmark = pytest.mark.compare


@pytest.fixture(scope="module")
def registry(cluster, models, node, tools):
    pod, _ = objects.server("compare", tools, [], port=PORT, node=node, hostNetwork=True)
    command = ["/bin/fault-registry", "--listen", f"0.0.0.0:{PORT}"]
    for i in range(3 * ROUNDS):  # each cold start has a model of its own: containerd forgets none
        command += ["--synthetic", f"{COLD}/{i}=tar:{servers.BIG}:4"]
    pod["spec"]["containers"][0]["command"] = command
    pod["spec"]["containers"][0]["readinessProbe"]["initialDelaySeconds"] = 1
    cluster.apply(pod, namespace=models.namespace)
    cluster.wait_ready(models.namespace, "compare", deadline=300)
    yield cluster.pod(models.namespace, "compare")["status"]["hostIP"]
    cluster.delete("-n", models.namespace, "pod", "compare")


@pytest.fixture
def to_ready(cluster, node, tools, space):
    where = space()
    numbers = iter(range(1000))

    def measure(volume):
        name = f"p{next(numbers)}"
        made = objects.pod(name, tools, volume, node)
        began = time.monotonic()
        cluster.apply(made, namespace=where)
        cluster.wait_ready(where, name, deadline=180)
        seconds = time.monotonic() - began
        cluster.kubectl("-n", where, "delete", "pod", name, "--grace-period=0", "--force")
        return seconds
    return measure


def image_volume(reference):
    return {"name": "model", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


def theirs(to_ready, first):
    """Seconds of cold image volumes, each with a model that containerd has never seen."""
    return [to_ready(image_volume(f"127.0.0.1:{PORT}/{COLD}/{first + i}:latest")) for i in range(ROUNDS)]


@pytest.fixture
def theirs_at_best(to_ready, option):
    """The same with containerd's best setting for pulls, if it was said how to get there; None if not."""
    if not option("--containerd-best"):
        yield None
        return
    command = option("--containerd-best")
    subprocess.run([*BASH, command.replace("{}", "best")], check=True, timeout=300)
    try:
        yield lambda: theirs(to_ready, 2 * ROUNDS)
    finally:
        subprocess.run([*BASH, command.replace("{}", "default")], check=True, timeout=300)


def test_cold_start_of_two_gibibytes(driver, cluster, registry, to_ready, models, figure, within, request):
    config = driver.values()["config"]
    config["registries"].append({"host": f"{registry}:{PORT}", "plainHttp": True})
    driver.upgrade(config=config)
    driver.agent()
    empty, cold, cached = [], [], []
    for i in range(ROUNDS):
        reference = f"{registry}:{PORT}/{COLD}/{i}:latest"
        empty.append(to_ready({"name": "model", "emptyDir": {}}))
        cold.append(to_ready(objects.inline_volume(reference)))
        cached.append(to_ready(objects.inline_volume(reference)))
        driver.forget(reference)
    rows = {"an empty pod": empty, "ours, cold": cold, "ours, cached": cached, "image volume, containerd's defaults": theirs(to_ready, ROUNDS)}
    best = request.getfixturevalue("theirs_at_best")
    if best:
        rows["image volume, containerd's best"] = best()
    for name, seconds in rows.items():
        figure(f"Ready with 2 GiB: {name}, median of {len(seconds)}", statistics.median(seconds), "s")
    driver.upgrade()
    within("ours, cold", statistics.median(cold), 5)
    within("ours, cached, over an empty pod", statistics.median(cached) - statistics.median(empty), 0.5)
