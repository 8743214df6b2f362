# SPDX-License-Identifier: Apache-2.0
"""A transfer that was cut off is gone on with: what was fetched twice is counted by the registry, never timed."""
import gzip
import hashlib
import json
import pathlib
import random
import subprocess

import grpc
import pytest
from harness.layout import TAR, Layout, file_sums, tar_of
from harness.process import wait_until

MIB = 1 << 20
WINDOW = 32 * MIB  # engine.memory here
SIZE = 128 * MIB
KINDS = {"raw": "raw:128MiB:1", "one-file": "tar:128MiB:1", "large-files": "tar:128MiB:5", "small-files": "tar:128MiB:1500"}
# Sent and never read: what lay in the sockets' buffers.
SOCKETS = 12 * MIB


@pytest.fixture
def world(life):
    """(registry, daemon): all kinds, and a small window."""
    registry = life.registry(synthetic=KINDS)
    return registry, life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB", "connections": 8})


def resumed(daemon):
    return sum(n for name, n in daemon.metrics().items() if name.startswith("resumed_bytes_total"))


def mismatches(daemon):
    return sum(n for name, n in daemon.metrics().items() if name.startswith("digest_mismatches_total"))


def is_ready(daemon):
    return any(m["state"] == "ready" for m in daemon.cli("ls", "-o", "json").json())


def cut_at(registry, daemon, model, sent, end="kill9"):
    """Warms the model until the registry has sent so many bytes, or all, and ends the daemon."""
    registry.set(total="64MiB")
    daemon.cli("warm", "--detach", model).ok()

    def has_come():
        now = registry.blob_bytes(live=True)
        return now > sent or (now >= SIZE and is_ready(daemon))
    wait_until(has_come, "a part of the model has come")
    getattr(daemon, end)()
    registry.set(total=0)


def is_right(daemon, registry, repository):
    with daemon.published("v", registry.ref(repository)) as path:
        return file_sums(path) == registry.files(repository)


def kept(daemon, pattern):
    return sorted(p for p in (daemon.root / "staging").glob(pattern) if p.is_file())


