# SPDX-License-Identifier: Apache-2.0
"""CreateVolume, from a StorageClass or from a claim's annotations, against an API server that works and one that does not."""
import concurrent.futures
import time

import grpc
import pytest
from harness.api_server import CLAIM, VOLUME, ApiServer, status
from harness.controller import Controller
from harness.process import wait_until

MODEL = "registry.example.com/models/llama:1"
OTHER = "registry.example.com/models/other:1"
UID = "6a3f0f5e-0000-4000-8000-000000000001"
PV = f"pvc-{UID}"


@pytest.fixture
def api(life):
    server = ApiServer(life.folder())
    yield server
    server.stop()


@pytest.fixture
def start(life, build):
    """start(api, …): a controller that the test's end stops."""
    def start_one(api, **kubernetes):
        controller = Controller(build, life.folder(), api, **kubernetes)
        life.started.append(controller)
        return controller
    return start_one


@pytest.fixture
def controller(start, api):
    return start(api)


# ---- what is recorded


def test_a_claims_annotations_become_the_volume_context(api, controller):
    api.claim(model=f"oci://{MODEL}", pull_policy="Never", root="weights", include="*.json,*.safetensors", exclude="original/**")
    volume = controller.create(PV)
    assert dict(volume.volume_context) == {"model": f"oci://{MODEL}", "pullPolicy": "Never", "root": "weights",
                                           "include": "*.json,*.safetensors", "exclude": "original/**"}
    assert volume.capacity_bytes == 1 << 30
    assert api.asked() == [CLAIM.format("ml", "llama"), VOLUME.format(PV)]
    assert "for claim ml/llama" in controller.log


def test_what_the_class_sets_besides_stays_set(api, controller):
    api.claim(model=MODEL, root="a")
    assert dict(controller.create(PV, platform="linux/arm64", root="a").volume_context) == {
        "model": MODEL, "root": "a", "platform": "linux/arm64"}


def test_a_class_with_a_model_needs_no_claim(api, controller):
    api.claim(model=OTHER)
    volume = controller.create(PV, model=MODEL, pullPolicy="Always", allow="nothing/**")
    assert dict(volume.volume_context) == {"model": MODEL, "pullPolicy": "Always"}
    assert api.asked(CLAIM.format("ml", "llama")) == []


def test_the_context_is_what_a_node_mounts(life, api, controller, registry, daemon):
    api.claim(model=registry.ref("modelpacks", "raw"))
    volume = controller.create(PV)
    with daemon.published(volume.volume_id, **volume.volume_context) as path:
        assert any(path.iterdir())


def test_a_volume_from_a_claim_is_validated_and_deleted_like_any(api, controller):
    import csi_pb2
    api.claim(model=MODEL)
    volume = controller.create(PV)
    request = csi_pb2.ValidateVolumeCapabilitiesRequest(volume_id=volume.volume_id, volume_context=volume.volume_context,
                                                        volume_capabilities=controller.request(PV).volume_capabilities)
    confirmed = controller.stub.ValidateVolumeCapabilities(request, timeout=10).confirmed
    assert dict(confirmed.volume_context) == {"model": MODEL}
    controller.stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=10)
    controller.stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=10)
    api.claim(model=OTHER)
    assert controller.create(PV).volume_context["model"] == OTHER, "what was deleted does not stand in the way"


# ---- what is refused, and in which words


def test_a_missing_annotation_is_named_and_adding_it_helps_at_once(api, controller):
    api.claim()
    code, text = controller.refusal(PV)
    assert code == "FAILED_PRECONDITION"  # InvalidArgument would be tried again after minutes only
    assert "claim ml/llama" in text and "annotation modelstage.io/model" in text and "StorageClass models" in text
    api.claim(model=MODEL)
    assert controller.create(PV).volume_context["model"] == MODEL


def test_an_empty_annotation_is_a_missing_one(api, controller):
    api.claim(model="")
    code, text = controller.refusal(PV)
    assert code == "FAILED_PRECONDITION" and "has no annotation modelstage.io/model" in text


@pytest.mark.parametrize("annotation, value, says", [
    ("model", "registry.example.com/UPPER", "UPPER"),
    ("model", "https://registry.example.com/m", "URL scheme"),
    ("pull-policy", "Sometimes", "use IfNotPresent, Always or Never"),
    ("root", "../../etc", "root"),
    ("include", "/absolute", "no leading slash"),
    ("exclude", "x" * 2000, "longer than"),
])
def test_a_bad_annotation_is_named_with_its_claim(api, controller, annotation, value, says):
    api.claim(**{"model": MODEL, annotation.replace("-", "_"): value})
    code, text = controller.refusal(PV)
    assert code == "FAILED_PRECONDITION"
    assert text.startswith(f"annotation modelstage.io/{annotation} of claim ml/llama: ") and says in text


