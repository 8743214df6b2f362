# SPDX-License-Identifier: Apache-2.0
"""Alerts and dashboard: PromQL that parses, series and labels that the daemon really has."""
import json
import re

import pytest

from conftest import REPOSITORY

EVERYTHING = REPOSITORY / "tests/deploy/values/everything.yaml"
FOREIGN = {"kube_daemonset_status_number_unavailable": {"namespace", "daemonset"}}  # kube-state-metrics', as its documentation has them
TARGET_LABELS = {"job", "node", "namespace", "pod", "container", "instance", "endpoint"}  # what the PodMonitor adds


def check_expressions(tools, metrics, texts):
    """By text: the labels that its result can have."""
    for text, found in zip(texts, tools.promql(texts)):
        assert not found.get("error"), f"{text}: {found['error']}"
        assert found["selectors"], f"{text} asks for no series"
        known = set()
        for selector in found["selectors"]:
            if selector["metric"] == "up":
                labels = TARGET_LABELS
            elif selector["metric"] in FOREIGN:
                labels = FOREIGN[selector["metric"]]
            else:
                assert selector["metric"] in metrics, f"{text}: there is no {selector['metric']}"
                labels = metrics[selector["metric"]] | TARGET_LABELS
            assert set(selector["labels"]) <= labels, text
            known |= labels
        assert set(found["by"]) <= known, text
        yield text, set(found["by"]) or known


def test_promql_that_asks_for_nothing_real_is_seen(tools, metrics):
    for text in ("sum(rate(modelstage_no_such_total[5m]))", "modelstage_volumes{colour=\"red\"}", "sum by (colour) (modelstage_volumes)",
                 "rate(modelstage_stage_seconds[5m])", "sum(modelstage_volumes", "1"):
        with pytest.raises(AssertionError):
            list(check_expressions(tools, metrics, [text]))


@pytest.fixture(name="rules")
def fixture_rules(tools):
    groups = tools.render(EVERYTHING).get("PrometheusRule", "modelstage")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_ask_for_series_that_exist(tools, metrics, rules):
    assert len(rules) >= 6 and len({r["alert"] for r in rules}) == len(rules)
    results = dict(check_expressions(tools, metrics, [r["expr"] for r in rules]))
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert used <= results[rule["expr"]], rule["alert"]


def test_an_agent_that_does_not_exist_is_missed(tools, rules):
    """`up` is there only for what is a target; the DaemonSet's status counts what is not."""
    rule = next(r for r in rules if r["alert"] == "ModelstageAgentMissing")
    (found,) = tools.promql([rule["expr"]])
    assert [s["metric"] for s in found["selectors"]] == ["kube_daemonset_status_number_unavailable"]
    assert f'daemonset="{tools.render({}).of("DaemonSet")[0]["metadata"]["name"]}"' in rule["expr"]


def test_every_alert_is_documented(rules):
    page = (REPOSITORY / "docs/kubernetes.md").read_text()
    assert {r["alert"] for r in rules} == set(re.findall(r"^\| `(Modelstage\w+)` \|", page, re.M))


def test_the_pod_monitor_scrapes_the_port_that_pods_have(tools):
    objects = tools.render(EVERYTHING)
    monitor = objects.get("PodMonitor", "modelstage")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("http", "/metrics", "15s")
    for pod in objects.pods().values():
        assert pod["metadata"]["labels"].items() >= monitor["spec"]["selector"]["matchLabels"].items()
        assert any(p["name"] == "http" for c in pod["spec"]["containers"] for p in c["ports"])
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"  # so job="modelstage", which alerts say


def test_the_dashboard_shows_series_that_exist(tools, metrics):
    config_map = tools.render(EVERYTHING).get("ConfigMap", "modelstage-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config_map["metadata"]["annotations"] == {"grafana_folder": "Models"}
    dashboard = json.loads(config_map["data"]["modelstage.json"])
    panels = dashboard["panels"]
    assert len({p["id"] for p in panels}) == len(panels) and len({p["title"] for p in panels}) == len(panels)
    shown = set()
    for panel in panels:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$node", ".*")
            assert "$" not in text
            (_, labels), = check_expressions(tools, metrics, [text])
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]
            shown |= {re.sub("_(bucket|count|sum)$", "", m) for m in re.findall(r"modelstage_\w+", text)}
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    assert variables == {"datasource", "node"}
    series = {re.sub("_(bucket|count|sum)$", "", m) for m in metrics}
    assert len(series - shown) <= 4, f"not shown: {sorted(series - shown)}"


def test_panels_do_not_lie_on_each_other(tools):
    dashboard = json.loads(tools.render(EVERYTHING).get("ConfigMap", "modelstage-dashboard")["data"]["modelstage.json"])
    taken = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} on {taken[cell]}"
            taken[cell] = panel["title"]
