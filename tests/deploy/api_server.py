# SPDX-License-Identifier: Apache-2.0
"""
An API server without a cluster: etcd and kube-apiserver of shared/cluster's build, on loopback, in a folder of
their own. It validates, admits and authorizes as a cluster's does; nothing schedules or runs.
"""
import contextlib
import json
import pathlib
import secrets
import socket
import subprocess
import time

START = 120  # s


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def can_start(programs):
    return all((pathlib.Path(programs) / p).exists() for p in ("etcd", "kube-apiserver"))


@contextlib.contextmanager
def running(programs, folder):
    """Yields a kubeconfig of an administrator."""
    client, peer, secure = free_ports(3)
    token = secrets.token_hex(16)
    (folder / "tokens").touch(mode=0o600)
    (folder / "tokens").write_text(f"{token},admin,1,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)
    commands = [
        [f"{programs}/etcd", "--name=e", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
         f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
         f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
         f"--initial-cluster=e=http://127.0.0.1:{peer}"],
        [f"{programs}/kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1", f"--secure-port={secure}",
         f"--cert-dir={folder}/certificates", "--authorization-mode=RBAC", "--allow-privileged", "--service-cluster-ip-range=10.96.0.0/24",
         "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={folder}/accounts.key",
         f"--service-account-signing-key-file={folder}/accounts.key", f"--token-auth-file={folder}/tokens"]]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{secure}", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": token}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}))
    processes = []
    try:
        for command in commands:
            with open(folder / f"{pathlib.Path(command[0]).name}.log", "w", encoding="utf-8") as log:
                # setpriv: they end with us, however we end
                processes.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        end = time.monotonic() + START
        while subprocess.run([f"{programs}/kubectl", "--kubeconfig", kubeconfig, "get", "--raw", "/readyz"], capture_output=True, check=False).returncode:
            gone = [p.args[3] for p in processes if p.poll() is not None]
            assert not gone and time.monotonic() < end, f"{gone}: {(folder / 'kube-apiserver.log').read_text()[-2000:]}"
            time.sleep(0.2)
        yield kubeconfig
    finally:
        for process in processes:  # nothing of it is kept, so nothing has to end well
            process.kill()
            process.wait()
