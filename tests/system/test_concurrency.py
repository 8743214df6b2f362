# SPDX-License-Identifier: Apache-2.0
"""Many requests at once: one transfer, one model, everybody gets it."""
import concurrent.futures
import random

import grpc
import pytest
from harness.layout import Layout, file_sums
from harness.process import wait_until

pytestmark = pytest.mark.concurrent


def all_at_once(calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(c) for c in calls]]


ONE = {"connectionsPerHost": 1}  # bytes are counted, and no connection is cut off for another


def test_twenty_publishes_fetch_once(life, registry):
    daemon = life.daemon(registry, engine=ONE)
    registry.set(total="48MiB")
    model = registry.ref("raw")
    targets = all_at_once([lambda n=n: daemon.publish(f"v{n}", model) for n in range(20)])
    size = sum(b["size"] for b in registry.blobs("raw"))
    assert size <= registry.blob_bytes() < size + 100_000
    hit, miss, joined = daemon.requests_by_result()
    assert miss == 1 and hit + joined == 19
    assert all(file_sums(t) == registry.files("raw") for t in targets)
    assert daemon.cli("ls", "-o", "json").json()[0]["mounts"] == 20
    all_at_once([lambda n=n: daemon.unpublish(f"v{n}") for n in range(20)])
    assert daemon.cli("ls", "-o", "json").json()[0]["mounts"] == 0


def test_models_that_share_blobs_share_the_transfer(life):
    registry = life.registry(synthetic={"one": "raw:16MiB:2:same", "two": "raw:16MiB:2:same"}, total="16MiB")
    daemon = life.daemon(registry, engine=ONE)
    all_at_once([lambda n=n: daemon.cli("warm", registry.ref(n)).ok() for n in ("one", "two")])
    assert registry.blob_bytes() < 17 << 20
    assert daemon.cli("df", "-o", "json").json()["used"] < 17 << 20


def test_selections_of_one_model_promise_its_space_once(life):
    registry = life.registry(synthetic={"m": "tar:24MiB:3"}, pace="16MiB")
    daemon = life.daemon(registry, engine=ONE, cache={"maxBytes": "40MiB", "minFree": 0})
    all_at_once([lambda f=f: daemon.cli("warm", *f, registry.ref("m")).ok() for f in ([], ["--include", "*00001*"], ["--include", "*00002*"])])
    assert registry.blob_bytes() < 25 << 20


def test_a_blob_that_is_missing_ends_the_transfer_of_the_others(life):
    registry = life.registry(synthetic={"m": "raw:64MiB:2"})
    first, second = registry.blobs("m")[:2]
    registry.set(missing_blob=second["digest"], pace="1MiB")
    daemon = life.daemon(registry)
    done = daemon.cli("warm", registry.ref("m"))
    assert done.status == 4 and second["digest"] in done.stderr
    assert registry.blob_bytes() < first["size"], "the first blob was not fetched to its end"
    assert not list((daemon.root / "staging").iterdir())


@pytest.mark.parametrize("first", ["bad", "good"])
def test_a_bad_blob_is_told_while_another_job_goes_on_with_the_shared_one(life, first):
    """Whichever of the two has started the transfer of the blob that both want."""
    layout = Layout.create(life.folder() / "layout")
    config = layout.add_blob(b"{}", "application/vnd.cncf.model.config.v1+json")
    blobs = {}
    for name, size in (("shared", 64 << 20), ("bad", 384 << 10)):
        blobs[name] = layout.add_blob(random.Random(name).randbytes(size), "application/vnd.cncf.model.weight.v1.raw")
        blobs[name]["annotations"] = {"org.cncf.model.filepath": name}
    layout.add_manifest("good", config, [blobs["shared"]])
    layout.add_manifest("bad", config, [blobs["shared"], blobs["bad"]])
    registry = life.registry(layouts={"m": layout.path}, pace="128KiB", flip_blob=blobs["bad"]["digest"], flip_at=9)
    daemon = life.daemon(registry, engine={"memory": "128MiB", "rangeSize": "1MiB"})  # the shared blob leaves room

    def state(tag):
        return next((m["state"] for m in daemon.cli("ls", "-o", "json").json() if m["reference"] == registry.ref("m", tag)), None)

    def fetching():
        return {j["reference"] for j in daemon.cli("status", "-o", "json").json() if j["state"] == "fetching"}

    daemon.cli("warm", "--detach", registry.ref("m", first)).ok()
    wait_until(lambda: len(fetching()) == 1, "the first job is fetching")
    daemon.cli("warm", "--detach", registry.ref("m", "bad" if first == "good" else "good")).ok()
    wait_until(lambda: len(fetching()) == 2, "the second has joined, long before the bad blob is complete")
    wait_until(lambda: state("bad") == "failed", "the bad blob is told")
    job, = [j for j in daemon.cli("status", "-o", "json").json() if j["reference"] == registry.ref("m", "good")]
    assert (job["state"], job["done"] < job["size"]) == ("fetching", True)
    registry.set(pace=0)
    wait_until(lambda: state("good") == "ready", "the other has its model")
    assert registry.blob_bytes() < 70 << 20, "the shared blob was fetched once"
    registry.set(flip_blob="")
    daemon.cli("warm", registry.ref("m", "bad")).ok()
    assert not list((daemon.root / "staging").iterdir())
    assert daemon.cli("df", "-o", "json").json()["reserved"] == 0


