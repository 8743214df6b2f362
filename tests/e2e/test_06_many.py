# SPDX-License-Identifier: Apache-2.0
"""50 pods at once with 5 models: all run, each model is fetched once, and the agent stays within its memory."""
import objects

PODS = 50


def test_fifty_pods_at_once(driver, cluster, models, node, tools, space, host, within):
    where = space()
    references = [models.ref("faults", f"many/{i}") for i in range(5)]
    driver.forget(*references)
    sent = models.blob_bytes("faults")
    size = 5 * (48 << 20)
    before = driver.agents()[0]["status"]["containerStatuses"][0]["restartCount"]
    pods = [objects.pod(f"p{i}", tools, objects.inline_volume(references[i % 5]), node) for i in range(PODS)]
    cluster.apply(*pods, namespace=where)
    cluster.wait_ready(where, *[f"p{i}" for i in range(PODS)], deadline=400)
    assert models.blob_bytes("faults") - sent < 1.05 * size
    agent = driver.agents()[0]["status"]["containerStatuses"][0]
    assert agent["restartCount"] == before, "the agent was not killed"
    within("memory of the agent's container, at its peak", driver.memory_peak(host) / (1 << 20), 512, "MiB")
