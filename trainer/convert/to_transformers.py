"""Export: a model as a directory that `transformers.AutoModelForMaskedLM` reads.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json  README.md  digests.json

The directory is written under a temporary name, read back by this project and by transformers,
their logits are compared, and only then does it get its name. Reads and writes local files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from schemas import folder_digests
from schemas.digest import Json
from schemas.errors import UserError
from schemas.store import join, publish_folder, read_bytes
from trainer.convert import from_transformers
from trainer.convert.output import replaceable
from trainer.model import ModelConfig, ModernBert, Theta
from trainer.report import card

TOLERANCE = 1e-5  # of fp32 logits, relative to the largest


def export(
    model: ModernBert,
    directory: Path,
    theta_global: float,
    theta_local: float,
    tokenizer_folder: str | Path | None = None,
    torch_dtype: torch.dtype = torch.float32,
    model_card: str | None = None,
) -> None:
    """Write `directory`, in place of a model that stands there; logits are compared before.

    `tokenizer_folder` is a path or URL that holds tokenizer.json; `model_card` becomes README.md,
    a short one where there is none. Raises UserError when there is no tokenizer.json, and when
    something else than a model would be replaced; RuntimeError when transformers computes other
    logits.
    """
    directory = replaceable(directory)
    temporary = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    theta = Theta(theta_global, theta_local)
    config = config_json(model.config, theta, torch_dtype)
    _write_json(temporary / "config.json", config)
    card.write(temporary, model_card or card.short(config))
    weights = {
        name: tensor.detach().to("cpu", torch_dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "decoder.weight"  # tied to the embedding, as transformers saves it
    }
    save_file(weights, temporary / "model.safetensors", {"format": "pt"})
    if tokenizer_folder is not None:
        _write_tokenizer(str(tokenizer_folder), temporary, model.config)
    _verify(temporary)
    folder_digests.record(temporary)
    publish_folder(temporary, directory)


def compare_logits(model: ModernBert, directory: Path, documents: Sequence[Tensor]) -> float:
    """The largest difference of logits, relative to the largest logit, over token id tensors.

    The model sees the documents as one pack. transformers sees one at a time: given packed
    position ids, its sdpa attention leaks from document to document.
    """
    from transformers import AutoModelForMaskedLM  # seconds to import
    from transformers.utils import logging

    logging.disable_progress_bar()
    peer = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32).eval()
    theta = from_transformers.read_theta(directory)
    ids_T = torch.cat(list(documents))
    positions_T = torch.cat([torch.arange(len(d)) for d in documents])
    bounds = torch.tensor([0, *map(len, documents)]).cumsum(0).to(torch.int32)
    with torch.no_grad():
        mine = model.logits(
            ids_T, positions_T, bounds, model.config.max_position, torch.arange(len(ids_T)), theta
        )
        difference, largest = 0.0, 0.0
        for document, logits in zip(
            documents, mine.split([len(d) for d in documents]), strict=True
        ):
            theirs = peer(input_ids=document[None]).logits[0]
            difference = max(difference, (logits - theirs).abs().max().item())
            largest = max(largest, theirs.abs().max().item())
    return difference / largest


def config_json(config: ModelConfig, theta: Theta, torch_dtype: torch.dtype) -> dict[str, Json]:
    """config.json as mmBERT's releases have it, in the fields of transformers 4 and of 5."""
    dtype = str(torch_dtype).removeprefix("torch.")
    kinds = ["full_attention", "sliding_attention"]
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "model_type": "modernbert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "max_position_embeddings": config.max_position,
        "layer_types": [kinds[not config.is_global(i)] for i in range(config.num_layers)],
        "global_attn_every_n_layers": config.global_every,
        "local_attention": config.local_window,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": base}
            for kind, base in zip(kinds, theta, strict=True)
        },
        "global_rope_theta": theta.full,
        "local_rope_theta": theta.local,
        "norm_eps": config.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "decoder_bias": True,
        "classifier_bias": False,
        "classifier_pooling": "mean",
        "classifier_activation": "gelu",
        "classifier_dropout": 0.0,
        "hidden_activation": "gelu",
        # transformers knows no dropout after attention alone, which is where training has it.
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "mlp_dropout": 0.0,
        "tie_word_embeddings": True,
        "initializer_range": config.initializer_range,
        "initializer_cutoff_factor": config.initializer_cutoff,
        "pad_token_id": config.pad_id,
        "eos_token_id": config.eos_id,
        "bos_token_id": config.bos_id,
        "unk_token_id": config.unk_id,
        "mask_token_id": config.mask_id,
        "sep_token_id": config.sep_id,
        "cls_token_id": config.cls_id,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _write_tokenizer(folder: str, directory: Path, config: ModelConfig) -> None:
    from tokenizers import Tokenizer

    try:
        content = read_bytes(join(folder, "tokenizer.json"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no tokenizer.json: name the folder of a sealed tokenizer"
        ) from error
    (directory / "tokenizer.json").write_bytes(content)
    token = Tokenizer.from_buffer(content).id_to_token
    _write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_position,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "pad_token": token(config.pad_id),
            "eos_token": token(config.eos_id),
            "bos_token": token(config.bos_id),
            "unk_token": token(config.unk_id),
            "mask_token": token(config.mask_id),
            "sep_token": token(config.eos_id),
            "cls_token": token(config.bos_id),  # what a sequence starts with
        },
    )


def _verify(directory: Path) -> None:
    model, _ = from_transformers.load(directory)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.vocab_size
    # Short, since 256,000 logits a token are compared; one document is longer than the window.
    sample = [torch.randint(vocabulary, (n,), generator=generator) for n in (97, 1, 3)]
    difference = compare_logits(model, directory, sample)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"transformers computes other logits from {directory}: they differ by "
            f"{difference:.1e} of the largest, where {TOLERANCE:.0e} is rounding"
        )


def _write_json(path: Path, content: dict[str, Json]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
