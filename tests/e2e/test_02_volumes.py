# SPDX-License-Identifier: Apache-2.0
"""Claims and inline volumes: what pods read is what the registry has, and the second pod starts from the cache."""
import objects
import pytest


def delta(before, after):
    return {k: after[k] - before[k] for k in before}


def test_claim_second_pod_and_another_namespace(driver, cluster, models, node, tools, space, sums, minilm):
    reference = models.ref("registry", "models/all-minilm-l6-v2", "1")
    driver.forget(reference)
    before = driver.requests()
    one, two = space(), space()
    for where in (one, two):
        cluster.apply(objects.claim("model", reference), namespace=where)
    cluster.apply(objects.pod("first", tools, objects.claim_volume("model"), node), namespace=one)
    cluster.wait_ready(one, "first")
    assert sums(one, "first") == minilm
    cluster.apply(objects.pod("second", tools, objects.claim_volume("model"), node), namespace=one)
    cluster.apply(objects.pod("third", tools, objects.claim_volume("model"), node), namespace=two)
    cluster.wait_ready(one, "second")
    cluster.wait_ready(two, "third")
    assert sums(one, "second") == sums(two, "third") == minilm
    assert delta(before, driver.requests()) == {"miss": 1, "hit": 2, "joined": 0}


@pytest.mark.parametrize("repository, tag, kind, golden_tag", [
    ("models/small", "plain", "images", "plain"), ("models/small", "zstd", "images", "zstd"),
    ("models/kit", "1", "modelkits", "gzip"), ("models/pack", "1", "modelpacks", "raw")])
def test_every_format_inline(driver, cluster, models, node, tools, space, sums, golden, repository, tag, kind, golden_tag):
    where = space()
    cluster.apply(objects.pod("p", tools, objects.inline_volume(models.ref("registry", repository, tag)), node), namespace=where)
    cluster.wait_ready(where, "p")
    assert sums(where, "p") == golden(kind, golden_tag)


def test_restricted_namespace_takes_an_inline_volume(driver, cluster, models, node, tools, space, sums, golden):
    where = space("restricted")
    volume = objects.inline_volume(models.ref("registry", "models/small", "plain"))
    cluster.apply(objects.pod("p", tools, volume, node, restricted=True), namespace=where)
    cluster.wait_ready(where, "p")
    assert sums(where, "p") == golden("images", "plain")


def test_volume_that_is_not_asked_for_read_only_is_read_only_all_the_same(driver, cluster, models, node, tools, space):
    where = space()
    volume = objects.inline_volume(models.ref("registry", "models/small", "plain"), read_only=False)
    made = objects.pod("p", tools, volume, node)
    made["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = False
    made["spec"]["securityContext"] = {"fsGroup": 4242}
    cluster.apply(made, namespace=where)
    cluster.wait_ready(where, "p")
    done = cluster.exec(where, "p", "/bin/busybox", "touch", "/mnt/models/x", check=False)
    assert done.returncode != 0 and "Read-only" in done.stderr


def test_sub_path_of_a_claim(driver, cluster, models, node, tools, space, sums, golden):
    """KServe's pvc://claim/path."""
    where = space()
    cluster.apply(objects.claim("model", models.ref("registry", "models/kit", "1")),
                  objects.pod("p", tools, objects.claim_volume("model"), node, sub_path="tokenizer"), namespace=where)
    cluster.wait_ready(where, "p")
    expected = golden("modelkits", "gzip")
    assert sums(where, "p") == {path.removeprefix("tokenizer/"): s for path, s in expected.items() if path.startswith("tokenizer/")}


def test_claim_without_an_annotation_says_which_is_missing(driver, cluster, space):
    where = space()
    cluster.apply(objects.claim("model"), namespace=where)
    message = wait_claim_event(cluster, where, "model", "modelstage.io/model")
    assert "annotation" in message


def test_claim_with_a_bad_annotation_says_what_is_wrong(driver, cluster, space):
    where = space()
    cluster.apply(objects.claim("model", "Not A Reference"), namespace=where)
    assert "Not A Reference" in wait_claim_event(cluster, where, "model", "modelstage.io/model")


def wait_claim_event(cluster, namespace, claim, part):
    from harness.process import wait_until
    selector = f"--field-selector=involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim}"

    def find():
        messages = [e["message"] for e in cluster.get("-n", namespace, "events", selector)["items"]]
        return next((m for m in messages if part in m), None)
    return wait_until(find, f"an event of the claim says {part!r}")


@pytest.mark.parametrize("model, says", [("registry.invalid/x:1", "registry.invalid"), ("UPPER/case", "UPPER")])
def test_model_that_cannot_be_had_is_explained_to_the_user(driver, cluster, node, tools, space, model, says):
    where = space()
    cluster.apply(objects.pod("p", tools, objects.inline_volume(model), node), namespace=where)
    assert says in cluster.wait_event(where, "p", "MountVolume.SetUp failed")


def test_unknown_attribute_is_named(driver, cluster, models, node, tools, space):
    where = space()
    volume = objects.inline_volume(models.ref("registry", "models/pack", "1"), pulPolicy="Never")
    cluster.apply(objects.pod("p", tools, volume, node), namespace=where)
    assert "pulPolicy" in cluster.wait_event(where, "p", "MountVolume.SetUp failed")


def test_miss_gives_one_event_with_bytes_and_rate(driver, cluster, models, node, tools, space):
    where = space()
    reference = models.ref("faults", "many/0")
    driver.forget(reference)
    for name in ("a", "b"):
        cluster.apply(objects.pod(name, tools, objects.inline_volume(reference), node), namespace=where)
        cluster.wait_ready(where, name)
    message = cluster.wait_event(where, "a", reference)
    assert "MiB" in message and "/s" in message
    told = {pod: [m for kind, reason, m in cluster.events(where, pod) if (kind, reason) == ("Normal", "ModelStaged")] for pod in "ab"}
    assert told == {"a": [message], "b": []}, "one event for the miss, none for the hit"
