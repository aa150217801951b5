"""What the methods of llm-compressor share: loading, calibrating, saving. A method says its
recipe.
"""

import contextlib
import json
import re
import shutil
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from greenlight.core.child_process import run_module
from greenlight.models.file_selection import CONFIG, INDEX
from greenlight.models.model_class import (
    checked_loading,
    find_model_class,
    save_weights,
    weights_dtype,
)
from greenlight.models.safetensors_header import Tensor
from greenlight.quantize.calibration_text import tokenize_documents
from greenlight.quantize.coverage import is_expert, linear_weights
from greenlight.quantize.methods.base import Job, Method
from greenlight.quantize.reload_check import save_predictions

SAMPLES_FILE = "samples.json"
"""In the scratch folder: one list of token ids per document."""
OFFLOADED = "offloaded"
GROUP_SIZES = (128, 64, 32)
# Families that do not load what llm-compressor 0.14 makes of them, and why; found by trying.
REFUSED = {
    "falcon": "llm-compressor does not know its layers (FalconLinear)",
    "gpt2": "llm-compressor does not know its layers (Conv1D)",
    "gpt_bigcode": "it looks at weights that llm-compressor has packed",
    "gptj": "llm-compressor cannot keep its positions on disk",
}
# Families of mixtures whose experts transformers 5.17 unpacks from what llm-compressor saves.
MIXTURES = (
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "mixtral",
    "minimax",
    "deepseek_v2",
    "deepseek_v3",
)
# Mixtral's own names of the parts of an expert, which transformers and vLLM look for.
EXPERT_PARTS = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
NAMED_AS_MIXTRAL = ("mixtral", "minimax")
# Layers that a method scales together with those before them, by name: all of a line, or none.
SCALED = (
    ("input_layernorm", "q_proj", "k_proj", "v_proj"),
    ("post_attention_layernorm", "gate_proj", "up_proj"),
)
EXPERT = re.compile(r"(\.experts\.\d+\.)(gate_proj|up_proj|down_proj)\.")


