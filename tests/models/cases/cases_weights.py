"""Which files are weights, what their headers say, and which weights there are."""

import json
import shutil
from math import prod
from pathlib import Path

from tests.models.cases.case import (
    INDEX,
    LFS,
    case,
    edit,
    edit_header,
    read_tensors,
    split,
    without,
    write_tensors,
)

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
