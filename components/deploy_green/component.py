"""The KFP component of the step `deploy_green`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def deploy_green(
    baseline: dsl.Input[dsl.Model],
    candidate: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    release: dsl.Output[dsl.Artifact],
    target: str,
    service: str,
    namespace: str,
    home: str,
    port: int,
    engine: str,
    replicas: int,
    fingerprint: str,
    prompts: str,
    run_id: str,
    history: str,
) -> None:
    """Bring the candidate up on the idle color, beside what is live. The first run ever puts the
    baseline live.
    """
    from pathlib import Path

    from greenlight.benchmark.prompts import load_texts
    from greenlight.core.records import Evaluation, Model
    from greenlight.core.step import step
    from greenlight.models.upload import upload_to_bucket
    from greenlight.rollout.bluegreen import deploy_green
    from greenlight.rollout.releases import Source
    from greenlight.rollout.targets import open_target

    with step("deploy_green", run_id, history) as running:
        place = open_target(target, service, namespace, home, int(port))
        sources = [
            Source(
                Path(each.path),
                each.path
                if place.kind == "local"
                else upload_to_bucket(Path(each.path), each.uri, history),
            )
            for each in (candidate, baseline)
        ]
        deployment = deploy_green(
            place,
            candidate=sources[0],
            baseline=sources[1],
            run_id=run_id,
            engine=engine,
            replicas=int(replicas),
            fingerprint=fingerprint,
            prompts=load_texts(prompts),
            golden=Evaluation.load(evaluation.path).golden,
        )
        # cached steps do not know the run
        for made_by, artifact in (
            ("download", baseline),
            ("quantize", candidate),
        ):
            running.publish(
                f"{made_by}.json", Model.load(artifact.path).model_dump_json(indent=2).encode()
            )
        green, live = deployment.candidate, deployment.live
        release.metadata.update(
            candidate=green.release_id,
            color=green.color,
            engine=green.engine,
            digest=green.digest,
            live=live.release_id,
        )
        running.finish(
            deployment,
            release.path,
            figure=f"{green.release_id} on {green.color}, {live.release_id} live",
        )
