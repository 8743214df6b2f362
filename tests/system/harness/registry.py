# SPDX-License-Identifier: Apache-2.0
"""The two registries of the tests: fault-registry (ours, see tests/support/registry/main.c) and Debian's docker-registry."""
import json
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .process import DEADLINE, Process, wait_until


class FaultRegistry:
    def __init__(self, build, folder, layouts=None, synthetic=None, flags=(), digests=None):
        """layouts: {repository: folder}; synthetic: {repository: "raw:64MiB:2"}; flags: more of them; digests: {"repository/0":
        "sha256:…"} that are to be believed, because they would take long to compute."""
        args = [build / "tests/support/fault-registry", "--until-eof", *flags]
        for name, path in (layouts or {}).items():
            args += ["--layout", f"{name}={path}"]
        for name, spec in (synthetic or {}).items():
            args += ["--synthetic", f"{name}={spec}"]
        for blob, digest in (digests or {}).items():
            args += ["--digest", f"{blob}={digest}"]
        self.process = Process(args, folder / "registry.log", stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        line = self.process.popen.stdout.readline()
        assert line, f"fault-registry does not start: {self.process.log}"
        ports = json.loads(line)
        self.port, self.storage_port = ports["port"], ports["storagePort"]
        self.host = f"127.0.0.1:{self.port}"

    def _call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://{self.host}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def ref(self, repository, tag="latest"):
        return f"{self.host}/{repository}:{tag}"

    def set(self, **knobs):
        self._call("PUT", "/_knobs", knobs)

    def live(self):
        """Counters as they are now. A request counts when its answer has gone out, which may be after the client has read it."""
        return self._call("GET", "/_stats?brief")

    def stats(self):
        """Counters when no request is under way any more; log() has the requests one by one."""
        return wait_until(lambda: self._settled(self.live()), "the registry has answered all")

    @staticmethod
    def _settled(stats):
        return None if any(p["now"] for p in stats["paths"].values()) else stats

    def log(self, *kinds):
        """The last 10,000 requests; kinds such as "blobs" or "manifests" choose."""
        self.stats()
        log = self._call("GET", "/_stats")["log"]
        return [r for r in log if not kinds or any(f"/{k}/" in r["path"] for k in kinds)]

    def reset_stats(self):
        self._call("DELETE", "/_stats")

    def files(self, repository):
        """{path: SHA-256} of a synthetic model, below the root that pods see."""
        files = self._call("GET", "/_files?repository=" + urllib.parse.quote(repository, safe=""))
        return {f["path"].removeprefix("models/"): f["sha256"] for f in files}

    def blobs(self, repository, tag="latest"):
        """Layers of the manifest, as descriptors."""
        return self._call("GET", f"/v2/{repository}/manifests/{tag}")["layers"]

    def blob_bytes(self, live=False):
        """Sent for blobs, on both listeners; live: while more is on its way."""
        paths = (self.live() if live else self.stats())["paths"]
        return sum(p["bytes"] for name, p in paths.items() if "/blobs/" in name or "/storage/" in name)

    def stop(self):
        self.process.popen.stdin.close()
        status = self.process.popen.wait(DEADLINE)
        assert status == 0, f"fault-registry ended with {status}:\n{self.process.log}"


class DockerRegistry:
    """docker-registry cannot tell a port that it chose itself: take a free one, and another if somebody was faster."""

    def __init__(self, folder, certificate=None, key=None):
        """With a certificate and its key (PEM files) it speaks TLS."""
        self.folder, self.tls = folder, {"certificate": str(certificate), "key": str(key)} if certificate else {}
        for _ in range(5):
            if self._start():
                return
        raise AssertionError(f"docker-registry does not start:\n{self.process.log}")

    def _start(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{s.getsockname()[1]}"
        config = self.folder / "docker-registry.yml"
        config.write_text(json.dumps({"version": "0.1", "log": {"level": "warn"}, "http": {"addr": self.host, "tls": self.tls},
                                      "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}}}))
        self.process = Process([shutil.which("docker-registry"), "serve", config], self.folder / "docker-registry.log")
        return wait_until(self._answers, "docker-registry answers") == "yes"

    def _answers(self):
        if not self.process.running():
            return "no"
        try:
            scheme, context = ("https", ssl._create_unverified_context()) if self.tls else ("http", None)
            with urllib.request.urlopen(f"{scheme}://{self.host}/v2/", timeout=5, context=context) as answer:
                return "yes" if answer.status == 200 else None
        except (urllib.error.URLError, OSError):
            return None

    def ref(self, repository, tag="latest"):
        return f"{self.host}/{repository}:{tag}"

    def stop(self):
        self.process.stop()
