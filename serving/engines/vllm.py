"""vLLM, for plain and compressed-tensors checkpoints on CUDA and CPU.

Its AsyncLLM, which is what vLLM's own API server uses, runs in a thread of the worker. AsyncLLM
always computes in a process of its own (VLLM_ENABLE_V1_MULTIPROCESSING=0 is for the blocking LLM
class alone), which on CPU starts a further one for OpenMP. They end when the worker does, see
`greenlight.serving.engine_worker.die_with`. What vLLM reads from the environment is set in
engine_process.py.
"""

import asyncio
import json
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from greenlight.serving.engine_process import cpp_compiler
from greenlight.serving.engines.base import Engine, EngineConfig, Request, Update
from greenlight.serving.engines.registry import quantized_weight_bits

BLOCK_TOKENS = 32  # of the KV cache on CPU, where vLLM wants a multiple of it
WAIT_SECONDS = 0.002  # for output; a new request waits as long before the worker sees it


class VLLM(Engine):
    """One AsyncLLM. It decodes on its own, `step` only collects what it has decoded."""

    def __init__(self, config: EngineConfig) -> None:
        self._eos = list(config.eos)
        self._live: dict[int, Future[None]] = {}
        self._arrived: SimpleQueue[Update | Exception] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()
        self._llm = asyncio.run_coroutine_threadsafe(
            start(engine_args(config)), self._loop
        ).result()

    @property
    def busy(self) -> bool:
        # the step after vLLM's process has died says so, be there requests or not
        return bool(self._live) or self._llm.errored

    def add(self, request: Request) -> None:
        self._live[request.id] = asyncio.run_coroutine_threadsafe(
            self._generate(request), self._loop
        )

    def step(self) -> list[Update]:
        if self._llm.errored:
            raise self._llm.dead_error
        updates: list[Update] = []
        with suppress(Empty):
            arrived = self._arrived.get(timeout=WAIT_SECONDS)
            while True:
                if isinstance(arrived, Exception):
                    raise arrived
                number, _, finish = arrived
                if number in self._live:
                    updates.append(arrived)
                    if finish is not None:
                        del self._live[number]
                arrived = self._arrived.get_nowait()
        return updates

    def cancel(self, request_id: int) -> None:
        if generating := self._live.pop(request_id, None):
            generating.cancel()  # AsyncLLM then aborts the request

    async def _generate(self, request: Request) -> None:
        sampling = SamplingParams(
            max_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            seed=request.seed,
            ignore_eos=request.ignore_eos,
            stop_token_ids=[] if request.ignore_eos else self._eos,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        try:
            async for output in self._llm.generate(
                tokens_input(request.tokens), sampling, str(request.id)
            ):
                (part,) = output.outputs
                self._arrived.put((request.id, list(part.token_ids), _finish(part.finish_reason)))
        except VLLMClientError as error:
            self._arrived.put((request.id, [], f"vLLM refused the request: {error}"))
        except Exception as error:
            self._arrived.put(error)


async def start(args: AsyncEngineArgs) -> AsyncLLM:
    """Load the model. AsyncLLM wants to be made in the event loop that it will run in."""
    return AsyncLLM.from_engine_args(args)


def engine_args(config: EngineConfig) -> AsyncEngineArgs:
    """On a GPU the KV cache takes what vLLM finds free, as is its default. On CPU it is as large as
    the server says, and as in the transformers engine a plain checkpoint is computed in fp32.
    """
    args = AsyncEngineArgs(
        model=config.folder,
        max_model_len=config.context,
        max_num_seqs=config.max_running,
        skip_tokenizer_init=True,  # the HTTP process turns text into tokens and back
        generation_config="vllm",  # none: each request says all about its sampling
        trust_remote_code=False,
        use_tqdm_on_load=False,
        disable_log_stats=True,
    )
    if current_platform.is_cpu():
        model = json.loads((Path(config.folder) / "config.json").read_text())
        check_kernels(model)
        args.dtype = "auto" if model.get("quantization_config") else "float32"
        args.block_size = BLOCK_TOKENS
        # each request wastes part of one, vLLM keeps one
        args.num_gpu_blocks_override = -(-config.kv_tokens // BLOCK_TOKENS) + config.max_running + 1
        # the blocks are counted above; without it vLLM insists on nearly all memory of the machine
        args.kv_cache_memory_bytes = 1
        # with one, torch compiles the model: half a minute, and half the time per token
        args.enforce_eager = cpp_compiler() is None
    return args


def check_kernels(config: dict[str, Any]) -> None:
    """Whether vLLM can compute a compressed-tensors checkpoint on this CPU; by itself it says so
    late, and not so clearly. What shows without torch was checked before
    (`greenlight.serving.engines.registry`). Raises ValueError.
    """
    if quantized_weight_bits(config) is not None and not torch.cpu._is_avx512_supported():
        raise ValueError(
            "on CPU vLLM computes quantized weights with AVX-512 alone; serve this model with"
            " ENGINE=transformers, or on a GPU"
        )


def _finish(reason: str | None) -> str | None:
    return reason if reason in (None, "stop", "length") else f"vLLM ended the request: {reason}"


engine = VLLM
