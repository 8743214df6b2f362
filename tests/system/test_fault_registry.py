# SPDX-License-Identifier: Apache-2.0
"""The registry that the other tests rely on does what its knobs say."""
import base64
import contextlib
import hashlib
import http.client
import json
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import pytest
from harness.process import wait_until
from harness.registry import FaultRegistry

MIB = 1 << 20


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def get(registry, path, method="GET", **headers):
    """(status, headers, body); a body that ends early raises."""
    url = path if path.startswith("http") else f"http://{registry.host}{path}"
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers, e.read()


@pytest.fixture
def server(life):
    return life.registry(synthetic={"team/tar": "tar:3MiB:3", "raw": "raw:2MiB:2", "again": "raw:2MiB:2:raw"})


@pytest.fixture
def blob(server):
    """Path and bytes of a blob."""
    descriptor = server.blobs("raw")[0]
    path = f"/v2/raw/blobs/{descriptor['digest']}"
    data = get(server, path)[2]
    assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"] and len(data) == MIB
    server.reset_stats()
    return path, data


def test_synthetic_tar_holds_the_files_it_lists(server, tmp_path):
    digest = server.blobs("team/tar")[0]["digest"]
    data = get(server, f"/v2/team/tar/blobs/{digest}")[2]
    assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
    subprocess.run(["tar", "xf", "-", "-C", tmp_path], input=data, check=True)
    for path, sum256 in server.files("team/tar").items():
        assert hashlib.sha256((tmp_path / "models" / path).read_bytes()).hexdigest() == sum256
    assert len(server.files("team/tar")) == 3


def test_same_seed_makes_the_same_blobs(server):
    assert server.blobs("raw") == server.blobs("again")


def test_a_blob_that_repeats_has_the_digest_and_the_ranges_of_its_bytes(life):
    server = life.registry(synthetic={"r": "repeat:3MiB:2"})
    for descriptor in server.blobs("r"):
        path = f"/v2/r/blobs/{descriptor['digest']}"
        data = get(server, path)[2]
        assert len(data) == 3 * MIB // 2 and "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        assert data[257 << 10:] == data[:-257 << 10] and data[:MIB // 2] != data[MIB // 2:MIB]
        assert get(server, path, Range="bytes=300001-1200000")[2] == data[300001:1200001]
    server.set(flip_blob=descriptor["digest"], flip_at=700000)
    flipped = get(server, path)[2]
    assert [i for i in range(len(data)) if flipped[i] != data[i]] == [700000]


def test_a_digest_that_is_given_is_not_computed(life):
    digest = "sha256:" + "5" * 64
    server = life.registry(synthetic={"huge": "raw:1TiB"}, digests={"huge/0": digest})
    assert server.blobs("huge") == [dict(server.blobs("huge")[0], digest=digest, size=1 << 40)]
    data = get(server, f"/v2/huge/blobs/{digest}", Range=f"bytes={(1 << 40) - 100}-")[2]
    assert len(data) == 100 and len(set(data)) > 1


@pytest.mark.parametrize("header, first, end", [("bytes=5-99", 5, 100), ("bytes=1048000-", 1048000, MIB),
                                                ("bytes=-7", MIB - 7, MIB), ("bytes=100-9999999", 100, MIB)])
def test_ranges_are_exact(server, blob, header, first, end):
    status, headers, data = get(server, blob[0], Range=header)
    assert status == 206 and data == blob[1][first:end]
    assert headers["Content-Range"] == f"bytes {first}-{end - 1}/{MIB}"


def test_range_past_the_end_is_416(server, blob):
    assert get(server, blob[0], Range=f"bytes={MIB}-")[0] == 416


def test_ignore_range_answers_200(server, blob):
    server.set(ignore_range=True)
    status, headers, data = get(server, blob[0], Range="bytes=5-9")
    assert (status, data, headers["Accept-Ranges"]) == (200, blob[1], None)