@pytest.mark.parametrize("wanted, says", [
    ({"mode": "MULTI_NODE_MULTI_WRITER"}, "access mode ReadWriteMany is not supported"),
    ({"mode": "SINGLE_NODE_SINGLE_WRITER"}, "access mode ReadWriteOncePod is not supported"),
    ({"block": True}, "use volumeMode: Filesystem"),
])
def test_a_mode_that_no_model_can_have_is_the_claims_mistake(api, controller, wanted, says):
    api.claim(model=MODEL)
    code, text = controller.refusal(PV, **wanted)
    assert code == "FAILED_PRECONDITION" and says in text


def test_an_annotation_that_nobody_knows_is_named(api, controller):
    api.claim(modle=MODEL)
    code, text = controller.refusal(PV)
    assert code == "FAILED_PRECONDITION" and '"modelstage.io/modle"' in text and "ml/llama" in text


def test_an_annotation_against_the_class_is_refused(api, controller):
    api.claim(model=MODEL, pull_policy="Always")
    code, text = controller.refusal(PV, pullPolicy="IfNotPresent")
    assert code == "FAILED_PRECONDITION" and "modelstage.io/pull-policy" in text and "IfNotPresent" in text and "remove the annotation" in text


@pytest.mark.parametrize("allow, model, allowed", [
    ("registry.example.com/models/*", MODEL, True),
    ("other/**, registry.example.com/models/llama", MODEL, True),
    ("registry.example.com/**", MODEL, True),
    ("**", MODEL, True),
    ("registry.example.com/models/llama:2", MODEL, False),
    ("registry.example.com/*", MODEL, False),
    ("docker.io/library/*", "busybox", True),
    ("registry.example.com/**", "oci-layout:/var/lib/models:1", False),
    (" , ", MODEL, False),
])
def test_a_class_bounds_what_its_claims_may_ask_for(api, controller, allow, model, allowed):
    api.claim(model=model)
    if allowed:
        assert controller.create(PV, allow=allow).volume_context["model"] == model
    else:
        code, text = controller.refusal(PV, allow=allow)
        assert code == "PERMISSION_DENIED"
        assert "claim ml/llama may not ask for" in text and "StorageClass models" in text and "modelstage.io/allow" in text


@pytest.mark.parametrize("parameters, says", [
    ({"modelstage.io/alow": "a/**"}, "modelstage.io/alow"),  # a misspelt bound would be no bound
    ({"modelstage.io/model": MODEL}, "modelstage.io/model"),
    ({"modle": MODEL}, "modle"),
    ({"modelstage.io/allow": ""}, "modelstage.io/allow is empty"),  # a value that was not filled in would be no bound either
    ({"pullPolicy": "Sometimes"}, "pullPolicy"),
])
def test_a_mistake_in_the_class_is_not_the_claims(api, controller, parameters, says):
    api.claim(model=MODEL)
    code, text = controller.refusal(PV, **parameters)
    assert code == "INVALID_ARGUMENT" and says in text and "StorageClass" in text
    assert api.asked() == []


def test_without_metadata_from_the_provisioner_the_text_says_what_to_do(api, controller):
    code, text = controller.refusal(PV, claim=None)
    assert code == "INVALID_ARGUMENT" and "--extra-create-metadata" in text


@pytest.mark.parametrize("name", ["../../secrets/x", "a/b", "a?watch=1", "a%2Fb", "..", "A", "a b", "a\n", "a" * 254])
@pytest.mark.parametrize("which", ["claim", "namespace"])
def test_a_name_cannot_lead_to_another_object(api, controller, name, which):
    code, text = controller.refusal("pvc-1", **{which: name})
    assert code == "INVALID_ARGUMENT" and "is no name of an object" in text
    assert api.asked() == []


def test_a_claim_that_was_made_anew_is_another_one(api, controller):
    api.claim(model=MODEL, uid="ffffffff-0000-4000-8000-000000000001")
    code, text = controller.refusal(PV)
    assert code == "NOT_FOUND" and "made anew" in text
    assert controller.create("pvc-of-another-prefix").volume_context["model"] == MODEL, "not every name has a UID in it"


