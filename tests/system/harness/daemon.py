# SPDX-License-Identifier: Apache-2.0
"""modelstaged under test: its own cache root on a real disk, its sockets, its log, its mounts."""
import json
import os
import re
import shlex
import signal
import subprocess
import urllib.error
import urllib.request

import grpc

from .layout import DATA
from .process import DEADLINE, Process, wait_until

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed")


def wrapper():
    """MS_WRAP ("…/no-io-uring") stands in front of every program of ours."""
    return shlex.split(os.environ.get("MS_WRAP", ""))


class Result:
    """What the CLI did."""

    def __init__(self, done):
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr

    def json(self):
        assert self.status == 0, f"exit status {self.status}: {self.stderr}"
        return json.loads(self.stdout)

    def ok(self):
        assert self.status == 0, f"exit status {self.status}: {self.stderr}"
        return self


def run_cli(build, *args, env=None, deadline=300):
    done = subprocess.run([*wrapper(), str(build / "modelstage"), *map(str, args)], text=True, capture_output=True,
                          env=dict(os.environ, **(env or {})), timeout=deadline, check=False)
    assert done.returncode >= 0 and not SANITIZER.search(done.stderr), f"the CLI crashed: {done.stderr}"
    return Result(done)


class Server:
    """One modelstaged, in whichever role; a subclass starts it as self.process."""

    process = _channel = None
    csi_socket = None

    def ready(self):
        return self.http("/readyz")[0] == 200

    def http(self, path):
        """(status, text); status 0 as long as nobody listens."""
        port = self.process.listening_port()
        if port is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def start(self):
        raise NotImplementedError

    def stop(self):
        """As kubelet does it. A daemon that does not end well, or that a sanitizer complained about, fails the test."""
        self._close_channel()
        if self.process.running():
            status = self.process.stop(signal.SIGTERM)
            assert status == 0, f"modelstaged ended with {status}:\n{self.log[-4000:]}"
        found = SANITIZER.search(self.log)
        assert not found, self.log[found.start():][:6000]

    def restart(self):
        self.stop()
        self.start()

    @property
    def log(self):
        return self.process.log

    def _connect(self):
        if not self._channel:
            self._channel = grpc.insecure_channel(f"unix:{self.csi_socket}")
        return self._channel

    def _close_channel(self):
        if self._channel:
            self._channel.close()
            self._channel = None


