"""The KFP component of the step `report`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def report(
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    run_id: str,
    history: str,
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """Write the report, whatever happened."""
    from pathlib import Path

    from greenlight.core.step import step
    from greenlight.report.write import write_report

    # What happened is read from what the steps wrote: backends disagree on what `status` says, and
    # its error may be empty.
    with step("report", run_id, history) as running:
        summary = write_report(history, run_id, Path(html.path), Path(metrics.path))
        for name, value in summary.scalars.items():
            metrics.log_metric(name, value)
        uri = running.publish("report.html", Path(html.path).read_bytes())
        running.finish(summary, None, figure=f"{summary.outcome}: {uri}")
