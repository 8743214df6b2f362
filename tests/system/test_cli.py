# SPDX-License-Identifier: Apache-2.0
"""The CLI's contract with scripts: JSON shapes, exit statuses, nothing but the result on stdout."""
import datetime
import io
import json
import os
import re
import signal
import subprocess
import tarfile

import pytest
from harness.daemon import run_cli, wrapper
from harness.layout import DATA, Layout, file_sums, golden_sums
from harness.process import wait_until

DIGEST = re.compile(r"sha256:[0-9a-f]{64}$")
MIB = 1 << 20


def types(value):
    return {key: type(v) for key, v in value.items()}


def test_warm_tells_miss_then_hit(daemon, registry):
    for expected in ("miss", "hit"):
        entry, = daemon.cli("warm", "-o", "json", registry.ref("raw")).json()
        assert {"reference", "digest", "result", "bytes", "fetched", "seconds"} <= entry.keys()
        assert entry["reference"] == registry.ref("raw") and DIGEST.match(entry["digest"])
        assert entry["result"] == expected
        assert entry["bytes"] == 24 * MIB
        assert (entry["fetched"] >= 24 * MIB) == (expected == "miss")
        assert isinstance(entry["seconds"], (int, float))


def test_warm_takes_several_references(daemon, registry):
    entries = daemon.cli("warm", "-o", "json", registry.ref("raw"), registry.ref("tar")).json()
    assert sorted(e["reference"] for e in entries) == sorted([registry.ref("raw"), registry.ref("tar")])


def test_warm_of_a_good_and_a_bad_reference_keeps_the_good_one(daemon, registry):
    done = daemon.cli("warm", registry.ref("raw"), registry.ref("raw", "no-such-tag"))
    assert done.status == 4
    assert [m["state"] for m in daemon.cli("ls", "-o", "json").json() if m["reference"] == registry.ref("raw")] == ["ready"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_warm_that_is_interrupted_tells_that_the_job_goes_on(daemon, registry, number):
    registry.set(total="8MiB")
    command = [*wrapper(), daemon.build / "modelstage", "warm", registry.ref("big")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, MODELSTAGE_SOCKET=str(daemon.socket))) as warm:
        wait_until(lambda: registry.blob_bytes(live=True) > MIB, "the transfer runs")
        warm.send_signal(number)
        out, err = warm.communicate(timeout=60)
    assert warm.returncode == -number and out == ""
    assert err.splitlines()[-1] == "modelstage: the daemon goes on without us; see: modelstage status"
    registry.set(total=0)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is ready")


def test_ls_shape(daemon, registry):
    assert daemon.cli("ls", "-o", "json").json() == []
    daemon.cli("warm", registry.ref("raw")).ok()
    with daemon.published("v", registry.ref("raw")):
        entry, = daemon.cli("ls", "-o", "json").json()
        known = {k: entry[k] for k in ("reference", "format", "size", "files", "state", "hits", "mounts", "pinned")}
        assert known == {"reference": registry.ref("raw"), "format": "modelpack", "size": 24 * MIB, "files": 2,
                         "state": "ready", "hits": 1, "mounts": 1, "pinned": False}
        assert DIGEST.match(entry["digest"])
        used = datetime.datetime.fromisoformat(entry["lastUsed"].replace("Z", "+00:00"))
        assert abs((datetime.datetime.now(datetime.timezone.utc) - used).total_seconds()) < 600


def test_ls_quiet_prints_digests_only(daemon, registry):
    daemon.cli("warm", registry.ref("raw")).ok()
    digest = daemon.cli("ls", "-o", "json").json()[0]["digest"]
    assert daemon.cli("ls", "-q").ok().stdout == digest + "\n"


def test_tables_name_the_model(daemon, registry):
    daemon.cli("warm", registry.ref("raw")).ok()
    table = daemon.cli("ls").ok().stdout.splitlines()
    assert table[0].startswith("REFERENCE") and registry.ref("raw") in table[1] and "24.0 MiB" in table[1]


def test_status_shows_a_running_job(daemon, registry):
    assert daemon.cli("status", "-o", "json").json() == []
    registry.set(total="12MiB")
    daemon.cli("warm", "--detach", registry.ref("big")).ok()

    def job():
        jobs = [j for j in daemon.cli("status", "-o", "json").json() if j["done"] > 0]
        return jobs[0] if jobs else None

    running = wait_until(job, "the job has some bytes")
    assert {"reference", "digest", "state", "done", "size", "rate", "eta", "connections", "host", "retries",
            "waiting"} <= running.keys()
    assert running["reference"] == registry.ref("big") and running["size"] == 96 * MIB
    assert 0 < running["done"] < running["size"]
    registry.set(total=0)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is ready")


