"""OpenVINO through the command line of optimum-intel: int4 in groups of 64 with the rest in int8,
or int8 everywhere. Needs no calibration.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.coverage import layer_widths, linear_weights
from greenlight.quantize.methods.base import Job
from greenlight.quantize.openvino import EXPORT, OpenVINO

# A group size that a layer's width is no multiple of is made smaller for that layer. Layers that
# int4 cannot hold stay in int8.
WEIGHTS = {
    4: [
        "--weight-format",
        "int4",
        "--group-size",
        "64",
        "--group-size-fallback",
        "adjust",
        "--ratio",
        "1.0",
    ],
    8: ["--weight-format", "int8"],
}
SMALLEST_GROUP = 32
"""Of weights that share a scale, as NNCF makes groups smaller where a width asks for it."""


class Optimum(OpenVINO):
    name = "optimum"
    bits = (4, 8)
    seconds = 16, 25

    def refuses(self, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
        reason = super().refuses(bits, config, tensors)
        if reason or bits == 8:
            return reason
        linear = linear_weights(tensors)
        odd = [
            name
            for name, each in linear.items()
            if layer_widths(config, each.shape)[1] % SMALLEST_GROUP
        ]
        left = sum(linear[name].bytes for name in odd)
        if left > (1 - self.least_share) * sum(each.bytes for each in linear.values()):
            name = max(odd, key=lambda each: linear[each].bytes)
            return (
                f"int4 comes in groups of {SMALLEST_GROUP} inputs or a multiple, and {name} has"
                f" {layer_widths(config, linear[name].shape)[1]}"
            )
        return ""

    def quantize(self, job: Job) -> int:
        peak_memory = self.run(
            "greenlight.quantize.openvino_export",
            [*EXPORT, "--model", str(self.source(job)), *WEIGHTS[job.bits], str(job.output)],
            job,
        )
        _forget_paths(job.output / "openvino_config.json")
        return peak_memory


def _forget_paths(config_file: Path) -> None:
    """The exporter notes where it read the model. The same model must give the same bytes wherever
    it lay.
    """
    config = json.loads(config_file.read_bytes())
    config["quantization_config"].pop("tokenizer", None)
    config_file.write_text(json.dumps(config, indent=2) + "\n")


method = Optimum()