class Compressor(Method):
    """A method whose work is one call of llm-compressor."""

    library = "llm-compressor"
    packages = ("llmcompressor", "compressed-tensors", "transformers", "torch")
    format = "compressed-tensors"
    engines = ("transformers", "vllm")
    disk = 3.0  # what it quantizes in 32 bits, and the candidate
    memory = 0.9  # layers are read when it is their turn
    tolerance = 0.00001

    @abstractmethod
    def recipe(self, model: Any, bits: int) -> list[Any]:
        """The modifiers that llm-compressor applies to a loaded model, in their order. Runs in the
        method's own process.
        """

    mixtures: ClassVar[bool] = False
    """Whether transformers loads the experts of a mixture that it quantized."""
    scaled: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Names of layers that it scales together; a model has all of a line, or none."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """Families with other names, which llm-compressor knows too."""

    def refuses(self, bits: int, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
        family = config.get("model_type", "")
        if family in REFUSED:
            return f"{family} cannot be quantized with it: {REFUSED[family]}"
        if any(name.endswith("A_log") for name in tensors):
            return (
                f"{family} has state-space layers (Mamba), which multiply with weights that"
                " llm-compressor has packed"
            )
        mixture = any(is_expert(name, t.shape) for name, t in linear_weights(tensors).items())
        if mixture and not (self.mixtures and family in MIXTURES):
            able = f" of {family}" if self.mixtures else ""
            return (
                f"the model is a mixture, and transformers does not load experts{able} that"
                f" llm-compressor has quantized with {self.name}"
            )
        layers = {name.removesuffix(".weight").rpartition(".")[2] for name in tensors}
        for line in () if family in self.layouts else self.scaled:
            if layers.isdisjoint(line) or layers.issuperset(line):
                continue
            return (
                f"it scales {', '.join(line)} together, and {family} has no"
                f" {' and no '.join(name for name in line if name not in layers)}"
            )
        return ""

    def quantize(self, job: Job) -> int:
        if self.calibrates:
            (job.scratch / SAMPLES_FILE).write_text(
                json.dumps(tokenize_documents(job.calibration, job.model))
            )
        arguments = [
            self.name,
            str(job.model),
            str(job.output),
            str(job.bits),
            str(job.scratch),
            str(job.shard_bytes),
        ]
        return run_module(__name__, arguments, job.scratch, self.library)


def work(name: str, model: str, output: str, bits: str, scratch: str, shard_bytes: str) -> None:
    """Runs in a process of its own: calibrate layer by layer, quantize, save."""
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    from greenlight.quantize.methods import methods

    method = methods()[name]
    assert isinstance(method, Compressor)
    on_gpu = torch.cuda.is_available()
    loaded = _load(Path(model), None if on_gpu else Path(scratch) / OFFLOADED)
    data: dict[str, Any] = {}
    if method.calibrates:
        documents = json.loads((Path(scratch) / SAMPLES_FILE).read_bytes())
        samples = [
            {
                "input_ids": torch.tensor([ids]),
                "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
            }
            for ids in documents
        ]
        data["dataset"] = DataLoader(samples, batch_size=None)
    oneshot(model=loaded, recipe=method.recipe(loaded, int(bits)), **data)
    with (
        _as_saved_on_gpu(loaded)
        if on_gpu
        else _as_saved_from_disk(loaded, weights_dtype(Path(model)))
    ):
        # asking costs reading the embeddings where they are on disk
        device = loaded.device if on_gpu else "cpu"
        save_predictions(
            lambda ids: loaded(
                input_ids=torch.tensor([ids], device=device), use_cache=False
            ).logits[0],
            Path(scratch),
            "" if on_gpu else "float32",
        )
    save_weights(loaded, Path(output), save_compressed=True, max_shard_size=int(shard_bytes))
    family = json.loads((Path(model) / CONFIG).read_bytes()).get("model_type")
    if not on_gpu or family in NAMED_AS_MIXTRAL:
        _finish_files(
            Path(output),
            weights_dtype(Path(model)),
            EXPERT_PARTS if family in NAMED_AS_MIXTRAL else {},
        )
    # before the reload check, which needs as much disk
    shutil.rmtree(Path(scratch) / OFFLOADED, ignore_errors=True)
    # config.json says the same, and a recipe may name data
    (Path(output) / "recipe.yaml").unlink(missing_ok=True)


def _load(model: Path, offload: Path | None) -> Any:
    """On CPU (with a folder `offload`) in 32 bits: many CPUs have no bfloat16 unit, and are 8 times
    slower without one.

    So that memory does not hold all of it in 32 bits, it stays on disk as it is, and each layer is
    read when it is its turn. What quantizing changes is kept in the folder.
    """
    import torch
    from llmcompressor.utils import load_context

    kind = find_model_class(json.loads((model / CONFIG).read_bytes()))
    options: dict[str, Any] = {"dtype": getattr(torch, weights_dtype(model))}
    if offload:
        options = {"dtype": torch.float32, "device_map": {"": "disk"}}
        options["offload_folder"] = str(offload)
    _forget_image_modules()
    # experts of a mixture as layers of their own, which are calibrated and quantized like others
    with checked_loading(kind), load_context(kind):
        return kind.from_pretrained(model, local_files_only=True, **options)


def _forget_image_modules() -> None:
    """Where llm-compressor lets transformers 5.17 replace a class, that looks into every module of
    its own, and so imports all that stand for image processors under an older name; these need
    torchvision.
    """
    for name in list(sys.modules):
        if re.fullmatch(r"transformers\..*image_processing_\w+_fast", name):
            del sys.modules[name]


@contextlib.contextmanager
def _as_saved_from_disk(model: Any, dtype: str) -> Iterator[None]:
    """Let a model that lies on disk, in 32 bits, predict what its checkpoint in 16 bits will.

    Scales and norms are rounded: what a rounded scale changes grows with the depth of a model, and
    would leave a limit on it no room for both a sound deep model and a small fault. And weights are
    read once: compressed-tensors 0.19 rounds the one it has read, and then multiplies with the one
    it reads again.
    """
    import torch
    from compressed_tensors.offload import (
        disable_offloading,
        disable_onloading,
        update_offload_parameter,
    )

    def reading_once(forward: Callable[..., Any]) -> Callable[..., Any]:
        def read_once(*arguments: Any, **named: Any) -> Any:
            with disable_offloading():
                return forward(*arguments, **named)

        return read_once

    for module in model.modules():
        with disable_onloading():
            rounded = [
                name
                for name, value in module._parameters.items()
                if value is not None and (value.ndim == 1 or name == "weight_scale")
            ]
        for name in rounded:
            update_offload_parameter(
                module, name, getattr(module, name).to(getattr(torch, dtype)).float()
            )
    # transformers unpacks experts in the type of their scales, when it loads them
    unpacked = _unpack_experts(model, getattr(torch, dtype))
    forwards = {
        module: module.forward
        for module in model.modules()
        if hasattr(module, "quantization_scheme") and module not in unpacked
    }
    for module, forward in forwards.items():
        module.forward = reading_once(forward)
    yield
    for module, forward in forwards.items():
        module.forward = forward
    for module, scheme in unpacked.items():
        module.quantization_scheme = scheme


def _unpack_experts(model: Any, dtype: Any) -> dict[Any, Any]:
    """Give the experts of a mixture the weights that they will have once loaded, computed in this
    type, and take their schemes from them. Quantized again when they are saved, the weights come
    out the same: what the type rounds is less than half a step.

    Returns:
        The scheme of each.
    """
    from compressed_tensors.offload import update_offload_parameter
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize

    schemes = {
        module: module.quantization_scheme
        for name, module in model.named_modules()
        if EXPERT.search(f"{name}.") and hasattr(module, "quantization_scheme")
    }
    for module, scheme in schemes.items():
        zero = getattr(module, "weight_zero_point", None)
        how = {"zero_point": zero, "args": scheme.weights}
        steps = quantize(module.weight, scale=module.weight_scale, **how)
        narrow = dequantize(steps, scale=module.weight_scale.to(dtype), **how)
        update_offload_parameter(module, "weight", narrow.float())
        module.quantization_scheme = scheme.model_copy(update={"weights": None})
    return schemes


@contextlib.contextmanager
def _as_saved_on_gpu(model: Any) -> Iterator[None]:
    """Let a model on a GPU, in the 16 bits of its checkpoint, predict what that will.

    Weights are rounded as saving does it, by a kernel that divides in 32 bits, and not once more
    when they are multiplied with, where compressed-tensors 0.19 divides in 16. The two differ by a
    step in some weights: up to 0.0015 nats on the built-in model.
    """
    from compressed_tensors.offload import dispatch_model, update_offload_parameter
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize

    dispatch_model(model)  # back from where calibration, layer by layer, has left it
    schemes = {
        module: module.quantization_scheme
        for module in model.modules()
        if hasattr(module, "quantization_scheme")
    }
    for module, scheme in schemes.items():
        how = {
            "scale": module.weight_scale,
            "zero_point": getattr(module, "weight_zero_point", None),
            "args": scheme.weights,
        }
        update_offload_parameter(
            module, "weight", dequantize(quantize(module.weight, **how), **how)
        )
        module.quantization_scheme = scheme.model_copy(update={"weights": None})
    yield
    for module, scheme in schemes.items():
        module.quantization_scheme = scheme


def full_precision_layers(model: Any) -> list[str]:
    """The output layer, which stays in full precision as the embeddings do."""
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if module is head] or ["lm_head"]


def weights_only(model: Any, bits: int, symmetric: bool = True) -> dict[str, Any]:
    """The scheme of integer weights and 16-bit activations: 4 bits in the largest usual group that
    divides every layer's input, else per channel.
    """
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    widths = {
        layer.in_features
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name not in full_precision_layers(model)
    }
    group = next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), None)
    if bits == 4 and group:
        weights = QuantizationArgs(
            num_bits=4, type="int", symmetric=symmetric, strategy="group", group_size=group
        )
    else:
        weights = QuantizationArgs(
            num_bits=bits, type="int", symmetric=symmetric, strategy="channel"
        )
    return {"weights": QuantizationScheme(targets=["Linear"], weights=weights)}


def _finish_files(output: Path, dtype: str, parts: Mapping[str, str]) -> None:
    """Save what stayed in floating point (embeddings, norms, scales) in the source's type again,
    and name the parts of experts so.
    """
    import torch
    from safetensors.torch import load_file, save_file

    def rename(name: str) -> str:
        return EXPERT.sub(lambda found: f"{found[1]}{parts.get(found[2], found[2])}.", name)

    config = json.loads((output / CONFIG).read_bytes())
    (output / CONFIG).write_text(json.dumps(config | {"dtype": dtype}, indent=2) + "\n")
    total = 0
    for shard in output.glob("*.safetensors"):
        tensors = {
            rename(name): t.to(getattr(torch, dtype)) if t.dtype == torch.float32 else t
            for name, t in load_file(shard).items()
        }
        total += sum(t.nbytes for t in tensors.values())
        save_file(tensors, shard, metadata={"format": "pt"})
    # of a checkpoint in several files; it says which holds what, and how many bytes they hold
    if (output / INDEX).is_file():
        index = json.loads((output / INDEX).read_bytes())
        index["metadata"]["total_size"] = total
        index["weight_map"] = {rename(name): file for name, file in index["weight_map"].items()}
        (output / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