@pytest.mark.parametrize("redirect", [False, True])
def test_status_shows_the_host_that_the_bytes_come_from(daemon, registry, redirect):
    registry.set(total="12MiB", redirect=redirect)
    daemon.cli("warm", "--detach", registry.ref("big")).ok()
    expected = f"127.0.0.1:{registry.storage_port}" if redirect else registry.host
    wait_until(lambda: [j["host"] for j in daemon.cli("status", "-o", "json").json() if j["connections"] > 0] == [expected],
               f"the job is fetched from {expected}")
    registry.set(total=0)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is ready")


@pytest.mark.parametrize("command", [("ls",), ("status",), ("status", "--watch"), ("df",), ("version",)])
def test_a_result_that_cannot_be_written_is_one_line_and_status_1(daemon, command):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([*wrapper(), daemon.build / "modelstage", *command], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, MODELSTAGE_SOCKET=str(daemon.socket)), timeout=60, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "stdout" in done.stderr


def test_df_adds_up(daemon, registry):
    empty = daemon.cli("df", "-o", "json").json()
    assert types(empty) == dict.fromkeys(("capacity", "used", "reserved", "free", "models", "layers", "saved"), int)
    daemon.cli("warm", registry.ref("raw")).ok()
    full = daemon.cli("df", "-o", "json").json()
    assert (full["models"], full["layers"], full["reserved"]) == (1, 2, 0)
    assert empty["used"] == 0 and 24 * MIB <= full["used"] < 25 * MIB
    assert full["free"] <= full["capacity"]


def test_inspect_lists_files_and_layers(daemon, registry):
    daemon.cli("warm", registry.ref("modelpacks", "raw")).ok()
    found = daemon.cli("inspect", "-o", "json", registry.ref("modelpacks", "raw")).json()
    assert {"reference", "digest", "format", "size", "files", "layers", "annotations", "tensors"} <= found.keys()
    assert sorted(f["path"] for f in found["files"]) == sorted(golden_sums("modelpacks", "raw"))
    assert all(types(f) == {"path": str, "size": int, "mode": type(f["mode"])} for f in found["files"])
    assert len(found["layers"]) == 8 and all(DIGEST.match(x["digest"]) for x in found["layers"])
    assert found["tensors"], "the safetensors header is summarised"


def test_inspect_lists_the_kitfile_with_and_without_a_daemon(build, daemon, registry):
    reference = registry.ref("modelkits", "none")
    daemon.cli("warm", reference).ok()
    found = daemon.cli("inspect", "-o", "json", reference).json()
    assert sorted(f["path"] for f in found["files"]) == sorted(golden_sums("modelkits", "none"))
    cached = next(f for f in found["files"] if f["path"] == "Kitfile")
    remote = run_cli(build, "inspect", "--remote", "--plain-http", "-o", "json", reference).json()
    assert remote["files"] == [cached], "what is in the archives is not known without fetching them"


def test_inspect_of_an_unknown_model_is_not_found(daemon, registry):
    assert daemon.cli("inspect", registry.ref("raw")).status == 4


def test_inspect_remote_needs_no_daemon_and_fetches_no_blob(build, registry):
    done = run_cli(build, "inspect", "--remote", "--plain-http", "-o", "json", registry.ref("raw"))
    assert done.json()["size"] == 24 * MIB
    assert registry.blob_bytes() < 100_000


def test_rm_frees_the_disk(daemon, registry):
    daemon.cli("warm", registry.ref("raw"), registry.ref("tar")).ok()
    daemon.cli("rm", registry.ref("raw")).ok()
    assert [m["reference"] for m in daemon.cli("ls", "-o", "json").json()] == [registry.ref("tar")]
    assert daemon.cli("df", "-o", "json").json()["used"] < 25 * MIB
    files = [p for p in (daemon.root / "layers").rglob("*") if p.is_file() and p.stat().st_size >= 12 * MIB]
    assert files == []
    assert daemon.cli("rm", registry.ref("raw")).status == 4


def test_rm_of_a_mounted_model_is_refused(daemon, registry):
    with daemon.published("v", registry.ref("raw")) as path:
        done = daemon.cli("rm", registry.ref("raw"))
        assert done.status == 1 and "mounted" in done.stderr
        assert file_sums(path) == registry.files("raw")


