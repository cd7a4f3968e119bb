"""`deploy/grafana/maitred.json`: every panel asks for what there is, and every variable is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queries import SCRAPED, TARGET, fields_of, labels_of, wrong_with

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "maitred.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
COLUMNS = 24

WANTED = {
    "maitred_pool_level", "maitred_requests_total", "maitred_requests_shed_total",
    "maitred_request_duration_seconds_bucket", "maitred_queue_wait_seconds_bucket", "maitred_workers",
    "maitred_worker_restarts_total", "maitred_worker_memory_bytes", "maitred_gpu_memory_bytes",
    "maitred_gpu_utilisation_ratio", "maitred_memory_bytes", "maitred_descriptors", "maitred_loop_lag_seconds_bucket",
}  # fmt: skip
"""What somebody who watches pools wants to see."""


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    for target in panel["targets"]:
        assert wrong_with(target["expr"]) == []
        assert fields_of(target["legendFormat"]) <= labels_of(target["expr"])
        assert target["datasource"] == panel["datasource"]
        for name in re.findall(r"maitred_\w+", target["expr"]):  # each is narrowed by the variables that it can be
            chosen = re.findall(rf"{name}{{([^}}]*)}}", target["expr"])
            assert chosen
            assert all('instance=~"$instance"' in matchers for matchers in chosen)
            assert all(('pool=~"$pool"' in matchers) == ("pool" in SCRAPED[name]) for matchers in chosen)


def test_it_shows_what_one_wants_to_see() -> None:
    asked = {name for panel in PANELS for it in panel["targets"] for name in re.findall(r"maitred_\w+", it["expr"])}
    assert asked >= WANTED


def test_variables_offer_what_there_is() -> None:
    assert set(VARIABLES) == {"datasource", "instance", "pool"}
    for name in ("instance", "pool"):
        found = re.fullmatch(r"label_values\((\w+)({[^}]*})?, (\w+)\)", VARIABLES[name]["definition"])
        assert found is not None
        assert found[3] == name
        assert name in SCRAPED[found[1]] | TARGET
        assert VARIABLES[name]["query"]["query"] == VARIABLES[name]["definition"]


def test_panels_lie_side_by_side() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [cell for panel in DASHBOARD["panels"] for cell in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < COLUMNS for x, _ in cells)


def _cells(at: dict[str, int]) -> Iterator[tuple[int, int]]:
    return ((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))
