# SPDX-License-Identifier: Apache-2.0
"""tools/kubectl-modelstage against real daemons, one a node; only kubectl itself is a stand-in (harness/kubectl.py)."""
import ast
import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from harness.daemon import wrapper
from harness.kubectl import PLUGIN, REPOSITORY, Cluster
from harness.layout import file_sums
from harness.process import wait_until

# Python on both sides: once in a full run is enough, neither a sanitizer nor the lack of io_uring changes anything here.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(wrapper()), reason="the same with and without io_uring")]

MIB = 1 << 20
USER, PASSWORD = "puller", "s3cret-of-the-registry"


@pytest.fixture
def cluster(build, life):
    return Cluster(build, life.folder())


@pytest.fixture
def nodes(life, registry, cluster):
    """{name: daemon}: two nodes with GPUs; a third one has neither a GPU nor an agent."""
    daemons = {name: life.daemon(registry) for name in ("gpu-a", "gpu-b")}
    for name, daemon in daemons.items():
        cluster.node(name, **{"example.com/gpu": "a100", "example.com/half": name[-1]})
        cluster.agent(name, daemon)
    cluster.node("control")
    return daemons


def ready(daemon):
    return sorted(m["reference"] for m in daemon.cli("ls", "-o", "json").json() if m["state"] == "ready")


def by_node(items):
    assert len({i["node"] for i in items}) == len(items)
    return {i["node"]: i for i in items}


def cells(line):
    return re.split(r"  +", line.strip())


# ---- warm


def test_warm_stages_on_every_node_and_then_hits(cluster, nodes, registry):
    reference = registry.ref("raw")
    for expected in ("miss", "hit"):
        items = by_node(cluster.run("warm", "-o", "json", reference).json())
        assert set(items) == {"gpu-a", "gpu-b"}
        for name, item in items.items():
            assert {"node", "reference", "digest", "result", "bytes", "fetched", "seconds"} <= item.keys()
            assert (item["reference"], item["result"], item["bytes"], item["error"]) == (reference, expected, 24 * MIB, None)
            own, = nodes[name].cli("ls", "-o", "json").json()
            assert item["digest"] == own["digest"]
    for daemon in nodes.values():
        with daemon.published("v", reference) as path:
            assert file_sums(path) == registry.files("raw")


def test_warm_prints_one_row_a_node(cluster, nodes, registry):
    lines = cluster.run("warm", registry.ref("raw")).ok().stdout.splitlines()
    assert lines[0].split() == ["NODE", "REFERENCE", "BYTES", "RATE", "ETA", "STATE"]
    for line, name in zip(lines[1:], ("gpu-a", "gpu-b"), strict=True):
        node, reference, size, rate, eta, state = cells(line)
        assert (node, reference, size, eta) == (name, registry.ref("raw"), "24.0 MiB", "-")
        assert rate.endswith("/s") and state.startswith("miss in ")


def test_several_references_have_a_row_each(cluster, nodes, registry):
    wanted = [registry.ref("raw"), registry.ref("tar")]
    items = cluster.run("warm", "-o", "json", *wanted, wanted[0]).json()
    assert [(i["node"], i["reference"]) for i in items] == [(n, r) for n in ("gpu-a", "gpu-b") for r in wanted]
    assert ready(nodes["gpu-a"]) == ready(nodes["gpu-b"]) == sorted(wanted)


def test_labels_choose_nodes(cluster, nodes, registry):
    item, = cluster.run("warm", "-o", "json", "-l", "example.com/gpu=a100,example.com/half=b", registry.ref("raw")).json()
    assert (item["node"], item["result"]) == ("gpu-b", "miss")
    assert (ready(nodes["gpu-a"]), ready(nodes["gpu-b"])) == ([], [registry.ref("raw")])


def test_a_name_chooses_a_node(cluster, nodes, registry):
    done = cluster.run("warm", "-o", "json", "--node", "gpu-b", "--node", "gpu-z", registry.ref("raw"))
    items = by_node(json.loads(done.stdout))
    assert done.status == 1
    assert (items["gpu-b"]["result"], items["gpu-z"]["result"]) == ("miss", "failed")
    assert items["gpu-z"]["error"] == "there is no such node"
    assert ready(nodes["gpu-a"]) == []


def test_labels_of_no_node_are_a_failure(cluster, nodes, registry):
    done = cluster.run("warm", "-l", "example.com/gpu=h100", registry.ref("raw"))
    assert (done.status, done.stdout) == (1, "") and "example.com/gpu=h100" in done.stderr


