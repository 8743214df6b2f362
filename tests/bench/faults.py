# SPDX-License-Identifier: Apache-2.0
"""Runs that go wrong in the middle: the client is killed and started again over what it left, or the registry is away for a while.
"fetched" is what the registry sent in all, so what is above the size of the model was fetched again."""
import signal
import time

import machine
from measure import Failed, Run, serving, settle

AWAY = 2  # seconds


def killed(bench, tool, artifact, knobs, thorough):
    """SIGKILL for the command and its daemon when half of the model has been sent; then the same again."""
    with serving(bench, artifact, knobs) as registry, Run(bench, tool, artifact, registry.host) as run:
        run.start_daemon()
        settle(bench, artifact)
        dead = []

        def kill_at_half():
            if not dead and registry.live()["bytes"] >= artifact.wire // 2:
                dead.extend(run.sessions)
                for session in dead:
                    session.kill(signal.SIGKILL)

        run.command(kill_at_half)
        if not dead:
            raise Failed("it was over before it was half done")
        before = registry.blob_bytes()
        for session in dead:
            session.stop()
        start = time.monotonic()
        run.start_daemon()
        session, most = run.command()
        done = time.monotonic()
        machine.sync(run.dest)
        figures = {"seconds": done - start, "synced": time.monotonic() - start, "rss": most, "fetched": registry.blob_bytes(), "before": before}
        if session.popen.returncode:
            raise Failed(f"after the kill exit status {session.popen.returncode}, see {run.log.name}")
        run.check(thorough)
        return figures


def left_alone(bench, tool, artifact, knobs, thorough):
    """The registry is gone when half of the model has been sent, and back two seconds later with the same address."""
    half = artifact.wire // 2
    with serving(bench, artifact, dict(knobs, die_after=half)) as registry, Run(bench, tool, artifact, registry.host) as run:
        second, gone, started = None, [], time.monotonic()
        run.start_daemon()
        settle(bench, artifact)

        def bring_back():
            nonlocal second
            if not registry.process.running() and not gone:
                gone.append(time.monotonic())
            if gone and not second and time.monotonic() - gone[0] >= AWAY:
                second = serving(bench, artifact, knobs, listen=registry.host)
                second.registry = second.__enter__()

        try:
            started = time.monotonic()
            session, most = run.command(bring_back)
            done = time.monotonic()
            machine.sync(run.dest)
            if session.popen.returncode:
                raise Failed(f"gives up, exit status {session.popen.returncode}")
            if not second:
                raise Failed("it was over before the registry was back")
            run.check(thorough)
            return {"seconds": done - started, "synced": time.monotonic() - started, "rss": most, "fetched": half + second.registry.blob_bytes()}
        finally:
            if second:
                second.__exit__(None, None, None)