def test_pin_and_unpin(daemon, registry):
    daemon.cli("warm", "--pin", registry.ref("raw")).ok()
    assert daemon.cli("ls", "-o", "json").json()[0]["pinned"] is True
    daemon.cli("unpin", registry.ref("raw")).ok()
    assert daemon.cli("ls", "-o", "json").json()[0]["pinned"] is False
    daemon.cli("pin", registry.ref("raw")).ok()
    assert daemon.cli("ls", "-o", "json").json()[0]["pinned"] is True


@pytest.mark.parametrize("layout, tag", [("modelpacks", "raw"), ("images", "gzip"), ("modelkits", "none")])
def test_fetch_needs_no_daemon(build, registry, life, layout, tag):
    folder = life.folder() / "model"
    run_cli(build, "fetch", "--plain-http", registry.ref(layout, tag), folder).ok()
    assert file_sums(folder) == golden_sums(layout, tag)


def test_fetch_does_not_overwrite_unless_forced(build, registry, life):
    folder = life.folder() / "model"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    reference = registry.ref("modelpacks", "raw")
    assert run_cli(build, "fetch", "--plain-http", reference, folder).status == 1
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"config.json": "mine"}
    run_cli(build, "fetch", "--plain-http", "--force", reference, folder).ok()
    assert file_sums(folder) == golden_sums("modelpacks", "raw")


def shape(folder):
    """{path: what it is and its mode for others} of all that is below a folder."""
    return {str(p.relative_to(folder)): f"-> {os.readlink(p)}" if p.is_symlink() else (p.is_dir(), p.stat().st_mode & 0o555)
            for p in sorted(folder.rglob("*"))}


def test_fetch_gives_what_mount_shows(build, daemon, life):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, mode, link in (("models", tarfile.DIRTYPE, 0o755, ""), ("models/a.bin", tarfile.REGTYPE, 0o644, ""),
                                       ("models/cache", tarfile.DIRTYPE, 0o775, ""), ("models/run.sh", tarfile.REGTYPE, 0o755, ""),
                                       ("models/a", tarfile.SYMTYPE, 0o777, "a.bin"), ("models/out", tarfile.SYMTYPE, 0o777, "/etc"),
                                       ("models/d", tarfile.DIRTYPE, 0o711, ""), ("models/d/e", tarfile.DIRTYPE, 0o555, ""),
                                       ("models/d/e/b.bin", tarfile.LNKTYPE, 0o644, "models/a.bin")):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname = kind, mode, link
            tar.addfile(info)
    layout = Layout.create(life.folder() / "layout")
    layout.add_image("v1", out.getvalue())
    reference, folder = f"oci-layout:{layout.path}:v1", life.folder() / "model"
    run_cli(build, "fetch", reference, folder).ok()
    with daemon.mounted(reference) as path:
        assert shape(folder) == shape(path) and len(shape(path)) == 8


def test_fetch_with_force_is_all_or_nothing(build, registry, life):
    folder = life.folder() / "model"
    (folder / "model.safetensors").mkdir(parents=True)
    (folder / "config.json").write_text("mine")
    before = shape(folder)
    done = run_cli(build, "fetch", "--plain-http", "--force", registry.ref("modelpacks", "raw"), folder)
    assert done.status == 1 and "model.safetensors exists already and is not a file" in done.stderr
    assert shape(folder) == before and (folder / "config.json").read_text() == "mine"


def test_fetch_that_fails_leaves_nothing(build, registry, life):
    folder = life.folder() / "model"
    registry.set(flip_blob="sha256:", flip_at=300_000)
    assert run_cli(build, "fetch", "--plain-http", registry.ref("raw"), folder).status == 1
    assert not folder.exists() or list(folder.iterdir()) == []


