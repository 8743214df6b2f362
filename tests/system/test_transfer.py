# SPDX-License-Identifier: Apache-2.0
"""How bytes come over the wire: exact parallel ranges, and what a registry may do that still has to work."""
import base64
import itertools
import json
import os

import pytest
from harness.layout import file_sums
from harness.process import wait_until

USER, PASSWORD = "puller", "open-sesame"


def warmed(daemon, registry, repository, *flags):
    """Warms, compares every file, and returns what `warm` said."""
    entry = daemon.cli("warm", "-o", "json", registry.ref(repository), *flags).json()[0]
    with daemon.mounted(registry.ref(repository)) as path:
        assert file_sums(path) == registry.files(repository)
    return entry


def ranges(registry, *kinds):
    """[(path, first, last, status)] of all blob requests that had one."""
    found = []
    for request in registry.log(*(kinds or ("blobs",))):
        if request["range"]:
            first, last = request["range"].removeprefix("bytes=").split("-")
            found.append((request["path"], int(first), int(last), request["status"]))
    return found


def docker_config(folder, host, user=USER, password=PASSWORD):
    path = folder / "docker.json"
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


def test_one_blob_is_fetched_in_parallel_exact_ranges(daemon, registry):
    registry.set(pace="30MiB")  # so that a range lasts long enough to meet another
    warmed(daemon, registry, "big")
    path = "/v2/big/blobs/" + registry.blobs("big")[0]["digest"]
    assert registry.stats()["paths"][path]["maxConcurrent"] >= 4
    asked = sorted((first, last) for p, first, last, status in ranges(registry) if p == path and status == 206)
    assert asked[0][0] == 0 and max(last for _, last in asked) == registry.blobs("big")[0]["size"] - 1
    reached = itertools.accumulate((last + 1 for _, last in asked), max)
    assert all(first <= end for end, (first, _) in zip(reached, asked[1:])), "no byte is left out"
    if not daemon.cut_off():
        assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(asked)), "each byte is asked for once"
    assert registry.stats()["paths"][path]["bytes"] <= 1.1 * registry.blobs("big")[0]["size"]


def test_connections_stay_within_the_limit_per_host(life, registry):
    daemon = life.daemon(registry, engine={"memory": "64MiB", "connections": 8, "connectionsPerHost": 3, "rangeSize": "8MiB"})
    registry.set(pace="30MiB")  # what fits into a socket's buffer is sent at once, so ranges are larger
    registry.reset_stats()
    warmed(daemon, registry, "big")
    path = "/v2/big/blobs/" + registry.blobs("big")[0]["digest"]
    # A registry does not notice at once that a connection was cut off.
    assert 2 <= registry.stats()["paths"][path]["maxConcurrent"] <= 3 + min(1, daemon.cut_off())


