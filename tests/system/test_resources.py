# SPDX-License-Identifier: Apache-2.0
"""What staging costs: memory within the arena, every byte written once."""
import json
import subprocess
import threading

import pytest
from harness.daemon import wrapper
from harness.layout import file_sums

pytestmark = pytest.mark.slow

ARENA = 64
SIZE = 2 << 30


def status_kib(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))


def written(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("write_bytes:"))


@pytest.fixture(scope="module")
def server(shared_life):
    return shared_life.registry(synthetic={"raw": "raw:2GiB:4", "tar": "tar:2GiB:4", "small": "tar:256MiB:4000"})


@pytest.mark.parametrize("repository", ["raw", "tar"])
def test_two_gibibytes_stay_within_the_arena_and_are_written_once(life, server, sanitized, repository):
    if sanitized:
        pytest.skip("a sanitizer has its own memory")
    daemon = life.daemon(server, engine={"memory": f"{ARENA}MiB"})
    before = written(daemon.process.pid)
    daemon.cli("warm", server.ref(repository)).ok()
    peak = status_kib(daemon.process.pid, "VmHWM") / 1024
    amplification = (written(daemon.process.pid) - before) / SIZE
    print(f"{repository}: peak RSS {peak:.0f} MiB, written {amplification:.3f} x the size")
    assert peak <= ARENA + 64
    assert 0.99 <= amplification <= 1.02
    with daemon.mounted(server.ref(repository)) as path:
        assert file_sums(path) == server.files(repository)


def test_many_small_files_stay_within_the_arena(life, server, sanitized):
    if sanitized:
        pytest.skip("a sanitizer has its own memory")
    daemon = life.daemon(server, engine={"memory": f"{ARENA}MiB"})
    daemon.cli("warm", server.ref("small")).ok()
    assert status_kib(daemon.process.pid, "VmHWM") / 1024 <= ARENA + 64
    with daemon.mounted(server.ref("small")) as path:
        assert file_sums(path) == server.files("small")


def test_hit_reads_and_writes_nothing_of_the_model(life, server):
    daemon = life.daemon(server)
    daemon.cli("warm", server.ref("small")).ok()
    server.reset_stats()
    with daemon.published("v", server.ref("small"), pullPolicy="IfNotPresent"):
        before = written(daemon.process.pid)
    for volume in ("a", "b", "c"):
        with daemon.published(volume, server.ref("small"), pullPolicy="IfNotPresent"):
            pass
    assert server.log() == []
    assert written(daemon.process.pid) - before < 4 << 20


def test_many_models_at_once_stay_within_the_arena(life, sanitized):
    if sanitized:
        pytest.skip("a sanitizer has its own memory")
    kinds = ("raw:48MiB:3", "tar:48MiB:3", "tar:24MiB:300", "repeat:96MiB")
    models = {f"m{i}": f"{kinds[i % len(kinds)]}" for i in range(24)}
    server = life.registry(synthetic=models)
    daemon = life.daemon(server, engine={"memory": f"{ARENA}MiB"})
    results = {}

    def warm(model):
        results[model] = daemon.cli("warm", server.ref(model))

    threads = [threading.Thread(target=warm, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        results[model].ok()
    peak = status_kib(daemon.process.pid, "VmHWM") / 1024
    print(f"{len(models)} models at once: peak RSS {peak:.0f} MiB")
    assert peak <= ARENA + 64


class Bench:
    """engine_bench with a blob that nobody has computed, to nowhere: what is measured is the engine."""

    def __init__(self, build, life, sizes):
        self.build, self.life, self.sizes = build, life, sizes
        self.digests = {name: "sha256:" + f"{i:064x}" for i, name in enumerate(sizes)}
        self.server = life.registry(synthetic={name: f"repeat:{size}" for name, size in sizes.items()},
                                    digests={f"{name}/0": digest for name, digest in self.digests.items()})

    def run(self, name, *options):
        done = subprocess.run([*wrapper(), self.build / "tests/bench/engine_bench", f"{self.server.host}/{name}", self.digests[name],
                               self.sizes[name], self.life.folder(), "raw", f"engine.memory={ARENA}MiB", "bench.place=null",
                               *options], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_tebibyte_takes_no_more_memory_than_a_gibibyte(build, life, sanitized):
    bench = Bench(build, life, {"small": "2GiB", "large": "64GiB", "huge": "1TiB"})
    peaks = {}
    for name in bench.sizes:
        result = bench.run(name, "bench.bytes=1GiB")[-1]
        assert 1 << 30 <= result["done"] < 2 << 30, "cancelled there"
        assert result["written"] == 0
        peaks[name] = result["rssMiB"]
    print(f"peak RSS by size, MiB: {peaks}")
    if not sanitized:
        assert max(peaks.values()) <= ARENA + 64
        assert peaks["huge"] <= peaks["small"] + 8


def test_memory_does_not_grow_while_it_runs(build, life, sanitized):
    if sanitized:
        pytest.skip("a sanitizer has its own memory")
    samples = Bench(build, life, {"huge": "1TiB"}).run("huge", "bench.bytes=3GiB", "bench.step=256MiB")[:-1]
    assert len(samples) >= 10
    assert max(s["rssMiB"] for s in samples) <= samples[2]["rssMiB"] + 4, samples
