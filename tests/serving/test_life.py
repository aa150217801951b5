"""How the server starts and ends: settings, signals, and what happens when one of its two processes
dies.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenlight.core.records import FileEntry, Model
from greenlight.serving.settings import Settings
from tests.serving.server_process import LONG, ROOT, TINY, Answer, Server, alive, eventually

SHORT = {"prompt": "What is await?", "max_length": 4, "temperature": 0}


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "greenlight.serving"],
        cwd=ROOT,
        env={"PATH": "", **settings},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Model folders with something wrong."""
    root = tmp_path_factory.mktemp("folders")
    config = json.loads((TINY / "config.json").read_text())
    for name, quantization, weights in (
        ("pickle", None, "pytorch_model.bin"),
        ("gptq", {"quant_method": "gptq"}, "model.safetensors"),
        ("bnb", {"quant_method": "bitsandbytes"}, "model.safetensors"),
        ("openvino", None, "openvino_model.xml"),
        ("huge", None, "model.safetensors"),
    ):
        folder = root / name
        folder.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(TINY / file, folder)
        context = 10**12 if name == "huge" else 1024
        (folder / "config.json").write_text(
            json.dumps(
                config | {"quantization_config": quantization, "max_position_embeddings": context}
            )
        )
        (folder / weights).touch()
    (root / "empty").mkdir()
    yield {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["MODEL_ID"]),
        ({"MODEL_ID": "/nowhere"}, ["MODEL_ID", "/nowhere", "no such folder"]),
        ({"MODEL_ID": "{empty}"}, ["MODEL_ID", "config.json"]),
        ({"MODEL_ID": "{pickle}"}, ["MODEL_ID", "safetensors"]),
        ({"MODEL_ID": "{gptq}"}, ["MODEL_ID", "gptq"]),
        ({"MODEL_ID": "{bnb}", "ENGINE": "openvino"}, ["ENGINE", "'openvino'", "transformers"]),
        (
            {"MODEL_ID": "{openvino}", "ENGINE": "transformers"},
            ["ENGINE", "'transformers'", "loaded by: openvino"],
        ),
        ({"MODEL_ID": "{openvino}", "USE_4BIT": "true"}, ["USE_4BIT", "openvino", "unset it"]),
        ({"MODEL_ID": "{bnb}", "USE_4BIT": "four"}, ["USE_4BIT", "'four'", "true or false"]),
        ({"MODEL_ID": "{bnb}", "REQUEST_TIMEOUT": "0"}, ["REQUEST_TIMEOUT", "'0'", "from 0"]),
        ({"MODEL_ID": "{huge}"}, ["KV_CACHE_MB"]),
        ({"MODEL_ID": "{bnb}", "KV_CACHE_MB": "1"}, ["KV_CACHE_MB", "1", "raise it"]),
        ({"MODEL_ID": "{bnb}", "PORT": "abc"}, ["PORT", "'abc'", "from 0 to 65535"]),
        ({"MODEL_ID": "{bnb}", "PORT": "70000"}, ["PORT", "'70000'", "from 0 to 65535"]),
        (
            {"MODEL_ID": "{bnb}", "ENGINE": "vlm"},
            ["ENGINE", "'vlm'", "auto or openvino or transformers"],
        ),
        ({"MODEL_ID": "{bnb}", "DEFAULT_TEMPERATURE": "nan"}, ["DEFAULT_TEMPERATURE", "'nan'"]),
        ({"MODEL_ID": "{bnb}", "MAX_RUNNING": "0"}, ["MAX_RUNNING", "'0'", "from 1"]),
        ({"MODEL_ID": "{bnb}", "GRACE_SECONDS": "-1"}, ["GRACE_SECONDS", "'-1'", "from 0"]),
        ({"MODEL_ID": "{bnb}", "RELEASE_ID": "two\nlines"}, ["RELEASE_ID", "without spaces"]),
        ({"MODEL_ID": "{bnb}", "HOST": "no-such-host.invalid"}, ["HOST", "no-such-host.invalid"]),
    ],
    ids=str,
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    folders: dict[str, Path], settings: dict[str, str], words: list[str]
) -> None:
    before = os.times()
    ended = run(**{name: value.format(**folders) for name, value in settings.items()})
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and ended.stdout == "", (
        ended.stderr
    )
    assert all(word in ended.stderr for word in words), ended.stderr
    after = os.times()
    spent = after.children_user + after.children_system
    # CPU time, since the machine may be busy; 2 s on an idle one
    assert spent - before.children_user - before.children_system < 4


def test_a_port_in_use(folders: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(MODEL_ID=str(folders["bnb"]), PORT=str(taken.getsockname()[1]))
    assert (
        ended.returncode == 2
        and ended.stderr.startswith("PORT: ")
        and ended.stderr.count("\n") == 1
    )


def test_help_lists_every_setting() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "greenlight.serving", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"  {name.upper()} " in text for name in Settings.model_fields)


