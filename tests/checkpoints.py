"""Tiny random checkpoints as Hugging Face has them, each with its tokenizer: what tests start runs from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from groundup.models import build_model, save_pretrained
from groundup.models.hf.families import model_config
from groundup.models.hf.shapes import shape_of

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SIZES |= {"max_position_embeddings": 64}
BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
# name -> a model of the registry whose family it is of, what makes it tiny, its task, its special tokens and template
CHECKPOINTS: dict[str, tuple[str, dict[str, Any], str, dict[str, str], str]] = {
    "gpt2": (
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64},
        "causal_lm",
        {"bos": "<|endoftext|>", "eos": "<|endoftext|>"},
        "",
    ),
    "llama": (
        "TinyLlama-1.1B",
        SIZES | {"num_key_value_heads": 2},
        "causal_lm",
        {"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
        "<s> $A",
    ),
    "bert": ("BERT-base", SIZES, "masked_lm", BERT_TOKENS, "[CLS] $A [SEP]"),
    "bare_bert": ("BERT-tiny", SIZES, "encoder", BERT_TOKENS, "[CLS] $A [SEP]"),
    "electra": ("ELECTRA-small", SIZES | {"embedding_size": 16}, "replaced_token", BERT_TOKENS, "[CLS] $A [SEP]"),
    "roberta": (
        "RoBERTa-base",
        SIZES | {"max_position_embeddings": 66},
        "masked_lm",
        {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
        "<s> $A </s>",
    ),
    "deberta": (
        "DeBERTa-v3-small",
        SIZES | {"position_buckets": 8, "pooler_hidden_size": 32},
        "masked_lm",
        BERT_TOKENS,
        "[CLS] $A [SEP]",
    ),
}


def save_checkpoint(name: str, folder: Path) -> Path:
    """Write CHECKPOINTS[name] to `folder`. Every weight is random, norms and biases too."""
    family, sizes, task, special, template = CHECKPOINTS[name]
    folder.mkdir()
    rows = save_tokenizer(folder, special, template) + 3  # padded, as published ones are
    hf = shape_of(family) | sizes | {"vocab_size": rows}
    model = build_model(model_config(hf, task), task, seed=7)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    save_pretrained(model, folder)
    return folder


def save_tokenizer(folder: Path, special: dict[str, str], template: str) -> int:
    """A byte-level BPE of few merges as tokenizer.json; -> its size. Special tokens have the first ids, in order."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = list(dict.fromkeys(special.values()))
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(["1 and 2 make 3. " * 9], trainer)
    if template:
        ids = [(token, inner.token_to_id(token)) for token in tokens]
        inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    inner.save(str(folder / "tokenizer.json"))
    names = {f"{key}_token": token for key, token in special.items()}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return inner.get_vocab_size()
