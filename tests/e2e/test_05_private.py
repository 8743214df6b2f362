# SPDX-License-Identifier: Apache-2.0
"""A private registry: pull secrets of inline volumes and of StorageClasses, and no model for who has none."""
import objects
import servers


def secret(models):
    return objects.docker_secret("pull", models.host("private"), servers.USER, servers.PASSWORD)


def test_pull_secret_of_an_inline_volume(driver, cluster, models, node, tools, space, sums):
    reference = models.ref("private", "secret/model")
    one, two = space(), space()
    cluster.apply(secret(models), objects.pod("owner", tools, objects.inline_volume(reference, secret="pull"), node), namespace=one)
    cluster.wait_ready(one, "owner")
    assert len(sums(one, "owner")) == 2
    cluster.apply(objects.pod("stranger", tools, objects.inline_volume(reference), node), namespace=two)
    message = cluster.wait_event(two, "stranger", "MountVolume.SetUp failed")
    assert "PermissionDenied" in message and "nodePublishSecretRef" in message, message
    assert servers.PASSWORD not in driver.log()


def test_secret_of_a_storage_class(driver, cluster, models, node, tools, space, sums):
    where = space()
    values = driver.values()
    generic = {"name": "modelstage"}
    private = {"name": "ms-e2e-private", "model": models.ref("private", "secret/model"), "secretName": "pull",
               "secretNamespace": "${pvc.namespace}"}
    driver.upgrade(storageClasses=[generic, private], config=values["config"])
    try:
        cluster.apply(secret(models), objects.claim("model", storage_class="ms-e2e-private"),
                      objects.pod("p", tools, objects.claim_volume("model"), node), namespace=where)
        cluster.wait_ready(where, "p")
        assert len(sums(where, "p")) == 2
    finally:
        driver.upgrade()