def test_flags_of_warm_reach_the_daemons(cluster, nodes, registry):
    cluster.run("warm", "--pin", registry.ref("raw"), "--include", "*-00001.*").ok()
    for daemon in nodes.values():
        model, = daemon.cli("ls", "-o", "json").json()
        assert model["pinned"] is True and 0 < model["size"] < 24 * MIB


def test_the_node_whose_registry_says_no_fails_alone(life, cluster, registry):
    registry.set(auth="basic", user=USER, password=PASSWORD)
    config = life.folder() / "config.json"
    config.write_text(json.dumps({"auths": {registry.host: {"username": USER, "password": PASSWORD}}}))
    cluster.node("gpu-a")
    cluster.agent("gpu-a", life.daemon(registry, credentials={"dockerConfig": str(config)}))
    cluster.node("gpu-b")
    cluster.agent("gpu-b", life.daemon(registry))
    done = cluster.run("warm", "-o", "json", registry.ref("raw"))
    items = by_node(json.loads(done.stdout))
    assert done.status == 1
    assert (items["gpu-a"]["result"], items["gpu-b"]["result"]) == ("miss", "failed")
    assert registry.host in items["gpu-b"]["error"] and "\n" not in items["gpu-b"]["error"]
    assert f"gpu-b: {registry.ref('raw')}: " in done.stderr and items["gpu-b"]["error"] in done.stderr


def test_the_node_whose_daemon_is_down_fails_alone(cluster, nodes, registry):
    nodes["gpu-b"].stop()
    done = cluster.run("warm", registry.ref("raw"))
    _, a, b = done.stdout.splitlines()
    assert done.status == 1
    assert cells(a)[0] == "gpu-a" and cells(a)[-1].startswith("miss")
    assert cells(b)[0] == "gpu-b" and cells(b)[-1].startswith("failed: cannot reach the daemon at ")


def test_the_node_whose_daemon_dies_meanwhile_fails_alone(cluster, nodes, registry):
    registry.set(total="3MiB")
    with cluster.start("warm", "-o", "json", registry.ref("raw")) as plugin:
        wait_until(lambda: all(d.cli("status", "-o", "json").json() for d in nodes.values()), "both nodes have a job")
        nodes["gpu-b"].kill9()
        registry.set(total=0)
        out, errors = plugin.communicate(timeout=120)
    items = by_node(json.loads(out))
    assert plugin.returncode == 1 and (items["gpu-a"]["result"], items["gpu-b"]["result"]) == ("miss", "failed")
    assert items["gpu-b"]["error"] and "fetching" not in items["gpu-b"]["error"] and items["gpu-b"]["error"] in errors


def test_docker_config_goes_through_stdin_only(life, cluster, nodes, registry):
    registry.set(auth="basic", user=USER, password=PASSWORD)
    config = life.folder() / "config.json"
    config.write_text(json.dumps({"auths": {registry.host: {"username": USER, "password": PASSWORD}}}))
    assert cluster.run("warm", registry.ref("raw")).status == 1
    items = cluster.run("warm", "-o", "json", "--docker-config", config, registry.ref("raw")).json()
    assert [i["result"] for i in items] == ["miss", "miss"]
    said = json.dumps(cluster.calls())
    assert PASSWORD not in said and str(config) not in said
    done = cluster.run("warm", "--docker-config", life.folder() / "none", registry.ref("raw"))
    assert done.status == 2 and "none" in done.stderr


def test_nodes_are_warmed_side_by_side(cluster, nodes, registry):
    registry.set(total="1MiB")
    with cluster.start("warm", "-o", "json", registry.ref("raw")) as plugin:
        wait_until(lambda: cluster.events() == ["begin", "begin"], "both nodes are at work")
        registry.set(total=0)
        out, _ = plugin.communicate(timeout=120)
    assert plugin.returncode == 0 and [i["result"] for i in json.loads(out)] == ["miss", "miss"]


def test_parallel_bounds_the_calls(cluster, nodes, registry):
    cluster.run("warm", "--parallel", "1", registry.ref("raw"), registry.ref("tar")).ok()
    assert cluster.events() == ["begin", "end"] * 4


def test_detach_does_not_wait(cluster, nodes, registry):
    registry.set(total="1MiB")
    items = cluster.run("warm", "-o", "json", "--detach", registry.ref("raw")).json()
    assert [i["result"] for i in items] == ["accepted", "accepted"]
    registry.set(total=0)
    for daemon in nodes.values():
        wait_until(lambda d=daemon: ready(d) == [registry.ref("raw")], "the model is ready")


# ---- progress


