"""The published shapes at their own width, heads and rotary settings: two layers, a narrow feed-forward, 99 tokens.

Weights are as new ones are, with a little noise, since at this width more of it would make nothing but noise. Rotary
models read the same text at three places, the last far beyond what is left unscaled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.models import load_pretrained
from groundup.models.hf.shapes import shape_of
from parity import Difference, their_output
from parity_cases import V

CLASSES = {"bert": "BertForMaskedLM", "roberta": "RobertaForMaskedLM", "distilbert": "DistilBertForMaskedLM"}
CLASSES |= {"electra": "ElectraForPreTraining", "deberta-v2": "DebertaV2ForMaskedLM", "gpt2": "GPT2LMHeadModel"}
CLASSES |= {"gpt_neox": "GPTNeoXForCausalLM", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
CLASSES |= {"qwen2": "Qwen2ForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}
NAMES = ["prajjwal1/bert-tiny", "microsoft/MiniLM-L12-H384-uncased", "google/electra-small-discriminator"]
NAMES += ["microsoft/deberta-v3-small", "distilbert/distilroberta-base", "distilbert/distilbert-base-uncased"]
NAMES += ["openai-community/gpt2", "EleutherAI/pythia-70m", "Qwen/Qwen2.5-1.5B", "google/gemma-3-270m"]
NAMES += ["google/gemma-2-2b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "meta-llama/Llama-3.1-8B"]
FAR = (0, 3_000, 20_000)


def cut(shape: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a model as wide, and otherwise small. Gemma 3 keeps enough layers for both kinds."""
    layers = 7 if shape["model_type"] == "gemma3_text" else 1 if shape.get("hidden_size", 0) > 4000 else 2
    small = {"num_hidden_layers": layers, "n_layer": layers, "n_layers": layers, "vocab_size": V}
    small |= {"intermediate_size": 64, "n_inner": 64, "hidden_dim": 64}
    special = {key for key, value in shape.items() if key.endswith("_token_id") and value not in range(V)}
    shape = {key: small.get(key, value) for key, value in shape.items() if key not in special | {"layer_types"}}
    return shape | {"architectures": [CLASSES[shape["model_type"]]]}


@pytest.mark.parametrize("name", NAMES)
def test_at_its_own_width(name: str, tmp_path: Path) -> None:
    shape = cut(shape_of(name))
    architecture: Any = getattr(transformers, shape["architectures"][0])
    config = architecture.config_class.from_dict(dict(shape), attn_implementation="eager")
    config.pad_token_id = config.pad_token_id if (config.pad_token_id or 0) < V else None
    torch.manual_seed(0)
    theirs = architecture(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if parameter.dim() > 1 else 0.2))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(shape), encoding="utf-8")  # in the words it was published in
    ours = load_pretrained(tmp_path)
    ids = torch.randint(3, V, (2, 24))
    for start in FAR if ours.config.positions == "rope" else FAR[:1]:
        positions = {"position_ids": torch.arange(start, start + 24).expand(2, -1)} if start else {}
        with torch.no_grad():
            expected = their_output(theirs, {"input_ids": ids, **positions})
            error, scale = Difference.of(ours(ids, **positions), expected)
        assert scale > 0.1
        assert error <= 1e-5 * max(1.0, scale), f"from position {start}: {error:.1e} apart, up to {scale:.1f}"