def allowed(cuts=1):
    """For a blob of SIZE bytes that was cut off so often."""
    return SIZE + cuts * (WINDOW + SIZE // 100 + SOCKETS)


# ---- kills and restarts

@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_transfer_is_gone_on_with(world, kind):
    registry, daemon = world
    cut_at(registry, daemon, registry.ref(kind), 100 * MIB)
    assert kept(daemon, "*/journal")
    daemon.start()
    assert [p for p in daemon.visible() if not p.startswith(str(daemon.root / "staging"))] == []
    assert is_right(daemon, registry, kind)
    assert registry.blob_bytes() <= allowed() < 100 * MIB + SIZE
    assert resumed(daemon) >= 100 * MIB - WINDOW - SIZE // 100 - SOCKETS
    assert "resumes at" in daemon.log
    assert not list((daemon.root / "staging").iterdir())
    space = daemon.cli("df", "-o", "json").json()
    assert (space["reserved"], space["used"] < SIZE + 2 * MIB) == (0, True)


def test_a_killed_transfer_of_tiny_files_is_gone_on_with(life):
    registry = life.registry(synthetic={"tiny": "tar:128MiB:20000"})
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB", "connections": 8})
    size = registry.blobs("tiny")[0]["size"]
    lost = WINDOW + size // 100 + SOCKETS
    cut_at(registry, daemon, registry.ref("tiny"), 130 * MIB)
    daemon.start()
    assert is_right(daemon, registry, "tiny")
    assert registry.blob_bytes() <= size + lost < size + 130 * MIB
    assert resumed(daemon) >= 130 * MIB - lost


def test_a_stopped_daemon_goes_on_as_well(world):
    registry, daemon = world
    cut_at(registry, daemon, registry.ref("raw"), 100 * MIB, end="stop")
    blob, = kept(daemon, "*/blob")
    assert blob.stat().st_size < SIZE, "what was allocated and not written is given back"
    daemon.start()
    assert is_right(daemon, registry, "raw")
    assert registry.blob_bytes() <= allowed()
    assert resumed(daemon) > 50 * MIB


@pytest.mark.parametrize("kind", ["raw", "large-files"])
def test_killed_at_any_time_and_again_it_comes_to_its_end(world, kind):
    registry, daemon = world
    rng = random.Random(kind)
    sent, cuts = 0, 0
    while sent < 2 * SIZE and cuts < 8:
        sent += rng.randrange(MIB, 40 * MIB)
        cut_at(registry, daemon, registry.ref(kind), sent)
        cuts += 1
        daemon.start()
        if is_ready(daemon):
            break
    assert is_right(daemon, registry, kind)
    assert registry.blob_bytes() <= allowed(cuts)
    assert mismatches(daemon) == 0


def test_without_ranges_the_bytes_come_again_and_are_not_written_again(world):
    registry, daemon = world
    registry.set(ignore_range=True)
    cut_at(registry, daemon, registry.ref("large-files"), 100 * MIB)
    daemon.start()
    assert is_right(daemon, registry, "large-files")
    assert resumed(daemon) > 40 * MIB


# ---- registries

@pytest.mark.parametrize("kind", ["raw", "large-files"])
def test_after_a_registry_has_gone_the_next_request_goes_on(world, kind):
    registry, daemon = world
    registry.set(total="64MiB")
    daemon.cli("warm", "--detach", registry.ref(kind)).ok()
    wait_until(lambda: registry.blob_bytes(live=True) > 100 * MIB, "a part of the model has come")
    registry.set(fail_every=1, fail_status=403, total=0)
    wait_until(lambda: [m for m in daemon.cli("ls", "-o", "json").json() if m["state"] == "failed"], "the job has failed")
    assert kept(daemon, "*/journal")
    used = daemon.cli("df", "-o", "json").json()["used"]
    assert used > 50 * MIB, "what is kept is used space"
    assert daemon.metrics()["cache_partial_bytes"] == used
    registry.set(fail_every=0)
    assert is_right(daemon, registry, kind)
    assert registry.blob_bytes() <= allowed()
    assert daemon.metrics()["cache_partial_bytes"] == 0


def test_wrong_bytes_of_before_are_thrown_away_and_nobody_is_blamed(world):
    registry, daemon = world
    blob = registry.blobs("raw")[0]["digest"]
    registry.set(flip_blob=blob, flip_at=10 * MIB)
    cut_at(registry, daemon, registry.ref("raw"), 100 * MIB)
    registry.set(flip_blob="")
    daemon.start()
    assert is_right(daemon, registry, "raw")
    assert resumed(daemon) > 0
    assert mismatches(daemon) == 0
    assert "of which a part was kept, does not match" in daemon.log


def test_a_registry_that_goes_on_to_lie_is_found_out(world):
    registry, daemon = world
    registry.set(flip_blob=registry.blobs("raw")[0]["digest"], flip_at=10 * MIB)
    cut_at(registry, daemon, registry.ref("raw"), 100 * MIB)
    daemon.start()
    done = daemon.cli("warm", registry.ref("raw"))
    assert done.status != 0 and "does not match its digest" in done.stderr
    assert mismatches(daemon) == 2
    wait_until(lambda: daemon.visible() == [], "nothing is left but what is kept")


@pytest.mark.parametrize("kind", ["raw", "tar"])
def test_what_a_registry_began_a_layout_may_end(life, kind):
    layout = Layout.create(life.folder() / "layout")
    rng = random.Random(kind)
    files = {f"models/{name}": rng.randbytes(size) for name, size in (("a", 40 * MIB + 5), ("b", 1000), ("c", 60 * MIB + 7))}
    config = layout.add_blob(b"{}", "application/vnd.cncf.model.config.v1+json")
    data = tar_of(files) if kind == "tar" else rng.randbytes(100 * MIB)
    blob = layout.add_blob(data, f"application/vnd.cncf.model.weight.v1.{kind}")
    blob["annotations"] = {"org.cncf.model.filepath": "w.bin"}
    layout.add_manifest("latest", config, [blob])
    registry = life.registry(layouts={"m": layout.path})
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB"})
    cut_at(registry, daemon, registry.ref("m"), 80 * MIB)
    daemon.start()
    with daemon.published("v", f"oci-layout:{layout.path}:latest") as path:
        want = {n: hashlib.sha256(d).hexdigest() for n, d in (files if kind == "tar" else {"w.bin": data}).items()}
        got = {name: digest for name, digest in file_sums(path).items() if name in want}
        assert got == want
    assert resumed(daemon) > 20 * MIB


# ---- damage

def damage(path, offset, length=1):
    with open(path, "r+b") as f:
        f.seek(offset)
        old = f.read(length)
        f.seek(offset)
        f.write(bytes(b ^ 0xff for b in old))


@pytest.mark.parametrize("kind", ["raw", "one-file", "large-files", "small-files"])
def test_kept_bytes_that_changed_on_the_disk_are_fetched_again(world, kind):
    registry, daemon = world
    cut_at(registry, daemon, registry.ref(kind), 100 * MIB)
    files = [p for pattern in ("*/blob", "*/tree/**/*") for p in kept(daemon, pattern) if p.stat().st_size]
    damage(files[0], min(1000, files[0].stat().st_size - 1))
    daemon.start()
    assert is_right(daemon, registry, kind)
    assert mismatches(daemon) == 0
    assert resumed(daemon) < 40 * MIB, "from there on nothing was kept"


@pytest.mark.parametrize("kind", ["raw", "one-file"])
def test_kept_files_that_grew_are_cut(world, kind):
    registry, daemon = world
    cut_at(registry, daemon, registry.ref(kind), 100 * MIB)
    for path in [p for pattern in ("*/blob", "*/tree/**/*") for p in kept(daemon, pattern)]:
        with open(path, "r+b") as f:
            f.truncate(2 * SIZE)
    daemon.start()
    assert is_right(daemon, registry, kind)


@pytest.mark.parametrize("how", ["empty", "cut", "changed", "zeros", "no-file"])
@pytest.mark.parametrize("kind", ["raw", "large-files"])
def test_a_damaged_journal_costs_no_more_than_what_was_kept(world, kind, how):
    registry, daemon = world
    cut_at(registry, daemon, registry.ref(kind), 100 * MIB)
    journal, = kept(daemon, "*/journal")
    size = journal.stat().st_size
    if how == "empty":
        journal.write_bytes(b"")
    elif how == "cut":
        journal.write_bytes(journal.read_bytes()[:size // 2])
    elif how == "changed":
        damage(journal, size // 2, 64)
    elif how == "zeros":
        journal.write_bytes(bytes(size))
    else:
        journal.unlink()
        journal.symlink_to("/etc/passwd")
    daemon.start()
    assert is_right(daemon, registry, kind)
    half = resumed(daemon)
    assert 10 * MIB < half < 80 * MIB if how in ("cut", "changed") else half == 0
    assert not list((daemon.root / "staging").iterdir())


@pytest.mark.parametrize("kind", ["raw", "small-files"])
def test_kept_files_that_are_gone_are_fetched_again(world, kind):
    import shutil
    registry, daemon = world
    cut_at(registry, daemon, registry.ref(kind), 100 * MIB)
    for folder in (daemon.root / "staging").iterdir():
        for name in ("blob", "tree"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)
    daemon.start()
    assert is_right(daemon, registry, kind)
    assert resumed(daemon) == 0


# ---- compressed layers

@pytest.fixture(scope="module")
def packed_models(tmp_path_factory):
    """({codec: layout}, {path: SHA-256}): an image of 128 MiB in each codec, and what is in it."""
    rng = random.Random(5)
    files = {f"models/{name}": rng.randbytes(size) for name, size in (("a", 50 * MIB + 5), ("b", 1000), ("c", 78 * MIB + 7))}
    data = tar_of(files)
    codecs = {"gzip": gzip.compress(data, 1), "zstd": subprocess.run(["zstd", "-q", "-1", "-c"], input=data, capture_output=True, check=True).stdout}
    layouts = {}
    for codec, blob in codecs.items():
        layouts[codec] = Layout.create(tmp_path_factory.mktemp(codec) / "layout").path
        Layout(layouts[codec]).add_image("latest", blob, media_type=f"{TAR}+{codec}")
    return layouts, {name.removeprefix("models/"): hashlib.sha256(d).hexdigest() for name, d in files.items()}


CODECS = ["gzip", "zstd"]


@pytest.fixture
def packed(life, packed_models):
    """(registry, daemon, is_right): all codecs, and a small window."""
    registry = life.registry(layouts=packed_models[0])
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB", "connections": 8})

    def right(codec):
        with daemon.published("v", registry.ref(codec)) as path:
            return file_sums(path) == packed_models[1]
    return registry, daemon, right


@pytest.mark.parametrize("codec", CODECS)
def test_a_killed_transfer_of_a_compressed_layer_is_gone_on_with(packed, codec):
    registry, daemon, right = packed
    cut_at(registry, daemon, registry.ref(codec), 100 * MIB)
    assert kept(daemon, "*/packed")
    daemon.start()
    assert right(codec)
    assert registry.blob_bytes() <= allowed() + MIB < 100 * MIB + SIZE
    assert resumed(daemon) >= 100 * MIB - WINDOW - SIZE // 100 - SOCKETS
    assert not list((daemon.root / "staging").iterdir())
    space = daemon.cli("df", "-o", "json").json()
    assert (space["reserved"], space["used"] < SIZE + 2 * MIB) == (0, True)


def test_a_compressed_layer_comes_to_its_end_killed_at_any_time_and_again(packed):
    registry, daemon, right = packed
    rng = random.Random(7)
    sent, again = 0, 0
    for _ in range(3):
        sent += rng.randrange(80 * MIB, 110 * MIB)
        cut_at(registry, daemon, registry.ref("zstd"), sent)
        daemon.start()
        if is_ready(daemon):
            break
        again += 1
    assert right("zstd")
    assert again == 0 or "resumes at" in daemon.log
    assert registry.blob_bytes() <= allowed(again) + MIB
    assert mismatches(daemon) == 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_compressed_layer_is_gone_on_with_after_the_registry_had_gone(packed, codec):
    registry, daemon, right = packed
    registry.set(total="64MiB")
    daemon.cli("warm", "--detach", registry.ref(codec)).ok()
    wait_until(lambda: registry.blob_bytes(live=True) > 100 * MIB, "a part of the model has come")
    registry.set(fail_every=1, fail_status=403, total=0)
    wait_until(lambda: [m for m in daemon.cli("ls", "-o", "json").json() if m["state"] == "failed"], "the job has failed")
    blob, = kept(daemon, "*/packed")
    assert blob.stat().st_size < SIZE, "what was allocated and not written is given back"
    assert not [p for p in blob.parent.iterdir() if p.name not in ("packed", "journal")], "what was made of it serves nobody"
    registry.set(fail_every=0)
    assert right(codec)
    assert registry.blob_bytes() <= allowed() + MIB
    assert daemon.metrics()["cache_partial_bytes"] == 0


def test_kept_bytes_of_a_compressed_layer_that_changed_are_fetched_again(packed):
    registry, daemon, right = packed
    cut_at(registry, daemon, registry.ref("gzip"), 100 * MIB)
    damage(kept(daemon, "*/packed")[0], 30 * MIB)
    daemon.start()
    assert right("gzip")
    assert mismatches(daemon) == 0
    assert 0 < resumed(daemon) <= 30 * MIB


def test_a_compressed_layer_comes_again_from_a_server_without_ranges(packed):
    registry, daemon, right = packed
    cut_at(registry, daemon, registry.ref("zstd"), 100 * MIB)
    registry.set(ignore_range=True)
    daemon.start()
    assert right("zstd")
    assert resumed(daemon) > 40 * MIB


def test_a_layout_leaves_alone_what_a_registry_has_brought_of_a_compressed_layer(packed, packed_models, life):
    registry, daemon, right = packed
    broken = Layout.create(life.folder() / "layout")
    for blob in (pathlib.Path(packed_models[0]["zstd"]) / "blobs/sha256").iterdir():
        (broken.path / "blobs/sha256" / blob.name).write_bytes(blob.read_bytes() if blob.stat().st_size < MIB else b"short")
    (broken.path / "index.json").write_bytes((pathlib.Path(packed_models[0]["zstd"]) / "index.json").read_bytes())
    cut_at(registry, daemon, registry.ref("zstd"), 100 * MIB)
    daemon.start()
    with pytest.raises(grpc.RpcError):
        daemon.publish("v", f"oci-layout:{broken.path}:latest")
    assert resumed(daemon) == 0
    assert right("zstd")
    assert resumed(daemon) > 40 * MIB


def test_nothing_goes_to_make_room_for_a_compressed_layer_beside_its_files(life, packed_models):
    registry = life.registry(layouts=packed_models[0], synthetic={"other": "raw:20MiB:1"})
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB"}, cache={"maxBytes": "240MiB", "minFree": 0})
    daemon.cli("warm", registry.ref("other")).ok()
    daemon.cli("warm", registry.ref("zstd")).ok()
    assert {m["reference"].split("/")[1].split(":")[0] for m in daemon.cli("ls", "-o", "json").json()} == {"other", "zstd"}


# ---- who may have it, and for how long

def test_what_was_kept_of_a_private_model_is_not_for_others(life):
    registry = life.registry(synthetic={name: "raw:128MiB:1:same" for name in ("mine", "theirs")}, auth="basic", user="u", password="p")
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB"})
    secrets = {".dockerconfigjson": json.dumps({"auths": {registry.host: {"username": "u", "password": "p"}}})}
    registry.set(total="64MiB")
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        publish = pool.submit(daemon.publish, "v", registry.ref("mine"), secrets=secrets)
        wait_until(lambda: registry.blob_bytes(live=True) > 100 * MIB, "a part of the model has come")
        daemon.kill9()
        with pytest.raises(grpc.RpcError):
            publish.result()
    registry.set(total=0)
    folder, = (daemon.root / "staging").iterdir()
    assert folder.name.count(".") == 2, "it is named after where it came from"
    daemon.start()
    before = registry.blob_bytes()
    with daemon.published("v", registry.ref("theirs"), secrets=secrets):
        pass
    assert registry.blob_bytes() - before >= SIZE
    assert resumed(daemon) == 0


def test_what_was_kept_makes_room_for_another_model(life):
    registry = life.registry(synthetic={"first": "raw:128MiB:1", "second": "raw:128MiB:1:other"})
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB"}, cache={"maxBytes": "200MiB", "minFree": 0})
    cut_at(registry, daemon, registry.ref("first"), 100 * MIB)
    daemon.start()
    assert daemon.metrics()["cache_partial_bytes"] > 0
    assert is_right(daemon, registry, "second")
    assert daemon.metrics()["cache_partial_bytes"] == 0
    daemon.cli("rm", registry.ref("second")).ok()
    assert is_right(daemon, registry, "first")
    assert resumed(daemon) == 0


def test_it_is_gone_on_with_where_it_would_not_fit_twice(life):
    registry = life.registry(synthetic={"m": "raw:128MiB:1"})
    daemon = life.daemon(registry, engine={"memory": "32MiB", "rangeSize": "1MiB"}, cache={"maxBytes": "140MiB", "minFree": 0})
    cut_at(registry, daemon, registry.ref("m"), 100 * MIB)
    daemon.start()
    assert is_right(daemon, registry, "m")
    assert resumed(daemon) > 40 * MIB
