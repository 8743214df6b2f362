# SPDX-License-Identifier: Apache-2.0
"""How many connections a host gets, who gets them, what happens to slow ones, and what is remembered of a host."""
import concurrent.futures
import json

import grpc
import pytest
from harness.layout import file_sums
from harness.process import wait_until
from harness.registry import FaultRegistry

MIB = 1 << 20


@pytest.fixture
def large(life):
    """Models that are large enough for the climb."""
    return life.registry(synthetic={name: f"raw:256MiB:1:{name}" for name in ("a", "b", "c")})


def warm(daemon, registry, repository):
    daemon.cli("warm", registry.ref(repository)).ok()
    with daemon.mounted(registry.ref(repository)) as path:
        assert file_sums(path) == registry.files(repository)


def blob_path(registry, repository):
    return f"/v2/{repository}/blobs/" + registry.blobs(repository)[0]["digest"]


def size_of(registry, repository):
    return registry.blobs(repository)[0]["size"]


def hosts(daemon):
    return {h["host"]: h for h in daemon.cli("status", "--hosts", "-o", "json").json()}


def slow_ones(daemon):
    return sum(v for k, v in daemon.metrics().items() if k.startswith("registry_retries_total") and "slow" in k)


def connections(daemon, registry):
    """{repository: connections} of the jobs."""
    return {j["reference"].removeprefix(f"{registry.host}/").removesuffix(":latest"): j["connections"]
            for j in daemon.cli("status", "-o", "json").json()}


def refused(registry, path):
    return registry.stats()["paths"][path]["status"].get("429", 0)


# ---- how many

def test_connections_become_more_while_that_makes_it_faster(life, large):
    daemon = life.daemon(large, engine={"memory": "256MiB"})
    large.set(pace="16MiB")
    warm(daemon, large, "a")
    path = blob_path(large, "a")
    assert large.stats()["paths"][path]["maxConcurrent"] >= 8, "it begins with four"
    assert large.blob_bytes() == size_of(large, "a"), "nothing is asked for twice"
    host = hosts(daemon)[large.host]
    assert host["ranges"] == "honoured" and 8 <= host["best"] <= 16 and host["limit"] is None
    assert host["connections"] == 0 and host["rate"] > 0 and host["latency"] > 0


def test_host_that_refuses_more_than_a_few_gets_a_few(life, large):
    daemon = life.daemon(large, engine={"memory": "256MiB"})
    large.set(pace="32MiB", max_blobs=3, retry_after=1)
    warm(daemon, large, "a")
    path = blob_path(large, "a")
    assert large.blob_bytes() <= 1.02 * size_of(large, "a")
    stats = large.stats()["paths"][path]
    assert 1 <= stats["status"]["429"] <= stats["status"]["206"] / 2
    assert 1 <= hosts(daemon)[large.host]["limit"] <= 4  # one more is tried now and then


def test_what_was_learned_is_used_after_a_restart(life, large):
    daemon = life.daemon(large, engine={"memory": "256MiB"})
    large.set(pace="32MiB", max_blobs=2, retry_after=30)
    warm(daemon, large, "a")
    assert refused(large, blob_path(large, "a")) >= 2, "it began with four"
    known = hosts(daemon)
    daemon.restart()
    assert hosts(daemon) == known and known[large.host]["limit"] == 2
    large.set(pace="32MiB", max_blobs=2, retry_after=30)
    large.reset_stats()
    warm(daemon, large, "b")
    assert refused(large, blob_path(large, "b")) <= 1, "more were not asked for than one to try"


@pytest.mark.parametrize("text", ["", "{", '{"version": 99}', '{"version": 1, "hosts": [{"host": 7}, null]}'])
def test_broken_file_of_hosts_is_ignored_and_written_anew(daemon, registry, text):
    daemon.stop()
    file = daemon.root / "hosts.json"
    file.write_text(text)
    daemon.start()
    assert hosts(daemon) == {}
    warm(daemon, registry, "raw")
    daemon.stop()
    assert [h["host"] for h in json.loads(file.read_text())["hosts"]] == [registry.host]


