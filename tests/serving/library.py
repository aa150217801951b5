"""What an engine's library answers by itself, without our server: the tests' reference."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.serving.server_process import ROOT

PROMPTS = [
    "The import statement",
    "How do I use lambda in Python? Please give an example.",
    "What is await?",
    "Objects, values and types\n*************************\n\n*Objects* are",
    "If a class defines a slot also defined in a base class",
    "é 世界 🙂",
]
LENGTH = 48

# What the library itself says: its own tokenizer, its own loop, its own decoding, one prompt at a
# time.
REFERENCE = {
    "openvino": """
import json, sys, openvino_genai as genai
folder, length, prompts, properties = sys.argv[1], *map(json.loads, sys.argv[2:])
pipeline = genai.ContinuousBatchingPipeline(
    folder, scheduler_config=genai.SchedulerConfig(), device="CPU", properties=properties
)
tokenizer = pipeline.get_tokenizer()
config = genai.GenerationConfig(
    max_new_tokens=length, do_sample=False, apply_chat_template=False, stop_token_ids={0, 2}
)
found = []
for prompt in prompts:
    text = pipeline.generate(prompt, config)[0].m_generation_ids[0]
    (result,) = pipeline.generate([tokenizer.encode(prompt).input_ids], [config])
    found.append([text, result.m_generation_ids[0]])
print(json.dumps(found))
""",
    "transformers": """
import json, sys, torch
from transformers import AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaForCausalLM
folder, length, prompts, _ = sys.argv[1], *map(json.loads, sys.argv[2:])
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
found = []
for prompt in prompts:
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    ids = model.generate(**inputs, max_new_tokens=length, do_sample=False)
    ids = ids[0, inputs["input_ids"].shape[1]:].tolist()
    found.append([tokenizer.decode(ids, skip_special_tokens=True), ids])
print(json.dumps(found))
""",
}


class Greedy(NamedTuple):
    """The library's own greedy answer to a prompt."""

    text: str
    tokens: list[int]


def ask_library(engine: str, folder: Path, properties: dict[str, str | int]) -> list[Greedy]:
    """The library's own greedy answers to PROMPTS, with as many threads as the tests' servers."""
    arguments = [LENGTH, PROMPTS, {"INFERENCE_NUM_THREADS": 1, **properties}]
    command = [sys.executable, "-c", REFERENCE[engine], str(folder), *map(json.dumps, arguments)]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "", "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    ).stdout
    return [Greedy(*found) for found in json.loads(output.splitlines()[-1])]


def greedy(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "max_length": LENGTH, "temperature": 0, **more}
