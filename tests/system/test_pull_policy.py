# SPDX-License-Identifier: Apache-2.0
"""When the registry is asked, what a moved tag means, and who may have what another one fetched."""
import grpc
import pytest
from harness.layout import Layout, file_sums, sha256, tar_of


@pytest.fixture
def layout(life):
    layout = Layout.create(life.folder() / "layout")
    move(layout, b"one")
    return layout


@pytest.fixture
def moving(life, layout):
    """A registry whose tag the test moves."""
    return life.registry(layouts={"model": layout.path})


@pytest.fixture
def daemon(life, moving):
    return life.daemon(moving)


def move(layout, content, tag="v1"):
    layout.add_image(tag, tar_of({"models/": b"", "models/weights.bin": content}))


def weights(path):
    return (path / "weights.bin").read_bytes()


def test_if_not_present_does_not_ask_again(daemon, moving, layout):
    with daemon.published("a", moving.ref("model", "v1")) as path:
        assert weights(path) == b"one"
    move(layout, b"two")
    moving.reset_stats()
    with daemon.published("b", moving.ref("model", "v1")) as path:
        assert weights(path) == b"one"
    assert moving.log() == []
    assert daemon.requests_by_result() == (1, 1, 0)


def test_always_asks_and_an_unchanged_tag_is_a_hit(daemon, moving):
    with daemon.published("a", moving.ref("model", "v1"), pullPolicy="Always"):
        pass
    moving.reset_stats()
    with daemon.published("b", moving.ref("model", "v1"), pullPolicy="Always") as path:
        assert weights(path) == b"one"
    assert [r["path"] for r in moving.log("manifests")] and moving.log("blobs") == []
    assert daemon.requests_by_result() == (1, 1, 0)


def test_always_follows_a_moved_tag_and_leaves_mounted_volumes_alone(daemon, moving, layout):
    with daemon.published("old", moving.ref("model", "v1"), pullPolicy="Always") as old:
        move(layout, b"two")
        with daemon.published("new", moving.ref("model", "v1"), pullPolicy="Always") as new:
            assert (weights(old), weights(new)) == (b"one", b"two")
            daemon.publish("old", moving.ref("model", "v1"), pullPolicy="Always")  # kubelet may ask again at any time
            assert weights(old) == b"one"


@pytest.mark.parametrize("tag", ["latest", ""])
def test_latest_and_no_tag_are_asked_for_always(daemon, moving, layout, tag):
    reference = moving.ref("model", tag).rstrip(":")
    move(layout, b"one", "latest")
    with daemon.published("a", reference):
        pass
    move(layout, b"two", "latest")
    with daemon.published("b", reference) as path:
        assert weights(path) == b"two"


def test_digest_is_never_resolved_again(daemon, moving, layout):
    reference = f"{moving.host}/model@{layout.digest('v1')}"
    with daemon.published("a", reference):
        pass
    moving.reset_stats()
    with daemon.published("b", reference) as path:
        assert weights(path) == b"one"
    assert moving.log("blobs") == []


def test_never_takes_what_is_here(daemon, moving):
    daemon.cli("warm", moving.ref("model", "v1")).ok()
    moving.reset_stats()
    with daemon.published("a", moving.ref("model", "v1"), pullPolicy="Never") as path:
        assert weights(path) == b"one"
    assert moving.log() == []


def test_never_without_the_model_is_not_found(daemon, moving):
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("a", moving.ref("model", "v1"), pullPolicy="Never")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert moving.log() == []


def test_cached_model_survives_a_registry_that_is_gone(daemon, moving):
    daemon.cli("warm", moving.ref("model", "v1")).ok()
    moving.stop()
    with daemon.published("a", moving.ref("model", "v1")) as path:
        assert weights(path) == b"one"


def test_warm_with_pull_always_asks(daemon, moving, layout):
    daemon.cli("warm", moving.ref("model", "v1")).ok()
    move(layout, b"two")
    first = daemon.cli("warm", "-o", "json", moving.ref("model", "v1")).json()[0]
    second = daemon.cli("warm", "-o", "json", "--pull", "always", moving.ref("model", "v1")).json()[0]
    assert (first["result"], second["result"]) == ("hit", "miss")
    assert second["digest"] == layout.digest("v1")


