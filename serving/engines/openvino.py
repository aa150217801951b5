"""OpenVINO GenAI's continuous batching, for OpenVINO artifacts on CPU."""

import numpy as np
import openvino as ov
import openvino_genai as genai

from greenlight.serving.engines.base import Engine, EngineConfig, Request, Update
from greenlight.serving.engines.precision import OPENVINO_PROPERTIES

BLOCK_TOKENS = 32  # the CPU plugin's KV cache is handed out in blocks of so many tokens
# compiled kernels that are kept, by the shapes of a batch. The plugin's own 5000 would grow by
# hundreds of MB over days of mixed requests
KERNELS = 64
TOKENS_PER_STEP = (
    256  # prompts longer than this are read in several steps, so that streams in flight keep moving
)


class OpenVINO(Engine):
    """One ContinuousBatchingPipeline. Its `step()` holds the GIL, hence a process of its own."""

    def __init__(self, config: EngineConfig) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_seqs = config.max_running
        scheduler.max_num_batched_tokens = max(TOKENS_PER_STEP, config.max_running)
        # each request wastes part of a block
        scheduler.num_kv_blocks = -(-config.kv_tokens // BLOCK_TOKENS) + config.max_running
        self._eos = set(config.eos)
        self._pipeline = genai.ContinuousBatchingPipeline(
            config.folder,
            scheduler_config=scheduler,
            device="CPU",
            properties={
                "INFERENCE_NUM_THREADS": config.threads,
                "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
                **OPENVINO_PROPERTIES[config.precision],
            },
        )
        self._live: dict[int, genai.GenerationHandle] = {}

    @property
    def busy(self) -> bool:
        return bool(self._live)

    def add(self, request: Request) -> None:
        sampling = genai.GenerationConfig()
        sampling.max_new_tokens = request.max_new_tokens
        sampling.ignore_eos = request.ignore_eos
        if not request.ignore_eos:
            sampling.stop_token_ids = self._eos
        if request.temperature > 0:
            sampling.do_sample = True
            sampling.temperature = request.temperature
            sampling.top_p = request.top_p
            if request.top_k:
                sampling.top_k = request.top_k
            sampling.rng_seed = request.seed  # its default is 0 for everybody
        prompt = ov.Tensor(np.array([request.tokens], dtype=np.int64))
        try:
            self._live[request.id] = self._pipeline.add_request(request.id, prompt, sampling)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO refused the request: {error}") from None

    def step(self) -> list[Update]:
        self._pipeline.step()
        updates: list[Update] = []
        for request_id, handle in self._live.items():
            if handle.can_read():  # read() on a drained handle never returns
                (output,) = handle.read().values()
                updates.append(
                    (request_id, output.generated_ids, _FINISH[output.finish_reason.value])
                )
            elif handle.get_status() != genai.GenerationStatus.RUNNING:
                # status IGNORED
                updates.append(
                    (request_id, [], "the request does not fit the KV cache, raise KV_CACHE_MB")
                )
        for request_id, _, finish in updates:
            if finish is not None:
                del self._live[request_id]
        return updates

    def cancel(self, request_id: int) -> None:
        if handle := self._live.pop(request_id, None):
            handle.cancel()


_FINISH = {
    genai.GenerationFinishReason.NONE.value: None,
    genai.GenerationFinishReason.STOP.value: "stop",
    genai.GenerationFinishReason.LENGTH.value: "length",
}

engine = OpenVINO
