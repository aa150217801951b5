"""The door of the step `benchmark`."""

from kfp import dsl

from components.image import COMPONENTS_IMAGE


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

    from components.benchmark.looks import Looks
    from components.benchmark.run import run_benchmark
    from components.benchmark.workload import load_workload
    from components.gate.objectives import load_gate
    from components.records import Deployment
    from components.step import step
    from components.storage import join
    from rollout.kubernetes.target import KubernetesTarget
    from rollout.target import open_target

    with step("benchmark", run_id, history) as running:
        load, gate = load_workload(workload, prompts), load_gate(gate_file)
        deployment, place = Deployment.load(release.path), open_target(target, service, namespace, home, int(port))
        if isinstance(place, KubernetesTarget):  # its pods are only reached from inside
            from components.benchmark.job import run_in_cluster

            measured = run_in_cluster(place, deployment, gate, load, evaluation.path, join(history, run_id, "benchmark-job"), Path(result.path))
        else:
            measured = run_benchmark(deployment, [], [], result.path, gate.benchmark, load, Looks(gate, evaluation.path, deployment))
        record = measured.model_copy(update={"samples_uri": result.uri})
        rates = [f"{side.output_tokens_per_second:,.0f}" for side in (record.candidate, record.live) if side]
        figure = f"{' vs '.join(rates)} tok/s" if record.complete else "not complete"
        if record.stopped_at:
            figure += f", decided after {record.stopped_at} of {gate.benchmark.pairs} pairs"
        running.finish(record, result.path, figure=figure)
