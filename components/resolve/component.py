"""The door of the step `resolve`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def resolve(
    model: str,
    revision: str,
    method: str,
    bits: int,
    methods: str,
    calibration: str,
    calibration_samples: int,
    calibration_length: int,
    gate: str,
    prompts: str,
    workload: str,
    text: str,
    tasks: str,
    task_limit: int,
    few_shot: int,
    target: str,
    service: str,
    namespace: str,
    replicas: int,
    engine: str,
    port: int,
    auto_promote: bool,
    force: bool,
    home: str,
    run_id: str,
    history: str,
    code_version: str,
    commit: dsl.OutputPath(str),  # type: ignore[valid-type]
    fingerprint: dsl.OutputPath(str),  # type: ignore[valid-type]
    source_build: dsl.OutputPath(str),  # type: ignore[valid-type]
    reference_build: dsl.OutputPath(str),  # type: ignore[valid-type]
    candidates: dsl.OutputPath(list[dict[str, str]]),  # type: ignore[valid-type]
) -> str:
    """Find the exact commit of the source, and whether there is anything new to do: returns `new`
    or `up_to_date`.

    The verdict is the one unnamed output, because kfp.local can branch on no other.
    """
    import json
    from pathlib import Path

    from greenlight.core.step import step
    from greenlight.resolve.parameters import Parameters
    from greenlight.resolve.plan import resolve as find

    with step("resolve", run_id, history) as running:
        parameters = Parameters(
            model=model,
            revision=revision,
            method=method,
            bits=bits,
            methods=methods,
            calibration=calibration,
            calibration_samples=calibration_samples,
            calibration_length=calibration_length,
            gate=gate,
            prompts=prompts,
            workload=workload,
            text=text,
            tasks=tasks,
            task_limit=task_limit,
            few_shot=few_shot,
            target=target,
            service=service,
            namespace=namespace,
            replicas=replicas,
            engine=engine,
            port=port,
            auto_promote=auto_promote,
            force=force,
            home=home,
            history=history,
        )
        resolution = find(parameters, code_version)
        running.publish("parameters.json", parameters.model_dump_json(indent=2).encode())
        running.finish(
            resolution, None, figure=f"{resolution.verdict}, commit {resolution.commit[:12]}"
        )
    for path, value in (
        (commit, resolution.commit),
        (fingerprint, resolution.fingerprint),
        (source_build, resolution.source_build),
        (reference_build, resolution.reference_build),
        (candidates, json.dumps(resolution.loop)),
    ):
        Path(path).write_text(value)
    return resolution.verdict