def test_without_a_terminal_progress_is_lines_on_stderr(cluster, nodes, registry):
    registry.set(total="12MiB")
    done = cluster.run("warm", "-o", "json", registry.ref("raw")).ok()
    assert len(json.loads(done.stdout)) == 2
    assert "\x1b" not in done.stderr
    for name in nodes:
        own = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: {registry.ref('raw')}: ")]
        assert re.search(r": fetching \d+%, .* of 24.0 MiB", own[0]), done.stderr
        assert ": miss in " in own[-1]
    quiet = cluster.run("warm", "-q", registry.ref("raw")).ok()
    assert quiet.stderr == "" and "hit" in quiet.stdout


def warm_on_terminal(cluster, registry, columns, **more):
    registry.set(total="12MiB")
    return cluster.run_on_terminal(columns, "warm", "-l", "example.com/gpu", registry.ref("raw"), **more)


TITLES = ["NODE", "REFERENCE", "BYTES", "RATE", "ETA", "STATE"]


@pytest.mark.parametrize("columns, titles", [(60, TITLES[:1] + TITLES[2:]), (140, TITLES)])
def test_table_on_a_terminal_is_drawn_in_place_and_fits(cluster, nodes, registry, columns, titles):
    status, terminal = warm_on_terminal(cluster, registry, columns)
    assert status == 0
    assert terminal.widest <= columns and not terminal.cursor_hidden
    moving = [f for f in terminal.frames if len(f) == 4 and re.search(r"/24.0 MiB .*/s .*fetching \d+%$", f[1])]
    assert len({f[1] for f in moving}) > 1, "bytes and percent move"
    for frame in moving:
        assert frame[0].split() == titles and frame[3].endswith("of 2 done")
        for row, name in zip(frame[1:3], nodes):
            assert row.startswith(name) and (registry.ref("raw") in row) == (columns == 140)
    assert len(terminal.text()) == 3, "what was drawn is taken away, and the result printed"
    for row, name in zip(terminal.text()[1:], nodes, strict=True):
        assert cells(row)[0] == name and cells(row)[-1].startswith("miss in ")
        assert (registry.ref("raw") in row) or columns == 60


def test_a_very_narrow_terminal_keeps_node_and_state(cluster, nodes, registry):
    status, terminal = warm_on_terminal(cluster, registry, 24)
    assert status == 0 and terminal.widest <= 24
    titles, a, b = terminal.text()
    assert titles.split() == ["NODE", "STATE"] and a.startswith("gpu-a") and b.startswith("gpu-b")


def test_a_low_terminal_counts_what_it_does_not_show(cluster, nodes, registry):
    status, terminal = warm_on_terminal(cluster, registry, 80, lines=4)
    assert status == 0
    assert any(f[-1].endswith("1 not shown") and len(f) == 3 for f in terminal.frames)


def test_failures_are_told_under_the_table_of_a_terminal(cluster, nodes, registry):
    nodes["gpu-b"].stop()
    status, terminal = cluster.run_on_terminal(60, "warm", registry.ref("raw"))
    assert status == 1
    assert f"kubectl-modelstage: gpu-b: {registry.ref('raw')}: cannot reach the daemon at" in " ".join(terminal.text())
    assert terminal.text()[-1].endswith("…") and "  failed: " in terminal.text()[-1]


def test_colour_unless_NO_COLOR(cluster, nodes, registry):
    assert "\x1b[32m" in warm_on_terminal(cluster, registry, 80)[1].written
    assert not re.search(r"\x1b\[\d+m", warm_on_terminal(cluster, registry, 80, NO_COLOR="1")[1].written)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_the_children_and_leaves_the_nodes_at_work(cluster, nodes, registry, number, code):
    registry.set(total="3MiB")
    with cluster.start("warm", registry.ref("raw")) as plugin:
        wait_until(lambda: all(d.cli("status", "-o", "json").json() for d in nodes.values()), "both nodes have a job")
        plugin.send_signal(number)
        out, errors = plugin.communicate(timeout=120)
    assert plugin.returncode == code and out == ""
    assert errors.splitlines()[-1].startswith("kubectl-modelstage: interrupted; what the nodes have begun goes on")
    for call in cluster.calls("exec"):
        assert not os.path.exists(f"/proc/{call['pid']}")
    registry.set(total=0)
    for daemon in nodes.values():
        wait_until(lambda d=daemon: ready(d) == [registry.ref("raw")], "the model is ready all the same")


# ---- which agents


WAITING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}


