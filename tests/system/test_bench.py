# SPDX-License-Identifier: Apache-2.0
"""tools/bench works from end to end, on models that are too small to say anything about speed."""
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import types

import pytest

from harness import mounts
from harness.daemon import wrapper

pytestmark = pytest.mark.skipif(bool(wrapper()), reason="the same with and without io_uring")
TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(TREE / "tests/bench"))

import artifacts  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402


def bench(build, folder, *args):
    """tools/bench on small models; (exit status, what it says, what it found)."""
    done = subprocess.run([TREE / "tools/bench", "--smoke", "--ours", f"ours={build}", "--data", folder, "--out", folder / "out", *args],
                          capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert (folder / "out/bench.json").exists(), said
    found = json.loads((folder / "out/bench.json").read_text())["scenarios"]
    return done.returncode, said, {s["name"]: s for s in found}


@pytest.mark.slow
def test_every_kind_of_model_is_fetched_and_judged(build, life):
    folder = life.folder()
    page, kept = folder / "page.md", "### 7. A registry that misbehaves, 80 MB/s per connection\n\nkept\n"
    page.write_text("before\n<!-- made by tools/bench --into -->\na remark\n\n### 1. Modelcar, one plain-tar layer\n\nold\n\n"
                    f"{kept}\n<!-- end -->\nafter\n")
    status, said, found = bench(build, folder, "--into", page, "--peers", "skopeo to dir,libarchive", *(f"--scenario={n}" for n in range(1, 7)))
    assert status == 0, said
    assert list(found) == ["car", "pack", "kit", "paced", "gzip", "zstd", "small"]
    for scenario in found.values():
        assert scenario["medians"]["floor"]["n"] == 1 and scenario["medians"]["ours"]["fetched"] > 0, said
    assert set(found["small"]["medians"]) == {"floor", "ours", "ours, a quarter of the files", "skopeo to dir + tar"}
    assert set(found["zstd"]["medians"]) == {"floor", "ours", "skopeo to dir + tar", "libarchive's own filters"}
    assert "written / size" in {v["what"] for v in found["car"]["verdicts"]}
    made = (folder / "out/bench.md").read_text()
    assert made.count("### ") == 7 and made.count("commit ") == 7 and "| skopeo to dir + tar |" in made
    assert page.read_text() == f"before\n<!-- made by tools/bench --into -->\na remark\n\n{made}\n{kept}<!-- end -->\nafter\n"
    assert mounts.mounts_below(folder) == [] and not (folder / "scratch").exists()


@pytest.mark.slow
def test_faults_are_put_beside_the_clean_run(build, life):
    status, said, found = bench(build, life.folder(), "--peers", "none", "--scenario", "faults")
    assert status == 0, said
    assert len(found["faults"]["medians"]) == 5 and len(found["faults"]["verdicts"]) == 6


@pytest.mark.slow
def test_a_tebibyte_goes_nowhere(build, life):
    folder = life.folder()
    status, said, found = bench(build, folder, "--peers", "none", "--scenario", "10")
    assert status == 0, said
    far, near = found["tebibyte"]["medians"]["ours: 1 TiB"], found["tebibyte"]["medians"]["ours: 1 GiB"]
    assert far["fetched"] >= 256 << 20 and near["fetched"] == 256 << 20


@pytest.mark.slow
def test_a_killed_daemon_is_started_again(build, life):
    folder = life.folder()
    _, said, found = bench(build, folder, "--peers", "none", "--scenario", "ends")
    assert found["ends"]["medians"]["ours: killed"]["n"] == 1, said
    assert set(found["ends"]["medians"]) == {"ours: killed", "ours: registry away"}
    assert mounts.mounts_below(folder) == []


def test_an_artifact_is_made_again_when_a_blob_is_short(build, life):
    folder = life.folder()
    artifact = artifacts.ensure(folder, "quarter", 16, build)
    blob = artifact.blob(artifact.longest)
    made = blob.stat().st_mtime_ns
    artifacts.ensure(folder, "quarter", 16, build)
    assert blob.stat().st_mtime_ns == made
    with open(blob, "r+b") as f:
        f.truncate(1000)
    assert artifacts.digest_of(artifacts.ensure(folder, "quarter", 16, build).blob(artifact.longest)) == artifact.longest["digest"][7:]


@pytest.mark.parametrize("ours, peer, holds", [(2.0, 9.5, True), (2.5, 9.5, False)])
def test_a_peer_counts_at_its_best(ours, peer, holds):
    car = scenarios.chosen(["car"])[0]
    seconds = {"Modelstage": ours, "containerd": 20.0, "containerd (8 ranges)": peer, "floor": 1.8}
    found = {label: {"synced": s, "n": 1} for label, s in seconds.items()}
    verdicts = {v["what"]: v["holds"] for v in report.against(car, found, found["Modelstage"])}
    assert verdicts == {"times as fast as containerd (8 ranges)": holds, "of the floor": ours == 2.0}


def test_a_run_that_fails_is_in_the_table_and_in_the_verdict():
    ends = scenarios.chosen(["ends"])[0]
    both = types.SimpleNamespace(name="Modelstage", of_ours=True, verifies=True, wire=1 << 31, bytes=1 << 31, layers=[1], files={"a": ""})
    entrants = [scenarios.Entrant(f"Modelstage: {end}", None, both, both) for end in ("killed", "registry away")]
    runs = [{"label": "Modelstage: killed", "figures": {"seconds": 1, "synced": 1, "fetched": 1 << 31}},
            {"label": "Modelstage: registry away", "failed": "gives up"}]
    found, verdicts = report.judge(ends, entrants, runs)
    assert [(v["what"], v["holds"]) for v in verdicts] == [("killed: runs that complete, %", True), ("killed: fetched again beyond the window, %", True),
                                                           ("registry away: runs that complete, %", False)]
    about = {"when": "today", "commit": "c0ffee", "rounds": 1, "size": 2048, "knobs": {}, "absent": ["kit"],
             "machine": {"cores": 2, "cpu": "C", "shaNi": True, "memoryGiB": 8, "kernel": "6", "filesystem": "ext4"}}
    page = report.scenario_page(ends, entrants, found, verdicts, about)
    assert "today, commit c0ffee; 2 cores of C (SHA-NI)" in page and "not installed: kit." in page
    assert "| Modelstage: registry away | fails: gives up |" in page and "**no**" in page


@pytest.fixture(scope="module")
def instructions():
    """tools/check-instructions as a module."""
    loader = importlib.machinery.SourceFileLoader("check_instructions", str(TREE / "tools/check-instructions"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("found, good", [([100000], True), ([109000], True), ([120000, 120000, 104000], True), ([120000] * 3, False),
                                         ([80000] * 3, False)])
def test_instructions_may_not_change_unnoticed(instructions, found, good):
    left = list(found)
    text, same = instructions.compare("raw", {"engine": 100000}, lambda: {"engine": left.pop(0)})
    assert (same, left) == (good, []) and ("as recorded" in text) == good


def test_instructions_are_told_apart_by_object(instructions, tmp_path):
    (tmp_path / "out").write_text("ob=(1) /x/engine_bench\nfn=(1) main\n10 100\ncob=(2) /lib/libc.so.6\ncfn=(2) memcpy\ncalls=1 0\n11 5000\n"
                                  "12 7\nob=(2)\nfn=(2)\n0 5000\nob=(1)\nfn=(3) other\n+3 1\n"
                                  "fn=(4) copy_streaming\n20 30\ncfn=(3)\ncalls=1 0\n21 9\nfn=(3)\n0 9\n")
    assert instructions.by_object(tmp_path / "out") == {"engine_bench": 117, "libc.so.6": 5000, "copiers": 30}