def test_fetch_that_is_interrupted_leaves_nothing(build, registry, life):
    folder = life.folder() / "model"
    registry.set(total="8MiB")
    command = [*wrapper(), build / "modelstage", "fetch", "--plain-http", registry.ref("big"), folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as fetch:
        wait_until(lambda: registry.blob_bytes(live=True) > MIB, "the transfer runs")
        fetch.send_signal(signal.SIGINT)
        assert fetch.wait(60) != 0, fetch.stderr.read()
    assert not folder.exists() or list(folder.iterdir()) == []


def test_what_a_killed_fetch_has_left_is_removed_by_the_next_one(build, registry, life):
    folder = life.folder() / "model"
    registry.set(total="8MiB")
    command = [*wrapper(), build / "modelstage", "fetch", "--plain-http", registry.ref("big"), folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as fetch:
        wait_until(lambda: registry.blob_bytes(live=True) > MIB, "the transfer runs")
        fetch.kill()
    assert len(list(folder.iterdir())) == 1
    registry.set(total=0)
    run_cli(build, "fetch", "--plain-http", registry.ref("tar"), folder).ok()
    assert [p for p in folder.iterdir() if p.name.startswith(".")] == []


def test_daemon_out_of_reach_is_status_3(build, life):
    done = run_cli(build, "ls", env={"MODELSTAGE_SOCKET": str(life.folder() / "nobody.sock")})
    assert done.status == 3 and "nobody.sock" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("args", [("no-such-command",), ("warm",), ("ls", "--no-such-flag"), ("mount", "x"),
                                  ("warm", "-o", "xml", "x"), ("warm", "--platform", "xx", "example.com/m:1"),
                                  ("mount", "--include", "/a", "example.com/m:1", "/mnt"),
                                  ("inspect", "--root", "..", "example.com/m:1")])
def test_wrong_usage_is_status_2(build, args):
    done = run_cli(build, *args)
    assert done.status == 2 and done.stdout == "" and done.stderr.startswith("modelstage: ")


def test_version_and_help(build, daemon):
    assert re.search(r"\d+\.\d+\.\d+", daemon.cli("version").ok().stdout)
    text = run_cli(build, "help").ok().stdout
    for command in ("warm", "ls", "status", "inspect", "mount", "umount", "fetch", "rm", "df"):
        assert command in text
        assert command in run_cli(build, "help", command).ok().stdout


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_valid_shell(build, shell, tmp_path):
    script = tmp_path / "completion"
    script.write_text(run_cli(build, "completion", shell).ok().stdout)
    assert "warm" in script.read_text()
    if shell == "bash":
        subprocess.run(["bash", "-n", script], check=True)


def test_progress_goes_to_stderr_and_the_result_to_stdout(daemon, registry):
    registry.set(total="12MiB")
    done = daemon.cli("warm", "-o", "json", registry.ref("raw"))
    assert json.loads(done.stdout)[0]["result"] == "miss"
    assert "%" in done.stderr or "MiB" in done.stderr
    assert "\x1b" not in done.stderr, "no escape codes when it is no terminal"


def test_progress_on_a_terminal_redraws_in_place(daemon, registry):
    registry.set(total="12MiB")
    command = f"{' '.join(wrapper())} {daemon.build / 'modelstage'} warm {registry.ref('raw')}"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], text=True, capture_output=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, MODELSTAGE_SOCKET=str(daemon.socket), TERM="xterm"))
    assert done.returncode == 0 and ("\x1b[" in done.stdout or "\r" in done.stdout)


def test_layout_on_disk_needs_no_registry(build, life):
    folder = life.folder() / "model"
    run_cli(build, "fetch", f"oci-layout:{DATA / 'modelkits'}:gzip", folder).ok()
    assert file_sums(folder) == golden_sums("modelkits", "gzip")


def test_warm_list_is_read_again_with_the_flags_that_repair_the_file(life, registry):
    daemon = life.daemon(registry, flags=("--credentials.providerBinDir", "/opt/bin"),
                         credentials={"providerConfig": "/etc/providers.yaml"})
    config = json.loads(daemon.config.read_text())
    new = daemon.config.with_suffix(".new")
    new.write_text(json.dumps(dict(config, warm=[{"model": registry.ref("raw"), "pin": True}])))
    new.rename(daemon.config)
    wait_until(lambda: [(m["state"], m["pinned"]) for m in daemon.cli("ls", "-o", "json").json()] == [("ready", True)],
               "the new list is warm")


@pytest.mark.parametrize("text, word", [
    ('{"cache": {"rooot": "/x"}}', "rooot"), ('{"engine": {"memory": "lots"}}', "memory"),
    ('{"engine": {"connections": 0}}', "connections"), ('{"log": {"level": "loud"}}', "level"), ("cache: [", "config")])
def test_wrong_configuration_is_refused_by_name(build, tmp_path, text, word):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    done = subprocess.run([build / "modelstaged", "--config", config, "--check-config"], text=True, capture_output=True,
                          timeout=60, check=False)
    assert done.returncode != 0 and str(config) in done.stderr and word in done.stderr