def test_flip_changes_one_byte_in_as_many_answers_as_told(server, blob):
    server.set(flip_blob="sha256:", flip_at=1000, flip_times=1)
    wrong = get(server, blob[0])[2]
    assert [i for i in range(MIB) if wrong[i] != blob[1][i]] == [1000]
    assert get(server, blob[0])[2] == blob[1]


def test_redirect_leads_to_storage_which_refuses_credentials(server, blob):
    server.set(redirect=True)
    status, headers, _ = get(server, blob[0])
    location = headers["Location"]
    assert status == 307 and f":{server.storage_port}/" in location
    assert get(server, location, Range="bytes=3-5")[2] == blob[1][3:6]
    assert get(server, location, Authorization="Bearer x")[0] == 400
    assert get(server, location.replace("signature=", "signature=0"))[0] == 403
    server.set(redirect_seconds=0)
    expired = get(server, blob[0])[1]["Location"]
    wait_until(lambda: get(server, expired)[0] == 403, "the signature expires")


def test_basic_wants_user_and_password(server, blob):
    server.set(auth="basic", user="u", password="p")
    assert get(server, blob[0])[1]["WWW-Authenticate"].startswith("Basic ")
    good = "Basic " + base64.b64encode(b"u:p").decode()
    assert get(server, blob[0], Authorization=good)[0] == 200
    assert get(server, blob[0], Authorization="Basic " + base64.b64encode(b"u:q").decode())[0] == 401


def test_bearer_token_is_for_one_repository_and_expires(server, blob):
    server.set(auth="bearer", user="u", password="p")
    challenge = get(server, blob[0])[1]["WWW-Authenticate"]
    assert 'scope="repository:raw:pull"' in challenge
    realm = challenge.split('"')[1]
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    assert get(server, realm + "?scope=repository:raw:pull")[0] == 401
    token = json.loads(get(server, realm + "?scope=repository:raw:pull", Authorization=basic)[2])["token"]
    assert get(server, blob[0], Authorization="Bearer " + token)[0] == 200
    assert get(server, "/v2/again/manifests/latest", Authorization="Bearer " + token)[0] == 401
    server.set(token_seconds=0)
    token = json.loads(get(server, realm + "?scope=repository:raw:pull", Authorization=basic)[2])["token"]
    assert get(server, blob[0], Authorization="Bearer " + token)[0] == 401
    assert server.stats()["tokens"] == 2


def test_denied_repository_is_403(server, blob):
    server.set(deny="raw")
    assert get(server, blob[0])[0] == 403 and get(server, "/v2/again/manifests/latest")[0] == 200


def test_every_third_request_fails(server, blob):
    server.set(fail_every=3, fail_status=502)
    assert [get(server, blob[0])[0] for _ in range(6)] == [200, 200, 502, 200, 200, 502]


def test_too_many_at_once_is_429_with_retry_after(server, blob):
    server.set(max_blobs=1, retry_after=7, stall_after=10)
    first = threading.Thread(target=lambda: pytest.raises(Exception, get, server, blob[0]))
    first.start()
    wait_until(lambda: server.live()["paths"].get(blob[0], {}).get("now") == 1, "the first is under way")
    status, headers, _ = get(server, blob[0])
    assert (status, headers["Retry-After"]) == (429, "7")
    server.stop()
    first.join()


def test_reset_happens_once_a_range(server, blob):
    server.set(reset_after=1000, reset_once=True)
    for first, last in (0, 9999), (10000, 19999):
        with pytest.raises(ConnectionResetError):
            get(server, blob[0], Range=f"bytes={first}-{last}")
        assert get(server, blob[0], Range=f"bytes={first + 500}-{last}")[0] == 206


