# SPDX-License-Identifier: Apache-2.0
"""The floor: what nobody can be faster than who verifies a model and has it on the disk, measured with programs that do one thing.

  hash    SHA-256 of the longest blob in the page cache, on one core
  write   the bytes that a user gets, from the page cache to the disk by dd with O_DIRECT
  ranges  the model in 16 ranges, or as many blobs at a time, by curl to /dev/null
  cpu     what the machine's cores had to do for these three, added up and divided by their number; all blobs are hashed
  pace    where connections are paced: the model through 16 of them

The largest is the floor. A tool that takes as long as the floor has a ratio of 1.
"""
import subprocess
import time

import machine
from measure import Failed, hash_of_one_core, serving, settle

RANGES = 16


def _timed(line, env=None):
    cpu, start = machine.cpu_seconds(), time.monotonic()
    done = subprocess.run(["bash", "-c", line], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"floor: {line}: {done.stderr.strip()}")
    return time.monotonic() - start, machine.cpu_seconds() - cpu


def _ranges(registry, artifact):
    """One curl a range: the longest blobs are cut so that there are 16 in all, or each blob is one."""
    part = -(-artifact.wire // RANGES)
    fetch = []
    for descriptor in artifact.layers:
        address = f"http://{registry.host}/v2/{artifact.name}/blobs/{descriptor['digest']}"
        for start in range(0, descriptor["size"], part):
            last = min(start + part, descriptor["size"]) - 1
            fetch.append(f"curl -sfL -r {start}-{last} -o /dev/null {address} &")
    return " ".join(fetch) + " wait"


def _write(bench, artifact):
    """dd from blobs, as often as makes the bytes of the files."""
    out, source = bench.scratch / "floor", artifact.blob(artifact.longest)
    count, size = artifact.bytes, artifact.longest["size"]
    parts = []
    while count > 0:
        n = min(count, size) >> 20 or 1
        parts.append(f"dd if={source} of={out} bs=8M iflag=count_bytes count={n << 20} oflag=direct,append conv=notrunc status=none")
        count -= max(n << 20, min(count, size))
    try:
        return _timed(" && ".join(parts))
    finally:
        out.unlink(missing_ok=True)


def measure(bench, artifact, pace=0):
    """A dictionary of figures; "seconds" is the floor."""
    with serving(bench, artifact) as registry:
        busy = settle(bench, artifact)
        ranges = _timed(_ranges(registry, artifact))
    write = _write(bench, artifact)
    cpu = machine.cpu_seconds()
    hashed = {d["digest"]: hash_of_one_core(artifact.blob(d), d["digest"][7:]) for d in artifact.layers}
    cpu = machine.cpu_seconds() - cpu + ranges[1] + write[1]
    figures = {"hash": hashed[artifact.longest["digest"]], "write": write[0], "ranges": ranges[0], "cpu": cpu / machine.CORES}
    if pace:
        figures["pace"] = artifact.wire / (RANGES * pace)
    figures["seconds"] = figures["synced"] = max(figures.values())
    figures.update(machineCpu=cpu, busy=busy)
    return figures
