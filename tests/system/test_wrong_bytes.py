# SPDX-License-Identifier: Apache-2.0
"""
One wrong byte, anywhere in a blob, from a registry or a mirror: it is never seen; it is fetched once more, from elsewhere if there is
an elsewhere.
"""
import grpc
import pytest
from harness.layout import file_sums

MODELS = {"straight": "tar:40MiB:2", "small": "tar:4MiB:200", "raw": "raw:30MiB:1"}


@pytest.fixture
def registry(life):
    return life.registry(synthetic=MODELS)


def blob(registry, repository):
    return max(registry.blobs(repository), key=lambda b: b["size"])


def mismatches(daemon):
    return {k: v for k, v in daemon.metrics().items() if k.startswith("digest_mismatches_total")}


# Where in the blob: the fraction of it, or bytes from its end; a tar's last 1024 bytes are its end mark.
PLACES = {"at-10-percent": 0.1, "at-99-percent": 0.99, "first-byte": 0.0, "in-the-padding-at-the-end": -100}


@pytest.mark.parametrize("repository", MODELS)
@pytest.mark.parametrize("place", PLACES)
def test_wrong_byte_is_data_loss_and_never_visible(life, registry, repository, place):
    bad = blob(registry, repository)
    at = PLACES[place]
    registry.set(flip_blob=bad["digest"], flip_at=int(bad["size"] * at) if at >= 0 else bad["size"] + at)
    daemon = life.daemon(registry)
    with pytest.raises(grpc.RpcError) as refused:
        daemon.publish("v", registry.ref(repository))
    assert refused.value.code() == grpc.StatusCode.DATA_LOSS
    assert bad["digest"] in refused.value.details()
    assert [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["failed"]
    assert not list((daemon.root / "layers/sha256").iterdir())
    assert not list((daemon.root / "staging").glob(bad["digest"].removeprefix("sha256:") + "*")), "nothing of it is kept"
    assert sum(mismatches(daemon).values()) == 2, "it was fetched once more"
    registry.set(flip_blob="")
    with daemon.published("v", registry.ref(repository)) as path:
        assert file_sums(path) == registry.files(repository)


@pytest.mark.parametrize("repository", MODELS)
def test_wrong_byte_of_a_mirror_is_fetched_from_the_registry(life, registry, repository):
    mirror = life.registry(synthetic=MODELS)
    bad = blob(mirror, repository)
    mirror.set(flip_blob=bad["digest"], flip_at=bad["size"] // 2)
    daemon = life.daemon(registries=[{"host": registry.host, "plainHttp": True, "mirrors": [f"http://{mirror.host}/v2"]}])
    with daemon.published("v", registry.ref(repository)) as path:
        assert file_sums(path) == registry.files(repository)
    assert sum(mismatches(daemon).values()) == 1
    assert any(bad["digest"] in r["path"] for r in registry.log("blobs")) and any(bad["digest"] in r["path"] for r in mirror.log("blobs"))


def test_good_mirror_spares_the_registry(life, registry):
    mirror = life.registry(synthetic=MODELS)
    daemon = life.daemon(registries=[{"host": registry.host, "plainHttp": True, "mirrors": [f"http://{mirror.host}/v2"]}])
    with daemon.published("v", registry.ref("straight")) as path:
        assert file_sums(path) == registry.files("straight")
    assert registry.log("blobs") == []
