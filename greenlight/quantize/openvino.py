"""What the methods of OpenVINO share: they work in the environment of the export, and their
artifact has one format. Each method says what to do there.
"""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from greenlight.core.child_process import run_python
from greenlight.core.safe_path import PACKAGE_ROOT
from greenlight.models.file_selection import CONFIG
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.export_environment import (
    check_export_python,
    export_python,
)
from greenlight.quantize.methods.base import Job, Method

SOURCE = "source"
"""In the scratch folder."""
EXPORT = ("export", "openvino", "--task", "text-generation-with-past", "--library", "transformers")
"""The beginning of optimum-cli's arguments."""
# The causal language models that optimum-intel 2.2 exports with transformers 5.0, by model_type.
EXPORTED = {
    "afmoe", "arcee", "biogpt", "bloom", "codegen", "cohere", "cohere2", "falcon",
    "falcon_mamba", "gemma", "gemma2", "gemma3_text", "gemma3n_text", "glm", "glm4", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite",
    "granitemoe", "hunyuan_v1_dense", "lfm2", "lfm2_moe", "llama", "mamba", "mistral",
    "mixtral", "mpt", "olmo", "olmo2", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2",
    "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "stablelm", "starcoder2", "xglm",
}  # fmt: skip
UNCOMPRESSED = {"gpt_oss": "NNCF leaves its experts in 32 bits"}
"""Families that are exported, and not made smaller."""
# NNCF draws its progress with rich, which shows only the end of it where nobody sees a terminal.
PROGRESS = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "NO_COLOR": "1"}
# Our package alone is shown to the other environment, and not the folder it lies in: that may be
# the site-packages of this one.
START = """
import importlib, importlib.util
root = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "greenlight", f"{root}/__init__.py", submodule_search_locations=[root]
)
sys.modules["greenlight"] = importlib.util.module_from_spec(spec)
importlib.import_module(sys.argv.pop(1)).work(*sys.argv[1:])
"""


class OpenVINO(Method):
    """A method whose work is done in the export environment: optimum-intel cannot share one with
    transformers 5.17.
    """

    library = "optimum-intel"
    packages = ("optimum-intel", "optimum", "openvino", "nncf", "transformers", "torch")
    format = "openvino"
    engines = ("openvino",)
    disk = 4.0  # the export in 32 bits, then the compressed copy
    memory = 2.0
    tolerance = 0.0001

    def refuses(self, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
        family = config.get("model_type", "")
        if family not in EXPORTED:
            return f"optimum-intel does not export {family} to OpenVINO"
        return UNCOMPRESSED.get(family, "")

    def run(self, module: str, arguments: list[str], job: Job) -> int:
        """Call `work(scratch, *arguments)` of one of our modules in the export environment. Returns
        its peak memory in bytes.
        """
        arguments = [str(PACKAGE_ROOT / "greenlight"), module, str(job.scratch), *arguments]
        return run_python(export_python(), START, arguments, job.scratch, self.library, PROGRESS)

    def source(self, job: Job) -> Path:
        """The model as the export reads it: its files, linked into the scratch folder.

        Without its settings for generation, which transformers may find odd and then saves nothing,
        and which are copied anyway. With the name that transformers 5.0 knows the number of experts
        by: newer ones save another.
        """
        folder = job.scratch / SOURCE
        if folder.exists():
            return folder
        folder.mkdir()
        for path in job.model.iterdir():
            if path.name not in (CONFIG, "generation_config.json"):
                (folder / path.name).symlink_to(path.resolve())
        config = json.loads((job.model / CONFIG).read_bytes())
        if "num_local_experts" in config and config.get("model_type") == "qwen3_moe":
            config.setdefault("num_experts", config["num_local_experts"])
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        return folder

    def check_installed(self) -> None:
        check_export_python()

    def versions(self) -> dict[str, str]:
        # Read from the other environment's folder: asking its interpreter would take a second.
        root = export_python().parent.parent
        folders = [str(folder) for folder in root.glob("lib/python*/site-packages")]
        versions = {
            found.name.lower().replace("_", "-"): found.version
            for found in metadata.distributions(path=folders)
        }
        return {name: versions[name] for name in self.packages if name in versions}