def test_a_node_without_a_running_agent_is_a_failed_row(cluster, nodes, registry):
    cluster.node("gpu-c", **{"example.com/gpu": "a100"})
    cluster.agent("gpu-c", state=WAITING)
    cluster.node("gpu-d", **{"example.com/gpu": "a100"})
    cluster.node("gpu-e", **{"example.com/gpu": "a100"})
    cluster.agent("gpu-e", deletionTimestamp="2026-08-01T00:00:00Z")
    done = cluster.run("warm", "-o", "json", "-l", "example.com/gpu=a100", registry.ref("raw"))
    items = by_node(json.loads(done.stdout))
    assert done.status == 1
    assert {n: i["error"] for n, i in items.items()} == {
        "gpu-a": None, "gpu-b": None, "gpu-c": "the agent is not running: CrashLoopBackOff", "gpu-d": "no agent on this node",
        "gpu-e": "the agent is not running: Terminating"}
    table = cluster.run("ls", "-l", "example.com/gpu=a100")
    assert table.status == 1 and re.search(r"^gpu-d .*failed: no agent on this node$", table.stdout, re.M)


def test_without_a_choice_nodes_that_never_had_an_agent_are_left_out(cluster, nodes, registry):
    done = cluster.run("ls").ok()
    assert "1 of 3 nodes have no agent" in done.stderr and "control" not in done.stdout
    assert cluster.run("-q", "ls").ok().stderr == ""
    cluster.node("gpu-c")
    cluster.agent("gpu-c", state=WAITING)
    assert cluster.run("ls").status == 1


def test_the_running_agent_is_taken_while_the_old_one_ends(life, cluster, registry):
    daemon = life.daemon(registry)
    cluster.node("gpu-a")
    cluster.agent("gpu-a", deletionTimestamp="2026-08-01T00:00:00Z")
    new = cluster.agent("gpu-a", daemon)
    cluster.run("ls").ok()
    assert [new in c["argv"] for c in cluster.calls("exec")] == [True]


RELEASE = "meta.helm.sh/release-namespace"


def test_credentials_go_to_no_pod_outside_of_the_installation(life, cluster, nodes, registry):
    """Anybody may put the agents' labels on a pod of theirs."""
    cluster.node("gpu-c")
    cluster.agent("gpu-c", life.daemon(registry), namespace="tenant")
    cluster.agent("gpu-a", life.daemon(registry), namespace="tenant")
    config = life.folder() / "config.json"
    config.write_text(json.dumps({"auths": {registry.host: {"username": USER, "password": PASSWORD}}}))
    chosen = [f"--node={name}" for name in ("gpu-a", "gpu-b", "gpu-c")]
    done = cluster.run("warm", "-o", "json", "--docker-config", config, *chosen, registry.ref("raw"))
    assert {n: i["error"] for n, i in by_node(json.loads(done.stdout)).items()} == {
        "gpu-a": None, "gpu-b": None, "gpu-c": "no agent on this node"}
    assert not any("tenant" in call["argv"] for call in cluster.calls("exec"))


@pytest.mark.parametrize("owners", [
    None, [], [{"kind": "ReplicaSet", "controller": True}], [{"kind": "DaemonSet", "controller": False}], [{"kind": "DaemonSet"}]])
def test_a_pod_of_no_daemon_set_is_no_agent(life, cluster, nodes, registry, owners):
    cluster.node("gpu-c")
    cluster.agent("gpu-c", life.daemon(registry), ownerReferences=owners)
    done = cluster.run("ls", "--node", "gpu-a", "--node", "gpu-c")
    assert done.status == 1 and "gpu-c: no agent on this node" in done.stderr
    assert len(cluster.calls("exec")) == 1


def test_the_release_says_where_the_agents_are(life, cluster, registry):
    cluster.installed(**{RELEASE: "two"})
    cluster.node("gpu-a")
    for namespace in ("one", "two"):
        cluster.agent("gpu-a", life.daemon(registry), namespace=namespace)
    cluster.run("ls").ok()
    cluster.run("ls", "-n", "one").ok()
    assert [("one" in c["argv"], "two" in c["argv"]) for c in cluster.calls("exec")] == [(False, True), (True, False)]


@pytest.mark.parametrize("how", [{"driver": False}, {}, {RELEASE: ""}, {RELEASE: None}])
def test_without_a_release_the_namespace_must_be_said(cluster, nodes, how):
    cluster.installed(**how)
    done = cluster.run("ls")
    assert (done.status, done.stdout) == (2, "") and "-n" in done.stderr and "csi.modelstage.io" in done.stderr
    assert cluster.calls("exec") == []
    cluster.run("ls", "-n", "modelstage").ok()


def test_who_may_not_see_the_driver_says_the_namespace(cluster, nodes):
    cluster.forbid("csidrivers")
    done = cluster.run("ls")
    assert (done.status, done.stdout) == (3, "") and "Forbidden" in done.stderr and "-n NAMESPACE" in done.stderr
    cluster.run("ls", "-n", "modelstage").ok()


