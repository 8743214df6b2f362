# SPDX-License-Identifier: Apache-2.0
"""A model that takes longer than kubelet's two minutes: staged once, with progress to see, and mounted soon after its end."""
import json
import re
import time
from datetime import datetime

import objects
from harness.process import wait_until

RATE = 2_500_000  # bytes a second for 384 MiB: some 160 s


def test_model_that_takes_longer_than_kubelet_waits(driver, cluster, models, node, tools, space, sums, within):
    reference = models.ref("faults", "big/slow")
    driver.forget(reference)
    models.set("faults", total=RATE)
    sent = models.blob_bytes_of("faults", "big/slow")
    where = space()
    try:
        cluster.apply(objects.pod("p", tools, objects.inline_volume(reference), node), namespace=where)
        message = cluster.wait_event(where, "p", "MountVolume.SetUp failed", deadline=180)
        assert re.search(r"\d+ %", message) and "/s" in message and reference in message, message
        ended = wait_until(lambda: staged_at(driver, reference), "the model is staged", 300)
        cluster.wait_ready(where, "p", deadline=150)
    finally:
        models.set("faults", total=0)
    running = cluster.pod(where, "p")["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    within("pod runs after the end of staging (whole seconds)", at(running) - ended, 10)
    assert models.blob_bytes_of("faults", "big/slow") - sent < 1.05 * (384 << 20), "it was fetched once"
    assert sums(where, "p") == models.files("faults", "big/slow")


def at(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def staged_at(driver, reference):
    """When the model was ready, seconds since 1970; None before."""
    for model in json.loads(driver.cli("ls", "-o", "json").stdout):
        if model["reference"] == reference and model["state"] == "ready":
            return time.time()
    time.sleep(0.2)
    return None
