"""Real evaluations: every method's artifact, reloaded; other families; and artifacts that are
damaged but whole.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from greenlight.core.errors import GreenlightError, InputError, IntegrityError
from greenlight.core.records import Evaluation, Model
from greenlight.evaluate.evaluation import evaluate_model
from greenlight.evaluate.reference import make_reference
from greenlight.models.builtin import TINY
from greenlight.models.integrity import content_digest, describe_files
from greenlight.quantize.candidate import quantize_model
from greenlight.quantize.methods import methods
from greenlight.stats.documents import ratio_of_sums
from tests.quantize.candidates import Candidates
from tests.quantize.families import make_checkpoint

pytestmark = pytest.mark.slow

METRICS = {
    "perplexity",
    "baseline_perplexity",
    "perplexity_ratio",
    "bits_per_byte",
    "baseline_bits_per_byte",
    "kl_mean",
    "kl_p99",
    "top1_agreement",
}
RUINED = 0.2  # nats: 4 bits cost 0.01


@pytest.fixture(scope="module")
def evaluate(
    reference_of: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Evaluation]:
    """Score an artifact on eight documents."""

    def run(artifact: Path, baseline: Path = TINY) -> Evaluation:
        return evaluate_model(
            reference_of(baseline), artifact, tmp_path_factory.mktemp("evaluation")
        )

    return run


def test_unquantized_is_the_same(
    candidates: Candidates, reference_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    (tmp_path / "record.json").write_text("{}")  # what a killed attempt left
    record = evaluate_model(reference_of(TINY), candidates.make("none", 16), tmp_path)
    assert set(record.metrics) == METRICS
    # what 16 bits of the baseline lose
    assert 0 <= record.metrics["kl_mean"].value <= record.metrics["kl_mean"].high < 1e-6
    assert record.metrics["top1_agreement"].low == record.metrics["perplexity_ratio"].value == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "documents.parquet",
        "tokens.parquet",
    ]

    rows = pq.read_table(tmp_path / "documents.parquet").to_pandas()
    assert list(rows) == [
        "document",
        "tokens",
        "bytes",
        "nll_baseline",
        "nll_candidate",
        "kl_sum",
        "top1_agree",
    ]
    assert list(rows["document"]) == list(range(record.documents))
    assert rows["tokens"].sum() == record.tokens
    perplexity = record.metrics["perplexity"]
    low, high = ratio_of_sums(rows["nll_candidate"], rows["tokens"])[1:]
    assert (perplexity.value, perplexity.low, perplexity.high) == pytest.approx(
        (
            math.exp(rows["nll_candidate"].sum() / rows["tokens"].sum()),
            math.exp(low),
            math.exp(high),
        )
    )
    assert record.metrics["bits_per_byte"].value == pytest.approx(
        rows["nll_candidate"].sum() / math.log(2) / rows["bytes"].sum()
    )
    assert 30 < perplexity.value < 200  # the model is trained: an untrained one has 2048


@pytest.mark.parametrize("method", ["bnb", "gptq", "optimum"])
def test_fewer_bits_do_more_damage(
    candidates: Candidates, evaluate: Callable[..., Evaluation], method: str
) -> None:
    eight, four = (evaluate(candidates.make(method, bits)).metrics for bits in (8, 4))
    assert 0 < eight["kl_mean"].high < 0.001 < four["kl_mean"].low < four["kl_mean"].high < 0.03
    assert four["top1_agreement"].high < eight["top1_agreement"].low
    assert eight["top1_agreement"].value > 0.96
    assert 0.99 < eight["perplexity_ratio"].value < 1.01
    assert 0.95 < four["perplexity_ratio"].value < 1.08


@pytest.mark.parametrize(
    ("family", "method", "bits"),
    [
        ("qwen2", "bnb", 8),
        ("gemma2", "gptq", 4),
        ("qwen3", "optimum", 8),
        ("gemma3_text", "optimum", 4),
    ],
)
def test_other_families(
    tmp_path_factory: pytest.TempPathFactory,
    candidates: Candidates,
    evaluate: Callable[..., Evaluation],
    family: str,
    method: str,
    bits: int,
) -> None:
    if (
        family.startswith("gemma")
        and method == "optimum"
        and methods()["optimum"].versions()["transformers"] >= "5.1"
    ):
        pytest.skip("optimum-intel 2.2 exports Gemma with transformers up to 5.0")
    baseline = make_checkpoint(family, tmp_path_factory.mktemp("families") / family)
    record = evaluate(candidates.make(method, bits, baseline), baseline)
    assert 0 < record.metrics["kl_mean"].value < (0.002 if bits == 8 else 0.1)


def test_swapped_layers_are_noticed(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    def swap(tensors: dict) -> dict:
        names = {
            name: name.replace("layers.0.", "layers.X.")
            .replace("layers.1.", "layers.0.")
            .replace("layers.X.", "layers.1.")
            for name in tensors
        }
        return {names[name]: tensor for name, tensor in tensors.items()}

    assert (
        evaluate(damaged(candidates.make("none", 16), tmp_path, swap)).metrics["kl_mean"].low
        > RUINED
    )


def test_wrong_scales_are_noticed(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    def double(tensors: dict) -> dict:
        return {
            name: tensor * 2 if name.endswith("weight_scale") else tensor
            for name, tensor in tensors.items()
        }

    assert (
        evaluate(damaged(candidates.make("gptq", 4), tmp_path, double)).metrics["kl_mean"].low
        > RUINED
    )


def test_nan_is_an_error(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    def poison(tensors: dict) -> dict:
        tensors["model.layers.2.mlp.up_proj.weight"][5, 5] = float("nan")
        return tensors

    with pytest.raises(GreenlightError, match="The candidate gives logits that are not finite"):
        evaluate(damaged(candidates.make("none", 16), tmp_path, poison))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda tensors: {
                name: tensor
                for name, tensor in tensors.items()
                if "layers.2.mlp.up_proj" not in name
            },
            "1 missing keys .*up_proj",
        ),
        (
            lambda tensors: (
                tensors
                | {"model.layers.9.mlp.up_proj.weight": tensors["model.norm.weight"].clone()}
            ),
            "1 unexpected keys .*layers.9",
        ),
        (
            lambda tensors: (
                tensors | {"model.norm.weight": tensors["model.norm.weight"][:-1].clone()}
            ),
            "model.norm.weight|size|shape",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_weights_of_another_model_are_an_error(
    candidates: Candidates,
    evaluate: Callable[..., Evaluation],
    tmp_path: Path,
    change: Callable[[dict], dict],
    says: str,
) -> None:
    with pytest.raises(GreenlightError, match=says):
        evaluate(damaged(candidates.make("none", 16), tmp_path, change))


def test_truncated_weights_are_an_error(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(candidates.make("none", 16), tmp_path / "artifact"))
    with open(artifact / "model/model.safetensors", "r+b") as file:
        file.truncate(4_000_000)
    with pytest.raises(IntegrityError, match=r"model\.safetensors has 4000000 bytes"):
        evaluate(artifact)
    rerecord(artifact)
    with pytest.raises(GreenlightError, match="could not be loaded"):
        evaluate(artifact)


@pytest.mark.parametrize("size", [1_000_000, 0])
def test_damaged_openvino_weights_are_noticed(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path, size: int
) -> None:
    artifact = Path(shutil.copytree(candidates.make("optimum", 8), tmp_path / "artifact"))
    weights = artifact / "model/openvino_model.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[size:] + content[:size] if size else b"")
    rerecord(artifact)
    try:
        kl = evaluate(artifact).metrics["kl_mean"].low
    except GreenlightError:
        return
    assert kl > RUINED


def test_candidate_of_another_baseline_is_an_error(
    candidates: Candidates, evaluate: Callable[..., Evaluation], tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(candidates.make("none", 16), tmp_path / "artifact"))
    path = artifact / "model/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    ids = tokenizer["model"]["vocab"]
    ids["Ġa"], ids["Ġin"] = ids["Ġin"], ids["Ġa"]
    path.write_text(json.dumps(tokenizer))
    rerecord(artifact)
    with pytest.raises(IntegrityError, match="not made from this baseline"):
        evaluate(artifact)


def test_missing_candidate_is_named(evaluate: Callable[..., Evaluation], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(tmp_path / "nothing")
    assert caught.value.field == "candidate"
    (tmp_path / "half/model").mkdir(parents=True)
    with pytest.raises(IntegrityError, match=r"holds no record\.json"):
        evaluate(tmp_path / "half")


def damaged(artifact: Path, folder: Path, change: Callable[[dict], dict]) -> Path:
    """A copy with changed tensors and a record that fits them: what a faulty library would have
    left.
    """
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(artifact, folder / "damaged"))
    weights = copy / "model/model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    rerecord(copy)
    return copy


def rerecord(artifact: Path) -> None:
    files = describe_files(artifact / "model")
    Model.load(artifact).model_copy(update={"files": files, "digest": content_digest(files)}).save(
        artifact
    )


def test_quantize_then_evaluate_needs_no_artifact_of_the_baseline(
    candidates: Candidates, tmp_path: Path
) -> None:
    quantize_model(TINY, tmp_path / "baseline", "none", 16)
    make_reference(
        tmp_path / "baseline", tmp_path / "reference", text=str(candidates.heldout)
    ).save(tmp_path / "reference")
    record = evaluate_model(tmp_path / "reference", TINY, tmp_path / "evaluation")
    assert record.metrics["kl_mean"].value < 1e-6
