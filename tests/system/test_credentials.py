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
from harness.process import wait_until

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


# ---- who may have a private model that is cached

@pytest.fixture
def private(life):
    """A registry that wants the password, and one that anybody can run: it has the same manifests."""
    models = {"model": "tar:4MiB:2", "other": "raw:4MiB:2"}
    closed, open_one = life.registry(synthetic=models), life.registry(synthetic=models)
    closed.set(auth="basic", user=USER, password=CANARY)
    return closed, open_one


@pytest.mark.parametrize("repository", ["model", "other"])
def test_private_model_is_not_given_to_who_only_knows_its_digests(life, private, repository):
    closed, impostor = private
    daemon = life.daemon(closed, impostor)
    daemon.publish("owner", closed.ref(repository), secrets={".dockerconfigjson": docker_config(closed.host)})
    impostor.set(missing_blob=impostor.blobs(repository)[0]["digest"])
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("thief", impostor.ref(repository))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    daemon.unpublish("owner")


def test_private_model_is_given_to_who_can_fetch_it_elsewhere(life, private):
    closed, copy = private
    daemon = life.daemon(closed, copy)
    secrets = {".dockerconfigjson": docker_config(closed.host)}
    with daemon.published("owner", closed.ref("model"), secrets=secrets) as one:
        with daemon.published("first", copy.ref("model")) as two:
            assert file_sums(one) == file_sums(two) == closed.files("model")
            assert copy.blob_bytes() >= 4 << 20, "all of it was sent"
        sent = copy.blob_bytes()
        with daemon.published("second", copy.ref("model")):
            assert copy.blob_bytes() == sent, "it is known by now"
        closed.reset_stats()
        with daemon.published("again", closed.ref("model"), secrets=secrets):
            assert closed.blob_bytes() == 0
    assert daemon.requests_by_result() == (2, 2, 0)


def test_private_layer_is_not_lent_while_it_is_on_its_way(life, private):
    closed, impostor = private
    daemon = life.daemon(closed, impostor)
    closed.set(total=1 << 20)
    impostor.set(missing_blob=impostor.blobs("model")[0]["digest"])
    config = life.folder() / "docker.json"
    config.write_text(docker_config(closed.host))
    daemon.cli("warm", "--detach", "--docker-config", config, closed.ref("model")).ok()
    wait_until(lambda: closed.blob_bytes(live=True) > 0, "the transfer has begun")
    with pytest.raises(grpc.RpcError) as caught:
        daemon.publish("thief", impostor.ref("model"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
