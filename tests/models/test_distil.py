"""A student is its teacher with layers left out, in every family, and as transformers loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from groundup.models.distil import chosen_layers, student_of

FAMILIES = [
    ("GPT2", {"n_embd": 24, "n_layer": 5, "n_head": 4, "n_positions": 32}, "CausalLM"),
    ("GPTNeoX", {"num_hidden_layers": 5, "num_attention_heads": 3}, "CausalLM"),
    (
        "OPT",
        {"num_hidden_layers": 5, "ffn_dim": 40, "word_embed_proj_dim": 24},
        "CausalLM",
    ),
    ("Llama", {"num_hidden_layers": 5, "num_key_value_heads": 2}, "CausalLM"),
    ("Mistral", {"num_hidden_layers": 5, "num_key_value_heads": 2, "sliding_window": 4}, "CausalLM"),
    ("Qwen2", {"num_hidden_layers": 5, "num_key_value_heads": 2}, "CausalLM"),
    (
        "Qwen2",
        {
            "num_hidden_layers": 5,
            "num_key_value_heads": 2,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 2,
        },
        "CausalLM",
    ),
    ("Qwen3", {"num_hidden_layers": 5, "num_key_value_heads": 2, "head_dim": 6}, "CausalLM"),
    ("Phi3", {"num_hidden_layers": 5, "num_key_value_heads": 2, "pad_token_id": 0}, "CausalLM"),
    ("Gemma2", {"num_hidden_layers": 5, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 4}, "CausalLM"),
    (
        "Gemma3Text",
        {"num_hidden_layers": 8, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 4},
        "CausalLM",
    ),
    ("Starcoder2", {"num_hidden_layers": 5, "num_key_value_heads": 2}, "CausalLM"),
    ("Bert", {"num_hidden_layers": 5}, "MaskedLM"),
    ("Roberta", {"num_hidden_layers": 5, "max_position_embeddings": 40}, "MaskedLM"),
    (
        "DistilBert",
        {"n_layers": 5, "dim": 24, "n_heads": 4, "hidden_dim": 40},
        "MaskedLM",
    ),
    ("Electra", {"num_hidden_layers": 5, "embedding_size": 12}, "MaskedLM"),
    (
        "DebertaV2",
        {
            "num_hidden_layers": 5,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 8,
            "max_relative_positions": 32,
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
            "legacy": False,
        },
        "MaskedLM",
    ),
]
LAYERS = (0, 2, 3)


@pytest.mark.parametrize(("name", "sizes", "task"), FAMILIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_student_is_its_teacher_without_some_layers(name: str, sizes: dict[str, Any], task: str, tmp_path: Path):
    """Layers of transformers' own model are taken out in place: the same logits; and so has what is exported."""
    import transformers

    common: dict[str, Any] = {"vocab_size": 41, "initializer_range": 0.2}
    if name not in ("GPT2", "DistilBert"):
        common |= {"hidden_size": 24, "num_attention_heads": 4}
        common |= {} if name == "OPT" else {"intermediate_size": 40}
    torch.manual_seed(0)
    config: Any = getattr(transformers, f"{name}Config")(**common | sizes)
    class_name = f"{name.replace('3Text', '3')}For{task}"
    if name == "GPT2":
        class_name = "GPT2LMHeadModel"
    theirs: Any = getattr(transformers, class_name)(config).eval()
    theirs.save_pretrained(tmp_path / "teacher")
    teacher = load_pretrained(tmp_path / "teacher", dtype="fp32")
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    student = student_of(teacher, LAYERS)

    ids = torch.randint(1, 41, (2, 13), generator=torch.Generator().manual_seed(1))
    holder = next(m for m in theirs.modules() if isinstance(m, torch.nn.ModuleList) and len(m) >= 5)
    kept = torch.nn.ModuleList([holder[i] for i in LAYERS])
    for module in theirs.modules():
        for child_name, child in module.named_children():
            if child is holder:
                setattr(module, child_name, kept)
    for config in {id(m.config): m.config for m in theirs.modules() if hasattr(m, "config")}.values():
        config.num_hidden_layers = len(LAYERS)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[i] for i in LAYERS]
    plain = {"use_cache": False} if task == "CausalLM" else {}
    with torch.no_grad():
        ours = student(ids)
        torch.testing.assert_close(ours, theirs(ids, **plain).logits, atol=1e-4, rtol=1e-4)

        save_pretrained(student, tmp_path / "student")
        again: Any = getattr(transformers, class_name).from_pretrained(tmp_path / "student").eval()
        assert again.config.num_hidden_layers == len(LAYERS)
        torch.testing.assert_close(again(ids, **plain).logits, ours, atol=1e-4, rtol=1e-4)
    assert student.is_tied == teacher.is_tied
    assert student.config.n_layers == 3
    for parameter in student.parameters():  # copies: training the student leaves the teacher as it is
        parameter.data.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_every_other_layer_of_gpt2_is_distilgpt2():
    """6 layers and 81,912,576 parameters, as published."""
    from groundup.models.distil import student_config
    from groundup.models.flops import count_parameters
    from groundup.models.start import find_start

    teacher = find_start("gpt2").config
    assert count_parameters(teacher, "causal_lm") == 124_439_808
    for choice in ("every_other", [0, 2, 4, 7, 9, 11]):
        student = student_config(teacher, chosen_layers(choice, teacher.n_layers))
        assert count_parameters(student, "causal_lm") == 81_912_576


def test_layers_by_word_and_by_number():
    assert chosen_layers("every_other", 12) == (0, 2, 4, 6, 8, 10)
    assert chosen_layers("every_other", 5) == (0, 2, 4)
    assert chosen_layers([0, 2, 4, 7, 9, 11], 12) == (0, 2, 4, 7, 9, 11)


@pytest.mark.parametrize(
    ("choice", "n", "said"),
    [
        ("every_other", 1, "no other to leave out"),
        ([], 4, "one layer at least"),
        ([0, 4], 4, "there is no layer 4: the model has 0 to 3"),
        ([2, 1], 4, "twice or out of order"),
        ([1, 1], 4, "twice or out of order"),
    ],
)
def test_layers_that_cannot_be(choice: Any, n: int, said: str):
    with pytest.raises(UserError, match=said):
        chosen_layers(choice, n)
