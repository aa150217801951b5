"""The doors of the steps `reference` and `evaluate`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def reference(
    baseline: dsl.Input[dsl.Model],
    reference: dsl.Output[dsl.Artifact],
    text: str,
    tasks: str,
    task_limit: int,
    few_shot: int,
    build: str,
    history: str,
    code_version: str,
) -> None:
    """What the baseline predicts for the held-out text, and answers to the tasks, once for all
    candidates.
    """
    from greenlight.core.step import step
    from greenlight.evaluate.reference import make_reference
    from greenlight.evaluate.tasks import Tasks

    with step("reference", build, history) as running:
        asked = Tasks.parse(tasks, int(task_limit), int(few_shot))  # numbers travel as doubles
        record = make_reference(baseline.path, reference.path, text=text, tasks=asked)
        reference.metadata.update(
            documents=record.documents,
            tokens=record.tokens,
            vocabulary=record.vocabulary,
            bytes=record.bytes,
        )
        running.finish(
            record, reference.path, figure=f"{record.tokens} tokens, {record.bytes / 1e6:.1f} MB"
        )


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
    code_version: str,
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