def test_a_cluster_without_agents_says_so(cluster):
    cluster.node("gpu-a")
    done = cluster.run("status")
    assert (done.status, done.stdout) == (1, "") and "is Modelstage installed?" in done.stderr


def test_a_pod_that_is_gone_by_now_is_a_failed_row(cluster, nodes, registry):
    cluster.node("gpu-c")
    cluster.agent("gpu-c")  # its container cannot be entered
    done = cluster.run("status", "-o", "json")
    assert done.status == 1
    assert by_node(json.loads(done.stdout))["gpu-c"] == {
        "node": "gpu-c", "error": "error: unable to upgrade connection: container not found"}


# ---- agents that are broken


COMMANDS = {"warm": ["r.example/x:1"], "rm": ["r.example/x:1"], "ls": [], "status": [], "version": []}
NONSENSE = ["", "{}", "[1]", "[{}]", "5", '"x"', "null", "NaN", "[NaN]", "[Infinity]", "[1e999]", "[" * 20000, "[[]]", "\xff", "{",
            "9" * 5000, json.dumps([{"reference": 5}]), json.dumps({"version": "1", "daemonVersion": [], "io": "io_uring"})]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_that_makes_no_sense_fails_its_row_alone(cluster, nodes, registry, command):
    texts = [*NONSENSE, *(["[]"] if command in ("warm", "rm") else [])]
    for i, text in enumerate(texts):
        cluster.node(f"odd-{i:02}")
        cluster.agent(f"odd-{i:02}", answer={"text": text})
    reference = [registry.ref("raw")] if COMMANDS[command] else []
    if command == "rm":
        cluster.run("warm", "--node", "gpu-a", *reference).ok()
    done = cluster.run(command, "-o", "json", *reference)
    errors = {i["node"]: i.get("error") for i in json.loads(done.stdout)}
    assert done.status == 1 and errors.get("gpu-a") is None
    assert {n: e for n, e in errors.items() if n.startswith("odd")} == {
        f"odd-{i:02}": "the agent's answer makes no sense" for i in range(len(texts))}
    lines = cluster.run(command, *reference).stdout.splitlines()
    assert sum(line.endswith("failed: the agent's answer makes no sense") for line in lines) == len(texts)


JOB = {"reference": "x:1", "digest": None, "state": "fetching", "done": 1, "size": 2, "rate": 3, "eta": 1.5, "error": None}
MODEL = {"reference": "x:1", "digest": None, "size": 1, "hits": 0, "mounts": 0, "pinned": False, "state": "ready",
         "error": None}
WARMED = {"reference": "x:1", "digest": None, "result": "miss", "bytes": 1, "fetched": 1, "seconds": 0.5}
VERSIONS = {"version": "1", "daemonVersion": "1", "io": "epoll"}
REMOVED = {"reference": "x:1", "digest": "sha256:0", "freed": 1}
GOOD = {"status": JOB, "ls": MODEL, "warm": WARMED, "version": VERSIONS, "rm": REMOVED}


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize("command, changes", [
    *((c, {"size": v}) for c in ("status", "ls") for v in (None, "1", 1.5, True, 1 << 64)),
    *((c, {"reference": v}) for c in ("status", "ls") for v in (None, 1, ["x"])),
    ("status", {"eta": "1"}), ("status", {"eta": -1}), ("status", {"eta": 1e300}), ("status", {"rate": []}),
    ("status", {"error": {}}), ("ls", {"pinned": 1}), ("ls", {"digest": 1}), ("ls", {"error": 1}), ("ls", {"more": deep(200)}),
    ("warm", {"seconds": None}), ("warm", {"seconds": 1e300}), ("warm", {"result": None}), ("warm", {"bytes": "1"}),
    ("rm", {"freed": None}), ("version", {"io": 1}), ("version", {"daemonVersion": False})])
def test_what_a_key_may_be(plugin, command, changes):
    shape = plugin.SHAPES[command]
    good, bad = GOOD[command], dict(GOOD[command], **changes)
    assert shape(good if command == "version" else [good]) and not shape(bad if command == "version" else [bad])


@pytest.mark.parametrize("command", ["ls", "status", "warm"])
def test_extreme_numbers_are_written(cluster, command):
    large = {k: (1 << 63) - 1 if isinstance(v, int) else 1e-300 for k, v in GOOD[command].items() if type(v) in (int, float)}
    cluster.node("a")
    cluster.agent("a", answer={"text": json.dumps([dict(GOOD[command], **large)])})
    assert "EiB" in cluster.run(command, *COMMANDS[command]).ok().stdout


