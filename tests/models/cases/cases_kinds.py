"""What kind of model it is, the files around its weights, and places that hold no model."""

import json
import shutil
from pathlib import Path

from tests.models.cases.case import INDEX, Case, case, edit, split

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


@case(says=r"it is an adapter of org/base, not a whole model; write adapter:")
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
