# SPDX-License-Identifier: Apache-2.0
"""What `kubectl describe pod` says while a model is not here yet: kubelet puts the call's message into the pod's events."""
import concurrent.futures
import re

import grpc
import pytest
from harness.process import wait_until

Code = grpc.StatusCode
SHORT = 3  # seconds of a call; kubelet's have 120


def told(daemon, model, volume="v", timeout=SHORT, **more):
    """The message of a publish that ends before the model is here."""
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish(volume, model, timeout=timeout, **more)
    assert caught.value.code() == Code.ABORTED, caught.value.details()
    text = caught.value.details()
    assert text.startswith(f"{model} is still being staged: ") and text.endswith("; it goes on in the background")
    return text.removeprefix(f"{model} is still being staged: ").removesuffix("; it goes on in the background")


def test_first_call_tells_how_far_how_fast_and_how_long(daemon, registry):
    registry.set(total="6MiB")
    text = told(daemon, registry.ref("big"))
    assert re.fullmatch(r"fetching, \d+ %, [\d.]+ [KM]iB of 96\.0 MiB, [\d.]+ [KM]iB/s, [\dms.]+ left", text), text


def test_registry_that_fails_is_named_while_it_is_asked_again(daemon, registry):
    registry.set(fail_manifests=503, retry_after=30)
    assert told(daemon, registry.ref("raw")) == \
        f"asking {registry.host} for its manifest, again because {registry.host} answered with HTTP 503"


def test_blobs_that_fail_are_told_of_while_they_are_asked_for_again(daemon, registry):
    registry.set(fail_every=1, retry_after=30)
    assert told(daemon, registry.ref("raw")) == \
        f"fetching, 0 %, 0 B of 24.0 MiB, again because {registry.host} answered with HTTP 503"


def test_transfer_that_breaks_is_told_of_until_it_goes_on(daemon, registry):
    registry.set(total="6MiB")
    daemon.cli("warm", "--detach", registry.ref("big")).ok()
    wait_until(lambda: registry.blob_bytes(live=True) > 2 << 20, "some of it has come")
    registry.set(total=0, fail_every=1, retry_after=30)
    wait_until(lambda: daemon.cli("status", "-o", "json").json()[0]["retries"] > 0 and
               not daemon.cli("status", "-o", "json").json()[0]["connections"], "nothing comes any more")
    text = told(daemon, registry.ref("big"))
    assert re.fullmatch(r"fetching, \d+ %, [\d.]+ MiB of 96\.0 MiB, again because " + re.escape(registry.host) +
                        r" failed to answer for \S+ \(HTTP 503\)", text), text


def test_model_that_waits_for_its_turn_says_so(daemon, registry):
    registry.set(silent=True)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: told(daemon, registry.ref(f"m{n}"), f"v{n}"), range(32)))
    assert daemon.metrics()["stages_running"] == 32, "as many as may are at work"
    assert told(daemon, registry.ref("raw")) == "waiting until one of 32 other models is done"
    registry.set(silent=False)


def test_volume_does_not_wait_for_its_turn_behind_models_that_are_warmed(daemon, registry):
    registry.set(silent=True)
    for n in range(33):
        daemon.cli("warm", "--detach", registry.ref(f"m{n}")).ok()
    wait_until(lambda: daemon.metrics()["stages_running"] == 32, "as many as may are at work")
    waiting = next(j["reference"] for j in daemon.cli("status", "-o", "json").json() if j["state"] == "waiting")
    assert told(daemon, registry.ref("raw")) == f"asking {registry.host} for its manifest"
    assert told(daemon, waiting, "w") == f"asking {registry.host} for its manifest", "a volume raises what is warmed"
    assert daemon.metrics()["stages_running"] == 34
    registry.set(silent=False)


def test_model_whose_blobs_wait_for_others_says_so(life):
    names = [f"m{n}" for n in range(7)]
    registry = life.registry(synthetic={n: f"raw:256MiB:1:{n}" for n in names}, pace="512KiB")
    daemon = life.daemon(registry)
    for n in names[:5]:
        daemon.cli("warm", "--detach", registry.ref(n)).ok()
    wait_until(lambda: sum(j["connections"] > 0 for j in daemon.cli("status", "-o", "json").json()) == 4, "four are fetched")
    assert told(daemon, registry.ref("m5")).startswith("fetching, 0 %, "), "a place is kept for a volume"
    assert told(daemon, registry.ref("m6"), "w") == "waiting until other models are fetched, 0 %, 0 B of 256 MiB"
