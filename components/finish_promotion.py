"""How the steps `promote` and `retire` end: both leave a Promotion behind."""

from kfp import dsl

from greenlight.core.records import Promotion
from greenlight.core.step import Step


def finish_promotion(running: Step, record: Promotion, artifact: dsl.Artifact) -> None:
    """Save what was done as the step's artifact, and show which release is live."""
    live = record.live
    artifact.metadata.update(outcome=record.outcome, live=live.release_id)
    figure = (
        f"{live.release_id} stays live on {live.color}"
        if record.outcome == "retired"
        else f"{record.outcome.replace('_', ' ')}: {live.release_id} is live on {live.color}"
    )
    running.finish(record, artifact.path, figure=figure)
