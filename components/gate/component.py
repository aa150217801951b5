"""The KFP component of the step `gate`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def gate(
    evaluation: dsl.Input[dsl.Artifact],
    result: dsl.Input[dsl.Artifact],
    release: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    gate_file: str,
    auto_promote: bool,
    run_id: str,
    history: str,
) -> str:
    """Judge the candidate by the objectives of the gate: returns the action `promote`, `hold` or
    `retire`.
    """
    import contextlib

    from greenlight.core.cache_keys import step_key
    from greenlight.core.errors import IntegrityError
    from greenlight.core.records import Deployment, Evaluation
    from greenlight.core.step import step
    from greenlight.gate.judge import judge
    from greenlight.gate.objectives import load_gate

    with step("gate", run_id, history) as running:
        loaded = load_gate(gate_file)
        judged = judge(
            evaluation.path,
            result.path,
            Deployment.load(release.path),
            loaded,
            auto_promote,
            step_key("gate"),
        )
        # for a replay
        record = judged.model_copy(
            update={"evaluation_uri": evaluation.uri, "benchmark_uri": result.uri}
        )
        with contextlib.suppress(IntegrityError):  # a broken record has been judged as no evidence
            # a cached step does not know the run
            running.publish(
                "evaluate.json", Evaluation.load(evaluation.path).model_dump_json(indent=2).encode()
            )
        passed = sum(objective.status == "pass" for objective in record.objectives)
        running.finish(
            record,
            decision.path,
            figure=f"{record.verdict}, {passed}/{len(record.objectives)} pass",
        )
    return record.action
