"""The KFP component of the step `promote`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def promote(
    decision: dsl.Input[dsl.Artifact],
    promotion: dsl.Output[dsl.Artifact],
    target: str,
    service: str,
    namespace: str,
    home: str,
    port: int,
    run_id: str,
    history: str,
) -> None:
    """Move the traffic to the candidate that was measured, and watch it."""
    from greenlight.core.records import Decision
    from greenlight.core.step import step
    from greenlight.rollout.bluegreen import promote
    from greenlight.rollout.targets import open_target

    with step("promote", run_id, history) as running:
        record = promote(
            open_target(target, service, namespace, home, int(port)),
            Decision.load(decision.path),
            run_id,
        )
        promotion.metadata.update(outcome=record.outcome, live=record.live.release_id)
        running.finish(
            record,
            promotion.path,
            figure=(
                f"{record.outcome.replace('_', ' ')}: {record.live.release_id} is live on"
                f" {record.live.color}"
            ),
        )
