"""The parts of a dashboard, and their conversion into Grafana's JSON."""

from __future__ import annotations

import string
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""The data source of `provisioning/datasources/prometheus.yml`."""
HEIGHT = 8
HALF, THIRD = 12, 8  # columns of 24


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its series, with labels in double braces."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A chart over time; `stacked` if the series add up to a whole."""

    title: str
    description: str
    unit: str  # one of Grafana's unit ids
    queries: tuple[Query, ...]
    stacked: bool = False
    span: int = HALF

    def build(self) -> timeseries.Panel:
        """Return the panel for Grafana."""
        panel = (
            timeseries.Panel()
            .title(self.title)
            .description(self.description)
            .unit(self.unit)
            .min(0)
            .height(HEIGHT)
            .span(self.span)
            .datasource(SOURCE)
            .draw_style(GraphDrawStyle.LINE)
            .line_width(1)
            .fill_opacity(60 if self.stacked else 10)
            .legend(
                common.VizLegendOptions()
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
                .show_legend(True)
            )
        )
        if self.stacked:
            panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        for name, query in zip(string.ascii_uppercase, self.queries, strict=False):
            panel = panel.with_target(_target(name, query).range())
        return panel


@dataclass(frozen=True)
class Number:
    """The present value of a query."""

    title: str
    description: str
    unit: str
    query: Query

    def build(self) -> stat.Panel:
        """Return the panel for Grafana."""
        return (
            stat.Panel()
            .title(self.title)
            .description(self.description)
            .unit(self.unit)
            .height(HEIGHT // 2)
            .span(THIRD // 2)
            .datasource(SOURCE)
            .with_target(_target("A", self.query).instant())
        )


@dataclass(frozen=True)
class Board:
    """A dashboard: numbers on top, charts below. `by_model` adds a choice of models."""

    uid: str
    title: str
    description: str
    numbers: tuple[Number, ...]
    panels: tuple[Panel, ...]
    by_model: bool = False

    def json(self) -> str:
        """Return the dashboard as Grafana reads it."""
        board = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(["cdvae"])
            .refresh("30s")
            .time("now-6h", "now")
            .timezone("browser")
            .readonly()
        )
        if self.by_model:
            board = board.with_variable(
                dashboard.QueryVariable("model")
                .label("Model")
                .datasource(SOURCE)
                .query("label_values(cdvae_crystals_total, model)")
                .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
                .include_all(True)
                .all_value(".*")
                .multi(True)
            )
        for number in self.numbers:
            board = board.with_panel(number.build())
        for panel in self.panels:
            board = board.with_panel(panel.build())
        return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _target(name: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(name)
        .expr(query.expr)
        .legend_format(query.legend)
        .datasource(SOURCE)
    )
