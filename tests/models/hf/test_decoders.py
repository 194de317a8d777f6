# ruff: noqa: C408 (settings read better as keywords)
"""config.json of the decoders: what each family makes of its settings, and that none of its class is overlooked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.errors import UserError
from groundup.models import ModelConfig, RopeConfig, RopeScaling, load_pretrained
from groundup.models.hf.families import DECODERS, family, interpret, model_config, task_of
from groundup.models.hf.settings import HARMLESS, Settings

GPT2 = dict(model_type="gpt2", vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, layer_norm_epsilon=1e-5)
GPT2 |= dict(activation_function="gelu_new")
SIZES = dict(vocab_size=99, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=72)
SIZES |= dict(max_position_embeddings=64)
NEOX = SIZES | dict(model_type="gpt_neox", layer_norm_eps=1e-5, hidden_act="gelu", rotary_pct=0.25, rotary_emb_base=50)
OPT = SIZES | dict(model_type="opt", ffn_dim=72, activation_function="relu", word_embed_proj_dim=32)
LLAMA = SIZES | dict(model_type="llama", rms_norm_eps=1e-5, hidden_act="silu", rope_theta=50)
MISTRAL = LLAMA | dict(model_type="mistral", sliding_window=5)
QWEN2 = LLAMA | dict(model_type="qwen2", sliding_window=5, use_sliding_window=False)
QWEN3 = QWEN2 | dict(model_type="qwen3", head_dim=16)
PHI3 = LLAMA | dict(model_type="phi3", sliding_window=5)
GEMMA2 = LLAMA | dict(model_type="gemma2", sliding_window=5, head_dim=16, query_pre_attn_scalar=24)
GEMMA2 |= dict(attn_logit_softcapping=50.0, final_logit_softcapping=30.0, hidden_activation="gelu_pytorch_tanh")
GEMMA3 = GEMMA2 | dict(model_type="gemma3_text", attn_logit_softcapping=None, num_hidden_layers=7)
STARCODER2 = SIZES | dict(model_type="starcoder2", norm_epsilon=1e-5, hidden_act="gelu_pytorch_tanh", use_bias=True)
STARCODER2 |= dict(num_key_value_heads=2, sliding_window=None, rope_theta=50)
EVERY = (GPT2, NEOX, OPT, LLAMA, MISTRAL, QWEN2, QWEN3, PHI3, GEMMA2, GEMMA3, STARCODER2)
FILES = {hf["model_type"]: hf for hf in EVERY}


def read(hf: dict[str, Any], **changes: Any) -> ModelConfig:
    return model_config(hf | changes, "causal_lm")


@pytest.mark.parametrize("kind", FILES)
def test_every_setting_of_the_class_is_read_or_harmless(kind: str) -> None:
    """What transformers 5 writes into a config.json: each key changes what we make of it, is refused, or is known."""
    theirs = transformers.CONFIG_MAPPING[kind]().to_dict()
    settings = Settings(FILES[kind] | {"rope_parameters": None, "rope_scaling": None})
    interpret(settings, "causal_lm")
    known = settings.read | HARMLESS
    unknown = {key for key in theirs if key not in known and not key.startswith(("_", "summary_"))}
    assert unknown == set()


def test_every_decoder_is_here() -> None:
    assert {name for name in DECODERS if family(name).MODEL_TYPES[0] in FILES} == set(DECODERS)


NEEDED = {
    "gpt2": ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "layer_norm_epsilon", "activation_function"),
    "gpt_neox": ("hidden_size", "layer_norm_eps", "hidden_act", "rotary_pct", "rotary_emb_base"),
    "opt": ("hidden_size", "ffn_dim", "activation_function", "max_position_embeddings"),
    "llama": ("hidden_size", "rms_norm_eps", "hidden_act", "intermediate_size", "num_attention_heads"),
    "mistral": ("rope_theta", "sliding_window"),
    "qwen2": ("rope_theta",),
    "qwen3": ("rope_theta", "head_dim"),
    "phi3": ("rope_theta", "sliding_window"),
    "gemma2": ("head_dim", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "rope_theta"),
    "starcoder2": ("use_bias", "sliding_window", "num_key_value_heads", "norm_epsilon", "rope_theta"),
    "gemma3_text": ("head_dim", "query_pre_attn_scalar", "final_logit_softcapping", "sliding_window"),
}


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in NEEDED.items() for key in keys])
def test_needed(kind: str, key: str) -> None:
    missing = "rope_theta" if key == "rotary_emb_base" else key
    with pytest.raises(UserError, match=rf"config\.json: '{missing}' is missing"):
        read({name: value for name, value in FILES[kind].items() if name != key})


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", dict(scale_attn_weights=False)),
    ("gpt2", dict(scale_attn_by_inverse_layer_idx=True)),
    ("gpt2", dict(add_cross_attention=True)),
    ("opt", dict(do_layer_norm_before=False)),
    ("opt", dict(word_embed_proj_dim=16)),
    ("opt", dict(layer_norm_elementwise_affine=False)),
    ("opt", dict(layerdrop=0.1)),
    ("llama", dict(rope_interleaved=True)),
    ("mistral", dict(attention_bias=True)),
    ("mistral", dict(layer_types=["sliding_attention"] * 4)),
    ("qwen2", dict(attention_bias=False)),
    ("qwen2", dict(layer_types=["sliding_attention"] * 4)),
    ("phi3", dict(attention_bias=True)),
    ("phi3", dict(embd_pdrop=0.1)),
    ("gemma2", dict(use_bidirectional_attention=True)),
    ("starcoder2", dict(mlp_type="gated")),
    ("starcoder2", dict(norm_type="rms_norm")),
    ("gemma3_text", dict(use_bidirectional_attention=True)),
    ("gemma3_text", dict(attn_logit_softcapping=50.0)),
]


@pytest.mark.parametrize(("kind", "change"), REFUSED)
def test_refused(kind: str, change: dict[str, Any]) -> None:
    ((key, _),) = change.items()
    with pytest.raises(UserError, match=rf"config\.json: {key}=.* is not available here"):
        read(FILES[kind], **change)


def test_dropout_of_a_checkpoint_is_its_own() -> None:
    gpt2 = read(GPT2, embd_pdrop=0.3, attn_pdrop=0.2, resid_pdrop=0.05)
    assert (gpt2.embed_dropout, gpt2.attn_probs_dropout, gpt2.residual_dropout) == (0.3, 0.2, 0.05)
    neox = read(NEOX, hidden_dropout=0.1, attention_dropout=0.2)
    assert (neox.embed_dropout, neox.attn_probs_dropout, neox.residual_dropout) == (0.1, 0.2, 0.1)
    opt = read(OPT, dropout=0.1, attention_dropout=0.2)
    assert (opt.embed_dropout, opt.attn_probs_dropout, opt.residual_dropout) == (0.0, 0.2, 0.1)
    phi3 = read(PHI3, resid_pdrop=0.1, attention_dropout=0.2)
    assert (phi3.embed_dropout, phi3.attn_probs_dropout, phi3.residual_dropout) == (0.0, 0.2, 0.1)
    for hf in (LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3):
        config = read(hf, attention_dropout=0.2)
        assert (config.attn_probs_dropout, config.residual_dropout, config.embed_dropout) == (0.2, 0.0, 0.0)


def test_tied_or_not_where_the_file_does_not_say() -> None:
    tied = {kind for kind, hf in FILES.items() if read(hf).tie_embeddings}
    assert tied == {"gpt2", "opt", "gemma2", "gemma3_text", "starcoder2"}
    for hf in FILES.values():
        assert [read(hf, tie_word_embeddings=tied).tie_embeddings for tied in (True, False)] == [True, False]


def test_gpt2() -> None:
    assert read(GPT2).d_ff == read(GPT2, n_inner=None).d_ff == 128
    assert read(GPT2, n_inner=50).d_ff == 50
    assert read(GPT2).activation == "gelu_tanh"


def test_gpt_neox() -> None:
    assert read(NEOX).rope == RopeConfig(50.0, 0.25)
    later = {key: value for key, value in NEOX.items() if not key.startswith("rotary")}
    assert read(later, rope_theta=50, partial_rotary_factor=0.25).rope == RopeConfig(50.0, 0.25)
    parameters = {"rope_theta": 50, "partial_rotary_factor": 0.25, "rope_type": "linear", "factor": 2.0}
    assert read(later, rope_parameters=parameters).rope == RopeConfig(50.0, 0.25, RopeScaling("linear", 2.0))
    assert read(NEOX).parallel
    assert not read(NEOX, use_parallel_residual=False).parallel
    assert not read(NEOX, attention_bias=False).qkv_bias


def test_opt() -> None:
    assert (read(OPT).position_offset, read(OPT).d_ff, read(OPT).head_norm) == (2, 72, "layernorm")
    assert read(OPT, _remove_final_layer_norm=True).head_norm == "none"
    assert not read(OPT, enable_bias=False).ffn_bias


def test_llama() -> None:
    first = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    assert read(first).rope == RopeConfig(10_000.0)  # as Llama 2's first files
    scaled = read(first, rope_scaling={"type": "linear", "factor": 2.0})
    assert scaled.rope == RopeConfig(10_000.0, scaling=RopeScaling("linear", 2.0))
    config = read(LLAMA, attention_bias=True, mlp_bias=True, head_dim=10, num_key_value_heads=2)
    assert (config.qkv_bias, config.out_bias, config.ffn_bias, config.head_dim, config.n_kv_heads) == (
        *[True] * 3,
        10,
        2,
    )


def test_mistral() -> None:
    assert (read(MISTRAL).window, read(MISTRAL).layer_pattern) == (5, ("local",))
    assert (read(MISTRAL, sliding_window=None).window, read(MISTRAL).n_kv_heads) == (None, 4)


@pytest.mark.parametrize("hf", [QWEN2, QWEN3])
def test_qwens_window_is_there_and_off(hf: dict[str, Any]) -> None:
    assert read(hf).window is None
    assert read(hf, layer_types=["full_attention"] * 4).window is None
    on = read(hf, use_sliding_window=True, max_window_layers=3)
    assert (on.window, on.layer_pattern) == (5, ("global", "global", "global", "local"))
    types = ["full_attention", "sliding_attention"] * 2
    on = read(hf, use_sliding_window=True, max_window_layers=3, layer_types=types)
    assert (on.window, on.layer_pattern) == (5, ("global", "local"))


def test_qwens_biases() -> None:
    assert (read(QWEN2).qkv_bias, read(QWEN2).out_bias, read(QWEN2).qk_norm) == (True, False, False)
    assert (read(QWEN3).qkv_bias, read(QWEN3).out_bias, read(QWEN3).qk_norm) == (False, False, True)
    assert (read(QWEN3, attention_bias=True).qkv_bias, read(QWEN3, attention_bias=True).out_bias) == (True, True)


@pytest.mark.parametrize("name", ["longrope", "su", "yarn"])
def test_phi3s_longrope_by_all_its_names(name: str) -> None:
    lists = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = read(PHI3, rope_scaling={"type": name, **lists}, original_max_position_embeddings=16)
    expected = RopeScaling("longrope", 4.0, 16, short_factor=(1.0,) * 4, long_factor=(2.0,) * 4)
    assert config.rope == RopeConfig(50.0, scaling=expected)
    assert read(PHI3, original_max_position_embeddings=64).rope == RopeConfig(50.0)
    assert read(PHI3, partial_rotary_factor=0.5).rope == RopeConfig(50.0, 0.5)


def test_gemma2() -> None:
    config = read(GEMMA2)
    assert (config.attn_scale, config.embed_scale) == (24**-0.5, 32**0.5)
    assert (config.attn_softcap, config.logit_softcap, config.layer_pattern) == (50.0, 30.0, ("local", "global"))
    assert read(GEMMA2, attn_logit_softcapping=None).attn_softcap is None
    assert read(GEMMA2, hidden_act="gelu").activation == "gelu_tanh"  # the older name is not read
    with pytest.raises(UserError, match="sliding_window is given twice, as 5 and as 6"):
        read(GEMMA2, sliding_window_size=6)


def test_gemma3_in_both_styles() -> None:
    local, full = RopeConfig(10_000.0), RopeConfig(1e6, scaling=RopeScaling("linear", 8.0))
    flat = {key: value for key, value in GEMMA3.items() if key != "rope_theta"}
    old = read(flat, rope_theta=1e6, rope_local_base_freq=10_000.0, rope_scaling={"rope_type": "linear", "factor": 8.0})
    nested = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    new = read(flat, rope_parameters=nested)
    assert old == new
    assert (old.rope, old.rope_local) == (full, local)
    assert read(flat) == read(flat, rope_theta=1e6, rope_local_base_freq=1e4)  # as published, where nothing is said


def test_gemma3s_layers() -> None:
    """Every sixth sees everything, unless the file says which."""
    assert read(GEMMA3).layer_pattern == ("local",) * 5 + ("global",)
    assert read(GEMMA3, sliding_window_pattern=2).layer_pattern == ("local", "global")
    types = ["full_attention"] * 3 + ["sliding_attention"] * 4
    assert read(GEMMA3, layer_types=types).layer_pattern == ("global",) * 3 + ("local",) * 4
    everything = read(GEMMA3, layer_types=["full_attention"] * 7)
    assert (everything.window, everything.rope_local) == (None, None)


def test_gemma3_inside_a_model_that_sees() -> None:
    """The published 4b leaves out what is usual for its family."""
    text = dict(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, sliding_window=1024)
    text |= dict(model_type="gemma3_text", rope_scaling={"factor": 8.0, "rope_type": "linear"})
    hf = dict(model_type="gemma3", architectures=["Gemma3ForConditionalGeneration"], text_config=text)
    hf |= dict(torch_dtype="bfloat16", vision_config={"hidden_size": 1152}, eoi_token_index=256000)
    config = model_config(hf)
    assert (config.vocab_size, config.n_heads, config.n_kv_heads, config.head_dim) == (262_208, 8, 4, 256)
    assert (config.attn_scale, config.max_seq_len, config.tie_embeddings) == (256**-0.5, 131_072, True)
    assert config.rope == RopeConfig(1e6, scaling=RopeScaling("linear", 8.0))
    theirs = transformers.Gemma3Config(**hf).text_config
    assert theirs.layer_types == [f"{'full' if i % 6 == 5 else 'sliding'}_attention" for i in range(34)]
    assert [config.layer_kind(i) for i in (4, 5, 6, 11, 33)] == ["local", "global", "local", "global", "local"]


def test_pooled_by_id_as_transformers_does(tmp_path: Path) -> None:
    """Their classifiers go by the id of padding, ours by the mask, or by the id if told."""
    hf = transformers.LlamaConfig(**LLAMA, num_labels=3, pad_token_id=7)
    theirs = transformers.LlamaForSequenceClassification(hf).eval()
    with torch.no_grad():
        theirs.score.weight.normal_()
    theirs.save_pretrained(tmp_path)
    ours: Any = load_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7, 8, 7], [7, 7, 5, 6, 4], [5, 6, 4, 7, 7], [7, 7, 7, 7, 7]])  # padded, or ending in 7
    expected = theirs(ids, attention_mask=torch.ones_like(ids)).logits
    assert (ours(ids) - expected).abs().max() > 0.01
    ours.head.pad_id = 7
    assert (ours(ids) - expected).abs().max() < 1e-5


def test_the_task_of_a_class() -> None:
    assert task_of(LLAMA | dict(architectures=["LlamaForCausalLM"])) == "causal_lm"
    assert task_of(GEMMA3 | dict(architectures=["Gemma3TextForSequenceClassification"])) == "classification"
    assert task_of(OPT | dict(architectures=["OPTModel"])) == "encoder"
    with pytest.raises(UserError, match="'GemmaForCausalLM' has a head that is not available here"):
        task_of(LLAMA | dict(architectures=["GemmaForCausalLM"]))
