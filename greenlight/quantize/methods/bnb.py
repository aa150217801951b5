"""bitsandbytes: NF4 for 4 bits (QLoRA, arXiv:2305.14314), LLM.int8() for 8 (arXiv:2208.07339).
Needs no calibration.

Embeddings and the output layer stay in full precision.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenlight.core.child_process import run_module
from greenlight.models.description import describe_folder
from greenlight.models.model_class import load_model, save_weights, weights_dtype
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.coverage import IN_A_LAYER, is_expert, layer_widths, linear_weights
from greenlight.quantize.methods.base import Job, Method
from greenlight.quantize.reload_check import save_predictions

ROWS, COLUMNS = 32, 64
"""A CPU that multiplies bfloat16 (AVX512-BF16) computes in 4 bits only with layers whose outputs
and inputs are multiples of these. The others stay as they are, on every machine: an artifact is
made once and served anywhere.
"""
# Layers whose weight the model multiplies with by itself, which a packed one does not bear: the
# time steps of Mamba; and one that gets a tensor of 4 dimensions, which LLM.int8() does not take.
LEFT_ALONE = {4: ("dt_proj",), 8: ("dt_proj", "kv_b_proj")}
OUTPUT_LAYERS = ("lm_head", "embed_out")
OWN_LAYERS = {"falcon": "FalconLinear"}
"""Families whose layers are of a class of their own, which transformers does not hand to
bitsandbytes.
"""


class BitsAndBytes(Method):
    name = "bnb"
    bits = (4, 8)
    library = "bitsandbytes"
    packages = ("bitsandbytes", "transformers", "torch")
    format = "bitsandbytes"
    engines = ("transformers",)
    disk = 1.0
    memory = 1.5
    seconds = 12, 30
    tolerance = 0.0001

    def refuses(self, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
        family = config.get("model_type", "")
        if family in OWN_LAYERS:
            return f"bitsandbytes does not know the layers of {family} ({OWN_LAYERS[family]})"
        linear = linear_weights(tensors)
        experts = sum(t.bytes for name, t in linear.items() if is_expert(name, t.shape))
        whole = sum(tensor.bytes for tensor in linear.values())
        if experts > (1 - self.least_share) * whole:
            return (
                f"{experts / whole:.0%} of the linear weights are experts of a mixture, which"
                " bitsandbytes leaves as they are"
            )
        left = list_left_alone(bits, config, tensors)
        if sum(linear[name].bytes for name in left) > (1 - self.least_share) * whole:
            name = max(left, key=lambda each: linear[each].bytes)
            outputs, inputs = layer_widths(config, linear[name].shape)
            return (
                f"bitsandbytes computes in {bits} bits with layers of a multiple of {ROWS} outputs"
                f" and of {COLUMNS} inputs, and {name} has {outputs} and {inputs}"
            )
        return ""

    def quantize(self, job: Job) -> int:
        return run_module(
            __name__,
            [
                str(job.model),
                str(job.output),
                str(job.bits),
                str(job.scratch),
                str(job.shard_bytes),
            ],
            job.scratch,
            self.library,
        )


def list_left_alone(
    bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> list[str]:
    """Names of the linear weights of a dense model that stay in full precision."""
    left = []
    for name, tensor in linear_weights(tensors).items():
        outputs, inputs = layer_widths(config, tensor.shape)
        odd = bits == 4 and (outputs % ROWS or inputs % COLUMNS)
        if odd or name.removesuffix(".weight").endswith(LEFT_ALONE[bits]):
            left.append(name)
    return left


def work(model: str, output: str, bits: str, scratch: str, shard_bytes: str) -> None:
    """Runs in a process of its own: quantize while loading, save."""
    import torch
    from transformers import BitsAndBytesConfig

    source = describe_folder(Path(model))
    left = list_left_alone(int(bits), source.config, source.tensors)
    # By the end of their names, as transformers compares them; the same layer of every block.
    ends = sorted({f".{IN_A_LAYER.split(name)[-1].removesuffix('.weight')}" for name in left})
    # None: the output layer, found by transformers, which a list takes the place of
    skipped = [*OUTPUT_LAYERS, *ends] if ends else None
    if bits == "4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=skipped,
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    loaded = load_model(
        Path(model),
        dtype=getattr(torch, weights_dtype(Path(model))),
        quantization_config=config,
        device_map={"": device},
    )
    # Saved first: on a CPU with AVX512-BF16 the first prediction packs the weights anew, and
    # release 0.50 saves something else after that.
    save_weights(loaded, Path(output), max_shard_size=int(shard_bytes))
    save_predictions(
        lambda ids: loaded(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0],
        Path(scratch),
    )


method = BitsAndBytes()
