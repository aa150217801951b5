"""The KFP component of the step `benchmark`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def benchmark(
    evaluation: dsl.Input[dsl.Artifact],
    release: dsl.Input[dsl.Artifact],
    result: dsl.Output[dsl.Artifact],
    target: str,
    service: str,
    namespace: str,
    home: str,
    port: int,
    prompts: str,
    workload: str,
    gate_file: str,
    run_id: str,
    history: str,
) -> None:
    """Measure the candidate and live side by side, until the gate has seen enough."""
    from pathlib import Path

    from greenlight.benchmark.run import run_benchmark
    from greenlight.benchmark.workload import load_workload
    from greenlight.core.records import Deployment
    from greenlight.core.step import step
    from greenlight.core.storage import join
    from greenlight.gate.looks import Looks
    from greenlight.gate.objectives import load_gate
    from greenlight.rollout.kubernetes.target import KubernetesTarget
    from greenlight.rollout.targets import open_target

    with step("benchmark", run_id, history) as running:
        load, gate = load_workload(workload, prompts), load_gate(gate_file)
        deployment, place = (
            Deployment.load(release.path),
            open_target(target, service, namespace, home, int(port)),
        )
        if isinstance(place, KubernetesTarget):  # its pods are only reached from inside
            from greenlight.gate.cluster_benchmark import run_in_cluster

            measured = run_in_cluster(
                place,
                deployment,
                gate,
                load,
                evaluation.path,
                join(history, run_id, "benchmark-job"),
                Path(result.path),
            )
        else:
            measured = run_benchmark(
                deployment,
                [],
                [],
                result.path,
                gate.benchmark,
                load,
                Looks(gate, evaluation.path, deployment),
            )
        record = measured.model_copy(update={"samples_uri": result.uri})
        rates = [
            f"{side.output_tokens_per_second:,.0f}"
            for side in (record.candidate, record.live)
            if side
        ]
        figure = f"{' vs '.join(rates)} tok/s" if record.complete else "not complete"
        if record.stopped_at:
            figure += f", decided after {record.stopped_at} of {gate.benchmark.pairs} pairs"
        running.finish(record, result.path, figure=figure)
