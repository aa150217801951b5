"""The libraries called the way their own documentation does: load, quantize, save. Arguments:
METHOD BITS MODEL OUTPUT TEXTS LENGTH.

On a CPU llm-compressor is given 32 bits, as our own code does: 16 would be slower, and the
comparison is of what is around the library.
"""

import json
import sys
from pathlib import Path
from typing import Any

from greenlight.quantize.export_environment import export_python
from greenlight.quantize.methods.optimum import WEIGHTS


def command(
    method: str, bits: int, model: Path, output: Path, texts: Path, length: int
) -> list[str]:
    """What to run."""
    if method == "optimum":
        cli = str(export_python().with_name("optimum-cli"))
        what = [
            "--model",
            str(model),
            "--task",
            "text-generation-with-past",
            "--library",
            "transformers",
        ]
        return [cli, "export", "openvino", *what, *WEIGHTS[bits], str(output)]
    return [
        sys.executable,
        "-m",
        __name__,
        method,
        str(bits),
        str(model),
        str(output),
        str(texts),
        str(length),
    ]


def bitsandbytes(bits: int, model: str, output: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": torch.bfloat16,
    }
    config = BitsAndBytesConfig(**(four if bits == 4 else {"load_in_8bit": True}))
    AutoModelForCausalLM.from_pretrained(
        model, dtype="auto", quantization_config=config, device_map="auto"
    ).save_pretrained(output)


def recipe(method: str, bits: int) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    if method == "awq":
        return [
            AWQModifier(),
            QuantizationModifier(targets="Linear", scheme="W4A16_ASYM", ignore=["lm_head"]),
        ]
    if method == "w8a8":
        return [
            SmoothQuantModifier(smoothing_strength=0.8),
            GPTQModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"]),
        ]
    if method == "fp8":
        return [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])]
    return [GPTQModifier(targets="Linear", scheme=f"W{bits}A16", ignore=["lm_head"])]


def llm_compressor(
    method: str, bits: int, model: str, output: str, texts: str, length: int
) -> None:
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype="auto" if torch.cuda.is_available() else torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line)["text"] for line in Path(texts).read_text().splitlines()]
    data = Dataset.from_list(
        [dict(tokenizer(text, max_length=length, truncation=True)) for text in rows]
    )
    oneshot(
        model=loaded,
        dataset=data,
        recipe=recipe(method, bits),
        max_seq_length=length,
        num_calibration_samples=len(rows),
    )
    loaded.save_pretrained(output, save_compressed=True)


if __name__ == "__main__":
    method, bits, model, output, texts, length = sys.argv[1:]
    if method == "bnb":
        bitsandbytes(int(bits), model, output)
    else:
        llm_compressor(method, int(bits), model, output, texts, int(length))