def test_an_answer_without_an_end_fails_its_row_and_is_not_kept(cluster, nodes):
    cluster.node("odd")
    cluster.agent("odd", answer={"text": " " * MIB, "repeat": 1 << 20})
    with cluster.start("ls", "-o", "json") as plugin:
        out = plugin.stdout.read()
        _, status, usage = os.wait4(plugin.pid, 0)
        plugin.returncode = os.waitstatus_to_exitcode(status)
        assert "Traceback" not in plugin.stderr.read()
    assert plugin.returncode == 1 and json.loads(out) == [{"node": "odd", "error": "the agent's answer is longer than 16.0 MiB"}]
    assert usage.ru_maxrss < 128 * 1024
    for call in cluster.calls("exec"):
        assert not os.path.exists(f"/proc/{call['pid']}")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_node_that_hangs_fails_after_the_time_limit(cluster, nodes, registry, command):
    cluster.node("odd")
    cluster.agent("odd", answer={"text": "[", "hang": True})
    reference = [registry.ref("raw")] if COMMANDS[command] else []
    done = cluster.run(command, "--timeout", "4", "-o", "json", *reference, deadline=60)
    assert done.status == 1
    assert {i["node"]: i.get("error") for i in json.loads(done.stdout)}["odd"] == "no answer in 4.0s"
    assert not any(os.path.exists(f"/proc/{call['pid']}") for call in cluster.calls("exec"))


def test_all_but_warm_have_a_time_limit(plugin):
    limits = {c: plugin.parse([c, *COMMANDS[c]]).timeout for c in COMMANDS}
    assert limits == {"warm": None, "rm": 60, "ls": 60, "status": 60, "version": 60}
    assert [plugin.parse(["warm", "x", "--timeout", t]).timeout for t in ("90", "90s", "2m", "1h")] == [90, 90, 120, 3600]
    for wrong in ("0", "-1", "1.5", "x", "", "1d", "9" * 400, "\u0661"):
        with pytest.raises(SystemExit):
            plugin.parse(["ls", f"--timeout={wrong}"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "rm"])
@pytest.mark.parametrize("output", ["json", "table"])
def test_interrupt_prints_the_rows_that_have_ended(cluster, nodes, registry, command, output):
    nodes["gpu-b"].stop()
    cluster.node("odd")
    cluster.agent("odd", answer={"text": "[", "hang": True})
    if command == "ls":
        nodes["gpu-a"].cli("warm", registry.ref("raw")).ok()
    with cluster.start(command, "-o", output, *([registry.ref("raw")] if COMMANDS[command] else [])) as plugin:
        wait_until(lambda: cluster.events().count("end") == 2, "two of three nodes have answered")
        time.sleep(0.5)
        plugin.send_signal(signal.SIGINT)
        out, errors = plugin.communicate(timeout=120)
    assert plugin.returncode == 130 and "Traceback" not in errors
    assert "2 of 3 done, 1 failed when it was interrupted" in errors and "gpu-b: " in errors
    named = {i["node"] for i in json.loads(out)} if output == "json" else {line.split()[0] for line in out.splitlines()[1:]}
    named -= {"NODE"}
    assert named == ({"gpu-b"} if (command, output) == ("status", "json") else {"gpu-a", "gpu-b"})


def test_interrupt_of_rm_prints_the_rows_that_have_ended(cluster, nodes, registry):
    nodes["gpu-a"].cli("warm", registry.ref("raw")).ok()
    cluster.node("odd")
    cluster.agent("odd", answer={"hang": True})
    with cluster.start("rm", "-o", "json", registry.ref("raw")) as plugin:
        wait_until(lambda: cluster.events().count("end") == 2, "two of three nodes have answered")
        time.sleep(0.5)
        plugin.send_signal(signal.SIGINT)
        out, _ = plugin.communicate(timeout=120)
    assert plugin.returncode == 130
    assert {i["node"]: i["result"] for i in json.loads(out)} == {"gpu-a": "removed", "gpu-b": "absent"}


def test_an_agent_cannot_speak_for_another_node(cluster):
    for command, good in GOOD.items():
        cluster.world.update(nodes=[], pods=[])
        cluster.node("a")
        lie = dict(good, node="b", error=None, more=1)
        cluster.agent("a", answer={"text": json.dumps(lie if command == "version" else [lie])})
        item, = cluster.run(command, "-o", "json", *COMMANDS[command]).json()
        assert item["node"] == "a" and item["reference" if command in ("warm", "rm") else "more"] in ("r.example/x:1", 1)


# ---- rm


