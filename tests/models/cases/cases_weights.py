"""Models that people bring, as changes to a copy of the built-in one: which files are weights, what
the headers say, what kind of model it is. Each case says how it must end.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

Tensors = dict[str, tuple[str, list[int], bytes]]  # dtype, shape and values by name
INDEX = "model.safetensors.index.json"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8000000\n"


@dataclass(frozen=True)
class Case:
    """`make` changes a copy of the built-in model. `says`: what refuses it; empty where it is
    taken, and then `note` is what is logged about it.
    """

    make: Callable[[Path], None]
    says: str = ""
    note: str = ""


CASES: dict[str, Case] = {}


def case(says: str = "", note: str = "") -> Callable[[Callable[[Path], None]], None]:
    def add(make: Callable[[Path], None]) -> None:
        CASES[make.__name__] = Case(make, says, note)

    return add


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file; `...` removes one."""
    found = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def read_tensors(path: Path) -> Tensors:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (
            entry["dtype"],
            entry["shape"],
            data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


def write_tensors(path: Path, tensors: Tensors) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, values) in tensors.items():
        offsets = [end, end + len(values)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = b"".join(values for _, _, values in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def edit_header(path: Path, change: Callable[[dict], None]) -> None:
    """Change the header of a file of weights, and leave what follows as it is."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def split(folder: Path, *names: str, index: str = INDEX, keep: bool = False) -> None:
    """Split model.safetensors over these files, with an index."""
    tensors = read_tensors(folder / "model.safetensors")
    if not keep:
        (folder / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, name in enumerate(names):
        part = {key: tensors[key] for key in sorted(tensors)[number :: len(names)]}
        write_tensors(folder / name, part)
        places |= dict.fromkeys(part, name)
    edit(folder / index, metadata={"total_size": 1}, weight_map=places)


def without(folder: Path, *ends: str) -> None:
    """Leave out the tensors whose names begin or end so."""
    tensors = read_tensors(folder / "model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(ends) and not name.startswith(ends)
    }
    assert len(kept) < len(tensors)
    write_tensors(folder / "model.safetensors", kept)


# Which files are weights


@case()
def zero_based_shards(folder: Path) -> None:
    split(folder, *(f"model-{number:05}-of-00002.safetensors" for number in range(3)))


@case()
def suffix_first_shards(folder: Path) -> None:
    split(folder, *(f"model.safetensors-0000{number}-of-00002.safetensors" for number in (1, 2)))


@case()
def shards_with_the_prefix_of_pickles(folder: Path) -> None:
    split(folder, *(f"pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)))


@case()
def index_of_another_name(folder: Path) -> None:
    names = (f"pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))
    split(folder, *names, index="pytorch_model.safetensors.index.json")


@case(note="leaves model-00001-of-00003.safetensors, model-00002-of-00003.safetensors")
def leftovers_of_another_split(folder: Path) -> None:
    split(folder, *(f"model-0000{number}-of-00002.safetensors" for number in (1, 2)))
    for number in (1, 2):
        shutil.copyfile(
            folder / "model-00001-of-00002.safetensors",
            folder / f"model-0000{number}-of-00003.safetensors",
        )


@case(note=f"takes model.safetensors, as transformers does, and leaves {INDEX}")
def whole_beside_an_old_index(folder: Path) -> None:
    split(folder, "model-00001-of-00001.safetensors", keep=True)
    (folder / "model-00001-of-00001.safetensors").unlink()


@case(note="takes model.safetensors, as transformers does")
def whole_beside_all_its_shards(folder: Path) -> None:
    split(folder, *(f"model-0000{number}-of-00002.safetensors" for number in (1, 2)), keep=True)


@case(note="takes weights.safetensors as model.safetensors")
def one_file_of_another_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


@case(note="takes model-00001-of-00001.safetensors as model.safetensors")
def one_of_one_without_an_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")


@case()
def original_weights_beside_shards(folder: Path) -> None:
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    edit(folder / "consolidated.safetensors.index.json", weight_map={"a": "consolidated-1"})
    split(folder, *(f"model-0000{number}-of-00002.safetensors" for number in (1, 2)))


@case(note="takes")
def original_weights_beside_one_file_of_another_name(folder: Path) -> None:
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "model.safetensors").rename(folder / "llm.safetensors")


@case()
def other_weights_in_folders_below(folder: Path) -> None:
    for below in ("fp32", "onnx", "original", "checkpoint-7"):
        (folder / below).mkdir()
        (folder / below / "model.safetensors").write_bytes(b"not even weights")
        (folder / below / "config.json").write_text("{")


@case(
    says=r"lacks 1 of 2 weight files that model\.safetensors\.index\.json names, first model-00002"
)
def a_shard_is_missing(folder: Path) -> None:
    split(folder, *(f"model-0000{number}-of-00002.safetensors" for number in (1, 2)))
    (folder / "model-00002-of-00002.safetensors").unlink()


@case(says=r"which of its 2 weight files make the model is not said: .*index\.json is missing")
def shards_without_an_index(folder: Path) -> None:
    split(folder, *(f"model-0000{number}-of-00002.safetensors" for number in (1, 2)))
    (folder / INDEX).unlink()


@case(says=r"several indexes of weights \(a\.safetensors\.index\.json, b\.")
def two_indexes_of_other_names(folder: Path) -> None:
    split(folder, "a-1.safetensors", "a-2.safetensors", index="a.safetensors.index.json")
    shutil.copyfile(folder / "a.safetensors.index.json", folder / "b.safetensors.index.json")


@case(says=r"places weights in \.\./model\.safetensors, which is no safetensors file beside it")
def an_index_that_leads_out_of_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    edit(folder / INDEX, weight_map={"lm_head.weight": "../model.safetensors"})


@case(says=r"places lm_head\.weight in model-2\.safetensors, where it is not")
def an_index_that_is_wrong(folder: Path) -> None:
    split(folder, "model-1.safetensors", "model-2.safetensors")
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    places["lm_head.weight"] = "model-2.safetensors"
    edit(folder / INDEX, weight_map=places)


@case(says=r"hold lm_head\.weight twice, in model-1\.safetensors and model-2\.safetensors")
def a_tensor_that_is_there_twice(folder: Path) -> None:
    tensors = read_tensors(folder / "model.safetensors")
    split(folder, "model-1.safetensors", "model-2.safetensors")
    for number in (1, 2):
        path = folder / f"model-{number}.safetensors"
        head = {"lm_head.weight": tensors["lm_head.weight"]}
        write_tensors(path, {**read_tensors(path), **head})


# What the headers say

FIRST, SECOND = "model.layers.0.mlp.down_proj.weight", "model.norm.weight"


@case(says="broken header: .* overlaps the tensor before it")
def overlapping_tensors(folder: Path) -> None:
    def overlap(header: dict) -> None:
        norms = [name for name in header if name.endswith("layernorm.weight")]
        header[norms[1]]["data_offsets"] = header[norms[0]]["data_offsets"]

    edit_header(folder / "model.safetensors", overlap)


@case(says="broken header: .* leaves a hole before it")
def a_hole_between_tensors(folder: Path) -> None:
    edit_header(folder / "model.safetensors", lambda header: header.pop(FIRST))


@case(says=r"norm\.weight is BF16 of shape \[128\], which takes 256 bytes, and has 512")
def a_shape_that_does_not_fit_its_bytes(folder: Path) -> None:
    edit_header(folder / "model.safetensors", lambda header: header[SECOND].update(shape=[128]))


@case(says="as 'BF17', a dtype that safetensors does not have")
def a_dtype_that_is_unknown(folder: Path) -> None:
    edit_header(folder / "model.safetensors", lambda header: header[SECOND].update(dtype="BF17"))


@case(says="no numbers of 0 and above")
def negative_offsets(folder: Path) -> None:
    edit_header(
        folder / "model.safetensors", lambda header: header[SECOND].update(data_offsets=[-512, 0])
    )


@case(says="no numbers of 0 and above")
def offsets_that_are_text(folder: Path) -> None:
    edit_header(
        folder / "model.safetensors", lambda header: header[SECOND].update(data_offsets=["0", "9"])
    )


@case(says=r"bytes where its header says")
def weights_that_were_cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


@case(says=r"model\.safetensors is a pointer of git LFS, not the file; run git lfs pull")
def a_pointer_instead_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text(LFS)


@case(says=r"tokenizer\.json is a pointer of git LFS")
def a_pointer_instead_of_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(LFS)


@case(says=r"config\.json is a pointer of git LFS")
def a_pointer_instead_of_the_config(folder: Path) -> None:
    (folder / "config.json").write_text(LFS)


@case(says=r"tokenizer\.model is a pointer of git LFS")
def a_pointer_instead_of_the_model_of_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.model").write_text(LFS)


# Which weights there are


@case(says=r"lack the output head \(lm_head\.weight\): only model\.embed_tokens\.weight")
def missing_lm_head(folder: Path) -> None:
    without(folder, "lm_head.weight")


@case(says="lack the output head")
def missing_lm_head_of_a_config_that_does_not_say_tied(folder: Path) -> None:
    without(folder, "lm_head.weight")
    edit(folder / "config.json", tie_word_embeddings=...)


@case()
def tied_head(folder: Path) -> None:
    without(folder, "lm_head.weight")
    edit(folder / "config.json", tie_word_embeddings=True)


@case(says="lack the embedding: only lm_head.weight")
def missing_embedding(folder: Path) -> None:
    without(folder, "embed_tokens.weight")


@case(says=r"lack 1 of 4 layers, first model\.layers\.2;")
def a_missing_layer(folder: Path) -> None:
    without(folder, "model.layers.2.")


@case(says=r"lack 2 of 6 layers, first model\.layers\.4;")
def fewer_layers_than_the_config_says(folder: Path) -> None:
    edit(folder / "config.json", num_hidden_layers=6)


@case(says=r"embed_tokens\.weight has 2048 rows, and its config\.json says vocab_size 2050")
def another_vocabulary_than_the_config_says(folder: Path) -> None:
    edit(folder / "config.json", vocab_size=2050)


@case(says="most of its weights are I8, so it is already quantized, though")
def integers_without_a_word_in_the_config(folder: Path) -> None:
    tensors = read_tensors(folder / "model.safetensors")
    write_tensors(
        folder / "model.safetensors",
        {name: ("I8", shape, bytes(prod(shape))) for name, (_, shape, _) in tensors.items()},
    )


@case(says=r"already quantized \(gptq\)")
def already_quantized(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


# What kind of model it is


@case(says="'llama9', which transformers .* does not know; correct it .*llama")
def unknown_model_type(folder: Path) -> None:
    edit(folder / "config.json", model_type="llama9", architectures=["Llama9ForCausalLM"])


@case(says=r"correct it \(near it: .*qwen3_moe.*\)")
def misspelt_model_type(folder: Path) -> None:
    edit(folder / "config.json", model_type="qwen3-moe")


@case(says="needs code of its own .*never run here")
def custom_code(folder: Path) -> None:
    edit(
        folder / "config.json",
        model_type="my_llm",
        architectures=["MyForCausalLM"],
        auto_map={"AutoConfig": "configuration_my.My", "AutoModelForCausalLM": "modeling_my.My"},
    )
    (folder / "configuration_my.py").write_text("raise SystemExit")
    (folder / "modeling_my.py").write_text("raise SystemExit")


@case(says="needs code of its own .LlamaWithMemoryForCausalLM")
def custom_code_under_a_known_type(folder: Path) -> None:
    edit(
        folder / "config.json",
        architectures=["LlamaWithMemoryForCausalLM"],
        auto_map={"AutoModelForCausalLM": "modeling_my.LlamaWithMemoryForCausalLM"},
    )


@case(note="uses LlamaForCausalLM of transformers; the code that comes with the model is never run")
def custom_code_of_a_type_that_transformers_has(folder: Path) -> None:
    edit(
        folder / "config.json",
        auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"},
    )


@case(says=r"a classifier of texts \(LlamaForSequenceClassification\)")
def sequence_classifier(folder: Path) -> None:
    edit(folder / "config.json", architectures=["LlamaForSequenceClassification"])


@case(says=r"a classifier of tokens \(LlamaForTokenClassification\)")
def token_classifier(folder: Path) -> None:
    edit(folder / "config.json", architectures=["LlamaForTokenClassification"])


@case(says=r"a body without a head that predicts tokens")
def embedding_body(folder: Path) -> None:
    edit(folder / "config.json", architectures=["LlamaModel"])


@case(says="an embedding model")
def sentence_transformer(folder: Path) -> None:
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')


@case(says=r"an encoder \(BertForMaskedLM\), which does not continue texts")
def encoder(folder: Path) -> None:
    edit(folder / "config.json", model_type="bert", architectures=["BertForMaskedLM"])


@case(says="an encoder .modernbert|transformers has not as a causal")
def encoder_that_names_no_class(folder: Path) -> None:
    edit(folder / "config.json", model_type="modernbert", architectures=...)


@case(says=r"an encoder with a decoder \(T5ForConditionalGeneration\)")
def encoder_decoder(folder: Path) -> None:
    edit(
        folder / "config.json",
        model_type="t5",
        architectures=["T5ForConditionalGeneration"],
        is_encoder_decoder=True,
    )


@case(says="a clip model .CLIPModel., which transformers has not as a causal language model")
def images(folder: Path) -> None:
    edit(folder / "config.json", model_type="clip", architectures=["CLIPModel"])


@case(says="a wav2vec2 model")
def sound(folder: Path) -> None:
    edit(folder / "config.json", model_type="wav2vec2", architectures=["Wav2Vec2ForCTC"])


@case()
def no_class_named(folder: Path) -> None:
    edit(folder / "config.json", architectures=...)


@case()
def an_older_name_of_the_class(folder: Path) -> None:
    edit(folder / "config.json", architectures=["LLaMAForCausalLM"])


@case(says="does not say how many tokens the model can read; add max_position_embeddings")
def no_context(folder: Path) -> None:
    edit(folder / "config.json", max_position_embeddings=...)


# Files around the weights


@case(says=r"config\.json begins with a byte-order mark")
def config_with_a_byte_order_mark(folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@case(says=r"config\.json begins with a byte-order mark")
def config_in_utf_16(folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(path.read_text().encode("utf-16"))


@case(says=r"index\.json begins with a byte-order mark")
def index_with_a_byte_order_mark(folder: Path) -> None:
    split(folder, "model-1.safetensors", "model-2.safetensors")
    path = folder / INDEX
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@case(says=r"tokenizer\.json begins with a byte-order mark")
def tokenizer_with_a_byte_order_mark(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@case(says=r"tokenizer\.json has a model of type 'BPE2', where tokenizers \d+\.\d+")
def unknown_tokenizer_model(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    edit(folder / "tokenizer.json", model={**model, "type": "BPE2"})


@case(says=r"tokenizer\.json is none that tokenizers \d+\.\d+")
def unknown_part_of_a_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer.json", pre_tokenizer={"type": "FutureSplit"})


@case(says=r"tokenizer\.json is not JSON")
def cut_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:1000])


@case(says="holds no tokenizer")
def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@case()
def odd_settings_of_generation(folder: Path) -> None:
    edit(folder / "generation_config.json", do_sample=False, temperature=0.0, top_k="many")


@case()
def settings_of_generation_that_are_no_json(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{temperature: 1}")


@case()
def a_readme_that_is_no_utf_8(folder: Path) -> None:
    (folder / "README.md").write_bytes("Modèle".encode("latin-1"))


@case()
def odd_settings_of_the_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", tokenizer_class="OurTokenizer", extra=[1])


# What is no model


@case(says=r"it is an adapter of org/base, not a whole model; merge it")
def adapter_only(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="org/base")


@case(says=r"it is an adapter of org/base")
def adapter_with_a_config(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="org/base")


@case(says="it is an adapter of its base model")
def adapter_that_names_no_base(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickle")


@case(says=r"weights are GGUF \(model-Q4_K_M\.gguf\), and safetensors are needed; .*--from-gguf")
def gguf_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    (folder / "README.md").write_text("x")


@case(says=r"weights are GGUF \(model\.gguf\)")
def gguf_with_a_config(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


@case(says=r"its weights are pickled \(pytorch_model\.bin\)")
def pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "training_args.bin").write_bytes(b"pickle")


@case(says=r"its weights are in another format \(model\.onnx\)")
def onnx(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.onnx")


@case(says=r"original format of its makers \(consolidated\.safetensors\)")
def original_format(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    (folder / "config.json").rename(folder / "params.json")


@case(says=r"original format of its makers \(consolidated\.safetensors\)")
def original_format_with_a_config(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")


@case(says="it is a diffusers pipeline")
def diffusers(folder: Path) -> None:
    (folder / "unet").mkdir()
    (folder / "config.json").rename(folder / "unet/config.json")
    (folder / "model_index.json").write_text("{}")


def _move(folder: Path, below: str) -> None:
    files = list(folder.iterdir())
    (folder / below).mkdir(parents=True)
    for path in files:
        path.rename(folder / below / path.name)


FOLDERS_ONLY: dict[str, Case] = {}  # a bucket takes the newest checkpoint below its prefix


def in_a_folder_below(folder: Path) -> None:
    _move(folder, "final")


def two_below(folder: Path) -> None:
    _move(folder, "epoch-1")
    shutil.copytree(folder / "epoch-1", folder / "epoch-2")


def root_of_a_hub_cache(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy")
    _move(folder, "snapshots/c0ffee")
    (folder.parent / "copy").rename(folder / "snapshots/0ld")
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("c0ffee")


FOLDERS_ONLY |= {
    "in_a_folder_below": Case(in_a_folder_below, "but its folder final does; give that one"),
    "two_below": Case(two_below, r"its folder epoch-1 does; give that one \(1 other folders"),
    "root_of_a_hub_cache": Case(
        root_of_a_hub_cache, "root of a hub cache, .* give snapshots/c0ffee in it"
    ),
}
