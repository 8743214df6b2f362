# SPDX-License-Identifier: Apache-2.0
"""One run of one tool: an empty cache, a registry of its own, the clock.

What is measured: seconds until the model is there, verified if the tool verifies, and mounted if the tool mounts; the same with a
sync of the disk behind it; CPU of the tool with its daemon, and of the whole machine (the registry and the kernel's writing back
are only there); the most memory of tool and daemon together; bytes that the disk wrote, from sync to sync; bytes that the registry
sent.
"""
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import time
import urllib.error

import machine
import tools
from artifacts import digest_of
from harness import mounts
from harness.registry import FaultRegistry
from programs import Session


@dataclasses.dataclass
class Bench:
    """What all runs have in common."""
    build: pathlib.Path    # of ours; it has the registry too
    data: pathlib.Path     # artifacts and fetched tools
    scratch: pathlib.Path  # on the measured disk; emptied
    size: int              # MiB of a model
    touch: int             # bytes of memory to touch before a run
    far: int               # bytes of the tebibyte that are fetched
    path: str              # PATH of the tools
    log: pathlib.Path      # what tools say
    knobs: dict            # of the registry, in all runs
    patience: float = 600  # seconds for one run


class Failed(Exception):
    """A tool did not do it; the text says how."""


@contextlib.contextmanager
def serving(bench, artifact, knobs=None, listen="127.0.0.1:0"):
    registry = FaultRegistry(bench.build, bench.scratch, layouts={artifact.name: artifact.folder}, flags=("--listen", listen))
    try:
        wanted = {**bench.knobs, **(knobs or {})}
        try:
            registry.set(**wanted)
        except urllib.error.HTTPError:
            raise SystemExit(f"bench: fault-registry does not understand all of these knobs: {wanted}") from None
        yield registry
    finally:
        if registry.process.running():
            registry.process.kill(9)
            registry.process.popen.wait()
        registry.process.popen.stdin.close()
        registry.process.popen.stdout.close()


class Run:
    """Two empty folders, the tool's daemon if it has one, and its command as often as wanted; close() leaves nothing behind."""

    def __init__(self, bench, tool, artifact, host):
        self.bench, self.tool, self.artifact = bench, tool, artifact
        self.dest, self.work = bench.scratch / "dest", bench.scratch / "work"
        self.sessions, self.daemon, self.log = [], None, open(bench.log, "a", encoding="utf-8")
        clear(self.dest, self.work)
        self.dest.mkdir()
        self.work.mkdir()
        config = tools.our_config(self.dest, self.work, host) if tool.of_ours else tool.config
        for name, text in config.items():
            (self.work / name).write_text(text.replace("@WORK@", str(self.work)).replace("@REG@", host))
        self.env = dict(os.environ, PATH=bench.path, REG=host, REF=f"{host}/{artifact.name}:latest", DEST=str(self.dest), WORK=str(self.work),
                        BUILD=str(tool.build or bench.build), HOME=str(self.work), OTEL_TRACES_EXPORTER="none",
                        BLOB=f"http://{host}/v2/{artifact.name}/blobs/{artifact.longest['digest']}")
        self.log.write(f"--- {tool.name}: {artifact.name}\n")
        self.log.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for session in self.sessions:
            session.stop()
        self.log.close()
        clear(self.dest, self.work)

    def spawn(self, line):
        session = Session(line, self.env, self.log)
        self.sessions.append(session)
        return session

    def start_daemon(self):
        if not self.tool.daemon:
            return
        self.daemon = self.spawn(self.tool.daemon)
        end = time.monotonic() + 60
        while subprocess.run(["bash", "-c", self.tool.ready], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            if self.daemon.ended() or time.monotonic() > end:
                raise Failed(f"its daemon does not start, see {self.log.name}")
            time.sleep(0.05)

    def command(self, watch=None):
        """Runs it; (the session, the most memory seen). watch() is called every few milliseconds."""
        session, most = self.spawn(self.tool.command), 0
        end = time.monotonic() + self.bench.patience
        while not session.ended():
            most = max(most, session.rss() + (self.daemon.rss() if self.daemon else 0))
            if watch:
                watch()
            if time.monotonic() > end:
                raise Failed(f"not done within {self.bench.patience:.0f} s")
            time.sleep(0.02)
        return session, most

    def check(self, thorough):
        """The product is the model: names and sizes, and digests too if thorough."""
        top = self.dest / self.tool.product
        for path, sha256 in self.artifact.files.items():
            if not (top / path).is_file():
                raise Failed(f"{path} is not there")
            if thorough and digest_of(top / path) != sha256:
                raise Failed(f"{path} has wrong bytes")
        total = sum((top / path).stat().st_size for path in self.artifact.files)
        if total != self.artifact.bytes:
            raise Failed(f"{total} bytes instead of {self.artifact.bytes}")


def clear(*folders):
    for folder in folders:
        mounts.unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def settle(bench, artifact):
    """The same start for everybody: memory touched, blobs in the page cache, nothing left to write. Returns how busy the machine is
    with what is none of ours."""
    machine.touch_memory(bench.touch)
    for descriptor in artifact.layers:
        machine.read_into_page_cache(artifact.blob(descriptor))
    machine.sync(bench.scratch)
    return machine.busy()


def one_run(bench, tool, artifact, knobs=None, thorough=True):
    """A dictionary of figures; raises Failed."""
    with serving(bench, artifact, knobs) as registry, Run(bench, tool, artifact, registry.host) as run:
        run.start_daemon()
        busy = settle(bench, artifact)
        registry.reset_stats()
        daemon_cpu = run.daemon.cpu() if run.daemon else 0
        cpu, written, start = machine.cpu_seconds(), machine.written_bytes(run.dest), time.monotonic()
        session, most = run.command()
        done = time.monotonic()
        machine.sync(run.dest)
        synced = time.monotonic()
        figures = {
            "seconds": done - start, "synced": synced - start, "machineCpu": machine.cpu_seconds() - cpu,
            "cpu": session.usage.ru_utime + session.usage.ru_stime + (run.daemon.cpu() - daemon_cpu if run.daemon else 0),
            "rss": max(most, run.daemon.peak() if run.daemon else 0),
            "written": machine.written_bytes(run.dest) - written, "fetched": registry.blob_bytes(),
            "busy": busy, "connections": registry.live()["maxConnections"], "requests": registry.live()["requests"]}
        if session.popen.returncode:
            raise Failed(f"exit status {session.popen.returncode}, see {run.log.name}")
        run.check(thorough)
        return figures


def hash_of_one_core(path, sha256):
    """Seconds for the SHA-256 of a file in the page cache."""
    digest, buffer, start = hashlib.sha256(), bytearray(1 << 20), time.monotonic()
    with open(path, "rb", buffering=0) as f:
        while n := f.readinto(buffer):
            digest.update(memoryview(buffer)[:n])
    if digest.hexdigest() != sha256:
        raise Failed(f"{path} is damaged")
    return time.monotonic() - start
