"""The door of the step `evaluate`."""

from kfp import dsl

from components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def evaluate(
    baseline: dsl.Input[dsl.Model],
    candidate: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    text: str,
    build: str,
    history: str,
    code_version: str,
) -> None:
    """Score the candidate against the baseline on held-out text."""
    from components.evaluate.work import evaluate_model
    from components.step import step

    with step("evaluate", build, history) as running:
        record = evaluate_model(baseline.path, candidate.path, evaluation.path, text=text)
        evaluation.metadata.update({name: metric.value for name, metric in record.metrics.items()})
        running.finish(record, evaluation.path, figure=f"KL {record.metrics['kl_mean'].value:.4f}")
