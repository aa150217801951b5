"""How much of a model was quantized, as its artifact says: whatever the library printed."""

import json
import shutil
from pathlib import Path

import pytest

from greenlight.core.errors import IntegrityError
from greenlight.core.records import Model
from greenlight.models.builtin import TINY
from greenlight.models.description import describe_folder
from greenlight.quantize.coverage import check_coverage, is_linear, measure_coverage
from greenlight.quantize.methods import methods
from tests.quantize.candidates import Candidates
from tests.quantize.test_suitability import dense, tensors

SOURCE = tensors(dense())


def save(folder: Path, config: dict, **arrays: tuple[str, tuple[int, ...]]) -> Path:
    """An artifact with tensors of zeros."""
    import torch
    from safetensors.torch import save_file

    for name in ("tokenizer.json", "config.json"):
        shutil.copy(TINY / name, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    kinds = {"BF16": torch.bfloat16, "U8": torch.uint8, "I8": torch.int8, "I32": torch.int32}
    save_file(
        {name: torch.zeros(shape, dtype=kinds[kind]) for name, (kind, shape) in arrays.items()},
        folder / "model.safetensors",
    )
    return folder


Arrays = dict[str, tuple[str, tuple[int, ...]]]


def layers(change: Arrays) -> Arrays:
    whole = {name: ("BF16", tensor.shape) for name, tensor in SOURCE.items()}
    return {**{name: each for name, each in whole.items() if name not in change}, **change}


def test_four_bits_of_bitsandbytes(tmp_path: Path) -> None:
    """Half of the layers; the others are as they were."""
    packed = [name for name in SOURCE if name.endswith(("q_proj.weight", "k_proj.weight"))]
    packed += [name for name in SOURCE if name.endswith("v_proj.weight")]
    change: Arrays = dict.fromkeys(packed, ("U8", (128 * 128 // 2, 1)))
    change |= {f"{name}.absmax": ("U8", (256,)) for name in packed}
    artifact = save(tmp_path, {}, **layers(change))
    coverage = measure_coverage(SOURCE, artifact, "bitsandbytes", 4)
    assert coverage.share == pytest.approx(3 / 7)
    assert coverage.left[0] == ("model.layers.0.down_proj.weight", 16)
    with pytest.raises(IntegrityError, match=r"42\.9% of the linear weights to 4 bits.*down_proj"):
        check_coverage(coverage, 0.9, 4, "bitsandbytes")


def test_eight_bits_are_not_four(tmp_path: Path) -> None:
    linear = [name for name, each in SOURCE.items() if is_linear(name, each.shape)]
    artifact = save(tmp_path, {}, **layers(dict.fromkeys(linear, ("I8", (128, 128)))))
    assert measure_coverage(SOURCE, artifact, "bitsandbytes", 8).share == 1
    coverage = measure_coverage(SOURCE, artifact, "bitsandbytes", 4)
    assert coverage.share == 0 and {bits for _, bits in coverage.left} == {8}


def test_packed_weights_of_compressed_tensors(tmp_path: Path) -> None:
    linear = [name for name, each in SOURCE.items() if is_linear(name, each.shape)]
    whole = layers({f"{name}_packed": ("I32", (128, 16)) for name in linear})
    artifact = save(
        tmp_path,
        {
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4}}},
            }
        },
        **{name: each for name, each in whole.items() if name not in linear},
    )
    assert measure_coverage(SOURCE, artifact, "compressed-tensors", 4).share == 1


GRAPH = """<net><layers>
<layer id="0" name="self.model.embed_tokens.weight" type="Const">
  <data element_type="u8" shape="1000, 128"/></layer>
<layer id="1" name="self.model.layers.0.mlp.up_proj.weight" type="Const">
  <data element_type="{up}" shape="128, 2, 64"/></layer>
<layer id="2" name="self.model.layers.0.mlp.up_proj.weight/zero_point" type="Const">
  <data element_type="u4" shape="128, 2, 1"/></layer>
<layer id="3" name="self.model.layers.0.mlp.up_proj.weight/scale" type="Const">
  <data element_type="f16" shape="128, 2, 1"/></layer>
<layer id="4" name="self.model.layers.0.norm.weight" type="Const">
  <data element_type="f32" shape="1, 1, 128"/></layer>
</layers></net>"""


