# SPDX-License-Identifier: Apache-2.0
"""The examples in README and docs/ work, and the tables of metrics and settings are those of the code."""
import os
import pathlib
import re
import subprocess

import pytest

from harness.daemon import wrapper

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])
EXAMPLE = "registry.example.com/models/llama:1"


def blocks(kind):
    """Fenced blocks of one kind, as (page and number, text)."""
    for page in PAGES:
        for i, text in enumerate(re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.M | re.S)):
            yield pytest.param(text, id=f"{page.name}-{i + 1}")


@pytest.mark.parametrize("text", blocks("yaml config"))
def test_a_configuration_example_is_accepted(build, life, text):
    path = life.folder() / "config.yaml"
    path.write_text(text)
    done = subprocess.run([*wrapper(), build / "modelstaged", "--check-config", "--config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("sh"))
def test_a_command_example_works(build, life, daemon, registry, text):
    target = life.folder()
    script = text.replace(EXAMPLE, registry.ref("modelpacks", "raw")).replace("/mnt", str(target))
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False,
                          env=dict(os.environ, PATH=f"{build}:{os.environ['PATH']}", MODELSTAGE_SOCKET=str(daemon.socket)))
    assert done.returncode == 0, done.stderr


def test_every_metric_is_documented():
    code = set(re.findall(r'^X\(\w+, "(\w+)"', (REPOSITORY / "base/metrics.def").read_text(), re.M))
    page = set(re.findall(r"`modelstage_(\w+)[`{]", (REPOSITORY / "docs/metrics.md").read_text()))
    assert code and code == page


def test_every_setting_is_documented():
    code = re.findall(r'^SETTING\((\w+), \w+, "(\w+)"', (REPOSITORY / "base/settings.def").read_text(), re.M)
    page = (REPOSITORY / "docs/settings.md").read_text()
    assert len(code) > 20
    missing = [key for _, key in code if not re.search(rf"\b{key}:", page)]
    assert missing == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
