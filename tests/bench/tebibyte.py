# SPDX-License-Identifier: Apache-2.0
"""A blob that is larger than any disk: the engine alone (engine_bench), from a registry that makes the bytes up, to nowhere. Memory
must be that of a small blob, and the rate at the end that of the beginning."""
import json
import subprocess

import machine
from harness.registry import FaultRegistry
from measure import Failed, clear

GIB = 1 << 30
ANY_DIGEST = "sha256:" + "0" * 64  # nobody hashes a tebibyte to make it; the run ends before it would be compared


class Synthetic:
    """As much of an artifact as a report needs."""

    def __init__(self, name, size, fetched):
        self.name, self.size, self.bytes, self.wire = name, size, fetched, fetched
        self.layers, self.files = [name], {name: ""}


def _tenth(samples, first):
    """MiB a second of the first or the last tenth; the very first sample is of a start."""
    some = samples[1:] or samples
    n = max(1, len(some) // 10)
    return sum(s["MiBs"] for s in (some[:n] if first else some[-n:])) / n


def run(bench, tool, blob, whole):
    """Figures of one run; whole: to the end, with its digest."""
    build, target = tool.build, bench.scratch / "dest"
    known = [] if whole else ["--digest", f"{blob.name}/0={ANY_DIGEST}"]
    clear(target)
    target.mkdir()
    registry = FaultRegistry(build, bench.scratch, synthetic={blob.name: f"repeat:{blob.size}:1"}, flags=known)
    try:
        digest = registry.blobs(blob.name)[0]["digest"]
        busy, cpu = machine.busy(), machine.cpu_seconds()
        end = [] if whole else [f"bench.bytes={blob.bytes}"]
        done = subprocess.run([build / "tests/bench/engine_bench", f"{registry.host}/{blob.name}", digest, str(blob.size), target, "raw",
                               "bench.place=null", "bench.sample=1", *end], capture_output=True, text=True, check=False)
        cpu = machine.cpu_seconds() - cpu
    finally:
        registry.stop()
        clear(target)
    if done.returncode:
        raise Failed(f"engine_bench ended with {done.returncode}: {done.stderr.strip()}")
    *samples, last = [json.loads(line) for line in done.stdout.splitlines()]
    figures = {"seconds": last["seconds"], "synced": last["seconds"], "cpu": last["cpu"], "machineCpu": cpu, "rss": last["rssMiB"] * machine.MIB,
               "fetched": last["received"], "busy": busy}
    if samples:
        figures.update(firstRate=_tenth(samples, True), lastRate=_tenth(samples, False))
    return figures
