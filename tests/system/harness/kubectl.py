# SPDX-License-Identifier: Apache-2.0
"""A cluster of test daemons, with a stand-in for kubectl: lists are recorded answers of a real API server, exec runs the CLI.

A node is an object from tests/data/kubectl/node.json under another name; its agent is a pod from pod.json whose CLI talks to the
control socket of a Daemon. The stand-in (tests/support/kubectl) reads them from a file, and writes down each call that it gets.
"""
import copy
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import termios

from .daemon import SANITIZER, Result, wrapper
from .process import LIBC, PR_SET_PDEATHSIG

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PLUGIN = REPOSITORY / "tools/kubectl-modelstage"
RECORDED = REPOSITORY / "tests/data/kubectl"
PYTHON = "/usr/bin/python3"  # another one may come first on the PATH, also inside a test


def recorded(name):
    return json.loads((RECORDED / name).read_text())


class Cluster:
    def __init__(self, build, folder):
        self.folder, self.log = folder, folder / "calls"
        self.world = {"nodes": [], "pods": [], "csidrivers": [recorded("csidriver.json")], "sockets": {}, "answers": {},
                      "cli": [*wrapper(), str(build / "modelstage")], "log": str(self.log)}
        self.log.touch()
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copy(REPOSITORY / "tests/support/kubectl", self.bin / "kubectl")
        self._write()

    def _write(self):
        new = self.folder / "world.new"
        new.write_text(json.dumps(self.world))
        new.rename(self.folder / "world")  # a stand-in may be reading it

    # ---- what is in it

    def node(self, name, **labels):
        node = copy.deepcopy(recorded("node.json"))
        node["metadata"]["name"] = name
        node["metadata"]["labels"].update({"kubernetes.io/hostname": name, **labels})
        self.world["nodes"].append(node)
        self._write()

    def installed(self, *, driver=True, **annotations):
        """Otherwise than by helm into the namespace modelstage. driver: whether there is a CSIDriver, with these annotations."""
        found = recorded("csidriver.json")
        found["metadata"]["annotations"] = annotations
        self.world["csidrivers"] = [found] if driver else []
        self._write()

    def forbid(self, kind):
        self.world["forbidden"] = [kind]
        self._write()

    def agent(self, node, daemon=None, namespace="modelstage", state=None, answer=None, **metadata):
        """state: of the container, if it is not running; answer: to all calls, arguments of the stand-in's odd_answer(), for which
        it needs no daemon; metadata: more of the pod's."""
        pod = copy.deepcopy(recorded("pod.json"))
        name = f"modelstage-node-{len(self.world['pods'])}"
        pod["metadata"].update(name=name, namespace=namespace, **metadata)
        pod["spec"]["nodeName"] = node
        if state:
            pod["status"]["containerStatuses"][0].update(state=state, ready=False)
        self.world["pods"].append(pod)
        if daemon:
            self.world["sockets"][name] = str(daemon.socket)
        if answer:
            self.world["sockets"][name], self.world["answers"][name] = None, answer
        self._write()
        return name

    # ---- what it was asked

    def calls(self, verb=None):
        """[{"argv": […], "pid": n}], in the order of their begin; verb: "get" or "exec"."""
        found = [e for e in map(json.loads, self.log.read_text().splitlines()) if "argv" in e]
        return [c for c in found if verb is None or verb in c["argv"]]

    def events(self):
        """"begin" and "end" of the exec calls, in their order."""
        return [e["event"] for e in map(json.loads, self.log.read_text().splitlines()) if e["verb"] == "exec"]

    # ---- the plugin

    def env(self, **more):
        env = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", STAND_IN_WORLD=str(self.folder / "world"))
        env.pop("NO_COLOR", None)
        return dict(env, **more)

    def run(self, *args, env=None, deadline=300):
        done = subprocess.run(self.command(*args), text=True, capture_output=True, env=env or self.env(), timeout=deadline,
                              check=False, stdin=subprocess.DEVNULL)
        assert "Traceback" not in done.stderr and not SANITIZER.search(done.stderr), done.stderr
        return Result(done)

    def command(self, *args):
        return [PYTHON, str(PLUGIN), *map(str, args)]

    def start(self, *args):
        """A Popen whose output can be read."""
        return subprocess.Popen(self.command(*args), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env(),
                                stdin=subprocess.DEVNULL, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, 9))

    def run_on_terminal(self, columns, *args, lines=24, **env):
        """(exit status, a Terminal with all that was written on it)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(PYTHON, self.command(*args), self.env(TERM="xterm", LC_ALL="C.UTF-8", **env))
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        written = b""
        try:
            while chunk := os.read(fd, 65536):
                written += chunk
        except OSError:
            pass  # EIO: the other end is closed
        os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, Terminal(written.decode(), columns)


class Terminal:
    """As much of a terminal as the plugin uses: what is on it, and each frame that was drawn."""

    CODES = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")

    def __init__(self, written, columns):
        self.written, self.columns = written, columns
        self.lines, self.row, self.column = [""], 0, 0
        self.frames, self.cursor_hidden, self.widest = [], False, 0
        for number, letter, move, text in self.CODES.findall(written):
            self._take(number, letter, move, text)

    def _take(self, number, letter, move, text):
        if text:
            self._put(text)
        elif move == "\r":
            self.column = 0
        elif move == "\n":
            self.row += 1
            self.lines += [""] * (self.row + 1 - len(self.lines))
        else:
            self._control(number, letter)

    def _put(self, text):
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[:self.column] + text + line[self.column + len(text):]
        self.column += len(text)
        self.widest = max(self.widest, self.column)

    def _control(self, number, letter):
        if letter == "A":
            self.row -= int(number)
            assert self.row >= 0, "above the first line"
        elif letter == "K":
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif letter == "J":
            del self.lines[self.row + 1:]
            self.lines[self.row] = self.lines[self.row][:self.column]
            self.frames.append(self.text())
        elif number == "?25":
            self.cursor_hidden = letter == "l"
        else:
            assert letter == "m", f"an unexpected control sequence: {number}{letter}"

    def text(self):
        return [line.rstrip() for line in self.lines if line.strip()]
