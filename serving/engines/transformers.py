"""transformers' continuous batching, for plain, bitsandbytes and compressed-tensors checkpoints on
CPU and CUDA.

The library runs its batches in a thread and knows one way of sampling for all requests. Here the
same scheduler, paged cache and model run in the worker's own loop, and each request is sampled its
own way: greedy or not, with its own seed. For that `ContinuousBatchProcessor` is driven directly,
which is not its public interface: transformers is pinned to 5.17.
"""

import json
from pathlib import Path
from typing import Any, cast

import torch
from transformers.generation.configuration_utils import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    OutputRouter,
)
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs
from transformers.generation.continuous_batching.requests import GenerationOutput

from greenlight.models import model_class
from greenlight.serving.engines.base import Engine, EngineConfig, Request, Update

BLOCK_TOKENS = 32
TOKENS_PER_STEP = (
    256  # prompts longer than this are read in several steps, so that streams in flight keep moving
)


class Transformers(Engine):
    """One model with a paged KV cache."""

    def __init__(self, config: EngineConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.set_grad_enabled(False)
        self._eos = list(config.eos)
        self._live: dict[int, Request] = {}
        self._handed_out: dict[int, int] = {}  # tokens of each request that were handed out
        self._model = load_model(Path(config.folder), config.four_bit)
        self._manager = ContinuousBatchingManager(
            self._model,
            GenerationConfig(do_sample=False, eos_token_id=self._eos or [-1]),
            ContinuousBatchingConfig(
                block_size=BLOCK_TOKENS,
                num_blocks=-(-config.kv_tokens // BLOCK_TOKENS)
                + config.max_running,  # each request wastes part of a block
                max_batch_tokens=max(TOKENS_PER_STEP, config.max_running),
                max_requests_per_batch=config.max_running,
                # sampling looks at each request between the forward passes
                use_async_batching=False,
                use_cuda_graph=False,
            ),
        )
        self._outputs = _Outputs()
        self._manager.output_router = self._outputs
        self._processor = self._manager._create_batch_processor()
        self._sampler = Sampler(self._live)
        self._processor.model_runner._sample = self._sample

    @property
    def busy(self) -> bool:
        return bool(self._live)

    def add(self, request: Request) -> None:
        self._live[request.id] = request
        self._handed_out[request.id] = 0
        eos = [-1] if request.ignore_eos or not self._eos else self._eos
        self._manager.add_request(
            request.tokens,
            str(request.id),
            request.max_new_tokens,
            streaming=True,
            eos_token_id=eos,
        )

    def step(self) -> list[Update]:
        if self._processor.prepare_next_batch():
            self._processor._generation_step(self._model)
            self._processor.update_batch()
        return [
            self._update(output)
            for output in self._outputs.take()
            if int(output.request_id) in self._live
        ]

    def cancel(self, request_id: int) -> None:
        if request_id in self._live:
            self._forget(request_id)
            self._manager.cancel_request(str(request_id))

    def _update(self, output: GenerationOutput) -> Update:
        number = int(output.request_id)
        request = self._live[number]
        tokens = output.generated_tokens[self._handed_out[number] :]
        self._handed_out[number] += len(tokens)
        finish = None
        if output.is_finished():
            ended = not request.ignore_eos and bool(tokens) and tokens[-1] in self._eos
            finish = output.error or ("stop" if ended else "length")
            self._forget(number)
        return number, tokens, finish

    def _forget(self, request_id: int) -> None:
        del self._live[request_id], self._handed_out[request_id]
        self._sampler.forget(request_id)

    def _sample(self, scores: torch.Tensor, output_ids: torch.Tensor) -> None:
        """Takes the place of the library's: fills `output_ids` (1, n) from `scores` (1, n,
        vocabulary), one row per request that has a new token.
        """
        batch = cast(ContinuousBatchingIOs, self._processor.inputs_and_outputs).requests_in_batch
        chosen = self._sampler.choose(
            scores[0], [int(part.state.request_id) for part in batch if part.has_new_token]
        )
        output_ids[0, : len(chosen)].copy_(chosen)


class Sampler:
    """Chooses each request's next token the way that it asked for."""

    def __init__(self, requests: dict[int, Request]) -> None:
        self._requests = requests
        self._generators: dict[int, torch.Generator] = {}

    def choose(self, logits: torch.Tensor, numbers: list[int]) -> torch.Tensor:
        """Token ids (n) from logits (n, vocabulary), whose first rows belong to the requests
        `numbers`.
        """
        chosen = logits.argmax(-1)
        for row, number in enumerate(numbers):
            request = self._requests.get(number)
            if request is not None and request.temperature > 0:
                chosen[row] = self._draw(logits[row], request)
        return chosen

    def forget(self, number: int) -> None:
        self._generators.pop(number, None)

    def _draw(self, logits: torch.Tensor, request: Request) -> torch.Tensor:
        generator = self._generators.get(request.id)
        if generator is None:
            generator = self._generators[request.id] = torch.Generator(logits.device).manual_seed(
                request.seed
            )
        size = min(request.top_k or len(logits), len(logits))
        values, ids = logits.topk(size) if size < len(logits) else logits.sort(descending=True)
        shares = (values / request.temperature).softmax(-1)
        if request.top_p < 1:
            shares[shares.cumsum(-1) - shares >= request.top_p] = (
                0  # the first token that reaches top_p still counts
            )
        return ids[torch.multinomial(shares, 1, generator=generator)[0]]


class _Outputs(OutputRouter):
    """Collects what the batch processor hands out, instead of waking other threads."""

    def __init__(self) -> None:
        super().__init__()
        self._collected: list[GenerationOutput] = []

    def deliver(self, output: GenerationOutput) -> None:
        self._collected.append(output)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        self._collected += outputs

    def take(self) -> list[GenerationOutput]:
        outputs, self._collected = self._collected, []
        return outputs


def load_model(folder: Path, four_bit: bool = False) -> Any:
    """The model on the accelerator if there is one. A plain checkpoint is computed in fp32 on CPU:
    it serves the baseline.
    """
    config = json.loads((folder / "config.json").read_text())
    on_gpu = torch.cuda.is_available()
    plain = not config.get("quantization_config")
    options: dict[str, Any] = {
        "dtype": torch.float32 if plain and not on_gpu else "auto",
        "attn_implementation": "paged|sdpa",
    }
    if on_gpu:
        options["device_map"] = {"": 0}
    if four_bit:
        from transformers import BitsAndBytesConfig

        options["dtype"] = torch.bfloat16
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    return model_class.load_model(folder, **options).eval()


engine = Transformers
