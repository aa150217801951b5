"""The page: sections and charts put into the template, with plotly.js inside so that it opens
without a network.
"""

import base64
import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from greenlight.core.history import RunRecords
from greenlight.report import (
    section_cost,
    section_head,
    section_load,
    section_provenance,
    section_quality,
    sweep,
)
from greenlight.report.changes import changes_between
from greenlight.report.chart_data import METRICS, Samples
from greenlight.report.charts import (
    Figure,
    drawable,
    latency_chart,
    looks_chart,
    objectives_chart,
    throughput_chart,
)
from greenlight.report.headline import headline_of, method_text
from greenlight.report.metric_labels import LATENCIES

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Chart:
    """A figure and what is said about it: a caption for all, and the same in words for those who do
    not see it.
    """

    id: str
    title: str
    caption: str
    words: str
    figure: Figure


def render(
    run: RunRecords, samples: Samples | None, before: RunRecords | None, problems: list[str]
) -> str:
    """The page as HTML.

    Args:
        samples: of the benchmark; None when there was none, or its samples cannot be read.
        before: the last run that promoted; None for a first release.
        problems: what could not be read, one line per problem.
    """
    charts = _charts(run, samples)
    selection = sweep.sweep_of(run)
    # Names of models, messages of errors and all other text come from outside: whatever the
    # template does not mark as safe is escaped.
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    release = (
        run.decision.deployment.candidate
        if run.decision
        else run.deployment.candidate
        if run.deployment
        else None
    )
    return templates.get_template("page.html.j2").render(
        run=run,
        headline=headline_of(run),
        subject=(
            f"{release.source}, {method_text(release.method, release.bits)}"
            if release
            else run.resolution.source
            if run.resolution
            else ""
        ),
        problems=problems,
        steps=section_head.steps_of(run),
        cards=section_head.cards_of(run),
        objectives=section_head.objective_rows(run.decision.objectives) if run.decision else [],
        latencies=section_load.latency_rows(run),
        metrics=METRICS,
        samples=samples,
        failures=section_load.failures_of(run),
        blocks=section_load.block_rows(samples.blocks) if samples else [],
        quality=section_quality.quality_rows(run),
        tasks=section_quality.task_rows(run),
        selection=selection,
        sweep_columns=sweep.COLUMNS,
        contenders=sweep.sweep_rows(selection) if selection else [],
        loads=section_load.load_rows(run),
        workload=section_load.workload_words(run),
        search=section_quality.search_rows(run),
        costs=section_cost.cost_rows(run),
        compared=bool(release),
        before=before,
        changes=section_cost.change_rows(changes_between(before, run)) if before else [],
        provenance=list(section_provenance.provenance_of(run)),
        charts=charts,
        figures={chart.id: chart.figure for chart in charts.values()},
        plotly=_plotly() if charts else "",
    )


def _charts(run: RunRecords, samples: Samples | None) -> dict[str, Chart]:
    charts: list[Chart] = []
    objectives = run.decision.objectives if run.decision else []
    if shown := drawable(objectives):
        left_out = [objective.name for objective in objectives if objective not in shown]
        caption = (
            "How much of its limit each objective uses: the mark is the estimate, the whisker ends"
            " at the confidence bound. A bound left of the limit passes."
        )
        if left_out:
            caption += (
                " Not drawn, for want of an estimate or of a limit above zero:"
                f" {', '.join(left_out)}."
            )
        words = "Estimate and bound of each objective in units of its limit. " + "; ".join(
            f"{objective.name}: {objective.status}" for objective in shown
        )
        charts.append(
            Chart(
                "objectives", "Estimate, bound and limit", caption, words, objectives_chart(shown)
            )
        )
    if selection := sweep.sweep_of(run):
        caption = (
            "The candidates that could be scored: how far each is from its baseline, and what the"
            " gate weighs against that, measured by its engine alone."
        )
        charts.append(
            Chart(
                "front",
                "Quality against what the gate prefers",
                caption,
                sweep.front_words(selection),
                sweep.front_chart(selection),
            )
        )
    looks = run.decision.looks if run.decision else []
    if len(looks) > 1 and shown:
        caption = f"The bound of each objective after each look. {section_head.looks_words(run)}"
        parts = [
            f"{objective.name}: {', '.join(section_head.bounds_of(objective, number, looks))}"
            for number, objective in enumerate(objectives)
        ]
        charts.append(
            Chart(
                "looks",
                "From look to look",
                caption,
                "Bounds at each look. " + "; ".join(parts),
                looks_chart(objectives, looks),
            )
        )
    colors = section_load.colors_of(run)
    for metric in METRICS if samples else ():
        if samples and samples.curves[metric]:
            name, _, meaning = LATENCIES[metric]
            charts.append(
                Chart(
                    metric,
                    name,
                    f"{name}: {meaning}.",
                    section_load.latency_words(run, metric),
                    latency_chart(samples.curves[metric], colors),
                )
            )
    if samples and samples.blocks:
        rows = section_load.block_rows(samples.blocks)
        words = (
            "Output tokens per second in each throughput window; the ratios candidate to live are "
            + ", ".join(str(row.cells[2]) for row in rows)
        )
        moved = (
            run.promotion.switched_at
            if run.promotion and run.promotion.outcome in ("promoted", "rolled_back")
            else None
        )
        switched = (
            moved.timestamp() - samples.began if moved and samples.began is not None else None
        )
        caption = "Each mark is one block of full load on one color; the colors took turns."
        charts.append(
            Chart(
                "throughput",
                "Throughput",
                caption,
                words,
                throughput_chart(samples.blocks, colors, switched),
            )
        )
    return {chart.id: chart for chart in charts}


def _plotly() -> str:
    """plotly.js as its package ships it, gzipped, in base64. As it is it would fill the 5 MB that a
    report may have.

    The package is found and not imported, which would cost a quarter of a second.
    """
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "plotly is not installed; install the package greenlight-llm with its requirements"
        )
    script = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, compresslevel=6, mtime=0)).decode()
