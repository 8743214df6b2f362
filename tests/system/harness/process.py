# SPDX-License-Identifier: Apache-2.0
"""Programs that a test starts: their output goes to a file, they end with the test, nobody waits without a deadline."""
import contextlib
import ctypes
import os
import signal
import subprocess
import time

DEADLINE = float(os.environ.get("MS_DEADLINE", "60"))  # seconds; how long something may take before a test gives up


LIBC = ctypes.CDLL(None)  # before any fork
PR_SET_PDEATHSIG = 1


def _die_with_the_test():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # also when pytest itself is killed


class Timeout(AssertionError):
    pass


def wait_until(condition, what, deadline=DEADLINE):
    """Polls until condition() is true and returns what it gave."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f"not within {deadline:.0f} s: {what}")
        time.sleep(0.02)


class Process:
    """One child. Its stderr, and its stdout unless `stdout` is given, are in the file `log_path`."""

    def __init__(self, args, log_path, stdout=None, stdin=None, env=None):
        self.args, self.log_path = [str(a) for a in args], log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(self.args, stdout=stdout or log, stderr=log, stdin=stdin or subprocess.DEVNULL,
                                          env=env, preexec_fn=_die_with_the_test)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def running(self):
        return self.popen.poll() is None

    def check_running(self):
        assert self.running(), f"{self.args[0]} ended with {self.popen.returncode}:\n{self.log[-4000:]}"
        return True

    def kill(self, number):
        if self.running():
            self.popen.send_signal(number)

    def stop(self, number=signal.SIGTERM, deadline=DEADLINE):
        """Returns the exit status; negative for a signal."""
        self.kill(number)
        try:
            return self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise Timeout(f"{self.args[0]} did not end within {deadline:.0f} s:\n{self.log[-4000:]}") from None

    def listening_port(self):
        """The TCP port that the process listens on, or None: it may have asked the kernel for any."""
        inodes = set()
        try:
            descriptors = os.listdir(f"/proc/{self.pid}/fd")
        except OSError:
            return None
        for fd in descriptors:
            with contextlib.suppress(OSError):  # closed meanwhile
                target = os.readlink(f"/proc/{self.pid}/fd/{fd}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if not os.path.exists(table):
                continue
            with open(table, encoding="ascii") as f:
                for line in list(f)[1:]:
                    field = line.split()
                    if field[3] == "0A" and field[9] in inodes:
                        return int(field[1].rsplit(":", 1)[1], 16)
        return None