def test_a_plain_checkpoint_is_loaded_in_four_bits() -> None:
    server = Server(model_id=TINY, use_4bit=True, default_temperature=0).wait_ready()
    try:
        assert server.post(SHORT | {"ignore_eos": True}).json["usage"]["completion_tokens"] == 4
        from greenlight.serving.engines.transformers import (
            load_model,  # torch, which no other test here needs
        )

        plain, packed = load_model(TINY), load_model(TINY, four_bit=True)
        assert (
            packed.get_memory_footprint() < 0.6 * plain.get_memory_footprint()
            and packed.is_loaded_in_4bit
        )
    finally:
        server.stop()


def test_an_artifact_folder_tells_its_digest(
    start: Callable[..., Server], openvino_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").symlink_to(openvino_model)
    files = {"config.json": FileEntry(size=1, sha256="0")}
    Model(
        role="candidate",
        source="builtin:tiny",
        commit="c",
        format="openvino",
        digest="d1",
        files=files,
        bytes=1,
    ).save(tmp_path)
    version = start(model_id=tmp_path, model_digest="ignored").get("/version").json
    assert version["model_digest"] == "d1" and version["engine"] == "openvino"


def test_a_model_that_does_not_load_ends_the_server_with_its_reason(
    folders: dict[str, Path],
) -> None:
    ended = run(MODEL_ID=str(folders["openvino"]), PORT="0")
    events = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert ended.returncode == 1
    assert any(event["event"] == "engine_failed" and event["reason"] for event in events)


def test_sigterm_drains(start: Callable[..., Server]) -> None:
    server = start(grace_seconds=20)
    kept = server.connect()
    server.open(SHORT, connection=kept).read()
    stream = server.open(LONG)
    stream.read(50)
    server.signal(signal.SIGTERM)
    assert eventually(lambda: server.get("/ready").status == 503, 1)
    late = server.open(SHORT, connection=kept)  # on its way when the signal came
    assert late.status == 200 and late.headers["connection"] == "close"
    late.read()
    assert server.get("/health").headers["connection"] == "close"
    assert b'"completion_tokens":900' in stream.read()
    assert server.wait() == 0


def test_an_idle_server_ends_soon_after_sigterm(start: Callable[..., Server]) -> None:
    server = start()
    engine = server.engine_pid
    server.signal(signal.SIGTERM)
    assert server.wait(3) == 0 and eventually(lambda: not alive(engine), 1)


def test_what_outlasts_the_grace_period_is_cut_with_an_error(start: Callable[..., Server]) -> None:
    server = start(grace_seconds=0.3)
    streams = [server.open(LONG) for _ in range(8)]
    streams[0].read(50)
    server.signal(signal.SIGTERM)
    bodies = [stream.read() for stream in streams]
    assert all(b"GRACE_SECONDS" in body and body.endswith(b"data: [DONE]\n\n") for body in bodies)
    assert server.wait() == 0


def test_the_engine_reports_to_nobody(start: Callable[..., Server], tmp_path: Path) -> None:
    start(home=tmp_path)
    assert not list(tmp_path.iterdir()), "openvino_telemetry keeps ~/intel"


def test_a_second_sigterm_ends_at_once(start: Callable[..., Server]) -> None:
    server = start()
    engine = server.engine_pid
    stream = server.open(LONG)
    stream.read(50)
    server.signal(signal.SIGTERM)
    server.wait_for_log("draining")
    server.signal(signal.SIGTERM)
    assert server.wait(1) == 143 and eventually(lambda: not alive(engine), 1)


def test_sigkill_of_the_http_process_takes_the_engine_along(start: Callable[..., Server]) -> None:
    server = start()
    engine = server.engine_pid
    server.open(LONG).read(50)
    server.signal(signal.SIGKILL)
    server.wait()
    assert eventually(lambda: not alive(engine), 2)


def test_a_lost_engine_fails_its_requests_and_ends_the_server(start: Callable[..., Server]) -> None:
    server = start()
    stream = server.open(LONG)
    stream.read(50)
    waiting = server.connect()
    waiting.request("POST", "/generate", json.dumps(LONG | {"stream": False}))
    assert eventually(lambda: server.metric("greenlight_running_requests") == 2)
    subprocess.run(["kill", "-9", str(server.engine_pid)], check=True)
    assert b'"code":"engine_failed"' in stream.read()
    answer = Answer(waiting.getresponse())
    assert answer.status == 500 and answer.json["error"]["type"] == "engine_error"
    assert server.wait(5) == 1
    assert server.wait_for_log("engine_failed")["requests_lost"] == 2
