# SPDX-License-Identifier: Apache-2.0
"""Programs under measurement: each is started in a session of its own, so that it and all its children can be found, counted and
ended by number, whatever they are called."""
import os
import signal
import subprocess
import time

from harness.process import LIBC, PR_SET_PDEATHSIG

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")


def _enter():
    os.setsid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it goes with the benchmark


def _stat(pid):
    """The fields behind the name, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(") ")[2].split()
    except OSError:
        return None


class Session:
    def __init__(self, line, env, log):
        """Starts a line of bash."""
        self.popen = subprocess.Popen(["bash", "-c", line], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      preexec_fn=_enter)
        self.id = self.popen.pid
        self.known, self.looked, self.started = [self.id], 0.0, time.monotonic()
        self.usage = None  # of the first program and the children that it has waited for, once it has ended

    def members(self, fresh=True):
        """Process numbers. Looking through /proc costs the machine something: once all have started, the last answer has to do."""
        now = time.monotonic()
        if fresh or now - self.looked > (0.4 if now - self.started > 1 else 0.05):
            self.looked = now
            self.known = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and (_stat(pid) or [0] * 4)[3] == str(self.id)]
        return self.known

    def cpu(self):
        """Seconds so far, user and system: children that were waited for are in their parent's account."""
        total = 0
        for pid in self.members():
            fields = _stat(pid)
            if fields:
                total += sum(int(x) for x in fields[11:15])
        return total / TICKS

    def rss(self):
        """Bytes now."""
        total = 0
        for pid in self.members(fresh=False):
            try:
                with open(f"/proc/{pid}/statm", encoding="ascii") as f:
                    total += int(f.read().split()[1]) * PAGE
            except OSError:
                pass
        return total

    def peak(self):
        """The most that one of its programs had at any time; finds what falls between two looks."""
        most = 0
        for pid in self.members():
            try:
                with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                    most = max([most] + [int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM")])
            except OSError:
                pass
        return most

    def ended(self):
        """True once the first program has ended; then popen.returncode and usage are there."""
        if self.popen.returncode is None:
            pid, status, usage = os.wait4(self.id, os.WNOHANG)
            if pid:
                self.popen.returncode, self.usage = os.waitstatus_to_exitcode(status), usage
        return self.popen.returncode is not None

    def kill(self, number=signal.SIGKILL):
        for pid in self.members():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def stop(self):
        """Asks the first program to end, and ends what is left."""
        if not self.ended():
            os.kill(self.id, signal.SIGTERM)
            end = time.monotonic() + 10
            while not self.ended() and time.monotonic() < end:
                time.sleep(0.02)
        self.kill()
        while not self.ended():
            time.sleep(0.02)