# name: (knobs, repository)
ODDITIES = {
    "ignores-range": (dict(ignore_range=True), "big"),
    "ignores-range-tar": (dict(ignore_range=True), "tar"),
    "closes-each-connection": (dict(close=True), "big"),
    "no-head": (dict(no_head=True), "raw"),
    "redirect": (dict(redirect=True), "raw"),
    "redirect-to-another-host-name": (dict(redirect=True, redirect_host="localhost"), "raw"),
    "slow-first-byte": (dict(delay_ms=50), "raw"),
    "one-starved-connection": (dict(starve_every=5, starve_rate="4MiB"), "big"),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity_of_a_registry_works(life, registry, name):
    knobs, repository = ODDITIES[name]
    daemon = life.daemon(registry, f"localhost:{registry.storage_port}")
    registry.set(**knobs)
    warmed(daemon, registry, repository)


# name: (knobs, most times the model's size that may be sent)
FAULTS = {
    "reset-once-a-range": (dict(reset_after="256KiB", reset_once=True), 1.5),
    "reset-every-third-answer": (dict(reset_after="256KiB", reset_every=3), 1.5),
    "truncated-every-third-answer": (dict(truncate_after="600KiB", truncate_every=3), 1.2),
    "503-every-third-request": (dict(fail_every=3, retry_after=0), 1.1),
    "500-for-the-first-three": (dict(fail_first=3, fail_status=500), 1.1),
    "429-above-two": (dict(max_blobs=2, retry_after=1, total="64MiB"), 1.1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_survived_and_only_the_failed_range_is_sent_again(daemon, registry, name):
    knobs, times = FAULTS[name]
    registry.set(**knobs)
    warmed(daemon, registry, "raw")
    size = sum(b["size"] for b in registry.blobs("raw"))
    assert registry.blob_bytes() <= times * size
    retried = sum(v for k, v in daemon.metrics().items() if k.startswith("registry_retries_total"))
    assert retried > 0


def test_answer_for_another_range_is_never_taken(daemon, registry):
    registry.set(wrong_range=True)
    done = daemon.cli("warm", registry.ref("raw"))
    assert done.status == 1
    assert f"{registry.host} answered a request for a range with something else" in done.stderr
    wait_until(lambda: daemon.visible() == [], "nothing is left but what is kept")


def test_ignored_range_is_one_plain_get(daemon, registry):
    registry.set(ignore_range=True)
    warmed(daemon, registry, "big")
    size = registry.blobs("big")[0]["size"]
    assert registry.blob_bytes() < 1.5 * size


def test_anonymous_bearer_token_is_fetched_and_reused(daemon, registry):
    registry.set(auth="bearer", user=USER, password=PASSWORD, anonymous=True)
    warmed(daemon, registry, "big")
    stats = registry.stats()
    assert 1 <= stats["tokens"] <= 2
    assert stats["schemes"] == {"main": ["bearer"], "storage": [], "token": []}


@pytest.mark.parametrize("auth, schemes", [("basic", {"main": ["basic"], "storage": [], "token": []}),
                                           ("bearer", {"main": ["bearer"], "storage": [], "token": ["basic"]})])
def test_credentials_of_the_administrator_are_used(life, registry, auth, schemes):
    registry.set(auth=auth, user=USER, password=PASSWORD)
    config = docker_config(life.folder(), registry.host)
    daemon = life.daemon(registry, credentials={"dockerConfig": str(config)})
    warmed(daemon, registry, "raw")
    assert registry.stats()["schemes"] == schemes


def test_credentials_given_to_warm_are_used(life, daemon, registry):
    registry.set(auth="bearer", user=USER, password=PASSWORD)
    config = docker_config(life.folder(), registry.host)
    done = daemon.cli("warm", "-o", "json", "--docker-config", config, registry.ref("raw"))
    assert done.json()[0]["result"] == "miss"


def test_registry_that_wants_tokens_no_more_is_asked_without(daemon, registry):
    registry.set(auth="bearer", user=USER, password=PASSWORD, anonymous=True, token_seconds=1)
    warmed(daemon, registry, "raw")
    registry.set(auth="none", anonymous=False)  # nor does its token service give any
    registry.reset_stats()

    def has_asked_for_a_token():  # when the one of before has expired
        daemon.cli("rm", registry.ref("raw")).ok()
        warmed(daemon, registry, "raw")
        return any("token" in r["path"] for r in registry.log())
    wait_until(has_asked_for_a_token, "a token was asked for, and not given")


def test_redirect_drops_credentials_and_keeps_the_range(life, registry):
    registry.set(auth="bearer", user=USER, password=PASSWORD, redirect=True)
    config = docker_config(life.folder(), registry.host)
    daemon = life.daemon(registry, credentials={"dockerConfig": str(config)})
    warmed(daemon, registry, "raw")
    assert registry.stats()["schemes"]["storage"] == []
    storage = [r for r in registry.log("storage") if r["listener"] == "storage"]
    assert storage and all(r["range"] and r["status"] == 206 for r in storage)


def test_token_that_expires_during_the_transfer_is_replaced(life, registry):
    registry.set(auth="bearer", user=USER, password=PASSWORD, token_seconds=1, total="32MiB")
    config = docker_config(life.folder(), registry.host)
    daemon = life.daemon(registry, credentials={"dockerConfig": str(config)})
    warmed(daemon, registry, "big")
    assert registry.stats()["tokens"] >= 2


def test_address_that_expires_during_the_transfer_is_asked_for_again(life, registry):
    registry.set(redirect=True, redirect_seconds=1, total="32MiB")
    daemon = life.daemon(registry)
    warmed(daemon, registry, "big")
    redirects = [r for r in registry.log("blobs") if r["status"] == 307]
    assert len(redirects) >= 2


@pytest.mark.parametrize("io", ["uring", "posix"])
@pytest.mark.parametrize("write", ["direct", "buffered"])
@pytest.mark.parametrize("repository", ["raw", "tar"])
def test_every_way_to_the_disk_gives_the_same_files(life, registry, io, write, repository):
    if io == "uring" and "no-io-uring" in os.environ.get("MS_WRAP", ""):
        pytest.skip("io_uring is forbidden in this run")
    daemon = life.daemon(registry, engine={"memory": "32MiB", "io": io, "write": write})
    warmed(daemon, registry, repository)


def test_transfer_works_in_the_smallest_arena(life, registry):
    daemon = life.daemon(registry, engine={"memory": "16MiB", "rangeSize": "1MiB", "connections": 4})
    for repository in ("big", "tar"):
        warmed(daemon, registry, repository)
