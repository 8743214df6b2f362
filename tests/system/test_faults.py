# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at the registry gives the documented code and one clear sentence, and leaves nothing visible."""
import socket

import grpc
import pytest
from harness.layout import DATA, Layout, file_sums, golden_sums, tar_of
from harness.process import wait_until

Code = grpc.StatusCode
LAYER = "sha256:"  # the start of every digest: all blobs, and manifests


def publish_fails(daemon, reference, **more):
    """(code, text) of the failure; nothing is mounted, nothing is visible."""
    target = daemon.target("v")
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", reference, **more)
    assert not target.exists() or not any(target.iterdir())
    wait_until(lambda: daemon.visible() == [], "nothing is left but what is kept")  # one blob's failure is told before the others end
    return caught.value.code(), caught.value.details()


def warm_fails(daemon, reference, *flags):
    """(exit status, its one line on stderr)."""
    done = daemon.cli("warm", reference, *flags)
    assert done.status != 0 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("modelstage:")]
    assert len(lines) == 1, f"one sentence, not: {done.stderr}"
    wait_until(lambda: daemon.visible() == [], "nothing is left but what is kept")  # one blob's failure is told before the others end
    return done.status, lines[0]


def raw_blob(registry):
    """A blob of the raw model: its first file."""
    return registry.blobs("raw")[0]["digest"]


