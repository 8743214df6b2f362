# SPDX-License-Identifier: Apache-2.0
"""Modelcars pushed to docker-registry by buildah and skopeo on this machine, in each of their compressions."""
import random
import shutil
import subprocess

import pytest
from harness.layout import file_sums


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    """A function that runs buildah on a storage of its own."""
    if not shutil.which("buildah") or not shutil.which("skopeo"):
        pytest.skip("buildah or skopeo is not installed")
    folder = tmp_path_factory.mktemp("buildah")

    def run(*args):
        command = ["buildah", "--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs", *args]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"buildah {args}: {done.stderr}"
        return done.stdout.strip()
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """6 MiB that do not compress, and some that do."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model-1.safetensors").write_bytes(random.Random(1).randbytes(4 << 20))
    (folder / "model-2.safetensors").write_bytes(random.Random(2).randbytes((2 << 20) + 1))
    (folder / "tokenizer.json").write_text('{"a": 1}\n' * 50000)
    return folder


@pytest.fixture(scope="module")
def image(buildah, model):
    container = buildah("from", "scratch")
    for name in ("model-1.safetensors", "model-2.safetensors", "tokenizer.json"):  # a layer for each
        buildah("copy", "-q", container, model / name, "/models/")
        name = buildah("commit", "-q", "--format", "oci", "--disable-compression", "--rm", container)
        container = buildah("from", name)
    return name


@pytest.fixture(scope="module")
def shared_daemon(shared_life, docker_registry):
    return shared_life.daemon(docker_registry)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_model_as_buildah_pushes_it(shared_daemon, docker_registry, buildah, image, model, compression):
    buildah("push", "-q", "--tls-verify=false", "--compression-format", compression, image,
            f"docker://{docker_registry.ref('buildah', compression)}")
    with shared_daemon.mounted(docker_registry.ref("buildah", compression)) as path:
        assert file_sums(path) == file_sums(model)


def test_model_with_plain_tar_layers_as_skopeo_pushes_it(shared_daemon, docker_registry, buildah, image, model, tmp_path):
    buildah("push", "-q", "-D", image, f"dir:{tmp_path / 'plain'}")
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false",
                    f"dir:{tmp_path / 'plain'}", f"docker://{docker_registry.ref('buildah', 'plain')}"], check=True)
    with shared_daemon.mounted(docker_registry.ref("buildah", "plain")) as path:
        assert file_sums(path) == file_sums(model)


def test_model_as_docker_schema_2(shared_daemon, docker_registry, buildah, image, model, tmp_path):
    buildah("push", "-q", "-D", image, f"dir:{tmp_path / 'plain'}")
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--format", "v2s2", "--dest-tls-verify=false",
                    f"dir:{tmp_path / 'plain'}", f"docker://{docker_registry.ref('buildah', 'v2s2')}"], check=True)
    with shared_daemon.mounted(docker_registry.ref("buildah", "v2s2")) as path:
        assert file_sums(path) == file_sums(model)
