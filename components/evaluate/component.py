"""The KFP component of the step `evaluate`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def evaluate(
    reference: dsl.Input[dsl.Artifact],
    candidate: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    method: str,
    bits: str,
    sweep: str,
    attempt: str,
    build: str,
    history: str,
) -> None:
    """Score the candidate against the baseline on held-out text and tasks. In a sweep also measure
    it, and leave a Failure where it cannot be scored.
    """
    from greenlight.core.records import Failure, recipe_name
    from greenlight.core.step import step
    from greenlight.evaluate.evaluation import evaluate_model
    from greenlight.evaluate.speed import measure_speed

    name = recipe_name(method, int(bits))
    with step("evaluate", build, history, *((name, evaluation.path) if sweep else ())) as running:
        if failed := Failure.find(candidate.path):
            running.leave_out(failed, evaluation.path)
        else:
            record = evaluate_model(reference.path, candidate.path, evaluation.path)
            speed = measure_speed(candidate.path) if sweep else None
            record = record.model_copy(
                update={
                    "candidate": record.candidate.model_copy(
                        update={"uri": candidate.uri, "speed": speed}
                    )
                }
            )
            evaluation.metadata.update(
                {name: metric.value for name, metric in record.metrics.items()}
            )
            evaluation.metadata.update(
                {f"accuracy_{task.name}": task.accuracy for task in record.tasks}
            )
            running.finish(
                record,
                evaluation.path,
                figure=f"KL {record.metrics['kl_mean'].value:.4f}"
                + (f", {speed.tokens_per_second:.0f} tok/s" if speed else ""),
            )