def test_a_layout_is_for_volumes_only_where_the_administrator_says(start, api):
    controller = start(api, layouts=["/srv/models"])
    api.claim(model="oci-layout:/var/lib/kubelet/pods/x:1")
    code, text = controller.refusal(PV)
    assert code == "PERMISSION_DENIED" and "policy.layouts" in text
    assert controller.refusal(PV, model="oci-layout:/srv/models-of-others:1")[0] == "PERMISSION_DENIED"
    assert controller.create(PV, model="oci-layout:/srv/models/x:1").volume_context["model"] == "oci-layout:/srv/models/x:1"


# ---- the same name again


def test_the_same_name_is_the_same_volume_and_never_another(api, controller):
    api.claim(model=MODEL)
    first = controller.create(PV)
    assert controller.create(PV) == first
    api.claim(model=OTHER)
    code, text = controller.refusal(PV)
    assert code == "ALREADY_EXISTS" and "make a new claim" in text
    api.claim(model=MODEL, root="sub")
    assert controller.refusal(PV)[0] == "ALREADY_EXISTS"
    api.claim(model=MODEL)
    assert controller.create(PV) == first


def test_after_a_restart_the_cluster_still_knows(api, controller):
    api.claim(model=MODEL)
    first = controller.create(PV)
    api.volume(PV, first)
    controller.restart()
    assert controller.create(PV) == first
    controller.restart()
    api.claim(model=OTHER)
    code, text = controller.refusal(PV)
    assert code == "ALREADY_EXISTS" and PV in text and MODEL in text and OTHER in text
    api.claim(model=MODEL)
    assert controller.create(PV) == first, "a refusal leaves nothing behind"


def test_another_replica_knows_as_well(api, controller, start):
    first = controller.create(PV, model=MODEL)
    api.volume(PV, first)
    replica = start(api)
    assert replica.create(PV, model=MODEL) == first
    assert start(api).refusal(PV, model=OTHER)[0] == "ALREADY_EXISTS"


def test_a_volume_of_that_name_that_is_not_ours_stands_in_the_way(api, controller):
    api.claim(model=MODEL)
    api.volume(PV, controller.create(PV), driver="ebs.csi.aws.com")
    code, text = controller.refusal(PV)
    assert code == "ALREADY_EXISTS" and "is not this volume" in text


# ---- an API server that does not do what it should


def test_a_rotated_token_is_read_again(api, controller):
    api.claim(model=MODEL)
    controller.create(PV)
    api.tokens = {"token-two"}
    api.write("token", "token-two\n")
    assert controller.create(PV).volume_context["model"] == MODEL


def test_a_token_that_is_not_accepted_is_said_where_it_lies(api, controller):
    api.tokens = set()
    code, text = controller.refusal(PV)
    assert code == "UNAUTHENTICATED" and str(api.account) in text
    assert len(api.asked()) == 2, "once with a fresh one, and no more"


def test_missing_rights_are_named(api, controller):
    api.faults.append({"status": 403, "message": 'persistentvolumeclaims "llama" is forbidden: User "system:serviceaccount:a:b" cannot get'})
    code, text = controller.refusal(PV)
    assert code == "PERMISSION_DENIED" and "needs get of persistentvolumeclaims" in text and "system:serviceaccount:a:b" in text
    api.claim(model=MODEL)
    api.faults.extend([{"status": 200, "body": api.objects[CLAIM.format("ml", "llama")]}, {"status": 403}])
    code, text = controller.refusal(PV)
    assert code == "PERMISSION_DENIED" and "needs get of persistentvolumes)" in text


def test_a_claim_that_is_gone_is_not_found(controller):
    code, text = controller.refusal(PV)
    assert (code, "claim ml/llama" in text) == ("NOT_FOUND", True), text


@pytest.mark.parametrize("fault", [
    {"status": 429, "headers": [("Retry-After", "0")]},
    {"status": 429, "body": status(429, "slow down", retryAfterSeconds=1)},
    {"status": 500, "message": "etcdserver: leader changed"},
    {"status": 503, "body": b"<html>"},
    {"reset": True},
])
def test_what_goes_away_by_itself_is_not_seen(api, controller, fault):
    api.claim(model=MODEL)
    api.faults.append(fault)
    assert controller.create(PV).volume_context["model"] == MODEL


def test_a_nul_in_an_annotation_spoils_only_ours(api, controller):
    api.claim(model=MODEL)
    api.objects[CLAIM.format("ml", "llama")]["metadata"]["annotations"]["example.com/note"] = "a\0b"
    assert controller.create(PV).volume_context["model"] == MODEL
    api.claim(model=MODEL + "\0evil")
    code, text = controller.refusal("pvc-2")
    assert code == "FAILED_PRECONDITION" and "annotation modelstage.io/model of claim ml/llama has a NUL" in text


