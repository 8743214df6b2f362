# SPDX-License-Identifier: Apache-2.0
"""The metrics that dashboards are built on: names, types, labels, and that they count what happened."""
import contextlib
import os
import pathlib
import re

import grpc
import pytest
from harness.api_server import ApiServer
from harness.process import LIBC, wait_until

TYPES = {
    "cache_requests_total": "counter", "cache_models": "gauge", "cache_layers": "gauge", "cache_used_bytes": "gauge",
    "cache_capacity_bytes": "gauge", "cache_reserved_bytes": "gauge", "cache_partial_bytes": "gauge", "resumed_bytes_total": "counter", "cache_evictions_total": "counter",
    "cache_evicted_bytes_total": "counter", "fetched_bytes_total": "counter", "saved_bytes_total": "counter",
    "registry_requests_total": "counter", "registry_retries_total": "counter", "stage_seconds": "histogram",
    "stage_bytes_per_second": "histogram", "stages_running": "gauge", "stages_waiting": "gauge",
    "digest_mismatches_total": "counter", "publish_seconds": "histogram", "volumes": "gauge", "rpc_seconds": "histogram",
    "build_info": "gauge", "warm_models": "gauge", "pod_events_total": "counter", "readahead_bytes_total": "counter",
}
MIB = 1 << 20
PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


@pytest.fixture
def api(life):
    server = ApiServer(life.folder())
    yield server
    server.stop()


def test_every_documented_metric_shows_once_it_has_something_to_tell(life, registry, api):
    daemon = life.daemon(registry, kubernetes={"serviceAccount": str(api.account), "apiServer": api.url})
    registry.set(total="64MiB")
    daemon.cli("warm", "--detach", registry.ref("big")).ok()
    wait_until(lambda: list((daemon.root / "staging").glob("*/journal")), "enough has come to be gone on with")
    daemon.restart()
    registry.set(total=0)
    daemon.cli("warm", registry.ref("big")).ok()
    registry.set(flip_blob=registry.blobs("raw")[0]["digest"], flip_at=5, flip_times=1, fail_first=1, retry_after=0)
    for repository in ("raw", "tar"):
        with daemon.published("v", registry.ref(repository)):
            pass
    wait_until(lambda: 'pod_events_total{result="sent"}' in daemon.metrics(), "an event is sent")
    wait_until(lambda: 'readahead_bytes_total{result="read"}' in daemon.metrics(), "a model is read ahead")
    daemon.cli("warm", registry.ref("raw")).ok()
    daemon.cli("rm", registry.ref("raw")).ok()
    text = daemon.http("/metrics")[1]
    assert dict(re.findall(r"^# TYPE modelstage_(\S+) (\S+)$", text, re.M)) == TYPES
    assert set(re.findall(r"^# HELP modelstage_(\S+) \S", text, re.M)) == set(TYPES)


def test_exposition_format_is_well_formed(daemon, registry):
    with daemon.published("v", registry.ref("raw")):
        text = daemon.http("/metrics")[1]
    sample = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? [-+0-9.e]+(inf|nan)?$', re.I)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines and [line for line in lines if not sample.match(line)] == []
    assert len({line.rsplit(" ", 1)[0] for line in lines}) == len(lines), "no sample twice"


@pytest.mark.parametrize("role, io", [("node", {"uring", "posix"}), ("controller", {"none"})])
def test_build_info_is_told_by_both_roles(life, role, io):
    samples = life.daemon(flags=("--role", role)).metrics()
    told, = [name for name in samples if name.startswith("build_info")]
    version, how = re.fullmatch(r'build_info\{version="([^"]*)",io="([^"]*)"\}', told).groups()
    assert re.match(r"\d+\.\d+\.\d+", version) and how in io and samples[told] == 1


def test_miss_and_hit_are_counted(daemon, registry):
    daemon.cli("warm", registry.ref("raw")).ok()
    for volume in ("a", "b"):
        with daemon.published(volume, registry.ref("raw")):
            pass
    assert daemon.requests_by_result() == (2, 1, 0)


