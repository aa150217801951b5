"""Dashboards and alerts: every metric in them is exported, both twins say the same, Prometheus' own
tool accepts and fires the rules, each has a runbook.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULE, TWIN = ROOT / "terraform" / "modules" / "monitoring", ROOT / "k8s" / "monitoring"
POLICIES = {
    path.stem: json.loads(path.read_text()) for path in sorted((MODULE / "alerts").glob("*.json"))
}
RULE = yaml.safe_load((TWIN / "prometheus-rule.yaml").read_text())
RULES = {
    rule["annotations"]["runbook"].split("#")[1]: rule
    for rule in RULE["spec"]["groups"][0]["rules"]
}
RUNBOOK = (ROOT / "docs" / "monitoring.md").read_text()

OTHERS = {
    # https://cloud.google.com/monitoring/api/metrics_kubernetes, as PromQL names them:
    # kubernetes.io/container/accelerator/memory_used
    "kubernetes_io:container_accelerator_memory_used",
    "kubernetes_io:container_accelerator_memory_total",
    # https://github.com/NVIDIA/dcgm-exporter, etc/default-counters.csv
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    # https://github.com/kubernetes/kube-state-metrics, docs/metrics/workload/job-metrics.md
    "kube_job_status_failed",
}
WORDS = {
    "sum",
    "by",
    "rate",
    "and",
    "or",
    "vector",
    "max",
    "le",
    "avg_over_time",
    "histogram_quantile",
}


def exported() -> set[str]:
    """Series of a server's /metrics, as Prometheus stores them."""
    from greenlight.serving.admission import GAUGES
    from greenlight.serving.metrics import Metrics

    found = set()
    for family in Metrics(
        "r", "m", {name: (text, lambda: 0.0) for name, text in GAUGES.items()}, lambda: 0
    ).registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(
            family.type, [""]
        )
        found |= {family.name + suffix for suffix in suffixes}
    return found


def queries() -> list[tuple[str, str]]:
    """Every PromQL expression, with where it is."""
    found = [
        (name, condition["conditionPrometheusQueryLanguage"]["query"])
        for name, policy in POLICIES.items()
        for condition in policy["conditions"]
        if "conditionPrometheusQueryLanguage" in condition
    ]
    found += [(f"rule {name}", rule["expr"]) for name, rule in RULES.items()]
    for tile in json.loads((MODULE / "dashboard.json").read_text())["mosaicLayout"]["tiles"]:
        for data in tile["widget"].get("xyChart", {}).get("dataSets", []):
            found.append(
                (
                    f"dashboard: {tile['widget']['title']}",
                    data["timeSeriesQuery"]["prometheusQuery"],
                )
            )
    for panel in json.loads((TWIN / "grafana-dashboard.json").read_text())["panels"]:
        found += [(f"Grafana: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


@pytest.mark.parametrize(("where", "query"), queries())
def test_every_metric_is_exported(where: str, query: str) -> None:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without) \([^)]*\)", "", query)
    names = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - WORDS
    assert names and names <= exported() | OTHERS, where


def test_a_real_servers_labels_are_those_that_are_asked_for() -> None:
    from greenlight.serving.metrics import TTFT_BUCKETS

    used = {
        name
        for _, query in queries()
        for part in re.findall(r"greenlight_\w+\{([^}]*)\}", query)
        for name in re.findall(r"(\w+)=", part)
    }
    assert used == {"status", "le"} and 2.5 in TTFT_BUCKETS


def test_both_twins_say_the_same() -> None:
    shared = [
        name
        for name, policy in POLICIES.items()
        if "conditionPrometheusQueryLanguage" in policy["conditions"][0]
    ]
    assert {*shared, "recover-failed"} == set(RULES)
    for name in shared:
        policy, rule = POLICIES[name], RULES[name]
        condition = policy["conditions"][0]["conditionPrometheusQueryLanguage"]
        if name != "gpu-memory":  # the exporters differ there
            assert condition["query"] == rule["expr"]
        assert int(condition["duration"].removesuffix("s")) == 60 * int(
            rule["for"].removesuffix("m")
        )
        assert policy["severity"].lower() == rule["labels"]["severity"]
        assert policy["displayName"] == f"Greenlight: {rule['annotations']['summary']}"


def test_every_alert_has_a_runbook_entry_and_every_entry_an_alert() -> None:
    entries = set(re.findall(r"^### ([a-z-]+)$", RUNBOOK, re.M))
    assert entries == set(POLICIES) | set(RULES)
    for name, policy in POLICIES.items():
        assert f"docs/monitoring.md#{name}" in policy["documentation"]["content"]
        assert policy["userLabels"]["alert"] == name


def test_slos_are_watched_over_two_windows() -> None:
    """The multiwindow, multi-burn-rate alerts of the Site Reliability Workbook, chapter 5."""
    for name, factor, windows in (
        ("errors-fast", 14.4, ("1h", "5m")),
        ("errors-slow", 6, ("6h", "30m")),
        ("latency-fast", 14.4, ("1h", "5m")),
    ):
        query = RULES[name]["expr"]
        assert query.count(f"> {factor} *") == 2 and all(
            f"[{window}]" in query for window in windows
        )


@pytest.fixture(scope="module")
def promtool() -> str:
    found = subprocess.run(
        [str(Path(__file__).parent / "promtool.sh")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if found.returncode == 3:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_promtool_accepts_the_rules_and_fires_them(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULE["spec"]))
    shutil.copy(Path(__file__).parent / "rules_test.yaml", tmp_path)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run(
            [promtool, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "8 rules found"
        in subprocess.run(
            [promtool, "check", "rules", "rules.yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def test_promtool_parses_every_query(promtool: str, tmp_path: Path) -> None:
    """As rules, since it checks nothing else without a server."""
    rules: list[dict[str, Any]] = [
        {"record": f"r{number}", "expr": query} for number, (_, query) in enumerate(queries())
    ]
    (tmp_path / "all.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]})
    )
    done = subprocess.run(
        [promtool, "check", "rules", "all.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_tiles_do_not_overlap() -> None:
    dashboard = json.loads((MODULE / "dashboard.json").read_text())["mosaicLayout"]
    cells: set[tuple[int, int]] = set()
    for tile in dashboard["tiles"]:
        own = {
            (x, y)
            for x in range(tile["xPos"], tile["xPos"] + tile["width"])
            for y in range(tile["yPos"], tile["yPos"] + tile["height"])
        }
        assert not own & cells and tile["xPos"] + tile["width"] <= dashboard["columns"]
        cells |= own