class Daemon(Server):
    def __init__(self, build, folder, plain_http=(), settings=None, flags=()):
        """plain_http: hosts that are asked without TLS. settings: more of the configuration, section by section. flags: of
        the command line."""
        self.build, self.folder, self.flags = build, folder, flags
        self.root = folder / "cache"
        self.pods = folder / "pods"
        self.pods.mkdir(exist_ok=True)
        self.socket = folder / "control.sock"
        self.csi_socket = folder / "csi.sock"
        self.config = self._make_config(plain_http, settings or {})
        self.start()

    def _make_config(self, plain_http, settings):
        config = {
            "node": {"name": "test-node"},
            "csi": {"endpoint": f"unix://{self.csi_socket}", "kubeletRegistration": ""},
            "control": {"socket": str(self.socket)},
            "cache": {"root": str(self.root), "minFree": "1%"},
            "engine": {"memory": "64MiB"},
            "policy": {"layouts": [str(DATA), str(self.folder.parent)]},
            "registries": [{"host": host, "plainHttp": True} for host in plain_http],
            "http": {"address": "127.0.0.1:0"},
            "log": {"level": "debug", "format": "json"},
        }
        for section, values in settings.items():
            if isinstance(values, dict):
                config.setdefault(section, {}).update(values)
            else:
                config[section] = values
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(config, indent=1))  # JSON is YAML
        return path

    # ---- life

    def start(self):
        self.process = Process([*wrapper(), self.build / "modelstaged", "--config", self.config, *self.flags],
                               self.folder / "daemon.log")
        wait_until(lambda: self.process.check_running() and self.ready(), "the daemon is ready")

    def kill9(self):
        self._close_channel()
        self.process.stop(signal.SIGKILL)

    # ---- how it is talked to

    def cli(self, *args, env=None):
        return run_cli(self.build, *args, env=dict(env or {}, MODELSTAGE_SOCKET=str(self.socket)))

    @property
    def node(self):
        import csi_pb2_grpc
        return csi_pb2_grpc.NodeStub(self._connect())

    @property
    def identity(self):
        import csi_pb2_grpc
        return csi_pb2_grpc.IdentityStub(self._connect())

    def control(self):
        """(stub, channel); the caller closes the channel."""
        import modelstage_pb2_grpc
        channel = grpc.insecure_channel(f"unix:{self.socket}")
        return modelstage_pb2_grpc.ControlStub(channel), channel

    def target(self, volume):
        """Where kubelet would mount it: the folder above exists, the target itself does not."""
        above = self.pods / volume
        above.mkdir(exist_ok=True)
        return above / "mount"

    def publish(self, volume, model, secrets=None, target=None, timeout=DEADLINE, pod=None, readonly=True, flags=(), **attributes):
        """Returns the target; raises grpc.RpcError. pod: (namespace, name, uid). flags: mount options."""
        import csi_pb2
        target = target or self.target(volume)
        capability = csi_pb2.VolumeCapability(
            mount=csi_pb2.VolumeCapability.MountVolume(mount_flags=flags),
            access_mode=csi_pb2.VolumeCapability.AccessMode(mode="SINGLE_NODE_WRITER"))
        namespace, name, uid = pod or ("default", "pod", "8b1d9a5e-0c3f-4f9a-9a55-000000000001")
        info = {"pod.namespace": namespace, "pod.name": name, "pod.uid": uid, "serviceAccount.name": "default", "ephemeral": "true"}
        context = {f"csi.storage.k8s.io/{key}": value for key, value in info.items()}
        context.update(attributes, model=model)
        self.node.NodePublishVolume(csi_pb2.NodePublishVolumeRequest(
            volume_id=volume, target_path=str(target), volume_capability=capability, readonly=readonly,
            volume_context=context, secrets=secrets or {}), timeout=timeout)
        return target

    def unpublish(self, volume, target=None, timeout=DEADLINE):
        import csi_pb2
        self.node.NodeUnpublishVolume(csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=volume, target_path=str(target or self.target(volume))), timeout=timeout)

    def published(self, volume, model, **more):
        return _Published(self, volume, model, more)

    def mounted(self, model, *flags):
        return _Mounted(self, model, flags)

    # ---- what it knows and has

    def metrics(self):
        """{'name{label="value",…}': number}, without the prefix modelstage_."""
        status, text = self.http("/metrics")
        assert status == 200
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name.removeprefix("modelstage_")] = float(value)
        return samples

    def requests_by_result(self):
        """(hit, miss, joined)"""
        metrics = self.metrics()
        return tuple(int(metrics.get(f'cache_requests_total{{result="{r}"}}', 0)) for r in ("hit", "miss", "joined"))

    def cut_off(self):
        """Requests that were ended early because others were faster: what their servers had sent ahead was sent again."""
        return sum(n for name, n in self.metrics().items()
                   if name.startswith("registry_retries_total") and re.search('reason="(slow|split)"', name))

    def visible(self):
        """What lies under models/ and staging/: nothing may, after a failure, but unfinished layers that are kept to be gone on with."""
        found = [p for folder in ("models", "staging") for p in (self.root / folder).iterdir() if p.name != "sha256"]
        found += (self.root / "models/sha256").iterdir()
        return [str(p) for p in found if not (p / "journal").is_file()]


class _Published:
    """with daemon.published("volume", ref) as path: …"""

    def __init__(self, daemon, volume, model, more):
        self.daemon, self.volume, self.model, self.more = daemon, volume, model, more

    def __enter__(self):
        return self.daemon.publish(self.volume, self.model, **self.more)

    def __exit__(self, *_):
        self.daemon.unpublish(self.volume)


class _Mounted:
    """The same by the CLI."""

    def __init__(self, daemon, model, flags):
        self.daemon, self.model, self.flags = daemon, model, flags
        self.path = daemon.folder / "mounted"

    def __enter__(self):
        self.path.mkdir(exist_ok=True)
        self.daemon.cli("mount", self.model, self.path, *self.flags).ok()
        return self.path

    def __exit__(self, *_):
        self.daemon.cli("umount", self.path).ok()
