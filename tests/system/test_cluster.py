# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells the cluster: events on pods, the start-up taint of its node, labels of the models that are here."""
import concurrent.futures
import json
import re

import grpc
import pytest
from harness.api_server import NODE, ApiServer
from harness.kubelet import Kubelet
from harness.layout import file_sums
from harness.mounts import unmount_below
from harness.process import wait_until

TAINT = "csi.modelstage.io/agent-not-ready"
NOT_READY = [{"key": TAINT, "effect": "NoExecute"}, {"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
POD = ("team-a", "llama-0", "8b1d9a5e-0c3f-4f9a-9a55-0123456789ab")


@pytest.fixture
def api(life):
    server = ApiServer(life.folder())
    server.node(taints=NOT_READY, labels={"kubernetes.io/hostname": "test-node"})
    yield server
    server.stop()


@pytest.fixture
def start(life, registry, api):
    """start(…): a daemon with the API server; settings as life.daemon() has them, `kubernetes` is completed."""
    daemons = []

    def start_one(kubernetes=(), **settings):
        section = {"serviceAccount": str(api.account), "apiServer": api.url, **dict(kubernetes)}
        daemons.append(life.daemon(registry, kubernetes=section, **settings))
        return daemons[-1]
    yield start_one
    for daemon in daemons:
        unmount_below(daemon.pods)


@pytest.fixture
def registered(life):
    """registered(): settings of the section csi with which a kubelet registers the driver at once."""
    def settings():
        folder = life.folder()
        settings.kubelets.append(Kubelet(folder))
        return {"kubeletRegistration": str(folder)}
    settings.kubelets = []
    return settings


# ---- events

def message(event, reason="ModelStaged"):
    assert (event["type"], event["reason"], event["involvedObject"]["kind"]) == ("Normal", reason, "Pod")
    return event["message"]


def test_pod_whose_model_was_staged_is_told_once(api, registry, start):
    daemon = start()
    daemon.publish("v", registry.ref("raw"), pod=POD)
    wait_until(lambda: api.events, "there is an event")
    daemon.publish("v", registry.ref("raw"), pod=POD)  # kubelet asks again: it is mounted
    daemon.publish("w", registry.ref("raw"), pod=("team-b", "other", "1234"))  # from the cache
    daemon.publish("x", registry.ref("tar"), pod=("team-b", "third", "5678"))
    wait_until(lambda: len(api.events) == 2, "there is another for the other model")
    first, second = api.events
    assert re.fullmatch(re.escape(registry.ref("raw")) + r" is mounted: 24\.0 MiB staged in [\d.]+m?s, [\d.]+ [KMG]iB/s", message(first))
    assert first["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "namespace": POD[0], "name": POD[1], "uid": POD[2]}
    assert first["metadata"]["namespace"] == POD[0] and first["metadata"]["name"].startswith(POD[1] + ".")
    assert first["source"] == {"component": "csi.modelstage.io", "host": "test-node"}
    assert second["involvedObject"]["name"] == "third" and message(second).startswith(registry.ref("tar"))
    assert api.called("POST") == ["/api/v1/namespaces/team-a/events", "/api/v1/namespaces/team-b/events"]
    wait_until(lambda: daemon.metrics()['pod_events_total{result="sent"}'] == 2, "both are counted")


def test_pods_that_wait_for_one_model_are_all_told(api, registry, start):
    daemon = start()
    registry.set(total="12MiB")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for call in [pool.submit(daemon.publish, f"v{n}", registry.ref("raw"), pod=("ns", f"pod-{n}", f"{n}")) for n in range(4)]:
            call.result()
    wait_until(lambda: len(api.events) == 4, "each has its event")
    assert {e["involvedObject"]["name"] for e in api.events} == {f"pod-{n}" for n in range(4)}
    assert sorted("others" in message(e) or "other volumes had asked for it before" in message(e) for e in api.events) == [False, True, True, True]


def test_pod_whose_model_came_between_two_calls_is_told_how_long_it_took(api, registry, start):
    daemon = start()
    registry.set(total="6MiB")
    with pytest.raises(grpc.RpcError):
        daemon.publish("v", registry.ref("raw"), pod=POD, timeout=1.5)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is here")
    daemon.publish("v", registry.ref("raw"), pod=POD)
    wait_until(lambda: api.events, "there is an event")
    assert re.fullmatch(re.escape(registry.ref("raw")) + r" is mounted: 24\.0 MiB staged in [\d.]+s, [\d.]+ MiB/s", message(api.events[0]))
    assert daemon.requests_by_result() == (1, 1, 0)


def test_pod_that_gave_up_is_not_told_of_its_next_volume(api, registry, start):
    daemon = start()
    registry.set(total="6MiB")
    with pytest.raises(grpc.RpcError):
        daemon.publish("v", registry.ref("raw"), pod=POD, timeout=1.5)
    daemon.unpublish("v")
    registry.set(total=0)
    wait_until(lambda: [m["state"] for m in daemon.cli("ls", "-o", "json").json()] == ["ready"], "the model is here")
    daemon.publish("v", registry.ref("raw"), pod=POD)  # a hit
    daemon.publish("w", registry.ref("tar"), pod=POD)
    wait_until(lambda: api.events, "there is an event")
    assert [message(e).split()[0] for e in api.events] == [registry.ref("tar")]


def test_without_permission_volumes_are_mounted_and_the_api_server_is_left_alone(api, registry, start):
    api.forbidden.add(("POST", "/events"))
    daemon = start()
    daemon.publish("v", registry.ref("raw"), pod=POD)
    wait_until(lambda: "pods get no events from us" in daemon.log, "that is logged")
    for n, model in enumerate((registry.ref("tar"), registry.ref("modelpacks", "raw"))):
        assert file_sums(daemon.publish(f"v{n}", model, pod=POD))
    wait_until(lambda: daemon.metrics()['pod_events_total{result="dropped"}'] == 2, "both are counted")
    assert len(api.called("POST")) == 1 and daemon.log.count("pods get no events from us") == 1


@pytest.mark.parametrize("fault", ["silent", "gone"])
def test_api_server_that_does_not_answer_keeps_nobody_waiting(api, registry, start, fault):
    daemon = start()
    if fault == "gone":
        api.stop()
    else:
        api.faults.extend([{"silent": True}] * 100)
    with daemon.published("v", registry.ref("raw"), pod=POD) as path:
        assert file_sums(path) == registry.files("raw")
    daemon.stop()


@pytest.mark.parametrize("pod", [("team-a", "../../secrets", "1"), ("team-a/pods", "p", "1"), ("", "p", "1"), ("team-a", "p", "a b")])
def test_pod_that_cannot_be_gets_no_event(api, registry, start, pod):
    daemon = start()
    daemon.publish("v", registry.ref("raw"), pod=pod)
    daemon.publish("w", registry.ref("tar"), pod=POD)
    wait_until(lambda: api.events, "there is an event")
    assert api.called("POST") == ["/api/v1/namespaces/team-a/events"] and message(api.events[0]).startswith(registry.ref("tar"))


def test_events_can_be_switched_off(api, registry, start):
    daemon = start({"events": "off"})
    daemon.publish("v", registry.ref("raw"), pod=POD)
    daemon.stop()
    assert api.called("POST") == []


# ---- the start-up taint

def test_taint_stays_until_the_required_model_is_here_and_is_gone_for_good(api, registry, start, registered):
    registry.set(total="4MiB")
    daemon = start(csi=registered(), warm=[{"model": registry.ref("raw"), "required": True}, {"model": registry.ref("no/such/model")}])
    wait_until(lambda: "the start-up taint stays until the required models are here; 1 are missing" in daemon.log, "it says why")
    assert api.called("GET") == [] and api.taints() == [TAINT, "nvidia.com/gpu"]
    registry.set(total=0)
    wait_until(lambda: api.taints() == ["nvidia.com/gpu"], "the taint is gone, the other one stays")
    wait_until(lambda: f"node test-node has its start-up taint {TAINT} no more" in daemon.log, "that is logged")
    assert (api.called("GET"), api.called("PATCH")) == ([NODE.format("test-node")],) * 2
    daemon.cli("rm", registry.ref("raw")).ok()
    daemon.stop()
    assert api.taints() == ["nvidia.com/gpu"]


def test_taint_is_looked_for_again_after_a_restart(life, api, registry, start, registered):
    csi = registered()
    daemon = start(csi=csi)
    wait_until(lambda: api.taints() == ["nvidia.com/gpu"], "the taint is gone")
    daemon.stop()
    Kubelet(registered.kubelets[0].folder)
    daemon.start()
    wait_until(lambda: len(api.called("GET")) == 2, "the node is looked at")
    daemon.stop()
    assert len(api.called("PATCH")) == 1


def test_taint_stays_without_a_registration(api, registry, start):
    daemon = start({"labels": "node"}, warm=[{"model": registry.ref("raw"), "required": True}])
    wait_until(lambda: "modelstage.io/warm-raw-latest" in api.labels(), "the model is here and the node was changed")
    daemon.stop()
    assert TAINT in api.taints()


def test_taint_goes_when_the_api_server_is_back(api, start, registered):
    api.faults.extend([{"status": 403}, {"reset": True}, {"status": 500, "headers": [("Retry-After", "0")]}, {"status": 409}])
    daemon = start(csi=registered())
    wait_until(lambda: api.taints() == ["nvidia.com/gpu"], "the taint is gone")
    wait_until(lambda: "the Node is as it should be again" in daemon.log, "that it had failed and works again is logged")
    assert "cannot change node test-node: the API server denies it" in daemon.log


def test_daemon_that_stops_does_not_wait_for_a_silent_api_server(api, start, registered):
    api.faults.extend([{"silent": True}] * 100)
    daemon = start(csi=registered())
    wait_until(lambda: api.called("GET"), "the node is asked for")
    daemon.stop()
    assert TAINT in api.taints()


def test_no_api_server_is_no_failure(life, registry, registered):
    daemon = life.daemon(registry, csi=registered(), warm=[{"model": registry.ref("raw"), "required": True}])
    with daemon.published("v", registry.ref("tar")) as path:
        assert file_sums(path) == registry.files("tar")


# ---- labels

def ours(labels):
    return sorted(k for k in labels if k.startswith("modelstage.io/"))


def test_labels_follow_what_is_here(api, registry, start):
    daemon = start({"labels": "node"}, warm=[{"model": registry.ref("raw")}, {"model": registry.ref("modelpacks", "raw")}])
    both = ["modelstage.io/warm-modelpacks-raw", "modelstage.io/warm-raw-latest"]
    wait_until(lambda: ours(api.labels()) == both, "both are labelled")
    wait_until(lambda: daemon.metrics()['warm_models{state="here"}'] == 2, "both are counted")
    daemon.cli("rm", registry.ref("raw")).ok()
    wait_until(lambda: ours(api.labels()) == both[:1], "the removed one is not")
    daemon.publish("v", registry.ref("raw"), pod=POD)  # a pod brings it back
    wait_until(lambda: ours(api.labels()) == both, "it is again")
    config = json.loads(daemon.config.read_text())
    fresh = daemon.config.with_suffix(".new")
    fresh.write_text(json.dumps(dict(config, warm=config["warm"][:1])))
    fresh.rename(daemon.config)
    wait_until(lambda: ours(api.labels()) == both[1:], "what is off the list is not")
    assert api.labels()["kubernetes.io/hostname"] == "test-node"


def test_labels_of_an_earlier_life_go(api, registry, start):
    api.labels().update({"modelstage.io/warm-old-1": "true", "modelstage.io/pool": "mine"})
    start({"labels": "node"})
    wait_until(lambda: ours(api.labels()) == ["modelstage.io/pool"], "only the other one is left")


def test_labels_by_a_feature_file(life, api, registry, start):
    folder = life.folder()
    daemon = start({"labels": "nfd", "nfdDir": str(folder)}, warm=[{"model": registry.ref("raw")}])
    wait_until((folder / "modelstage").exists, "there is a file")
    lines = (folder / "modelstage").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["modelstage.io/warm-raw-latest=true"]
    daemon.cli("rm", registry.ref("raw")).ok()
    wait_until(lambda: not (folder / "modelstage").exists(), "it is gone")
    assert list(folder.iterdir()) == [] and api.asked() == []