# ---- slow ones

def test_rest_of_a_starved_range_goes_elsewhere(life, large):
    daemon = life.daemon(large, engine={"memory": "256MiB"})
    large.set(pace="16MiB", starve_every=8, starve_rate="64KiB")  # a range of theirs would last for two minutes
    warm(daemon, large, "a")
    assert slow_ones(daemon) >= 1
    # What the server had sent ahead into the socket of a closed connection counts as sent.
    assert large.blob_bytes() <= size_of(large, "a") + 4 * MIB * (slow_ones(daemon) + 1)
    fetched = sum(v for k, v in daemon.metrics().items() if k.startswith("fetched_bytes_total"))
    assert fetched <= 1.02 * size_of(large, "a")


def test_equally_slow_connections_are_left_alone(daemon, registry):
    registry.set(total="16MiB")
    warm(daemon, registry, "raw")
    assert slow_ones(daemon) == 0
    assert registry.blob_bytes() == 24 * MIB


def test_reset_connection_costs_no_more_than_what_was_on_its_way(life, large):
    daemon = life.daemon(large, engine={"memory": "256MiB"})
    large.set(reset_after="2MiB", reset_every=8)
    warm(daemon, large, "a")
    assert large.blob_bytes() <= 1.05 * size_of(large, "a")


@pytest.mark.parametrize("redirect", [False, True])
def test_registry_that_restarts_is_waited_for(life, build, redirect):
    models = {"a": "raw:64MiB:1"}
    first = FaultRegistry(build, life.folder(), synthetic=models)
    try:
        first.set(total="8MiB", redirect=redirect)
        daemon = life.daemon(first)
        daemon.cli("warm", "--detach", first.ref("a")).ok()
        wait_until(lambda: first.blob_bytes(live=True) > 4 * MIB, "bytes come")
    finally:
        first.process.popen.kill()
        first.process.popen.wait()
    wait_until(lambda: [j["retries"] > 3 and not j["connections"] for j in daemon.cli("status", "-o", "json").json()] == [True],
               "it has been missed")
    second = FaultRegistry(build, life.folder(), synthetic=models, flags=("--listen", first.host, *["--redirect"] * redirect))
    life.started.append(second)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is ready")
    assert second.blob_bytes() < size_of(second, "a"), "it went on where it was"


# ---- who gets them

def publish_in(pool, daemon, registry, repository):
    """A volume that waits, in a thread of @pool."""
    def run():
        try:
            daemon.publish(repository, registry.ref(repository))
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.ABORTED, e.details()  # not before the test ends
    return pool.submit(run)


def busy(daemon, registry, expected):
    return wait_until(lambda: expected(connections(daemon, registry)), "the connections are shared so")


SHARED = {"connections": 12, "connectionsPerHost": 8, "memory": "256MiB", "rangeSize": "1MiB", "warmShare": "25%"}


def let_end(daemon, volume, *registries):
    for registry in registries:
        registry.set(pace=0)
    volume.result()
    wait_until(lambda: not daemon.cli("status", "-o", "json").json(), "all is here")


def test_volume_goes_before_what_is_warmed(life, large):
    daemon = life.daemon(large, engine=SHARED)
    large.set(pace="1MiB")
    daemon.cli("warm", "--detach", large.ref("a")).ok()
    busy(daemon, large, lambda n: n.get("a", 0) >= 4)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        volume = publish_in(pool, daemon, large, "b")
        busy(daemon, large, lambda n: n.get("a", 0) <= 2 and n.get("b", 0) >= 4)
        let_end(daemon, volume, large)
    daemon.unpublish("b")


