"""The section on quality, and the one on the search for the smallest artifact."""

from greenlight.core import formats
from greenlight.core.history import RunRecords
from greenlight.core.records import TaskResult
from greenlight.report.metric_labels import metric_label
from greenlight.report.page_parts import Cell, Row


def quality_rows(run: RunRecords) -> list[Row]:
    """Each metric of the evaluation, with its two-sided interval."""
    rows = []
    for name, metric in (run.evaluation.metrics if run.evaluation else {}).items():
        label, unit, note = metric_label(name)
        value, low, high = (
            formats.quantity(one, unit) for one in (metric.value, metric.low, metric.high)
        )
        rows.append(
            Row(label, [value, f"{low} to {high}", formats.percent(metric.confidence, 0)], note)
        )
    return rows


def task_rows(run: RunRecords) -> list[Row]:
    """Each task as both answered it, and the items whose answer the candidate changed."""
    rows = []
    for task in run.evaluation.tasks if run.evaluation else []:
        shares = [
            f"{formats.percent(share)} ± {formats.percent(error)}"
            for share, error in _accuracies(task)
        ]
        how = f"{task.few_shot or 'no'} example{'' if task.few_shot == 1 else 's'}"
        if task.chat_template:
            how += ", through the chat template"
        rows.append(
            Row(
                task.name,
                [*shares, f"{task.right_to_wrong:,}", f"{task.wrong_to_right:,}"],
                f"{task.items:,} items, {how}",
            )
        )
    return rows


def _accuracies(task: TaskResult) -> tuple[tuple[float, float], ...]:
    """Shares of right answers and their standard errors, of candidate and baseline."""
    return (task.accuracy, task.accuracy_stderr), (task.baseline_accuracy, task.baseline_stderr)


def search_rows(run: RunRecords) -> list[Row]:
    """Each artifact that the method of the candidate has tried, in order, with what was measured on
    calibration text.
    """
    rows = []
    for number, trial in enumerate(run.candidate.search if run.candidate else [], start=1):
        look, mark = (
            ("status pass", "✓")
            if trial.passed
            else ("quiet", "")
            if trial.too_large
            else ("status fail", "✗")
        )
        result = Cell(
            "passed" if trial.passed else "too large" if trial.too_large else "refused",
            mark=mark,
            look=look,
        )
        measured = [_trial_figure(name, metric.value) for name, metric in trial.metrics.items()]
        rows.append(
            Row(
                f"{number}: {trial.scheme}",
                [result, formats.size(trial.bytes), "; ".join(measured) or formats.MISSING],
                trial.reason,
            )
        )
    return rows


def _trial_figure(name: str, value: float) -> str:
    label = metric_label(name)
    return f"{label.label} {formats.quantity(value, label.unit)}"
