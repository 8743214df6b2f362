# SPDX-License-Identifier: Apache-2.0
"""Secrets stay where they were given: a canary password and every token derived from it are looked for everywhere."""
import base64
import http.server
import json
import threading
import urllib.parse

import grpc
import pytest
from harness.layout import file_sums

USER, CANARY = "canary-user", "s3cret-c4nary-pa55word"
SHAPES = (CANARY, base64.b64encode(f"{USER}:{CANARY}".encode()).decode(), urllib.parse.quote(CANARY, safe="%"),
          base64.b64encode(CANARY.encode()).decode())


def docker_config(host, password=CANARY):
    return json.dumps({"auths": {host: {"username": USER, "password": password}}})


def assert_nowhere(daemon, *texts):
    """Not in the log, the metrics, or any file of the cache; nor in what the test saw itself."""
    seen = {f"text {n}": t.encode() for n, t in enumerate(texts)}
    seen["log"] = daemon.log.encode()
    if daemon.process.running():
        seen["metrics"] = daemon.http("/metrics")[1].encode()
    for path in daemon.root.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            seen[str(path)] = path.read_bytes()
    assert any("index.db" in name for name in seen), "the index was looked at"
    for name, data in seen.items():
        for shape in SHAPES:
            assert shape.encode() not in data, f"the password is in {name}"


@pytest.fixture
def other(life):
    """A registry that has nothing to do with the credentials."""
    return life.registry(synthetic={"public": "raw:1MiB:1"})


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_password_of_a_volume_is_written_nowhere(life, registry, other, auth):
    daemon = life.daemon(registry, other, log={"level": "debug", "format": "json", "debug": "all"})
    registry.set(auth=auth, user=USER, password=CANARY, redirect=True)
    secrets = {".dockerconfigjson": docker_config(registry.host)}
    with daemon.published("v", registry.ref("raw"), secrets=secrets) as path:
        assert file_sums(path) == registry.files("raw")
        daemon.publish("public", other.ref("public"), secrets=secrets)
        daemon.unpublish("public")
        said = [daemon.cli("ls", "-o", "json").stdout, daemon.cli("status", "-o", "json").stdout,
                daemon.cli("inspect", "-o", "json", registry.ref("raw")).stdout]
        assert_nowhere(daemon, *said)
    assert other.stats()["schemes"] == {"main": [], "storage": [], "token": []}, "no credentials to a foreign registry"
    assert registry.stats()["schemes"]["storage"] == [], "none to the redirect's target"
    daemon.stop()
    assert_nowhere(daemon)


def test_password_that_is_refused_is_in_no_error(daemon, registry):
    registry.set(auth="bearer", user=USER, password="another")
    for secrets in ({".dockerconfigjson": docker_config(registry.host)}, {"username": USER, "password": CANARY}):
        with pytest.raises(grpc.RpcError) as caught:
            daemon.publish("v", registry.ref("raw"), secrets=secrets)
        assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        assert_nowhere(daemon, caught.value.details())


class Echo(http.server.BaseHTTPRequestHandler):
    """Asks for Basic, and then repeats what it was sent in every shape."""

    def do_GET(self):
        sent = self.headers.get("Authorization")
        if not sent:
            self.answer(401, b"", ("WWW-Authenticate", 'Basic realm="x"'))
            return
        said = f"you sent {sent} {base64.b64decode(sent.split()[-1]).decode()}"
        error = {"code": "DENIED", "message": said + "." * (200 - len(said) - 30) + sent}
        self.answer(403, json.dumps({"errors": [error]}).encode(), ("Content-Type", "application/json"))

    do_HEAD = do_GET

    def answer(self, status, body, header):
        self.send_response(status)
        self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.host = f"127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def test_registry_that_echoes_the_password_puts_it_into_no_error(life, echo):
    daemon = life.daemon(echo, log={"level": "debug", "format": "json", "debug": "all"})
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", f"{echo.host}/m:v1", secrets={"username": USER, "password": CANARY})
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert f"DENIED: you sent Basic [redacted] {USER}:[redacted]" in caught.value.details()
    assert SHAPES[1][:12] not in caught.value.details() + daemon.log, "nor a piece of it"
    assert_nowhere(daemon, caught.value.details())


@pytest.mark.parametrize("config", ["{%s", '{"auths": {"HOST": {"auth": "%s"}}}', '{"auths": "%s"}'])
def test_broken_secret_is_invalid_and_not_quoted(daemon, registry, config):
    text = (config % CANARY).replace("HOST", registry.host)
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", registry.ref("raw"), secrets={".dockerconfigjson": text})
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert_nowhere(daemon, caught.value.details())


def test_password_of_the_administrator_is_written_nowhere(life, registry):
    config = life.folder() / "docker.json"
    config.write_text(docker_config(registry.host))
    registry.set(auth="bearer", user=USER, password=CANARY)
    daemon = life.daemon(registry, credentials={"dockerConfig": str(config)}, log={"level": "debug", "debug": "all"})
    done = daemon.cli("warm", "-o", "json", registry.ref("raw")).ok()
    assert_nowhere(daemon, done.stdout, done.stderr)


def test_password_given_to_the_cli_is_written_nowhere(life, daemon, registry):
    config = life.folder() / "docker.json"
    config.write_text(docker_config(registry.host))
    registry.set(auth="basic", user=USER, password="another")
    refused = daemon.cli("warm", "--docker-config", config, registry.ref("raw"))
    assert refused.status == 5
    registry.set(password=CANARY)
    done = daemon.cli("warm", "--docker-config", config, registry.ref("raw")).ok()
    assert_nowhere(daemon, refused.stderr, done.stdout, done.stderr)


def test_credentials_in_a_reference_are_refused_and_not_quoted(daemon, registry):
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("v", f"{USER}:{CANARY}@{registry.host}/raw:latest")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert_nowhere(daemon)