def test_reset_total_counts_the_bytes_of_all_answers(server, blob):
    server.set(reset_total=MIB + MIB // 2)
    assert get(server, blob[0])[2] == blob[1]
    with pytest.raises(ConnectionResetError):
        get(server, blob[0])
    assert server.blob_bytes() == MIB + MIB // 2
    assert get(server, blob[0], Range="bytes=0-9")[0] == 206


def test_die_after_ends_the_registry_without_a_word(build, life):
    server = FaultRegistry(build, life.folder(), synthetic={"raw": "raw:1MiB"}, flags=("--die-after", "1536KiB"))
    path = f"/v2/raw/blobs/{server.blobs('raw')[0]['digest']}"
    assert len(get(server, path)[2]) == MIB
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        get(server, path)
    assert server.process.popen.wait(60) == -9


def test_every_second_connection_is_starved_and_asking_for_counters_is_none(server, blob):
    server.set(starve_every=2, starve_rate=1024)
    for _ in range(3):
        server.live()
    assert get(server, blob[0])[2] == blob[1]
    starved = http.client.HTTPConnection(server.host)
    starved.request("GET", blob[0])
    wait_until(lambda: starved.sock.recv(1, socket.MSG_PEEK), "the second is served")
    assert get(server, blob[0])[2] == blob[1]
    starved.sock.setblocking(False)
    received = 0
    with contextlib.suppress(BlockingIOError):
        while n := len(starved.sock.recv(MIB)):
            received += n
    starved.close()
    assert 0 < received < MIB


def test_truncated_answer_has_the_whole_content_length(server, blob):
    server.set(truncate_after=1000)
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(server, blob[0])
    assert (len(caught.value.partial), caught.value.expected) == (1000, MIB - 1000)


@pytest.mark.parametrize("knob, path, method, status", [
    ("no_head", "/v2/raw/manifests/latest", "HEAD", 405), ("missing_blob", None, "GET", 404),
    ("hide_tag", "/v2/raw/manifests/latest", "GET", 404), ("fail_manifests", "/v2/raw/manifests/latest", "GET", 500)])
def test_refusals(server, blob, knob, path, method, status):
    value = {"missing_blob": blob[0].rsplit("/", 1)[1], "hide_tag": "latest", "fail_manifests": 500}.get(knob, True)
    assert get(server, path or blob[0], method)[0] == 200
    server.set(**{knob: value})
    assert get(server, path or blob[0], method)[0] == status


def test_wrong_range_is_off_by_one(server, blob):
    server.set(wrong_range=True)
    assert get(server, blob[0], Range="bytes=0-9")[1]["Content-Range"] == f"bytes 1-10/{MIB}"


def test_close_ends_each_connection(server, blob):
    server.set(close=True)
    connection = http.client.HTTPConnection(server.host)
    connection.request("GET", blob[0])
    answer = connection.getresponse()
    assert answer.headers["Connection"] == "close" and answer.read() == blob[1]


def test_counters_tell_path_range_and_credentials(server, blob):
    get(server, blob[0], Range="bytes=0-9", Authorization="Basic eDp5")
    get(server, blob[0])
    stats, log = server.stats(), server.log("blobs")
    assert stats["paths"][blob[0]]["bytes"] == 10 + MIB and stats["paths"][blob[0]]["status"] == {"206": 1, "200": 1}
    assert stats["schemes"]["main"] == ["basic"]
    assert [(r["range"], r["status"], r["authorized"]) for r in log] == [("bytes=0-9", 206, True), ("", 200, False)]
    assert "eDp5" not in json.dumps(log)


def test_request_that_was_under_way_at_a_reset_counts_no_more(server, blob):
    server.set(stall_after=10)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET {blob[0]} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
        wait_until(lambda: server.live()["paths"].get(blob[0], {}).get("bytes"), "the answer is under way")
        server.reset_stats()
    stats = server.stats()
    assert (stats["requests"], stats["bytes"], stats["paths"]) == (0, 0, {})


def test_unknown_knob_changes_nothing(server):
    before = server._call("GET", "/_knobs")
    with pytest.raises(urllib.error.HTTPError):
        server.set(pace=5, no_such_knob=1)
    assert server._call("GET", "/_knobs") == before