def test_moved_tag_names_what_it_means_now(daemon, moving, layout):
    reference, digests = moving.ref("model", "v1"), []
    for content in (b"one", b"two", b"three", b"four", b"five"):
        move(layout, content)
        digests += [daemon.cli("warm", "-o", "json", "--pull", "always", reference).json()[0]["digest"]]
    assert daemon.cli("inspect", "-o", "json", reference).json()["digest"] == digests[-1]
    with daemon.published("old", f"{moving.host}/model@{digests[0]}"):  # is in nobody's way
        removed = daemon.cli("rm", "-o", "json", reference).json()
    assert [(m["reference"], m["digest"]) for m in removed] == [(reference, digests[-1])]
    assert sorted(m["digest"] for m in daemon.cli("ls", "-o", "json").json()) == sorted(digests[:-1])
    assert daemon.cli("rm", reference).status == 4
    assert daemon.cli("rm", "-q", digests[1]).ok().stdout == digests[1] + "\n"


def test_rm_tells_every_selection_that_goes_and_none_goes_while_one_is_mounted(daemon, moving, layout):
    reference = moving.ref("model", "v1")
    daemon.cli("warm", reference).ok()
    with daemon.mounted(reference, "--include", "*.bin"):
        assert daemon.cli("rm", reference).status == 1
        assert len(daemon.cli("ls", "-o", "json").json()) == 2
    assert [m["digest"] for m in daemon.cli("rm", "-o", "json", reference).json()] == 2 * [layout.digest("v1")]
    assert daemon.cli("ls", "-o", "json").json() == []


def test_shared_layer_is_not_fetched_again(daemon, moving, layout):
    shared = tar_of({"models/": b"", "models/base.bin": b"b" * 300_000})
    layout.add_image("base", shared)
    layout.add_image("tuned", shared, tar_of({"models/adapter.bin": b"a"}))
    daemon.cli("warm", moving.ref("model", "base")).ok()
    daemon.cli("warm", moving.ref("model", "tuned")).ok()
    blob = f"/v2/model/blobs/sha256:{sha256(shared)}"
    assert moving.stats()["paths"][blob]["bytes"] == len(shared)
    assert daemon.cli("df", "-o", "json").json()["saved"] >= 300_000
    with daemon.published("v", moving.ref("model", "tuned")) as path:
        assert sorted(file_sums(path)) == ["adapter.bin", "base.bin"]


@pytest.mark.parametrize("policy", ["IfNotPresent", "Always"])
@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_cached_private_model_is_only_for_those_who_may_read_it(daemon, moving, auth, policy):
    moving.set(auth=auth, user="u", password="right")
    good, bad = {"username": "u", "password": "right"}, {"username": "u", "password": "wrong"}
    model = moving.ref("model", "v1")
    with daemon.published("mine", model, secrets=good, pullPolicy=policy) as path:
        assert weights(path) == b"one"
        for volume, secrets, said in (("other", bad, "the secret of this volume (nodePublishSecretRef) does not open it"),
                                      ("nobody", {}, "this volume has no secret that opens it")):
            with pytest.raises(grpc.RpcError) as caught:
                daemon.publish(volume, model, secrets=secrets, pullPolicy=policy)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert model in caught.value.details() and said in caught.value.details() and "is cached here" in caught.value.details()
        with daemon.published("friend", model, secrets=good, pullPolicy=policy) as again:
            assert weights(again) == b"one"


def test_private_model_that_is_not_here_wants_credentials(daemon, moving):
    moving.set(auth="bearer", user="u", password="right")
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", moving.ref("model", "v1"))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "give the volume a secret" in caught.value.details()


def test_cached_private_model_while_the_registry_is_gone_is_nobodys(daemon, moving):
    """Whether somebody may read it now cannot be known."""
    moving.set(auth="basic", user="u", password="p")
    secrets = {"username": "u", "password": "p"}
    with daemon.published("v", moving.ref("model", "v1"), secrets=secrets):
        moving.stop()
        with pytest.raises(grpc.RpcError) as caught:
            daemon.publish("w", moving.ref("model", "v1"), secrets=secrets)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE and moving.host in caught.value.details()
