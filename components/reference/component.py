"""The KFP component of the step `reference`."""

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