def test_joined_is_counted(daemon, registry):
    registry.set(total="12MiB")
    daemon.cli("warm", "--detach", registry.ref("raw")).ok()
    with daemon.published("v", registry.ref("raw")):
        assert daemon.requests_by_result() == (0, 1, 1)


def test_gauges_follow_the_cache(daemon, registry):
    with daemon.published("v", registry.ref("raw")):
        metrics = daemon.metrics()
        assert (metrics["cache_models"], metrics["cache_layers"], metrics["volumes"]) == (1, 2, 1)
        assert 24 * MIB <= metrics["cache_used_bytes"] < 25 * MIB
        assert metrics["cache_capacity_bytes"] > metrics["cache_used_bytes"]
        assert metrics["cache_reserved_bytes"] == metrics["stages_running"] == 0
    daemon.cli("rm", registry.ref("raw")).ok()
    metrics = daemon.metrics()
    assert (metrics["cache_models"], metrics["cache_used_bytes"], metrics["volumes"]) == (0, 0, 0)
    assert metrics['cache_evictions_total{reason="removed"}'] == 1
    assert 24 * MIB <= metrics['cache_evicted_bytes_total{reason="removed"}'] < 25 * MIB


def test_bytes_and_requests_are_counted_by_registry(daemon, registry):
    with daemon.published("v", registry.ref("raw")):
        metrics = daemon.metrics()
    assert metrics[f'fetched_bytes_total{{registry="{registry.host}"}}'] >= 24 * MIB
    requests = sum(v for k, v in metrics.items() if k.startswith("registry_requests_total") and registry.host in k)
    assert requests >= len(registry.log())


def test_publish_and_rpc_times_are_observed(daemon, registry):
    for volume in ("a", "b"):
        with daemon.published(volume, registry.ref("raw")):
            pass
    with pytest.raises(grpc.RpcError):
        daemon.publish("c", registry.ref("raw", "no-such-tag"))
    metrics = daemon.metrics()
    counts = {r: metrics.get(f'publish_seconds_count{{result="{r}"}}', 0) for r in ("hit", "miss", "error")}
    assert counts == {"hit": 1, "miss": 1, "error": 1}
    rpcs = {k: v for k, v in metrics.items() if k.startswith("rpc_seconds_count") and "NodePublishVolume" in k}
    assert sum(rpcs.values()) == 3
    assert len(rpcs) == 2, "OK and NotFound"


def test_build_info_names_version_and_io(daemon):
    found = [k for k in daemon.metrics() if k.startswith("build_info{")]
    assert len(found) == 1 and re.search(r'version="\d+\.\d+\.\d+"', found[0]) and re.search(r'io="(uring|posix)"', found[0])


def test_health_and_readiness_pages(daemon):
    assert daemon.http("/healthz")[0] == 200 and daemon.http("/readyz")[0] == 200
    assert daemon.http("/no-such-page")[0] == 404


# ---- health


@contextlib.contextmanager
def stopped_thread(daemon, name):
    """Holds one thread up, as a bug of it would, by ptrace."""
    tid = next(int(t.name) for t in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir() if (t / "comm").read_text().strip() == name)
    assert LIBC.ptrace(PTRACE_ATTACH, tid, None, None) == 0
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        assert LIBC.ptrace(PTRACE_DETACH, tid, None, None) == 0


def test_a_daemon_of_which_a_thread_hangs_is_not_healthy(life):
    sockets, engine = life.daemon(), life.daemon()
    with stopped_thread(sockets, "rpc-queue"), stopped_thread(engine, "reactor"):
        assert sockets.http("/healthz")[0] == engine.http("/healthz")[0] == 200
        wait_until(lambda: sockets.http("/healthz")[0] == engine.http("/healthz")[0] == 503, "it is noticed", deadline=45)
        assert "socket hangs" in sockets.http("/healthz")[1] and "the engine hangs" in engine.http("/healthz")[1]
    wait_until(lambda: sockets.http("/healthz")[0] == engine.http("/healthz")[0] == 200, "they run again")
