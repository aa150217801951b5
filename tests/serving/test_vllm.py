"""The vLLM engine in an environment of its own, `.venv-vllm`. Each start takes half a minute or
more, so servers are few and end by being killed.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from greenlight.serving.engines.registry import VLLM_ARCHITECTURES, by_preference
from tests.serving.library import LENGTH, PROMPTS, ask_library, greedy
from tests.serving.server_process import LONG, ROOT, TINY, Server, alive, eventually

PYTHON = ROOT / ".venv-vllm/bin/python"
MISSING = "no .venv-vllm: vLLM is not installed (`make vllm`)"
PLACES = 8
SHORT = {"prompt": "What is await?", "max_length": 4, "temperature": 0}


def launch(**settings: object) -> Server:
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    usual: dict[str, object] = {
        "model_id": TINY,
        "engine": "vllm",
        "default_temperature": 0,
        "max_running": PLACES,
        "log_level": "debug",
    }
    return Server(PYTHON, **usual | settings)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = launch(release_id="test-release", model_digest="sha256:given")
    yield running.wait_ready()
    running.stop()


@pytest.fixture
def doomed() -> Iterator[Server]:
    """One to kill. Without a C++ compiler on its PATH it starts faster, and must start all the
    same.
    """
    running = launch(cxx="no-compiler")
    yield running.wait_ready()
    running.stop()


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """What transformers says to PROMPTS."""
    return [each.text for each in ask_library("transformers", TINY, {})]


def descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return children + [grandchild for child in children for grandchild in descendants(child)]


def leave(server: Server, body: dict[str, Any]) -> None:
    """Read the beginning of a stream and hang up."""
    connection = server.connect()
    server.open(body, connection=connection).read(1)
    assert connection.sock
    connection.sock.shutdown(2)
    connection.close()


def test_auto_prefers_vllm_where_there_is_a_gpu_and_nowhere_else() -> None:
    for gpu, order in (
        (True, ["vllm", "openvino", "transformers"]),
        (False, ["openvino", "transformers", "vllm"]),
    ):
        assert list(by_preference(gpu)) == order


def test_probes_and_version(server: Server) -> None:
    assert (server.get("/health").status, server.get("/ready").status) == (200, 200)
    version = server.get("/version").json
    assert (version["engine"], version["release_id"], version["model_digest"]) == (
        "vllm",
        "test-release",
        "sha256:given",
    )


def test_greedy_text_is_that_of_transformers(server: Server, expected: list[str]) -> None:
    assert [server.post(greedy(prompt)).json["text"] for prompt in PROMPTS] == expected


def test_greedy_text_is_that_of_transformers_in_full_batches_of_streams(
    server: Server, expected: list[str]
) -> None:
    with ThreadPoolExecutor(2 * PLACES) as pool:
        answers = list(
            pool.map(
                lambda n: server.post(greedy(PROMPTS[n % len(PROMPTS)], stream=True)).text,
                range(4 * PLACES),
            )
        )
    assert answers == [expected[n % len(PROMPTS)] for n in range(len(answers))]


@pytest.mark.alone  # on a busy machine all tokens are there before the first is read
def test_the_stream_has_an_event_a_token_and_the_same_text(server: Server) -> None:
    body = greedy("The import statement", ignore_eos=True)
    streamed, whole = server.post(body | {"stream": True}), server.post(body).json
    *pieces, last = streamed.events
    assert sum(piece["tokens"] for piece in pieces) == LENGTH and len(pieces) > LENGTH / 2
    assert last == {"text": "", "tokens": 0, "finish_reason": "length", "usage": whole["usage"]}
    assert streamed.text == whole["text"]


def test_the_end_token_ends_the_text_unless_it_is_ignored(server: Server) -> None:
    prompt = "<|im_start|>user\nWhat is await?<|im_end|>\n<|im_start|>assistant\n"
    bodies = [
        {"prompt": prompt, "max_length": 150, "temperature": 1, "top_k": 40, "seed": seed}
        for seed in range(30)
    ]
    body, ended = next(
        (body, answer)
        for body in bodies
        if (answer := server.post(body).json)["finish_reason"] == "stop"
    )
    assert ended["usage"]["completion_tokens"] < 150 and "<|im_end|>" not in ended["text"]
    longer = server.post(body | {"ignore_eos": True}).json
    assert longer["usage"]["completion_tokens"] == 150 and longer["text"].startswith(ended["text"])


def test_seeds(server: Server) -> None:
    body = {"prompt": "What is await?", "max_length": 24, "temperature": 1.5, "ignore_eos": True}
    seeded = [server.post(body | {"seed": seed}).json["text"] for seed in (1, 1, 2, 2**63 - 1)]
    assert seeded[0] == seeded[1] and len(set(seeded)) == 3
    assert len({server.post(body).json["text"] for _ in range(4)}) == 4, (
        "without a seed each request draws its own"
    )


def test_top_k_one_and_tiny_top_p_are_greedy(server: Server) -> None:
    texts = {
        server.post(greedy("What is await?", **more)).json["text"]
        for more in ({}, {"temperature": 2, "top_k": 1}, {"temperature": 2, "top_p": 1e-6})
    }
    assert len(texts) == 1


def test_a_prompt_and_text_that_fill_the_context(server: Server) -> None:
    words = {
        "prompt": "The import statement " * 150,
        "max_length": 1,
        "temperature": 0,
        "ignore_eos": True,
    }
    room = 1024 - server.post(words).json["usage"]["prompt_tokens"]
    assert server.post(words | {"max_length": room}).json["usage"]["completion_tokens"] == room
    assert server.post(words | {"max_length": room + 1}).status == 400


def test_chat_is_the_template_and_its_stream_the_same_text(server: Server) -> None:
    talk = {
        "model": "any",
        "messages": [{"role": "user", "content": "What is await?"}],
        "max_tokens": 16,
        "temperature": 0,
        "ignore_eos": True,
    }
    whole = server.post(talk, "/v1/chat/completions").json
    streamed = server.post(talk | {"stream": True}, "/v1/chat/completions").events
    content = whole["choices"][0]["message"]["content"]
    assert whole["usage"]["completion_tokens"] == 16 and content
    assert (
        "".join(event["choices"][0]["delta"].get("content") or "" for event in streamed) == content
    )
    plain = server.post(
        greedy(
            "<|im_start|>user\nWhat is await?<|im_end|>\n<|im_start|>assistant\n",
            max_length=16,
            ignore_eos=True,
        )
    ).json
    assert plain["text"] == content


@pytest.mark.alone  # on a busy machine vLLM is done before the clients have read that it began
def test_clients_that_leave_free_their_places(server: Server) -> None:
    started = time.monotonic()
    server.post(LONG)
    whole = time.monotonic() - started
    generated = server.metric("greenlight_output_tokens_total")
    with ThreadPoolExecutor(PLACES) as pool:
        list(pool.map(lambda n: leave(server, LONG | {"prompt": f"Statement {n}"}), range(PLACES)))
    assert eventually(lambda: server.metric("greenlight_running_requests") == 0)
    started = time.monotonic()
    assert server.post(SHORT).status == 200
    assert time.monotonic() - started < whole / 2, "vLLM went on with them"
    assert server.metric("greenlight_output_tokens_total") < generated + PLACES * 850


def test_nothing_but_json_lines_on_stderr(server: Server) -> None:
    server.post(SHORT)
    server.wait_for_log("request")  # reading a line that is not JSON fails


def test_what_vllm_knows_is_kept_for_where_it_is_not_installed() -> None:
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    asked = "from greenlight.serving.engines.registry import _vllm_architectures as known"
    printed = subprocess.run(
        [PYTHON, "-c", f"{asked}; print(*sorted(known()), sep='\\n')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert VLLM_ARCHITECTURES.read_text() == printed, "write it anew"


def test_weights_that_vllm_cannot_compute_on_cpu(tmp_path: Path) -> None:
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": {"num_bits": 8}}},
    }
    config = json.loads((TINY / "config.json").read_text()) | {"quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(TINY / "tokenizer.json", tmp_path)
    (tmp_path / "model.safetensors").touch()
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    ended = subprocess.run(
        [PYTHON, "-m", "greenlight.serving"],
        env=os.environ | {"MODEL_ID": str(tmp_path), "ENGINE": "vllm", "PORT": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "on a CPU vLLM computes weights of 4 bits, and of no others" in ended.stderr
    assert "use transformers" in ended.stderr


def test_sigterm_drains(server: Server) -> None:
    processes = descendants(server.process.pid)
    stream = server.open(LONG)
    stream.read(50)
    server.signal(signal.SIGTERM)
    assert b'"completion_tokens":900' in stream.read()
    assert server.wait() == 0 and eventually(lambda: not any(map(alive, processes)))


def test_sigkill_of_the_http_process_takes_all_of_vllm_along(doomed: Server) -> None:
    processes = descendants(doomed.process.pid)
    assert len(processes) >= 2
    doomed.open(LONG).read(50)
    doomed.signal(signal.SIGKILL)
    doomed.wait()
    assert eventually(lambda: not any(map(alive, processes)))


def test_a_lost_vllm_process_fails_its_requests_and_ends_the_server(doomed: Server) -> None:
    (core,) = (
        pid
        for pid in descendants(doomed.engine_pid)
        if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    stream = doomed.open(LONG)
    stream.read(50)
    subprocess.run(["kill", "-9", str(core)], check=True)
    assert b'"code":"engine_failed"' in stream.read()
    assert doomed.wait() == 1


def test_a_vllm_process_lost_while_idle_is_found_by_the_next_probe(doomed: Server) -> None:
    (core,) = (
        pid
        for pid in descendants(doomed.engine_pid)
        if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    subprocess.run(["kill", "-9", str(core)], check=True)
    assert eventually(
        lambda: doomed.process.poll() is not None or doomed.get("/ready").status == 503, 10
    )
    assert doomed.wait() == 1
