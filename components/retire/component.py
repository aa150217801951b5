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
    from greenlight.components.finish_promotion import finish_promotion
    from greenlight.core.records import Decision
    from greenlight.core.step import step
    from greenlight.rollout.bluegreen import retire
    from greenlight.rollout.targets import open_target

    with step("retire", run_id, history) as running:
        place = open_target(target, service, namespace, home, int(port))
        record = retire(place, Decision.load(decision.path).deployment.candidate, run_id)
        finish_promotion(running, record, promotion)
