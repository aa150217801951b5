"""The KFP component of the step `select`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def select(
    evaluations: dsl.Input[list[dsl.Artifact]],
    selection: dsl.Output[dsl.Artifact],
    candidate: dsl.Output[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    gate_file: str,
    workload: str,
    run_id: str,
    history: str,
) -> None:
    """Choose the candidate to deploy. It and its evaluation are passed on by their URIs: nothing is
    copied.
    """
    from pathlib import Path

    from greenlight.benchmark.workload import load_workload
    from greenlight.core.records import RECORD_FILE, Evaluation
    from greenlight.core.step import step
    from greenlight.gate.objectives import load_gate
    from greenlight.select.choose import select_candidate

    with step("select", run_id, history) as running:
        record = select_candidate(
            [each.path for each in evaluations], load_gate(gate_file), load_workload(workload)
        )
        best = evaluations[record.index]
        chosen = Evaluation.load(best.path).candidate
        evaluation.uri, candidate.uri = best.uri, chosen.uri
        evaluation.metadata.update(best.metadata)
        # Runs with other texts or tasks share the folder of the candidate's build, where the last
        # one's evaluation lies: this is what this run was judged by.
        running.publish("evaluate.json", Path(best.path, RECORD_FILE).read_bytes())
        candidate.metadata.update(
            method=chosen.method,
            bits=chosen.bits,
            format=chosen.format,
            digest=record.digest,
            bytes=chosen.bytes,
        )
        running.finish(
            record,
            selection.path,
            figure=f"{record.chosen}" + (f" of {len(evaluations)}" if len(evaluations) > 1 else ""),
        )
