"""Logits of a checkpoint, loaded from disk in this process the way its engine loads it to serve."""

import contextlib
import inspect
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from greenlight.core.errors import GreenlightError
from greenlight.evaluate.windows import WINDOW
from greenlight.models.checkpoint import Checkpoint
from greenlight.models.context import text_config
from greenlight.models.model_class import load_model
from greenlight.serving.engines.precision import FULL_ARITHMETIC

if TYPE_CHECKING:
    import openvino
    import torch

CHUNK_TOKENS = 64
LOGITS_AT_ONCE = 1 << 27
"""Logits of windows that are read at once: 512 MiB in 32 bits."""
# Threads that wait by spinning make a busy machine up to 10 times slower. Read when torch is
# imported.
os.environ.setdefault("GOMP_SPINCOUNT", "0")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Warnings of libraries are not for the people who read a step's log. Errors are raised all the
    same.
    """
    for name in ("transformers", "bitsandbytes", "compressed_tensors", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Scorer(Protocol):
    """A loaded model.

    Attributes:
        at_once: how many threads may ask for logits at the same time.
    """

    at_once: int

    def logits(self, ids: list[int], last: int = 0) -> "torch.Tensor":
        """Next-token logits after each of `ids`, or after the last so many, on CPU, of shape
        (tokens, vocabulary). Valid until the thread's next call.
        """


def load_scorer(
    checkpoint: Checkpoint, threads: int, dtype: str = "", offload: Path | None = None
) -> Scorer:
    """Load the model of a checkpoint, to be computed in so many threads.

    Args:
        dtype: torch's name of the type to compute a transformers checkpoint in. Default: as the
            serving engine does.
        offload: folder to which a compressed-tensors model is unpacked on a CPU, a module when it
            is its turn: slower, and little memory.

    Raises:
        IntegrityError: the weights do not fit the model: missing, unexpected or misshapen tensors.
        GreenlightError: it cannot be loaded.
    """
    try:
        if checkpoint.record.format == "openvino":
            return OpenVINOScorer(str(checkpoint.folder / "openvino_model.xml"), threads)
        return TorchScorer(checkpoint, threads, dtype, offload)
    except GreenlightError:
        raise
    except Exception as error:  # whatever a library makes of broken files
        what = f"{checkpoint.record.role} {checkpoint.folder}"
        raise GreenlightError(
            f"The {what} could not be loaded ({type(error).__name__}: {error}). Make it again."
        ) from error


class TorchScorer:
    """A transformers checkpoint: plain, bitsandbytes or compressed-tensors."""

    def __init__(
        self, checkpoint: Checkpoint, threads: int, dtype: str = "", offload: Path | None = None
    ) -> None:
        import torch

        config = checkpoint.config()
        on_gpu = torch.cuda.is_available()
        # As the serving engine loads it: on CPU a plain checkpoint is computed in 32 bits, a
        # quantized one in the type that its config names.
        options: dict[str, Any] = {
            "dtype": "auto" if on_gpu or config.get("quantization_config") else torch.float32
        }
        if dtype:
            options["dtype"] = getattr(torch, dtype)
        if on_gpu:
            options["device_map"] = {"": 0}
        self._device = "cuda:0" if on_gpu else "cpu"
        # the layers of bitsandbytes and modules that are read from disk change as they are used
        changes = offload or checkpoint.record.format not in ("safetensors", "compressed-tensors")
        self.at_once = 1 if on_gpu or changes else _windows_at_once(config, threads)
        torch.set_num_threads(threads)
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            model = load_model(checkpoint.folder, **options)
            if dtype:
                _widen(model, options["dtype"])
            if offload and not on_gpu and checkpoint.record.format == "compressed-tensors":
                _keep_on_disk(model, offload)
            self._model = model.eval()
            self._can_keep_few = "logits_to_keep" in inspect.signature(model.forward).parameters
            if any(_changes_positions(module) for module in model.modules()):
                self.at_once = 1
            self.logits([0])  # compressed weights are unpacked at the first use

    def logits(self, ids: list[int], last: int = 0) -> "torch.Tensor":
        import torch

        with torch.inference_mode():
            inputs = torch.tensor([ids], device=self._device)
            # a large vocabulary makes those of a long text large
            few = {"logits_to_keep": last} if last and self._can_keep_few else {}
            return self._model(input_ids=inputs, use_cache=False, **few).logits[0][-last:].cpu()


class OpenVINOScorer:
    """An OpenVINO model, computed in 32 bits and with an 8-bit KV cache, on every CPU.

    By default OpenVINO would compute in bfloat16 and quantize activations where the CPU can: the
    scores of one model would differ from machine to machine. The 8-bit KV cache is part of what is
    served by default everywhere, and so of what is judged: a text is read in chunks, because only
    so do later tokens see earlier ones through the cache, as they do when the model generates.
    """

    def __init__(self, model: "str | openvino.Model", threads: int) -> None:
        """`model` is a path, or one in memory."""
        import openvino

        compiled = openvino.Core().compile_model(
            model, "CPU", {"INFERENCE_NUM_THREADS": threads, **FULL_ARITHMETIC}
        )
        self.at_once = 1
        self._request = compiled.create_infer_request()
        names = {name for port in self._request.model_inputs for name in port.names}
        self._takes_positions = "position_ids" in names
        if (
            not {"input_ids", "attention_mask", "beam_idx"}
            <= names
            <= {"input_ids", "attention_mask", "beam_idx", "position_ids"}
        ):
            raise GreenlightError(
                f"{model} is no stateful text generation model (inputs:"
                f" {', '.join(sorted(names))}). Quantize it with optimum."
            )

    def logits(self, ids: list[int], last: int = 0) -> "torch.Tensor":
        import numpy as np
        import torch

        self._request.reset_state()
        chunks = []
        for start in range(0, len(ids), CHUNK_TOKENS):
            chunk = ids[start : start + CHUNK_TOKENS]
            end = start + len(chunk)
            inputs = {
                "input_ids": np.array([chunk]),
                "attention_mask": np.ones((1, end), np.int64),
                "beam_idx": np.zeros(1, np.int32),
            }
            if self._takes_positions:
                inputs["position_ids"] = np.arange(start, end)[None]
            self._request.infer(inputs)
            unwanted = max(0, len(ids) - last - start) if last else 0
            if unwanted < len(chunk):
                chunks.append(self._request.get_tensor("logits").data[0][unwanted:].copy())
        return torch.from_numpy(np.concatenate(chunks))


def _widen(model: Any, dtype: "torch.dtype") -> None:
    """What transformers has unpacked in the type of the checkpoint, whatever type it was asked for:
    the experts of a mixture.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.element_size() == 2:
            parameter.data = parameter.data.to(dtype)


def _windows_at_once(config: dict[str, Any], threads: int) -> int:
    vocabulary = text_config(config).get("vocab_size") or config.get("vocab_size") or 1
    return min(threads, max(1, LOGITS_AT_ONCE // (WINDOW * int(vocabulary))))


def _changes_positions(module: Any) -> bool:
    """Whether it keeps rotary frequencies that depend on the length of the text it read last."""
    return any(kind in str(getattr(module, "rope_type", "")) for kind in ("dynamic", "longrope"))


def _keep_on_disk(model: Any, folder: Path) -> None:
    """From now on compressed-tensors reads each module of its model when it is its turn, and
    unpacks it to this folder.
    """
    from compressed_tensors.offload import offload_module

    folder.mkdir(exist_ok=True)
    for module in model.modules():
        offload_module(module, "cpu", "disk", offload_dir=str(folder))
