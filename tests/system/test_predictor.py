# SPDX-License-Identifier: Apache-2.0
"""The predictor of the KServe tests (tests/e2e/predictor) agrees with sentence-transformers, alone and in its image."""
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request

import pytest
from harness.daemon import wrapper
from harness.process import Process, wait_until

# Python on both sides: once in a full run is enough, neither a sanitizer nor the lack of io_uring changes anything here.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(wrapper()), reason="the same with and without io_uring")]

PREDICTOR = pathlib.Path(__file__).resolve().parents[1] / "e2e/predictor"
PYTHON = "/usr/bin/python3"
EXPECTED = json.loads((PREDICTOR / "expected.json").read_text())
SENTENCES = [pytest.param(s, id=str(i)) for i, s in enumerate(EXPECTED["sentences"])]
TOLERANCE = 1e-4

numpy = pytest.importorskip("numpy", reason="python3-numpy is not installed")


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(PREDICTOR))
    import minilm
    import wordpiece
    sys.path.remove(str(PREDICTOR))
    return minilm, wordpiece


@pytest.fixture(scope="module")
def model_folder(shared_life):
    folder = shared_life.folder() / "model"
    done = subprocess.run([PREDICTOR / "fetch-model", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the model cannot be downloaded: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def model(modules, model_folder):
    return modules[0].MiniLM(model_folder)


def assert_close(vector, sentence):
    assert len(vector) == 384
    assert numpy.linalg.norm(vector) == pytest.approx(sentence["norm"], abs=TOLERANCE)
    assert list(vector[:len(sentence["first"])]) == pytest.approx(sentence["first"], abs=TOLERANCE)


# ---- the model


@pytest.mark.parametrize("sentence", SENTENCES)
def test_pieces_are_those_of_the_reference(model, sentence):
    assert model.tokenizer.encode(sentence["text"]) == sentence["ids"]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_embedding_is_that_of_the_reference(model, sentence):
    mean = model.forward(model.tokenizer.encode(sentence["text"])).mean(0)
    norm = numpy.linalg.norm(mean)
    assert norm == pytest.approx(sentence["mean_norm"], abs=TOLERANCE)
    assert_close(mean / norm, sentence)


def test_a_word_is_cut_into_its_longest_pieces(modules):
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", "un", "unable", "##able", "##a", "##ble", "!", "a"]
    encode = modules[1].WordPiece(vocabulary, 6).encode
    assert encode("") == [1, 2]
    assert encode("Unable unable! a") == [1, 4, 4, 8, 9, 2]
    assert encode("unables \u00c1\x00") == [1, 0, 9, 2], "one unknown piece makes a word unknown; accents and control characters go"
    assert encode("a " * 9) == [1, 9, 9, 9, 9, 2], "cut to the length"


@pytest.mark.parametrize("length, header", [(1 << 40, b"{}"), (99, b"{}"), (2, b"{)"), (
    70, b'{"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'.ljust(70))])
def test_a_broken_safetensors_file_is_refused(modules, tmp_path, length, header):
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header)
    with pytest.raises(ValueError):
        modules[0].read_safetensors(path)


# ---- the server


class Server:
    def __init__(self, command, folder):
        self.process = Process([*command, "--model_name", "minilm", "--http_port", "0"], folder / "server.log")
        self.port = wait_until(lambda: self.process.check_running() and self.process.listening_port(), "the predictor listens")

    def ask(self, path, body=None):
        """(status, JSON)"""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def predict(self, *texts):
        status, answer = self.ask("/v1/models/minilm:predict", json.dumps({"instances": texts}).encode())
        assert status == 200, answer
        return answer["predictions"]

    def stop(self):
        assert self.process.stop() == 0


@pytest.fixture(scope="module")
def server(shared_life, model_folder):
    server = Server([PYTHON, PREDICTOR / "server.py", "--model_dir", model_folder], shared_life.folder())
    shared_life.started.append(server)
    return server


def test_predictions_come_in_the_order_of_the_instances(server):
    sentences = EXPECTED["sentences"][:3]  # the others take seconds each
    for vector, sentence in zip(server.predict(*(s["text"] for s in sentences)), sentences, strict=True):
        assert_close(vector, sentence)


def test_health_and_names(server):
    assert server.ask("/v2/health/live") == (200, {"live": True})
    assert server.ask("/v2/health/ready") == (200, {"ready": True})
    assert server.ask("/v1/models") == (200, {"models": ["minilm"]})
    assert server.ask("/v1/models/minilm") == (200, {"name": "minilm", "ready": True})
    assert server.ask("/v2/models/minilm/ready") == (200, {"name": "minilm", "ready": True})


@pytest.mark.parametrize("path, body, status", [
    ("/v1/models/other", None, 404), ("/v1/models/other:predict", b"{}", 404), ("/v1/models/minilm:predict", b"{", 400),
    ("/v1/models/minilm:predict", b"[]", 400), ("/v1/models/minilm:predict", b'{"instances": [1]}', 400),
    ("/v1/models/minilm:predict", b'{"instances": "text"}', 400)])
def test_wrong_requests_are_told(server, path, body, status):
    code, answer = server.ask(path, body)
    assert code == status and answer["error"]


def test_a_folder_that_is_no_model_ends_the_server(shared_life):
    folder = shared_life.folder()
    done = subprocess.run([PYTHON, PREDICTOR / "server.py", "--model_dir", folder], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 1 and "config.json" in done.stderr


# ---- the image


@pytest.fixture(scope="module")
def archive(shared_life):
    path = shared_life.folder() / "predictor.tar"
    assert subprocess.run([PREDICTOR / "image", path], check=True, capture_output=True, text=True).stdout == \
        "localhost/minilm-predictor:e2e\n"
    return path


def unpack(archive, folder):
    """Returns the image's configuration; its files are in the folder."""
    with tarfile.open(archive) as tar:
        manifest, = json.load(tar.extractfile("manifest.json"))
        assert manifest["RepoTags"] == ["localhost/minilm-predictor:e2e"]
        with tarfile.open(fileobj=tar.extractfile("layer.tar")) as layer:
            layer.extractall(folder)
        return json.load(tar.extractfile(manifest["Config"]))["config"]


def test_image_answers_in_a_root_of_its_own(life, archive, model_folder):
    folder = life.folder()
    root = folder / "root"
    config = unpack(archive, root)
    subprocess.run(["cp", "-rl", model_folder, root / "model"], check=True)
    assert config["User"] == "65532"
    os.chmod(folder, 0o711)  # its user is not root
    user = f"--userspec={config['User']}:{config['User']}"
    server = Server(["chroot", user, root, *config["Entrypoint"], "--model_dir", "/model"], folder)
    life.started.append(server)
    sentence = EXPECTED["sentences"][0]
    vector, = server.predict(sentence["text"])
    assert_close(vector, sentence)


def test_image_has_no_shell(archive, life):
    root = life.folder()
    unpack(archive, root)
    programs = sorted(p.name for p in (root / "usr/bin").iterdir())
    assert programs == ["python3", os.path.basename(os.path.realpath(PYTHON))]


def test_image_is_the_same_again(archive, life):
    again = life.folder() / "again.tar"
    subprocess.run([PREDICTOR / "image", again], check=True, capture_output=True)
    assert subprocess.run(["cmp", archive, again], check=False).returncode == 0


def test_image_is_taken_by_skopeo(archive, life):
    done = subprocess.run(["skopeo", "--insecure-policy", "inspect", "--config", f"docker-archive:{archive}"], check=True,
                          capture_output=True, text=True)
    assert json.loads(done.stdout)["config"]["Entrypoint"] == ["/usr/bin/python3", "/predictor/server.py"]
