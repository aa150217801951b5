"""What the steps `reference` and `evaluate` take for a vocabulary of 128,000: memory, disk and
seconds, each step in a process of its own.

A random model of the built-in one's tokenizer whose output is as wide as Llama 3's; its layers are
small, so that what is measured is the keeping of log-probabilities and not the model. The last line
is `BENCH {…}`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenlight.evaluate.text_files import load_text
from greenlight.models.builtin import HELDOUT, TINY
from greenlight.models.tokenizer import load_tokenizer

VOCABULARY, HIDDEN = 128_256, 64
LIMITS = {"memory_gb": 2.0, "disk_gb": 6.0}

STEP = {
    "reference": (
        "from greenlight.evaluate.reference import make_reference as make; make('baseline',"
        " 'reference', 'text.jsonl').save('reference')"
    ),
    "evaluate": (
        "from greenlight.evaluate.evaluation import evaluate_model as make; make('reference',"
        " 'baseline', 'evaluation').save('evaluation')"
    ),
}


def make_model(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder / name)


def write_text(path: Path, tokens: int) -> int:
    """The built-in text, as often as it takes; returns its tokens."""
    tokenizer, texts, found = load_tokenizer(TINY), load_text(str(HELDOUT)), 0
    with open(path, "w") as file:
        while found < tokens:
            text = texts.pop(0)
            texts.append(text + " again")
            found += len(tokenizer.encode(text, add_special_tokens=False).ids)
            file.write(json.dumps({"text": text}) + "\n")
    return found


def run(step: str, folder: Path) -> dict[str, float]:
    """Seconds, and the peak of the process's memory in GB."""
    began = time.monotonic()
    code = (
        f"{STEP[step]}; from greenlight.core.child_process import own_peak_memory;"
        " print(own_peak_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return {
        "seconds": round(time.monotonic() - began, 1),
        "memory_gb": round(int(done.stdout.split()[-1]) / 1e9, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=20_000, help="tokens that are scored")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where there is room for the files; default: the folder for temporary ones",
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        make_model(folder / "baseline")
        tokens = write_text(folder / "text.jsonl", wanted.tokens)
        found: dict[str, dict[str, float]] = {}
        for step in STEP:
            print(f"{step} of {tokens:,} tokens, {VOCABULARY:,} words …", flush=True)
            found[step] = run(step, folder)
            print(
                f"{step}: {found[step]['seconds']} s, {found[step]['memory_gb']} GB of memory",
                flush=True,
            )
        disk = sum(path.stat().st_size for path in (folder / "reference").iterdir()) / 1e9
        kl = json.loads((folder / "evaluation" / "record.json").read_text())["metrics"]["kl_mean"][
            "value"
        ]
    print(f"the artifact: {disk:.2f} GB; the baseline against itself: KL {kl:.2g} nats")
    highest = max(each["memory_gb"] for each in found.values())
    kept = highest <= LIMITS["memory_gb"] and disk <= LIMITS["disk_gb"]
    print(
        f"within {LIMITS['memory_gb']:g} GB of memory and {LIMITS['disk_gb']:g} GB of disk:"
        f" {'yes' if kept else 'NO'}"
    )
    print(
        "BENCH "
        + json.dumps(
            {
                "tokens": tokens,
                "vocabulary": VOCABULARY,
                "disk_gb": round(disk, 2),
                "kl_of_itself": kl,
                **found,
            }
        )
    )


if __name__ == "__main__":
    main()
