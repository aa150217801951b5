"""bitsandbytes: NF4 for 4 bits (QLoRA, arXiv:2305.14314), LLM.int8() for 8 (arXiv:2208.07339).
Needs no calibration.

Embeddings and the output layer stay in full precision.
"""

import json
from pathlib import Path

from greenlight.core.child_process import run_module
from greenlight.models.file_selection import CONFIG
from greenlight.models.model_class import find_model_class
from greenlight.quantize.methods.base import Job, Method
from greenlight.quantize.reload_check import save_predictions


class BitsAndBytes(Method):
    name = "bnb"
    bits = (4, 8)
    library = "bitsandbytes"
    packages = ("bitsandbytes", "transformers", "torch")
    format = "bitsandbytes"
    engines = ("transformers",)
    disk = 1.0
    tolerance = 0.0001

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


def work(model: str, output: str, bits: str, scratch: str, shard_bytes: str) -> None:
    """Runs in a process of its own: quantize while loading, save."""
    import torch
    from transformers import BitsAndBytesConfig

    if bits == "4":
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    described = json.loads((Path(model) / CONFIG).read_bytes())
    loaded = find_model_class(described).from_pretrained(
        Path(model),
        dtype="auto",
        quantization_config=config,
        device_map={"": device},
        local_files_only=True,
    )
    # Saved first: on a CPU with AVX512-BF16 the first prediction packs the weights anew, and
    # release 0.50 saves something else after that.
    loaded.save_pretrained(output, max_shard_size=int(shard_bytes))
    save_predictions(
        lambda ids: loaded(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0],
        Path(scratch),
    )


method = BitsAndBytes()
