"""The promotion pipeline, top to bottom. Each arrow is one artifact; each branch is on a string."""

from kfp import dsl

from greenlight.components.benchmark.component import benchmark
from greenlight.components.deploy_green.component import deploy_green
from greenlight.components.download.component import download
from greenlight.components.evaluate.component import evaluate, reference
from greenlight.components.gate.component import gate as judge
from greenlight.components.promote.component import promote, retire
from greenlight.components.quantize.component import quantize
from greenlight.components.report.component import report
from greenlight.components.resolve.component import resolve
from greenlight.components.select.component import select
from greenlight.core.code import code_version as current_code


@dsl.pipeline(
    name="promotion",
    description=(
        "Quantize a model, deploy it beside the live one, and move the traffic only if the gate"
        " says so."
    ),
)
def promotion(
    model: str = "builtin:tiny",
    revision: str = "",
    method: str = "optimum",
    bits: int = 8,
    methods: str = "",
    calibration: str = "builtin",
    calibration_samples: int = 128,
    calibration_length: int = 2048,
    gate: str = "default",
    prompts: str = "builtin",
    workload: str = "short",
    text: str = "builtin",
    tasks: str = "",
    task_limit: int = 0,
    few_shot: int = 0,
    target: str = "local",
    service: str = "llm-inference",
    namespace: str = "default",
    replicas: int = 1,
    engine: str = "auto",
    port: int = 8080,
    auto_promote: bool = True,
    force: bool = False,
    home: str = ".greenlight",
    history: str = ".greenlight/history",
    code_version: str = current_code(),
):
    """The whole way from a model id to moved traffic.

    Args:
        model: Hub id, gs:// prefix of a model or of checkpoints (newest complete one), local
            folder, or builtin:tiny.
        revision: Branch, tag or commit of a hub model. Empty: the default branch.
        method: Quantization method: none, bnb (bitsandbytes), awq, fp8, gptq, w8a8
            (llm-compressor), optimum, smallest (OpenVINO).
        bits: Bits a weight: 4 or 8. Ignored by methods none and smallest.
        methods: Instead of method and bits, several to choose from: optimum:8,optimum:4,bnb:4. The
            best that passes is deployed.
        calibration: Text or chats that methods calibrate on: a JSONL or Parquet path or gs:// URI,
            or builtin.
        calibration_samples: Documents to calibrate on at most, chosen by chance.
        calibration_length: Tokens of a document to calibrate on at most.
        gate: Objectives that decide: the name of a shipped gate, a path, a gs:// URI, or the YAML
            itself.
        prompts: Prompts of the benchmark: a JSONL path or gs:// URI, or builtin.
        workload: What the benchmark sends, and when: the name of a shipped workload, a path, a
            gs:// URI, or the YAML itself.
        text: Held-out text of the evaluation: a JSONL or Parquet path or gs:// URI, or builtin.
        tasks: Tasks to ask, with commas between: names of lm-eval's, paths or gs:// URIs of JSONL
            files of items. Empty: none.
        task_limit: Items of each task at most, from its start. 0: all.
        few_shot: Items with their answers that are shown before each item of a task.
        target: Where serving runs: local; kubernetes, or kubernetes:CONTEXT;
            projects/P/locations/L/clusters/C.
        service: Name of the stable endpoint.
        namespace: Kubernetes namespace of the service. Ignored by the local target.
        replicas: Serving processes or pods a color.
        engine: Engine of the candidate: auto (from the artifact), openvino, transformers, vllm.
        port: Port of the stable endpoint on the local target.
        auto_promote: Move the traffic on verdict promote. Off: green stays up and `greenlight
            promote` finishes.
        force: Run even when live already is this commit with these settings and this code.
        home: Folder of the local target's state. Ignored by other targets.
        history: Folder or gs:// prefix where every run leaves its records and report.
        code_version: Digest of the code that makes and serves a release. Leave it as compiled.
    """
    data = {
        "calibration": calibration,
        "calibration_samples": calibration_samples,
        "calibration_length": calibration_length,
    }
    held = {"text": text, "tasks": tasks, "task_limit": task_limit, "few_shot": few_shot}
    run = {"run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "history": history}
    rollout = {
        "target": target,
        "service": service,
        "namespace": namespace,
        "home": home,
        "port": port,
        **run,
    }

    with dsl.ExitHandler(report(**run).set_caching_options(False)):
        found = resolve(
            model=model, revision=revision, method=method, bits=bits, methods=methods, gate=gate, prompts=prompts, workload=workload,
            replicas=replicas, engine=engine, auto_promote=auto_promote, force=force, code_version=code_version, **data, **held, **rollout,
        ).set_caching_options(False)  # fmt: skip

        with dsl.If(found.outputs["Output"] == "new", name="new"):
            # These four are cached across runs, so they must not know the run: their records go to
            # the build's folder.
            shared = {"history": history, "code_version": code_version}
            baseline = download(
                source=model,
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
                    "build": each.build,
                    **shared,
                }
                made = quantize(baseline=baseline, limits=each.limits, **data, **way)
                scored = evaluate(reference=expected, candidate=made.outputs["candidate"], **way)

            chosen = select(
                evaluations=dsl.Collected(scored.outputs["evaluation"]), gate_file=gate, workload=workload, **run
            ).set_caching_options(False)  # fmt: skip
            candidate, evaluation = chosen.outputs["candidate"], chosen.outputs["evaluation"]

            release = deploy_green(
                baseline=baseline, candidate=candidate, evaluation=evaluation, engine=engine, replicas=replicas,
                fingerprint=found.outputs["fingerprint"], prompts=prompts, **rollout,
            ).set_caching_options(False).outputs["release"]  # fmt: skip
            result = benchmark(
                evaluation=evaluation, release=release, prompts=prompts, workload=workload, gate_file=gate, **rollout,
            ).set_caching_options(False).outputs["result"]  # fmt: skip
            judged = judge(
                evaluation=evaluation, result=result, release=release, gate_file=gate, auto_promote=auto_promote,
                code_version=code_version, **run,
            ).set_caching_options(False)  # fmt: skip

            with dsl.If(judged.outputs["Output"] == "promote", name="promote"):
                promote(decision=judged.outputs["decision"], **rollout).set_caching_options(False)
            with dsl.If(judged.outputs["Output"] == "retire", name="retire"):
                retire(decision=judged.outputs["decision"], **rollout).set_caching_options(False)