@pytest.mark.parametrize(("kind", "share"), [("u4", 1.0), ("i4", 1.0), ("u8", 0.0), ("f16", 0.0)])
def test_a_graph_of_openvino(tmp_path: Path, kind: str, share: float) -> None:
    (tmp_path / "openvino_model.xml").write_text(GRAPH.format(up=kind))
    source = tensors({"model.layers.0.mlp.up_proj.weight": (128, 128)})
    coverage = measure_coverage(source, tmp_path, "openvino", 4)
    assert coverage.share == share
    assert [name for name, _ in coverage.left] == (
        [] if share else ["self.model.layers.0.mlp.up_proj.weight"]
    )


TRANSPOSED = """<net><layers>
<layer id="0" name="Transpose_9" type="Const">
  <data element_type="{kind}" shape="128, 128"/></layer>
<layer id="1" name="Transpose_9/fq_weights_1/convert" type="Convert"/>
<layer id="2" name="Transpose_9/scale" type="Const">
  <data element_type="f16" shape="128, 1"/></layer>
<layer id="3" name="Transpose_9/fq_weights_1" type="Multiply"/>
<layer id="4" name="__module.transformer.h.0.mlp.c_fc/aten::addmm/MatMul" type="MatMul"/>
<layer id="5" name="Constant_7" type="Const"><data element_type="u8" shape="128, 128"/></layer>
<layer id="6" name="__module.transformer.h.0.attn/aten::add/Add" type="Add"/>
</layers><edges>
<edge from-layer="0" to-layer="1"/><edge from-layer="1" to-layer="3"/>
<edge from-layer="2" to-layer="3"/><edge from-layer="3" to-layer="4"/>
<edge from-layer="5" to-layer="6"/>
</edges></net>"""


@pytest.mark.parametrize(("kind", "share"), [("i8", 1.0), ("f32", 0.0)])
def test_a_constant_that_lost_its_name_goes_by_the_product_it_is_in(
    tmp_path: Path, kind: str, share: float
) -> None:
    (tmp_path / "openvino_model.xml").write_text(TRANSPOSED.format(kind=kind))
    source = tensors({"transformer.h.0.mlp.c_fc.weight": (128, 128)})
    assert measure_coverage(source, tmp_path, "openvino", 8).share == share


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("model.layers.0.mlp.up_proj.weight", (256, 128), True),
        ("transformer.h.3.attn.c_attn.weight", (128, 384), True),
        ("model.layers.0.mlp.experts.gate_up_proj", (4, 128, 512), True),
        ("model.layers.0.block_sparse_moe.input_linear.weight", (4, 512, 128), True),
        ("model.layers.0.mlp.experts.gate_up_proj_bias", (4, 512), False),
        ("model.embed_tokens.weight", (1000, 128), False),
        ("lm_head.weight", (1000, 128), False),
        ("transformer.wpe.weight", (512, 128), False),
        ("backbone.layers.0.mixer.conv1d.weight", (256, 1, 4), False),
        ("backbone.layers.0.mixer.A_log", (256, 16), False),
        ("transformer.h.0.attn.bias", (1, 1, 512, 512), False),
        ("model.layers.0.input_layernorm.weight", (128,), False),
    ],
)
def test_what_counts_as_a_linear_weight(name: str, shape: tuple[int, ...], counts: bool) -> None:
    assert is_linear(name, shape) is counts


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), [("bnb", 4), ("gptq", 4), ("gptq", 8), ("optimum", 4)])
def test_real_artifacts_are_whole(candidates: Candidates, method: str, bits: int) -> None:
    artifact = candidates.make(method, bits)
    source = describe_folder(TINY).tensors
    form = methods()[method].format
    assert measure_coverage(source, artifact / "model", form, bits).share == 1
    assert measure_coverage(source, artifact / "model", form, bits // 2).share == 0
    assert Model.load(artifact).quantized_share == 1
