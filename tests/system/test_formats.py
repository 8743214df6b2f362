# SPDX-License-Identifier: Apache-2.0
"""Every format and packing, from every source: what is mounted is, file for file, what the artifact's own tool unpacks."""
import gzip
import json
import subprocess

import pytest
from harness.layout import DATA, Layout, file_sums, golden_sums, sha256

FORMATS = [("images", tag, "modelcar") for tag in ("plain", "gzip", "zstd", "zstd-chunked", "docker", "umoci", "layers")]
FORMATS += [("images", "oras", "artifact")]
FORMATS += [("modelkits", tag, "modelkit") for tag in ("none", "gzip", "gzip-fastest", "whole")]
FORMATS += [("modelpacks", tag, "modelpack") for tag in ("raw", "tar")]
IDS = [f"{layout}-{tag}" for layout, tag, _ in FORMATS]


@pytest.fixture(scope="module")
def shared_daemon(shared_life, golden_registry, docker_registry):
    return shared_life.daemon(golden_registry, docker_registry)


@pytest.fixture(params=["docker-registry", "fault-registry", "oci-layout"])
def source(request, golden_registry, docker_registry):
    """A function from layout and tag to a reference."""
    return {"docker-registry": docker_registry.ref, "fault-registry": golden_registry.ref,
            "oci-layout": lambda layout, tag: f"oci-layout:{DATA / layout}:{tag}"}[request.param]


@pytest.mark.parametrize("layout, tag, kind", FORMATS, ids=IDS)
def test_mounted_files_equal_the_source(shared_daemon, source, layout, tag, kind):
    reference = source(layout, tag)
    warmed = shared_daemon.cli("warm", "-o", "json", reference).json()[0]
    assert warmed["digest"] == Layout(DATA / layout).digest(tag)
    with shared_daemon.mounted(reference) as path:
        assert file_sums(path) == golden_sums(layout, tag)
    entry = next(m for m in shared_daemon.cli("ls", "-o", "json").json() if m["digest"] == warmed["digest"])
    assert (entry["format"], entry["state"]) == (kind, "ready")
    assert entry["files"] > 0 and entry["size"] > 0


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_index_gives_the_platform_that_is_asked_for(shared_daemon, source, arch):
    reference = source("images", "multi-arch")
    with shared_daemon.mounted(reference, "--platform", f"linux/{arch}") as path:
        assert file_sums(path) == golden_sums("images", f"multi-arch-{arch}")


def test_index_without_the_platform_is_not_found(shared_daemon, golden_registry):
    done = shared_daemon.cli("warm", golden_registry.ref("images", "multi-arch"), "--platform", "linux/riscv64")
    assert done.status == 4 and "riscv64" in done.stderr


def test_layout_by_digest(shared_daemon):
    digest = Layout(DATA / "modelpacks").digest("raw")
    with shared_daemon.mounted(f"oci-layout:{DATA / 'modelpacks'}@{digest}") as path:
        assert file_sums(path) == golden_sums("modelpacks", "raw")


def test_selection_takes_only_what_is_asked_for(shared_daemon, golden_registry):
    flags = ("--include", "*.json", "--include", "*.safetensors", "--exclude", "tokenizer/**")
    with shared_daemon.mounted(golden_registry.ref("modelpacks", "raw"), *flags) as path:
        assert sorted(file_sums(path)) == ["config.json", "model.safetensors"]


def test_root_makes_a_folder_of_the_artifact_the_top(shared_daemon, golden_registry):
    with shared_daemon.mounted(golden_registry.ref("modelkits", "none"), "--root", "tokenizer") as path:
        assert sorted(file_sums(path)) == ["merges é.txt", "tokenizer.json"]


@pytest.mark.parametrize("flags, has", [((), True), (("--include", "Kitfile"), True), (("--include", "*.json"), False),
                                        (("--exclude", "Kit*"), False)])
def test_kitfile_is_a_file_like_others(shared_daemon, golden_registry, flags, has):
    with shared_daemon.mounted(golden_registry.ref("modelkits", "none"), *flags) as path:
        assert ("Kitfile" in file_sums(path)) is has
        assert not has or (path / "Kitfile").stat().st_mode & 0o777 == 0o644


def test_file_modes_of_an_archive_are_kept(shared_daemon, golden_registry):
    with shared_daemon.mounted(golden_registry.ref("images", "plain")) as path:
        assert (path / "run.sh").stat().st_mode & 0o777 == 0o755
        assert (path / "config.json").stat().st_mode & 0o777 == 0o644


def test_unpacked_by_two_packings_is_two_models_with_equal_files(shared_daemon, golden_registry):
    sums = []
    for tag in ("plain", "zstd"):
        with shared_daemon.published("v-" + tag, golden_registry.ref("images", tag)) as path:
            sums.append(file_sums(path))
    assert sums[0] == sums[1] == golden_sums("images", "plain")


WEIGHTS = bytes(range(256)) * 3000
COMPRESSED = {"gzip": gzip.compress(WEIGHTS, mtime=0),
              "zstd": subprocess.run(["zstd", "-q", "-c"], input=WEIGHTS, capture_output=True, check=True).stdout}


@pytest.fixture
def kit_and_file(life):
    """A function from codec to two references: a ModelKit with the weights in a raw+CODEC layer, as KitOps specifies it (kit itself
    does not make them yet), and an artifact whose file is the very same blob, compressed."""
    layout = Layout.create(life.folder() / "layout")

    def make(codec):
        kit = "application/vnd.kitops.modelkit."
        layer = layout.add_blob(COMPRESSED[codec], f"{kit}model.v1.raw+{codec}")
        config = {"manifestVersion": "1.0.0", "package": {"name": "k"}, "model": {"path": "weights.bin"}}
        layout.add_manifest(f"kit-{codec}", layout.add_blob(json.dumps(config).encode(), f"{kit}config.v1+json"), [layer])
        title = {"org.opencontainers.image.title": "weights." + codec}
        layout.add_manifest(f"file-{codec}", layout.add_blob(b"{}", "application/vnd.oci.empty.v1+json"),
                            [dict(layer, mediaType="application/octet-stream", annotations=title)],
                            artifactType="application/vnd.example.file")
        return f"oci-layout:{layout.path}:kit-{codec}", f"oci-layout:{layout.path}:file-{codec}"
    return make


@pytest.mark.parametrize("codec", COMPRESSED)
@pytest.mark.parametrize("first", ["kit", "file"])
def test_one_blob_decoded_for_one_model_and_kept_for_another(life, kit_and_file, codec, first):
    kit, file = kit_and_file(codec)
    daemon = life.daemon()
    daemon.cli("warm", *((kit, file) if first == "kit" else (file, kit))).ok()
    with daemon.mounted(kit) as path:
        assert file_sums(path)["weights.bin"] == sha256(WEIGHTS)
    with daemon.mounted(file) as path:
        assert file_sums(path) == {"weights." + codec: sha256(COMPRESSED[codec])}
