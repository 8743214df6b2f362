# SPDX-License-Identifier: Apache-2.0
"""The golden artifacts are what the tools on this machine make today, and their lists are right."""
import shutil
import subprocess

import pytest
from harness.layout import DATA, Layout, golden_sums, sha256

CAME_OUT_EQUAL = ("plain", "gzip", "zstd", "zstd-chunked", "docker", "multi-arch")  # no time of making in them


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    for tool in ("buildah", "skopeo", "umoci", "openssl", "jq"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("fresh")
    done = subprocess.run([DATA / "make", folder], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["images", "modelkits", "modelpacks"])
def test_golden_blobs_have_the_digest_they_are_named_by(name):
    blobs = list((DATA / name / "blobs/sha256").iterdir())
    assert blobs and all(sha256(b.read_bytes()) == b.name for b in blobs)


@pytest.mark.parametrize("tag", CAME_OUT_EQUAL)
def test_tools_make_the_same_digest_again(fresh, tag):
    assert Layout(fresh / "images").digest(tag) == Layout(DATA / "images").digest(tag)


@pytest.mark.parametrize("tag", ["umoci", "layers", "oras"])
def test_tools_make_the_same_content_again(fresh, tag):
    if tag not in Layout(fresh / "images").tags():
        pytest.skip(f"the tool for {tag} is not installed")
    assert golden_sums("images", tag, fresh) == golden_sums("images", tag)


def test_golden_data_is_small_enough_for_git():
    assert sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file()) < 3 << 20