# name: (knobs, repository, tag, gRPC code, exit status)
FAULTS = {
    "wrong-byte": (dict(flip_blob=LAYER, flip_at=300_000), "raw", "latest", Code.DATA_LOSS, 1),
    "wrong-byte-in-tar": (dict(flip_blob=LAYER, flip_at=300_000), "tar", "latest", Code.DATA_LOSS, 1),
    "wrong-byte-in-gzip": (dict(flip_blob=LAYER, flip_at=9_000), "images", "gzip", Code.DATA_LOSS, 1),
    "wrong-byte-in-zstd": (dict(flip_blob=LAYER, flip_at=9_000), "images", "zstd", Code.DATA_LOSS, 1),
    "unknown-tag": ({}, "raw", "nightly", Code.NOT_FOUND, 4),
    "unknown-repository": ({}, "no/such/model", "latest", Code.NOT_FOUND, 4),
    "hidden-tag": (dict(hide_tag="latest"), "raw", "latest", Code.NOT_FOUND, 4),
    "missing-blob": (dict(missing_blob=LAYER), "raw", "latest", Code.NOT_FOUND, 4),
    "denied-repository": (dict(deny="raw"), "raw", "latest", Code.PERMISSION_DENIED, 5),
    "basic-without-credentials": (dict(auth="basic", user="u", password="p"), "raw", "latest", Code.UNAUTHENTICATED, 5),
    "bearer-without-credentials": (dict(auth="bearer", user="u", password="p"), "raw", "latest",
                                   Code.UNAUTHENTICATED, 5),
    "manifests-always-500": (dict(fail_manifests=500), "raw", "latest", Code.UNAVAILABLE, 1),
    "blobs-always-503": (dict(fail_every=1, retry_after=0), "raw", "latest", Code.UNAVAILABLE, 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_publish_gives_the_documented_code(daemon, registry, name):
    knobs, repository, tag, code, _ = FAULTS[name]
    registry.set(**knobs)
    got, text = publish_fails(daemon, registry.ref(repository, tag))
    assert got == code, text
    assert text and "\n" not in text and repository in text


@pytest.mark.parametrize("name", FAULTS)
def test_cli_gives_the_documented_exit_status(daemon, registry, name):
    knobs, repository, tag, _, status = FAULTS[name]
    registry.set(**knobs)
    got, line = warm_fails(daemon, registry.ref(repository, tag))
    assert got == status, line
    assert repository in line


def test_unreachable_registry_is_unavailable(life):
    with socket.socket() as closed:  # bound and not listening: connections are refused, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        daemon = life.daemon(host)
        code, text = publish_fails(daemon, f"{host}/model:1")
        assert code == Code.UNAVAILABLE and host in text
        status, line = warm_fails(daemon, f"{host}/model:1")
        assert status == 1 and host in line


def test_registry_without_tls_is_refused_unless_configured(life, registry):
    daemon = life.daemon()
    code, _ = publish_fails(daemon, registry.ref("raw"))
    assert code == Code.UNAVAILABLE
    assert registry.log() == []


def test_wrong_byte_once_is_fetched_again(daemon, registry):
    registry.set(flip_blob=raw_blob(registry), flip_at=1000, flip_times=1)
    with daemon.published("v", registry.ref("raw")) as path:
        assert file_sums(path) == registry.files("raw")
    assert sum(v for k, v in daemon.metrics().items() if k.startswith("digest_mismatches_total")) == 1


def test_wrong_byte_in_a_manifest_is_refused(daemon, registry):
    registry.set(flip_blob=Layout(DATA / "images").digest("plain"), flip_at=100)
    code, text = publish_fails(daemon, registry.ref("images", "plain"))
    assert code == Code.DATA_LOSS, text


def test_blob_shorter_than_its_descriptor_is_refused(life):
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("latest", tar_of({"models/": b"", "models/a.bin": b"x" * 100_000}))
    blob = layout.blob_path(layout.layers("latest")[0]["digest"])
    blob.write_bytes(blob.read_bytes()[:50_000])
    registry = life.registry(layouts={"short": layout.path})
    code, text = publish_fails(life.daemon(registry), registry.ref("short"))
    assert code in (Code.DATA_LOSS, Code.UNAVAILABLE), text


def test_blob_longer_than_its_descriptor_is_refused(life):
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("latest", tar_of({"models/": b"", "models/a.bin": b"x" * 100_000}))
    blob = layout.blob_path(layout.layers("latest")[0]["digest"])
    blob.write_bytes(blob.read_bytes() + b"y" * 512)
    registry = life.registry(layouts={"long": layout.path})
    code, text = publish_fails(life.daemon(registry), registry.ref("long"))
    assert code in (Code.DATA_LOSS, Code.UNAVAILABLE), text


def test_broken_layout_on_disk_is_refused(life):
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("latest", tar_of({"models/": b"", "models/a.bin": b"x" * 100_000}))
    blob = layout.blob_path(layout.layers("latest")[0]["digest"])
    data = bytearray(blob.read_bytes())
    data[70_000] ^= 1
    blob.write_bytes(data)
    code, text = publish_fails(life.daemon(), f"oci-layout:{layout.path}:latest")
    assert code == Code.DATA_LOSS, text


@pytest.mark.parametrize("path", ["../outside", "/tmp/absolute-outside", "models/../../outside"])
def test_archive_that_leaves_its_folder_writes_nothing_outside(life, path):
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("latest", tar_of({"models/": b"", path: b"escaped", "models/a.bin": b"fine"}))
    daemon = life.daemon()
    try:
        daemon.publish("v", f"oci-layout:{layout.path}:latest")
        daemon.unpublish("v")
    except grpc.RpcError as e:
        assert e.code() == Code.INVALID_ARGUMENT, e.details()
    found = [p for p in daemon.folder.rglob("*outside*") if p.is_file()]
    assert all(p.is_relative_to(daemon.root / "layers") for p in found)


@pytest.mark.parametrize("attributes, word", [
    ({"model": ""}, "model"), ({"model": "UPPER/case"}, "UPPER"), ({"pullPolicy": "Sometimes"}, "pullPolicy"),
    ({"modle": "x"}, "modle"), ({"root": "../.."}, "root"), ({"platform": "linux"}, "platform")])
def test_wrong_attribute_is_invalid_and_named(daemon, registry, attributes, word):
    attributes = dict({"model": registry.ref("raw")}, **attributes)
    code, text = publish_fails(daemon, attributes.pop("model"), **attributes)
    assert code == Code.INVALID_ARGUMENT and word in text
    assert registry.log() == []


def test_model_that_cannot_fit_is_refused_before_its_first_byte(life, registry):
    daemon = life.daemon(registry, cache={"maxBytes": "8MiB"})
    code, text = publish_fails(daemon, registry.ref("raw"))
    assert code == Code.RESOURCE_EXHAUSTED and "24" in text, text
    assert warm_fails(daemon, registry.ref("raw"))[0] == 6
    assert registry.blob_bytes() < 100_000  # the config at most


def test_publish_that_takes_too_long_tells_the_progress_and_goes_on(life, registry):
    daemon = life.daemon(registry, engine={"connectionsPerHost": 1})  # bytes are counted, and none is cut off for another
    registry.set(total="6MiB")
    target = daemon.target("v")
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", registry.ref("raw"), timeout=2)
    assert caught.value.code() in (Code.ABORTED, Code.DEADLINE_EXCEEDED)
    assert "%" in caught.value.details(), caught.value.details()
    assert not target.exists() or not any(target.iterdir())
    registry.set(total=0)
    with daemon.published("v", registry.ref("raw")) as path:
        assert file_sums(path) == registry.files("raw")
    sizes = sum(b["size"] for b in registry.blobs("raw"))
    assert registry.blob_bytes() < sizes + 100_000  # the job was continued, not begun again


def test_failure_does_not_stop_the_next_request(daemon, registry):
    registry.set(hide_tag="raw")
    publish_fails(daemon, registry.ref("modelpacks", "raw"))
    registry.set(hide_tag="")
    with daemon.published("v", registry.ref("modelpacks", "raw")) as path:
        assert file_sums(path) == golden_sums("modelpacks", "raw")


def test_host_that_does_not_resolve_spoils_nothing_for_others(daemon, registry):
    """libcurl refuses to prepare a handle again whose last transfer never had a connection."""
    for _ in range(3):
        code, text = publish_fails(daemon, "nonexist.invalid/a:b")
        assert code == Code.UNAVAILABLE and "nonexist.invalid" in text and "resolve" in text
    with daemon.mounted(registry.ref("raw")) as path:
        assert file_sums(path) == registry.files("raw")


def test_redirect_to_a_host_that_does_not_resolve_spoils_nothing(daemon, registry):
    registry.set(redirect=True, redirect_host="nonexist.invalid")
    code, text = publish_fails(daemon, registry.ref("raw"))
    assert code == Code.UNAVAILABLE and "nonexist.invalid" in text
    registry.set(redirect=False)
    with daemon.mounted(registry.ref("raw")) as path:
        assert file_sums(path) == registry.files("raw")
