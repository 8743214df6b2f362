# SPDX-License-Identifier: Apache-2.0
"""The warm list follows its file, which Kubernetes changes by swapping a symbolic link; everything else waits for a restart."""
import json

import pytest
from harness.kubelet import ConfigMap
from harness.process import wait_until


@pytest.fixture
def mapped(life, registry):
    """mapped(warm): a daemon whose configuration is a ConfigMap; mapped.update(daemon, warm) changes it."""
    def text(daemon, warm):
        return json.dumps(dict(json.loads(daemon.written.read_text()), warm=warm))

    def make(*warm):
        daemon = life.daemon(registry)
        daemon.stop()
        daemon.written = daemon.config
        daemon.map = ConfigMap(life.folder(), text(daemon, warm))
        daemon.config = daemon.map.path
        daemon.start()
        return daemon

    make.update = lambda daemon, *warm: daemon.map.update(text(daemon, warm))
    return make


def here(daemon):
    return {m["reference"]: m for m in daemon.cli("ls", "-o", "json").json() if m["state"] == "ready"}


def test_list_of_the_start_is_warmed(mapped, registry):
    daemon = mapped({"model": registry.ref("raw"), "pin": True}, {"model": registry.ref("modelpacks", "raw")})
    wait_until(lambda: len(here(daemon)) == 2, "both are here")
    wait_until(lambda: here(daemon)[registry.ref("raw")]["pinned"], "the one is pinned")
    assert not here(daemon)[registry.ref("modelpacks", "raw")]["pinned"]


def test_changed_config_map_is_taken_over(mapped, registry):
    daemon = mapped()
    for model in ("raw", "tar"):
        mapped.update(daemon, {"model": registry.ref(model)})
        wait_until(lambda m=model: registry.ref(m) in here(daemon), "the new model is here")
    assert daemon.log.count("the warm list has changed: 1 models") == 2
    mapped.update(daemon)
    wait_until(lambda: "the warm list has changed: 0 models" in daemon.log, "an empty list is one")
    assert len(here(daemon)) == 2, "what is off the list stays"


def test_new_list_is_not_kept_waiting_by_a_model_of_the_old_one(mapped, registry):
    daemon = mapped()
    registry.set(total="1MiB")
    mapped.update(daemon, {"model": registry.ref("big")})
    wait_until(lambda: [j["state"] for j in daemon.cli("status", "-o", "json").json()] == ["fetching"], "the old one is fetched")
    mapped.update(daemon, {"model": registry.ref("modelpacks", "raw")})
    wait_until(lambda: registry.ref("modelpacks", "raw") in here(daemon), "the new one is here")
    assert [j["reference"] for j in daemon.cli("status", "-o", "json").json()] == [registry.ref("big")], "the old one goes on"


def test_required_model_does_not_wait_for_those_that_are_listed_before_it(mapped, registry):
    registry.set(total="1MiB")
    required = registry.ref("modelpacks", "raw")
    daemon = mapped({"model": registry.ref("big")}, {"model": required, "required": True})
    wait_until(lambda: required in here(daemon), "the required one is here")
    wait_until(lambda: [j["reference"] for j in daemon.cli("status", "-o", "json").json()] == [registry.ref("big")], "the other one follows")
    assert registry.ref("big") not in here(daemon)


def test_removed_model_stays_away_until_the_list_changes(mapped, registry):
    daemon = mapped({"model": registry.ref("raw")})
    wait_until(lambda: registry.ref("raw") in here(daemon), "it is here")
    daemon.cli("rm", registry.ref("raw")).ok()
    mapped.update(daemon, {"model": registry.ref("raw")})  # the file is written anew, the list is the same
    assert registry.ref("raw") not in here(daemon)
    mapped.update(daemon, {"model": registry.ref("modelpacks", "raw")}, {"model": registry.ref("raw")})
    wait_until(lambda: len(here(daemon)) == 2, "another list brings it back")


def test_broken_file_keeps_the_list_and_says_why(mapped, registry):
    daemon = mapped({"model": registry.ref("raw")})
    wait_until(lambda: registry.ref("raw") in here(daemon), "it is here")
    daemon.map.update("warm: [{modle: x}]")
    wait_until(lambda: "is not usable, the warm list stays as it was" in daemon.log, "the mistake is logged")
    mapped.update(daemon, {"model": registry.ref("tar")})
    wait_until(lambda: registry.ref("tar") in here(daemon), "the repaired file is read")


def test_model_that_cannot_be_had_is_tried_again_and_the_others_are_warmed(mapped, registry):
    registry.set(hide_tag="latest")
    daemon = mapped({"model": registry.ref("raw")}, {"model": registry.ref("modelpacks", "raw")})
    wait_until(lambda: registry.ref("modelpacks", "raw") in here(daemon), "the other one is here")
    assert f"cannot warm {registry.ref('raw')}: no such model" in daemon.log
    registry.set(hide_tag="")
    wait_until(lambda: registry.ref("raw") in here(daemon), "it was tried again")


def test_other_settings_wait_for_a_restart(mapped, registry):
    daemon = mapped()
    daemon.map.update(json.dumps(dict(json.loads(daemon.written.read_text()), policy={"allow": ["nothing/**"]}, warm=[{"model": registry.ref("raw")}])))
    wait_until(lambda: registry.ref("raw") in here(daemon), "the list is taken over, the policy is not")
    daemon.restart()
    assert daemon.cli("warm", registry.ref("tar")).status == 5