def test_a_cached_layer_with_another_size_than_its_descriptor_is_refused(life):
    layout = Layout.create(life.folder() / "layout")
    blob = layout.add_blob(b"x" * 1000, "application/vnd.cncf.model.weight.v1.raw")
    blob["annotations"] = {"org.cncf.model.filepath": "w.bin"}
    config = layout.add_blob(b"{}", "application/vnd.cncf.model.config.v1+json")
    layout.add_manifest("true", config, [blob])
    layout.add_manifest("lie", config, [dict(blob, size=1 << 40)])
    daemon = life.daemon()
    daemon.cli("warm", f"oci-layout:{layout.path}:true").ok()
    done = daemon.cli("warm", f"oci-layout:{layout.path}:lie")
    assert done.status == 1 and "its descriptor says" in done.stderr


def test_different_models_are_staged_together(life):
    names = [f"m{n}" for n in range(6)]
    registry = life.registry(synthetic={n: "raw:8MiB:2" if n < "m3" else "tar:8MiB:2" for n in names})
    daemon = life.daemon(registry)
    all_at_once([lambda n=n: daemon.publish(n, registry.ref(n)) for n in names])
    for name in names:
        assert file_sums(daemon.target(name)) == registry.files(name)
        daemon.unpublish(name)


def test_a_caller_that_goes_away_does_not_stop_the_others(daemon, registry):
    registry.set(total="24MiB")
    model = registry.ref("raw")

    def leave():
        with pytest.raises(grpc.RpcError):
            daemon.publish("gone", model, timeout=0.7)

    all_at_once([leave, lambda: daemon.publish("stays", model)])
    assert file_sums(daemon.target("stays")) == registry.files("raw")
    daemon.unpublish("stays")
    daemon.unpublish("gone")


def test_publish_and_unpublish_and_remove_at_once_leave_a_working_cache(daemon, registry):
    model = registry.ref("modelpacks", "raw")

    def in_and_out(n):
        for _ in range(5):
            daemon.publish(f"v{n}", model)
            daemon.unpublish(f"v{n}")

    def remove(_):
        for _ in range(10):
            assert daemon.cli("rm", model).status in (0, 1, 4)  # gone, mounted, not there

    all_at_once([lambda n=n: in_and_out(n) for n in range(6)] + [lambda: remove(0)])
    with daemon.published("last", model) as path:
        assert "model.safetensors" in file_sums(path)


def test_other_calls_are_answered_while_publishes_wait(daemon, registry):
    import csi_pb2
    registry.set(silent=True)
    model = registry.ref("raw")
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(daemon.publish, f"v{n}", model, timeout=20) for n in range(64)]
        wait_until(lambda: registry.live()["connections"] > 1, "the daemon asks the registry")
        assert daemon.node.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=10).node_id == "test-node"
        assert [(m["reference"], m["state"]) for m in daemon.cli("ls", "-o", "json").json()] == [(model, "staging")]
        registry.set(silent=False)
        registry.stop()
        for call in waiting:
            assert isinstance(call.exception(), grpc.RpcError)


def test_a_drained_node_unpublishes_all_its_volumes_at_once(daemon, registry):
    volumes = [f"v{n}" for n in range(150)]
    all_at_once([lambda v=v: daemon.publish(v, registry.ref("raw")) for v in volumes])
    all_at_once([lambda v=v: daemon.unpublish(v) for v in volumes])
    assert daemon.cli("ls", "-o", "json").json()[0]["mounts"] == 0
