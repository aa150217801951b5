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
    from greenlight.components.finish_promotion import finish_promotion
    from greenlight.core.records import Decision
    from greenlight.core.step import step
    from greenlight.rollout.bluegreen import promote
    from greenlight.rollout.targets import open_target

    with step("promote", run_id, history) as running:
        place = open_target(target, service, namespace, home, int(port))
        record = promote(place, Decision.load(decision.path), run_id)
        finish_promotion(running, record, promotion)
