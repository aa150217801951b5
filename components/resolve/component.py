"""The KFP component of the step `resolve`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def resolve(
    model: str,
    revision: str,
    from_gguf: str,
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
    history: str,
    run_id: str,
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
    given = dict(locals())
    import json
    from pathlib import Path

    from greenlight.core.step import step
    from greenlight.resolve.parameters import Parameters
    from greenlight.resolve.plan import resolve as find

    with step("resolve", run_id, history) as running:
        parameters = Parameters(**{name: given[name] for name in Parameters.model_fields})
        resolution = find(parameters)
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
