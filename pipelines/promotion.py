"""The promotion pipeline, top to bottom. Each arrow is one artifact; each branch is on a string."""

from kfp import dsl

from greenlight.components.benchmark.component import benchmark
from greenlight.components.deploy_green.component import deploy_green
from greenlight.components.download.component import download
from greenlight.components.evaluate.component import evaluate
from greenlight.components.gate.component import gate as judge
from greenlight.components.promote.component import promote
from greenlight.components.quantize.component import quantize
from greenlight.components.reference.component import reference
from greenlight.components.report.component import report
from greenlight.components.resolve.component import resolve
from greenlight.components.retire.component import retire
from greenlight.components.select.component import select
from greenlight.pipelines.signature import fields, with_parameters
from greenlight.resolve.parameters import Parameters


@dsl.pipeline(
    name="promotion",
    description=(
        "Quantize a model, deploy it beside the live one, and move the traffic only if the gate"
        " says so."
    ),
)
@with_parameters
def promotion(given: Parameters) -> None:
    """The whole way from a model id to moved traffic."""
    run = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "history": given.history}
    serving = {**fields(given, "target", "service", "namespace", "home", "port"), **run}
    data = fields(given, "calibration", "calibration_samples", "calibration_length")
    held = fields(given, "text", "tasks", "task_limit", "few_shot")

    with dsl.ExitHandler(report(**run).set_caching_options(False)):
        found = resolve(**dict(given), run_id=run["run_id"]).set_caching_options(False)

        with dsl.If(found.outputs["Output"] == "new", name="new"):
            # These four are cached across runs, so they must not know the run: their records go to
            # the folder of the build, whose name also holds the key of the code that they run.
            shared = {"history": given.history}
            baseline = download(
                source=given.model,
                from_gguf=given.from_gguf,
                commit=found.outputs["commit"],
                build=found.outputs["source_build"],
                **shared,
            ).outputs["baseline"]
            expected = reference(
                baseline=baseline, **held, build=found.outputs["reference_build"], **shared
            ).outputs["reference"]
            with dsl.ParallelFor(found.outputs["candidates"], name="candidates") as each:
                way = {
                    "method": each.method,
                    "bits": each.bits,
                    "sweep": each.sweep,
                    "attempt": each.attempt,
                    **shared,
                }
                made = quantize(
                    baseline=baseline, build=each.build, limits=each.limits, **data, **way
                )
                scored = evaluate(
                    reference=expected,
                    candidate=made.outputs["candidate"],
                    build=each.evaluation_build,
                    **way,
                )

            chosen = select(
                evaluations=dsl.Collected(scored.outputs["evaluation"]),
                gate_file=given.gate,
                workload=given.workload,
                **run,
            ).set_caching_options(False)
            candidate, evaluation = chosen.outputs["candidate"], chosen.outputs["evaluation"]

            deployed = deploy_green(
                baseline=baseline,
                candidate=candidate,
                evaluation=evaluation,
                engine=given.engine,
                replicas=given.replicas,
                fingerprint=found.outputs["fingerprint"],
                prompts=given.prompts,
                **serving,
            ).set_caching_options(False)
            measured = benchmark(
                evaluation=evaluation,
                release=deployed.outputs["release"],
                prompts=given.prompts,
                workload=given.workload,
                gate_file=given.gate,
                **serving,
            ).set_caching_options(False)
            judged = judge(
                evaluation=evaluation,
                result=measured.outputs["result"],
                release=deployed.outputs["release"],
                gate_file=given.gate,
                auto_promote=given.auto_promote,
                **run,
            ).set_caching_options(False)

            with dsl.If(judged.outputs["Output"] == "promote", name="promote"):
                promote(decision=judged.outputs["decision"], **serving).set_caching_options(False)
            with dsl.If(judged.outputs["Output"] == "retire", name="retire"):
                retire(decision=judged.outputs["decision"], **serving).set_caching_options(False)
