"""Write the report of a run: one HTML file with its data and its charts inside, whatever the run
left and however it ended.
"""

import json
import logging
from pathlib import Path

from greenlight.core.files import write_file
from greenlight.core.history import RunRecords, load_run
from greenlight.core.records import ReportSummary
from greenlight.report.changes import last_promotion
from greenlight.report.chart_data import Samples, load_samples
from greenlight.report.headline import headline_of
from greenlight.report.page import render
from greenlight.report.scalars import scalars_of

log = logging.getLogger("greenlight.report")


def write_report(
    history: str, run_id: str, output_html: Path, metrics_json: Path | None
) -> ReportSummary:
    """Write a run's report.

    Args:
        history: folder or gs:// prefix that holds the runs.
        run_id: the run. One of which nothing is known is reported as that.
        output_html: where the page goes.
        metrics_json: where the scalars go as JSON; None: nowhere.

    Raises:
        OSError: an output cannot be written. Records and samples that are missing or broken never
            raise; the page names them.
    """
    run = load_run(history, run_id)
    problems = [f"{item.name}: {item.reason}" for item in run.unreadable]
    samples, before = None, None
    try:
        samples = _samples(run)
    except Exception as error:  # any store, in any state: the report does without its samples
        problems.append(_problem("samples", error))
    try:
        before = last_promotion(history, run) if run.decision or run.deployment else None
    except Exception as error:
        problems.append(_problem("last promotion", error))

    summary = ReportSummary(
        outcome=run.outcome,
        headline=headline_of(run).sentence,
        scalars=scalars_of(run),
        unreadable=problems,
    )
    page = render(run, samples, before, problems)
    # whole or not at all: somebody may be looking at the page of an earlier attempt
    write_file(output_html, page)
    if metrics_json is not None:
        write_file(metrics_json, json.dumps(summary.scalars, indent=2) + "\n")
    for problem in problems:
        log.warning("not in the report: %s", problem)
    log.info(
        "report of run %s: %s",
        run_id,
        summary.outcome,
        extra={"figure": f"{len(page) / 1e6:.1f} MB"},
    )
    return summary


def _samples(run: RunRecords) -> Samples | None:
    return load_samples(run.benchmark) if run.benchmark is not None else None


def _problem(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}: {error}".splitlines()[0]
