"""`deploy/prometheus/alerts.yml`: each rule asks for what there is, and speaks when it is to and not else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from queries import TARGET, labels_of, wrong_with

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

AT = {"instance": "b", "job": "m"}
POOL = {**AT, "pool": "p"}
STEP_S = 15

WELL: dict[str, str] = {
    "maitred_uptime_seconds": "0+15x120",
    "maitred_pool_ready{pool}": "1x120",
    "maitred_pool_paused{pool}": "0x120",
    "maitred_pool_degraded{pool}": "0x120",
    "maitred_pool_level{pool,level=full}": "0 1 1 0x117",
    "maitred_requests_total{pool,code=ok}": "0+100x120",
    "maitred_requests_total{pool,code=application_error}": "0+50x120",
    "maitred_requests_total{pool,code=worker_lost}": "0+1x120",
    "maitred_requests_shed_total{pool,reason=queue_full}": "0+2x120",
    "maitred_worker_restarts_total{pool,reason=recycle}": "0+5x120",
    "maitred_worker_restarts_total{pool,reason=exit}": "0 1 2 2x117",
    "maitred_worker_deaths_total{pool,cause=oom}": "0x120",
    "maitred_worker_memory_most_bytes{pool}": "50x120",
    "maitred_worker_memory_limit_bytes{pool}": "100x120",
    "maitred_quarantined_requests{pool}": "0x120",
    "maitred_memory_bytes": "600x120",
    "maitred_memory_limit_bytes": "1000x120",
    "maitred_memory_scarce": "0x120",
    "maitred_descriptors": "20x120",
    "maitred_descriptors_limit": "1024x120",
    "maitred_loop_lag_seconds_bucket{le=0.1}": "0+10x120",
    "maitred_loop_lag_seconds_bucket{le=0.25}": "0+10x120",
    "maitred_loop_lag_seconds_bucket{le=+Inf}": "0+10x120",
    "maitred_auth_failures_total{reason=refused}": "0 1 2 3x117",
    "maitred_connections_refused_total{reason=descriptors}": "0x120",
    "maitred_fd_rescues_total": "0x120",
}
"""Series of a broker that has nothing to complain of: `{pool}` stands for this pool, and all are of one target."""

ILL: dict[str, dict[str, str]] = {
    "MaitredGone": {"maitred_uptime_seconds": "_x120"},
    "MaitredPoolDown": {"maitred_pool_ready{pool}": "0x120"},
    "MaitredPoolDegraded": {"maitred_pool_degraded{pool}": "1x120"},
    "MaitredPoolSaturated": {"maitred_pool_level{pool,level=full}": "1x19 0 1x100"},
    "MaitredShedding": {"maitred_requests_shed_total{pool,reason=queue_full}": "0+20x120"},
    "MaitredFailures": {"maitred_requests_total{pool,code=worker_lost}": "0+20x120"},
    "MaitredRestartStorm": {"maitred_worker_restarts_total{pool,reason=exit}": "0+1x120"},
    "MaitredWorkerOutOfMemory": {"maitred_worker_deaths_total{pool,cause=oom}": "0x70 1x50"},
    "MaitredWorkerMemoryHigh": {"maitred_worker_memory_most_bytes{pool}": "50x40 95x80"},
    "MaitredQuarantine": {"maitred_quarantined_requests{pool}": "1x120"},
    "MaitredMemoryHigh": {"maitred_memory_bytes": "750x120"},
    "MaitredMemoryScarce": {"maitred_memory_scarce": "1x120"},
    "MaitredDescriptorsHigh": {"maitred_descriptors": "900x120"},
    "MaitredLoopLag": {"maitred_loop_lag_seconds_bucket{le=0.1}": "0+9x120"},
    "MaitredAuthFailures": {"maitred_auth_failures_total{reason=refused}": "0+1x120"},
    "MaitredConnectionsRefused": {"maitred_connections_refused_total{reason=descriptors}": "0x78 3x42"},
    "MaitredRescue": {"maitred_fd_rescues_total": "0x78 1x42"},
}
"""What is otherwise when a rule is to speak, 20 minutes on."""

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here; Debian has it in the package prometheus"
)


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert wrong_with(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert named <= labels_of(rule["expr"])
    assert all(set(re.findall(r"maitred_[a-z_]+", text)) <= _families() for text in rule["annotations"].values())


def _families() -> set[str]:
    return set(re.findall(r"^\| `(maitred_\w+)`", PAGE.read_text(), re.MULTILINE))


def test_queries_of_the_page_ask_for_what_there_is() -> None:
    queries = re.findall(r"```promql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(queries) == 5
    assert [wrong_with(query) for query in queries] == [[]] * 5


def test_every_rule_is_tried() -> None:
    assert set(ILL) == {rule["alert"] for rule in rules()}


@promtool
def test_the_rules_are_well_formed() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True)


@promtool
@pytest.mark.slow
def test_each_rule_speaks_when_it_is_to_and_no_other(tmp_path: Path) -> None:
    tests = [_test("all is well", WELL, None), _test("paused", {**WELL, **PAUSED}, None)]
    tests += [_test(alert, {**WELL, **changes}, alert) for alert, changes in ILL.items()]
    script = tmp_path / "test.yml"  # JSON is YAML
    script.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


PAUSED = {"maitred_pool_ready{pool}": "0x120", "maitred_pool_paused{pool}": "1x120"}


def _test(name: str, series: dict[str, str], fires: str | None) -> dict[str, Any]:
    found = [] if fires is None else [{"labels": f'{{alertname="{fires}"}}', "value": 1}]
    asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "20m", "exp_samples": found}
    written = [{"series": _series(key), "values": values} for key, values in series.items()]
    return {"name": name, "interval": f"{STEP_S}s", "input_series": written, "promql_expr_test": [asked]}


def _series(key: str) -> str:
    name, _, words = key.rstrip("}").partition("{")
    labels = dict(AT)
    for word in filter(None, words.split(",")):
        label, _, value = word.partition("=")
        labels[label] = value or POOL[label]
    assert set(AT) == TARGET
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
