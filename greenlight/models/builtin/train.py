"""Makes the built-in model: `python -m greenlight.models.builtin.train`, about 6 minutes on one
AVX2 thread.

A Llama of 4.2M parameters on 117k tokens. It knows little, but it is a real checkpoint: it loads
everywhere a Llama loads, and its weights are trained, so that what quantization takes from them can
be measured. More threads make it slower on a busy machine.
"""

import logging
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from greenlight.models.builtin import CALIBRATION, HELDOUT, PROMPTS, TINY
from greenlight.models.builtin.language_reference import (
    SEED,
    calibration,
    prompts,
    split,
    write_lines,
)

log = logging.getLogger("greenlight.download")

VOCABULARY, SEQUENCE, BATCH, STEPS, WARM_UP = 2048, 256, 4, 350, 30
MUON_RATE, ADAM_RATE = 0.02, 4e-3
# what the server allows; the rotary positions are relative, so that it degrades beyond SEQUENCE,
# but works
CONTEXT = 1024

START, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] +"
    " '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%"
    " endif %}"
)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template in ChatML. Every text has tokens; there is no
    unknown one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, TURN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=START,
        additional_special_tokens=[TURN],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.bos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` with its defaults, but orthogonalizing in float32: its bfloat16 is
    emulated, and 10 times slower, without AVX-512.

    Momentum whose matrix is replaced by the nearest orthogonal one (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/).
    """

    def __init__(
        self,
        matrices: list[torch.Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                direction = _orthogonal(weight.grad.lerp(velocity, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(
                    direction, alpha=group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5
                )


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Push the singular values near 1: five Newton-Schulz iterations of the quintic in the post
    cited above.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445
        )
    return x if wide is matrix else x.T


def as_conversations(train: dict[str, str]) -> str:
    """Each topic as an answer, so that the model has seen the chat template and its stop token."""
    return "".join(
        f"{START}{TURN}user\n{topic.replace('-', ' ')}{END}\n{TURN}assistant\n{text.strip()}{END}\n"
        for topic, text in train.items()
    )


def fit(model: LlamaForCausalLM, tokens: torch.Tensor) -> None:
    """Train in place on random windows of `tokens` (shape [n])."""
    matrices = [
        weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers" in name
    ]
    rest = [
        weight
        for name, weight in model.named_parameters()
        if not (weight.ndim == 2 and "layers" in name)
    ]
    optimizers = [Muon(matrices, lr=MUON_RATE), torch.optim.AdamW(rest, lr=ADAM_RATE)]
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, _rate) for optimizer in optimizers]
    started = time.monotonic()
    model.train()
    for done in range(STEPS):
        starts = torch.randint(len(tokens) - SEQUENCE, (BATCH,))
        batch = torch.stack([tokens[start : start + SEQUENCE] for start in starts.tolist()])
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if done % 25 == 0 or done == STEPS - 1:
            log.info(
                "step %d of %d, loss %.3f, %.0f s",
                done,
                STEPS,
                loss.item(),
                time.monotonic() - started,
            )


def _rate(step: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


@torch.no_grad()
def perplexity(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> tuple[float, int]:
    """Token perplexity of the documents, each after the begin-of-text token; and the number of
    tokens scored.
    """
    model.eval()
    loss, count = 0.0, 0
    for text in texts:
        tokens = torch.tensor(
            [[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]]
        )
        scored = tokens.shape[1] - 1
        loss += model(input_ids=tokens, labels=tokens).loss.item() * scored
        count += scored
    return math.exp(loss / count), count


def main(folder: Path = TINY) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train, documents = split()
    tokenizer = train_tokenizer(list(train.values()))
    tokens = torch.tensor(tokenizer.encode(as_conversations(train), add_special_tokens=False))
    longest = max(len(tokenizer.encode(text)) for text in documents)
    log.info(
        "%d training tokens; %d held-out documents, the longest of %d tokens",
        len(tokens),
        len(documents),
        longest,
    )
    model = new_model(tokenizer)
    log.info("untrained perplexity %.1f", perplexity(model, tokenizer, documents)[0])
    fit(model, tokens)
    found, scored = perplexity(model, tokenizer, documents)
    log.info(
        "held-out perplexity %.2f in float32 over %d tokens, bfloat16 %.2f",
        found,
        scored,
        perplexity(model.to(torch.bfloat16), tokenizer, documents)[0],
    )

    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_lines(HELDOUT, "text", documents)
    write_lines(CALIBRATION, "text", calibration(train))
    write_lines(PROMPTS, "prompt", prompts(train, SEED))


if __name__ == "__main__":
    main()
