"""The door of the step `benchmark`."""

from kfp import dsl

from components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def benchmark(
    release: dsl.Input[dsl.Artifact],
    result: dsl.Output[dsl.Artifact],
    prompts: str,
    gate_file: str,
    run_id: str,
    history: str,
) -> None:
    """Measure the candidate and live side by side, as the gate asks for."""
    from components.benchmark.run import run_benchmark
    from components.benchmark.workload import Workload
    from components.gate.objectives import load_gate
    from components.records import Deployment
    from components.step import step

    with step("benchmark", run_id, history) as running:
        workload = Workload(prompts=prompts, **load_gate(gate_file).benchmark.model_dump())
        record = run_benchmark(Deployment.load(release.path), [], [], result.path, workload).model_copy(update={"samples_uri": result.uri})
        rates = [f"{side.output_tokens_per_second:,.0f}" for side in (record.candidate, record.live) if side]
        figure = f"{' vs '.join(rates)} tok/s" if record.complete else "not complete"
        running.finish(record, result.path, figure=figure)
