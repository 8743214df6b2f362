# SPDX-License-Identifier: Apache-2.0
"""What staging costs: memory within the arena, every byte written once."""
import pytest
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