def test_a_server_that_is_busy_for_longer_than_the_call_is_unavailable(api, controller):
    api.faults.append({"status": 429, "message": "too many", "headers": [("Retry-After", "3600")]})
    code, text = controller.refusal(PV, timeout=20)
    assert code == "UNAVAILABLE" and "too many" in text and "claim ml/llama" in text
    assert len(api.asked()) == 1


def test_a_silent_server_holds_up_nobody_else(api, controller):
    api.claim(model=MODEL)
    api.faults.append({"silent": True})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(controller.refusal, "pvc-1", timeout=4)
        wait_until(api.asked, "the API server is asked")
        assert controller.create("pvc-2").volume_context["model"] == MODEL
        assert waiting.result()[0] == "DEADLINE_EXCEEDED"


def test_all_that_a_call_asks_the_server_has_one_time_limit(api, controller):
    api.claim(model=MODEL)
    api.faults.extend([{"late": 4}, *[{"silent": True}] * 20])
    since = time.monotonic()
    assert controller.refusal(PV, timeout=120)[0] == "DEADLINE_EXCEEDED"
    assert 24 < time.monotonic() - since < 27


def test_who_stops_does_not_wait_for_a_silent_server(api, controller):
    api.faults.append({"silent": True})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(controller.refusal, PV, timeout=300)
        wait_until(api.asked, "the API server is asked")
        assert controller.process.stop() == 0
        assert waiting.result()[0] in ("CANCELLED", "UNAVAILABLE")


def test_nobody_there_is_unavailable(api, controller):
    api.stop()
    code, text = controller.refusal(PV, timeout=3)
    assert code == "UNAVAILABLE" and "cannot be reached" in text and "claim ml/llama" in text


@pytest.mark.parametrize("body", [
    b"", b"<html>sign in</html>", b"[]", b"{}", b'{"metadata":', b'{"metadata":{"uid":1}}', b'{"metadata":{"uid":"u","annotations":[]}}',
    b'{"metadata":{"uid":"u","annotations":{"modelstage.io/model":5}}}', b'{"metadata":{"uid":"u"},"spec":"x"}', b" " * (4 << 20) + b"{}",
], ids=lambda body: f"{body[:60]!r}-{len(body)}")
def test_an_answer_that_is_no_claim_is_the_servers_fault(api, controller, body):
    api.faults.append({"status": 200, "body": body})
    code, text = controller.refusal(PV)
    assert code == "UNAVAILABLE" and "API server" in text


def test_another_ca_is_not_trusted(life, api, start):
    api.write("ca.crt", api.another_ca())
    controller = start(api)
    code, text = controller.refusal(PV)
    assert code == "UNAVAILABLE" and "not trusted" in text and "ca.crt" in text
    assert api.asked() == []


def test_without_an_api_server_classes_with_a_model_work(start):
    controller = start(None)
    assert controller.create(PV, model=MODEL).volume_context["model"] == MODEL
    code, text = controller.refusal("pvc-2")
    assert code == "FAILED_PRECONDITION" and "kubernetes.serviceAccount" in text and "ml/llama" in text


def test_the_token_shows_nowhere(api, controller):
    api.tokens.add("canary-token")
    api.write("token", "canary-token")
    api.claim(model=MODEL)
    controller.create(PV)
    api.faults.append({"status": 403, "message": "who is canary-token?"})
    assert "canary" not in controller.refusal("pvc-2")[1]
    api.faults.append({"status": 503, "body": b"Bearer canary-token"})
    controller.create("pvc-3")
    assert "/persistentvolumeclaims/llama" in controller.log and "canary" not in controller.log


@pytest.mark.concurrent
def test_as_many_calls_at_once_as_the_provisioner_makes(api, controller):
    for i in range(100):
        api.claim(name=f"claim-{i}", model=f"registry.example.com/m{i}:1")
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        volumes = list(pool.map(lambda i: controller.create(f"pvc-{i}", claim=f"claim-{i}"), range(100)))
    assert [v.volume_context["model"] for v in volumes] == [f"registry.example.com/m{i}:1" for i in range(100)]
    assert len({v.volume_id for v in volumes}) == 100


def test_an_unknown_volume_is_not_validated(controller):
    import csi_pb2
    with pytest.raises(grpc.RpcError) as caught:
        controller.stub.ValidateVolumeCapabilities(csi_pb2.ValidateVolumeCapabilitiesRequest(
            volume_id="pv-1", volume_capabilities=controller.request(PV).volume_capabilities), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