def test_rm_removes_everywhere(cluster, nodes, registry):
    cluster.run("warm", registry.ref("raw")).ok()
    items = by_node(cluster.run("rm", "-o", "json", registry.ref("raw")).json())
    for name, daemon in nodes.items():
        assert ready(daemon) == []
        assert items[name]["result"] == "removed" and items[name]["freed"] >= 24 * MIB and items[name]["error"] is None


def test_rm_is_done_where_the_model_never_was(cluster, nodes, registry):
    cluster.run("warm", "--node", "gpu-a", registry.ref("raw")).ok()
    done = cluster.run("rm", registry.ref("raw")).ok()
    assert [cells(line)[-1] for line in done.stdout.splitlines()] == ["STATE", "removed", "absent"]
    misspelt = cluster.run("rm", "-o", "json", registry.ref("raw"))
    assert misspelt.status == 1
    assert {i["result"] for i in json.loads(misspelt.stdout)} == {"failed"}


def test_rm_of_a_mounted_model_fails_on_that_node(cluster, nodes, registry):
    cluster.run("warm", registry.ref("raw")).ok()
    with nodes["gpu-a"].published("v", registry.ref("raw")):
        done = cluster.run("rm", registry.ref("raw"))
    assert done.status == 1
    _, a, b = (cells(line)[-1] for line in done.stdout.splitlines())
    assert a.startswith("failed: ") and "mounted" in a and b == "removed"


# ---- ls, status, version


def test_ls_has_the_models_of_each_node(cluster, nodes, registry):
    nodes["gpu-a"].cli("warm", "--pin", registry.ref("raw")).ok()
    titles, a, b = cluster.run("ls").ok().stdout.splitlines()
    assert titles.split() == ["NODE", "REFERENCE", "DIGEST", "SIZE", "HITS", "MOUNTS", "PIN", "STATE"]
    own, = nodes["gpu-a"].cli("ls", "-o", "json").json()
    assert cells(a) == ["gpu-a", registry.ref("raw"), own["digest"][7:19], "24.0 MiB", "0", "0", "yes", "ready"]
    assert (cells(b)[0], cells(b)[-1]) == ("gpu-b", "empty")
    assert cluster.run("ls", "-o", "json").json() == [{"node": "gpu-a", **own}]


def test_status_has_the_jobs_of_each_node(cluster, nodes, registry):
    registry.set(total="16MiB")
    nodes["gpu-a"].cli("warm", "--detach", registry.ref("big")).ok()

    def running():
        return [j for j in cluster.run("status", "-o", "json").json() if j["done"] > 0]

    job, = wait_until(running, "the job has some bytes")
    assert (job["node"], job["reference"], job["size"]) == ("gpu-a", registry.ref("big"), 96 * MIB)
    assert {"state", "done", "rate", "eta", "connections", "host", "retries", "waiting"} <= job.keys()
    _, a, b = cluster.run("status").ok().stdout.splitlines()
    assert cells(a)[:2] == ["gpu-a", registry.ref("big")] and re.search(r"/96.0 MiB .* fetching \d+%$", a)
    assert (cells(b)[0], cells(b)[-1]) == ("gpu-b", "idle")
    registry.set(total=0)
    wait_until(lambda: ready(nodes["gpu-a"]), "the job ends before the daemon")


def test_status_watch_prints_round_after_round(cluster, nodes):
    with cluster.start("status", "--watch", "-o", "json") as plugin:
        rounds = [json.loads(plugin.stdout.readline()) for _ in range(2)]
        plugin.send_signal(signal.SIGINT)
        assert plugin.wait(60) == 130
    assert rounds == [[], []]
    assert len(cluster.calls("exec")) >= 4


def test_version_names_the_agents(cluster, nodes):
    own, a, b = (line for line in cluster.run("version").ok().stdout.splitlines() if not line.startswith("NODE"))
    assert re.fullmatch(r"kubectl-modelstage \d+\.\d+\.\d+", own)
    version = own.split()[1]
    assert [cells(line)[:2] for line in (a, b)] == [["gpu-a", version], ["gpu-b", version]]
    nodes["gpu-b"].stop()
    done = cluster.run("version", "-o", "json")
    assert done.status == 1 and by_node(json.loads(done.stdout))["gpu-b"]["error"] == "the daemon does not answer"


# ---- kubectl itself, usage


def test_options_of_kubectl_are_given_to_it(cluster, nodes):
    cluster.run("--context", "prod", "ls", "--kubeconfig=/k", "-n", "modelstage").ok()
    calls = cluster.calls()
    assert len(calls) == 4
    for call in calls:
        assert call["argv"][:2] == ["--context=prod", "--kubeconfig=/k"]
    for call in calls[1:]:  # nodes are in no namespace
        assert call["argv"][call["argv"].index("-n") + 1] == "modelstage"


