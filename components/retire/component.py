"""The KFP component of the step `retire`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def retire(
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
    """Drain and stop the candidate. Live stays as it is."""
    from greenlight.core.records import Decision
    from greenlight.core.step import step
    from greenlight.rollout.bluegreen import retire
    from greenlight.rollout.targets import open_target

    with step("retire", run_id, history) as running:
        record = retire(
            open_target(target, service, namespace, home, int(port)),
            Decision.load(decision.path).deployment.candidate,
            run_id,
        )
        promotion.metadata.update(outcome=record.outcome, live=record.live.release_id)
        running.finish(
            record,
            promotion.path,
            figure=f"{record.live.release_id} stays live on {record.live.color}",
        )
