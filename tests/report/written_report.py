"""The report of a made run, written and parsed."""

import json
import math

from greenlight.core.records import ReportSummary
from greenlight.report.write import write_report
from tests.report.page_parser import Page
from tests.report.run_factory import RunFactory

LIMIT = 5_000_000
"""Bytes that a report may have."""


def write_and_parse(factory: RunFactory) -> tuple[ReportSummary, Page]:
    """The report of a run, as somebody else finds it."""
    output = factory.history / "out" / "report.html"
    metrics = factory.history / "out" / "metrics.json"
    summary = write_report(str(factory.history), factory.run_id, output, metrics)
    assert json.loads(metrics.read_text()) == summary.scalars
    assert all(math.isfinite(value) for value in summary.scalars.values())
    assert output.stat().st_size < LIMIT
    return summary, Page(output.read_text())