def test_warming_from_another_host_gets_no_more_than_its_share(life, large):
    other = life.registry(synthetic={"w": "raw:256MiB:1"}, pace="1MiB")
    daemon = life.daemon(large, other, engine=SHARED)
    large.set(pace="1MiB")
    daemon.cli("warm", "--detach", other.ref("w")).ok()
    wait_until(lambda: hosts(daemon).get(other.host, {}).get("connections", 0) >= 4, "it has more than its share")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        volume = publish_in(pool, daemon, large, "b")
        wait_until(lambda: hosts(daemon).get(large.host, {}).get("connections", 0) >= 4 and
                   1 <= hosts(daemon)[other.host]["connections"] <= 2, "a quarter of eight is left for it")
        let_end(daemon, volume, large, other)
    daemon.unpublish("b")


def test_volume_that_asks_for_what_is_being_warmed_makes_it_a_volumes(life, large):
    daemon = life.daemon(large, engine=SHARED)
    large.set(pace="1MiB")
    for repository in ("a", "b"):
        daemon.cli("warm", "--detach", large.ref(repository)).ok()
    busy(daemon, large, lambda n: n.get("a", 0) >= 3 and n.get("b", 0) >= 3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        volume = publish_in(pool, daemon, large, "b")
        busy(daemon, large, lambda n: n.get("a", 0) <= 2 and n.get("b", 0) >= 5)
        let_end(daemon, volume, large)
    daemon.unpublish("b")


def test_jobs_share_connections_however_many_blobs_they_have(life):
    registry = life.registry(synthetic={"one": "raw:256MiB:1:one", "three": "raw:256MiB:3:three"}, pace="1MiB")
    daemon = life.daemon(registry, engine=SHARED)
    daemon.cli("warm", "--detach", registry.ref("three")).ok()
    busy(daemon, registry, lambda n: n.get("three", 0) == 8)
    daemon.cli("warm", "--detach", registry.ref("one")).ok()
    busy(daemon, registry, lambda n: n.get("one", 0) == 4 and n.get("three", 0) == 4)
    registry.set(pace=0)
    wait_until(lambda: not daemon.cli("status", "-o", "json").json(), "all is here")


def test_bandwidth_of_a_host_is_kept_to(life, registry):
    rate = 8 * MIB
    daemon = life.daemon(registry, registries=[{"host": registry.host, "plainHttp": True, "bandwidth": rate}])
    warm(daemon, registry, "raw")
    asked = sorted((r["startNs"], r["bytes"]) for r in registry.log("blobs"))
    for first, _ in asked:  # in no second more than the rate, what may be saved up, and the range that overdraws it
        within = sum(n for at, n in asked if first <= at < first + 10**9)
        assert within <= 1.25 * rate + 3 * MIB


# ---- what is shown

def test_status_shows_hosts_below_the_jobs(daemon, registry):
    assert daemon.cli("status", "--hosts", "-o", "json").json() == []
    assert "RANGES" not in daemon.cli("status").ok().stdout
    warm(daemon, registry, "big")
    shown, = hosts(daemon).values()
    assert shown.keys() == {"host", "ranges", "connections", "best", "limit", "rate", "latency", "lastUsed"}
    lines = daemon.cli("status").ok().stdout.splitlines()
    assert lines[0].startswith("REFERENCE") and lines[-2].startswith("HOST") and lines[-1].startswith(registry.host)
    assert daemon.cli("status", "--hosts").ok().stdout.splitlines() == lines[-2:]


def test_host_that_broke_its_ranges_is_not_asked_for_ranges_again(life, registry):
    daemon = life.daemon(registry)
    registry.set(total="12MiB")
    daemon.cli("warm", "--detach", registry.ref("big")).ok()
    wait_until(lambda: registry.blob_bytes(live=True) > 2 * MIB, "ranges come")
    registry.set(total=0, ignore_range=True)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is ready")
    assert hosts(daemon)[registry.host]["ranges"] == "broken"
    registry.set(ignore_range=False)
    registry.reset_stats()
    daemon.restart()
    warm(daemon, registry, "tar")
    kinds = [r["range"] for r in registry.log("blobs") if r["bytes"] > MIB]
    assert kinds == [""], "one stream"