def test_a_cluster_that_cannot_be_reached_is_status_3(cluster):
    done = cluster.run("ls", env=cluster.env(STAND_IN_WORLD="/none"))
    assert (done.status, done.stdout) == (3, "")
    assert "was refused" in done.stderr and done.stderr.splitlines()[-1].startswith("kubectl-modelstage: ")


def test_a_missing_kubectl_is_status_3(cluster):
    done = cluster.run("ls", env=dict(cluster.env(), PATH="/none"))
    assert (done.status, done.stdout) == (3, "") and "cannot run kubectl" in done.stderr


@pytest.mark.parametrize("args", [
    (), ("wram", "x"), ("warm",), ("ls", "x"), ("warm", "--no-such-flag", "x"), ("warm", "-o", "xml", "x"),
    ("warm", "--pull", "never", "x"), ("ls", "--parallel", "0"), ("ls", "--timeout", "0"), ("ls", "--node", "a", "-l", "b"), ("help", "wram")])
def test_wrong_usage_is_status_2_and_asks_nobody(cluster, args):
    done = cluster.run(*args)
    assert (done.status, done.stdout) == (2, "") and done.stderr != ""
    assert cluster.calls() == []


def test_help(cluster):
    text = cluster.run("help").ok().stdout
    for command in ("warm", "status", "ls", "rm", "version", "help"):
        assert re.search(rf"^  {command} ", text, re.M)
    for args in (("help", "warm"), ("warm", "--help"), ("warm", "-h")):
        assert "--docker-config" in cluster.run(*args).ok().stdout
    assert cluster.run("--help").ok().stdout == text
    assert cluster.calls() == []


def test_a_reader_that_goes_away_is_no_traceback(cluster, nodes):
    done = subprocess.run(["bash", "-c", f"{' '.join(cluster.command('ls'))} | true"], env=cluster.env(), text=True,
                          capture_output=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


# ---- the file


@pytest.fixture(scope="module")
def plugin():
    """The file as a module."""
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader = importlib.machinery.SourceFileLoader("kubectl_modelstage", str(PLUGIN))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def test_version_is_the_projects(plugin):
    assert f"VERSION {plugin.VERSION} " in (REPOSITORY / "CMakeLists.txt").read_text()


def test_syntax_is_that_of_python_3_8():
    ast.parse(PLUGIN.read_text(), feature_version=(3, 8))


def test_install_puts_it_beside_the_cli(build, life):
    folder = life.folder()
    subprocess.run(["cmake", "--install", build, "--prefix", folder / "p"], check=True, capture_output=True, timeout=120)
    installed = folder / "p/bin/kubectl-modelstage"
    assert os.access(installed, os.X_OK) and installed.read_bytes() == PLUGIN.read_bytes()


@pytest.mark.parametrize("n, text", [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB"), (812 * MIB, "812 MiB"), (1023 * MIB, "1023 MiB"),
    ((1 << 30) - 1, "1.0 GiB"), ((1 << 64) - 1, "16.0 EiB")])
def test_sizes_are_written_as_the_cli_does(plugin, n, text):
    assert plugin.size_text(n) == text


@pytest.mark.parametrize("seconds, text", [(0, "0ms"), (3.299, "3.2s"), (250, "4m10s"), (3900, "1h05m"), (49 * 3600, "2d01h")])
def test_durations_are_written_as_the_cli_does(plugin, seconds, text):
    assert plugin.duration_text(seconds) == text


@pytest.mark.parametrize("seconds, text", [(0, "0s"), (24.5, "25s"), (59, "59s"), (125.7, "2m05s")])
def test_what_is_estimated_has_no_tenths(plugin, seconds, text):
    assert plugin.eta_text(seconds) == text


def test_what_could_harm_a_terminal_is_replaced(plugin):
    assert plugin.safe("a\x1b[2Jb\x9bc\u202ed\n") == "a?[2Jb?c?d?"
    assert plugin.table([plugin.Column("A", 0)], [(["x\x1by"], None)]) == ["A", "x?y"]


def test_cutting_counts_wide_and_combining_characters(plugin):
    assert plugin.text_width("模型e\u0301") == 5
    for text, start in (("模型模型模型", False), ("e\u0301" * 9, True), ("registry.example.com/m:1", True)):
        for width in range(1, 12):
            assert plugin.text_width(plugin.cut(text, width, start)) <= width
    assert plugin.cut("registry.example.com/m:1", 6, True)[1:] == "m/m:1"
