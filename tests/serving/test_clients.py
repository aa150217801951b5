"""The clients that people have: OpenAI's, guidellm, a browser, a fuzzer of the OpenAPI document.
All as they come, against a real server.
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, visit
from tests.serving.server_process import TINY, Server

MESSAGES = [{"role": "user", "content": "What is await?"}]
PAGE = """<script>
let text = "", ended = false, opened = 0
const fields = "prompt=What+is+await%%3F&max_length=12&temperature=0&ignore_eos=true"
const source = new EventSource("%s/generate?" + fields)
source.onopen = () => opened++
source.onmessage = event => { if (event.data != "[DONE]") text += JSON.parse(event.data).text }
source.onerror = () => { ended = source.readyState == EventSource.CLOSED }
</script>"""

needs = {
    name: pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed (`make test` does)"
    )
    for name in ("openai", "guidellm", "schemathesis")
}


@pytest.fixture(scope="module")
def public(openvino_model: Path) -> Iterator[Server]:
    """A server that web pages may ask, with short texts."""
    running = Server(
        model_id=openvino_model,
        cors_origins="*",
        default_max_length=8,
        max_new_tokens=64,
        default_temperature=0,
    ).wait_ready()
    yield running
    running.stop()


@needs["openai"]
def test_the_openai_client(public: Server) -> None:
    from openai import AsyncOpenAI, BadRequestError, OpenAI

    options = {
        "base_url": f"http://127.0.0.1:{public.port}/v1",
        "api_key": "unused",
        "max_retries": 0,
    }
    client = OpenAI(**options)
    (model,) = client.models.list().data
    whole = client.chat.completions.create(
        model=model.id, messages=MESSAGES, max_completion_tokens=12, temperature=0
    )
    assert whole.choices[0].message.content and whole.usage and whole.usage.completion_tokens <= 12
    stream = client.chat.completions.create(
        model=model.id,
        messages=MESSAGES,
        max_completion_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        == whole.choices[0].message.content
    )
    assert (
        chunks[-1].usage == whole.usage
        and [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1]
        == whole.choices[0].finish_reason
    )
    text = client.completions.create(
        model=model.id, prompt="What is await?", max_tokens=12, temperature=0, stop="\n"
    )
    assert text.choices[0].finish_reason in ("stop", "length") and "\n" not in text.choices[0].text
    with pytest.raises(BadRequestError, match="logprobs") as refused:
        client.chat.completions.create(model=model.id, messages=MESSAGES, logprobs=True)
    assert refused.value.param == "logprobs"

    async def many() -> list[str | None]:
        async with AsyncOpenAI(**options) as together:
            answers = await asyncio.gather(
                *(
                    together.chat.completions.create(
                        model=model.id, messages=MESSAGES, max_completion_tokens=12, temperature=0
                    )
                    for _ in range(16)
                )
            )
        return [answer.choices[0].message.content for answer in answers]

    assert set(asyncio.run(many())) == {whole.choices[0].message.content}


@needs["guidellm"]
def test_guidellm(public: Server, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [str(Path(sys.executable).with_name("guidellm")), "run", "--disable-console"]
    command += [
        "--backend",
        f"kind=openai_http,target=http://127.0.0.1:{public.port}",
        "--profile",
        "kind=concurrent,streams=4",
    ]
    command += [
        "--constraint",
        "kind=max_requests,count=24",
        "--tokenizer",
        f"kind=huggingface_auto,model={TINY}",
    ]
    command += [
        "--data",
        "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
        "--output",
        f"kind=json,path={report}",
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "GUIDELLM__LOGGING__DISABLED": "true",
    }
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    (benchmark,) = json.loads(report.read_text())["benchmarks"]
    totals = benchmark["metrics"]["request_totals"]
    assert totals["successful"] == 24 and totals["errored"] == 0
    assert benchmark["metrics"]["output_token_count"]["successful"]["mean"] == 16


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here, and apt could not bring it")
def test_a_browsers_event_source(public: Server, tmp_path: Path) -> None:
    """It connects again when the stream ends; answered 204, it stays closed."""
    page = tmp_path / "page.html"
    page.write_text(PAGE % f"http://127.0.0.1:{public.port}")
    seen = visit(page, ready="ended", ask=("text", "opened"))
    own = public.post(
        {"prompt": "What is await?", "max_length": 12, "temperature": 0, "ignore_eos": True}
    ).json["text"]
    assert seen.answers == [own, 1]


@needs["schemathesis"]
def test_a_fuzzer_finds_no_5xx(public: Server, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"http://127.0.0.1:{public.port}/openapi.json",
        "--checks",
        "not_a_server_error",
    ]
    command += [
        "--max-examples",
        "40",
        "--seed",
        "1",
        "--workers",
        "1",
        "--generation-database",
        "none",
        "--no-color",
        "--suppress-health-check",
        "all",
    ]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
    assert public.get("/ready").status == 200 and public.metric("greenlight_running_requests") == 0
