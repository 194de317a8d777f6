# ruff: noqa: C408 (settings read better as keywords)
"""config.json as it was published, written by transformers 4 and before: transformers reads it, and so do we.

Each is written out by hand, in the words of the file on the hub with tiny sizes, beside weights of the same shapes.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from groundup.models.hf.families import model_config
from parity import Difference, Pair, make_batch, their_output
from parity_cases import V
from safetensors.torch import save_file

HALF = dict(torch_dtype="float32", transformers_version="4.38.2", use_cache=True)
SIZES = dict(hidden_size=32, intermediate_size=72, max_position_embeddings=64, num_attention_heads=4)
SIZES |= dict(num_hidden_layers=3, vocab_size=V)
LLAMA = SIZES | HALF | dict(num_key_value_heads=2, rms_norm_eps=1e-05, rope_theta=10000.0, tie_word_embeddings=False)
LLAMA |= dict(hidden_act="silu", initializer_range=0.02, attention_dropout=0.15, rope_scaling=None)
LLAMA |= dict(bos_token_id=1, eos_token_id=2)
ORIGINAL = dict(original_max_position_embeddings=16)
BERT = SIZES | dict(model_type="bert", architectures=["BertForMaskedLM"], attention_probs_dropout_prob=0.15)
BERT |= dict(hidden_act="gelu", hidden_dropout_prob=0.1, initializer_range=0.02, layer_norm_eps=1e-12, pad_token_id=0)
BERT |= dict(type_vocab_size=2)

# The case whose weights and settings each file describes -> the file
FILES: dict[str, dict[str, Any]] = {
    "gpt2": dict(
        architectures=["GPT2LMHeadModel"],
        model_type="gpt2",
        activation_function="gelu_new",
        attn_pdrop=0.15,
        bos_token_id=50256,
        embd_pdrop=0.1,
        eos_token_id=50256,
        initializer_range=0.02,
        layer_norm_epsilon=1e-05,
        n_ctx=64,
        n_embd=32,
        n_head=4,
        n_inner=72,
        n_layer=3,
        n_positions=64,
        resid_pdrop=0.2,
        summary_activation=None,
        summary_first_dropout=0.1,
        summary_proj_to_labels=True,
        summary_type="cls_index",
        summary_use_proj=True,
        task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}},
        vocab_size=V,
    ),
    "gpt_neox": SIZES
    | dict(architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", bos_token_id=0, eos_token_id=0)
    | dict(hidden_act="gelu", initializer_range=0.02, layer_norm_eps=1e-05, rotary_emb_base=5000, rotary_pct=0.25)
    | dict(tie_word_embeddings=False, torch_dtype="float16", transformers_version="4.24.0", use_cache=True)
    | dict(use_parallel_residual=True, attention_dropout=0.15, hidden_dropout=0.1),
    "opt": dict(
        model_type="opt",
        architectures=["OPTForCausalLM"],
        activation_dropout=0.0,
        activation_function="relu",
        attention_dropout=0.15,
        bos_token_id=2,
        do_layer_norm_before=True,
        dropout=0.1,
        eos_token_id=2,
        ffn_dim=72,
        hidden_size=32,
        init_std=0.02,
        layerdrop=0.0,
        max_position_embeddings=64,
        num_attention_heads=4,
        num_hidden_layers=3,
        pad_token_id=1,
        prefix="</s>",
        torch_dtype="float32",
        transformers_version="4.21.0.dev0",
        use_cache=True,
        vocab_size=V,
        word_embed_proj_dim=32,
    ),
    "llama": LLAMA | dict(model_type="llama", architectures=["LlamaForCausalLM"], pretraining_tp=1),
    "llama-scaled": LLAMA
    | dict(model_type="llama", architectures=["LlamaForCausalLM"], tie_word_embeddings=True, rope_theta=500000.0)
    | dict(rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_type="llama3") | ORIGINAL)
    | dict(attention_bias=False, mlp_bias=False, head_dim=8, eos_token_id=[2, 3]),
    "llama-linear": LLAMA
    | dict(model_type="llama", architectures=["LlamaForCausalLM"], rope_scaling=dict(type="linear", factor=4.0)),
    "mistral": LLAMA | dict(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=5),
    "mistral-global": LLAMA
    | dict(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=None, head_dim=10),
    "qwen2": LLAMA
    | dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], rms_norm_eps=1e-06, rope_theta=1000000.0)
    | dict(sliding_window=4, max_window_layers=1, use_sliding_window=False, tie_word_embeddings=True),
    "qwen3": LLAMA
    | dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], rms_norm_eps=1e-06, rope_theta=1000000)
    | dict(sliding_window=None, max_window_layers=1, use_sliding_window=False, tie_word_embeddings=True)
    | dict(attention_bias=False, head_dim=16),
    "phi3": LLAMA
    | dict(model_type="phi3", architectures=["Phi3ForCausalLM"], embd_pdrop=0.0, resid_pdrop=0.1, pad_token_id=0)
    | dict(original_max_position_embeddings=64, sliding_window=6, auto_map={"AutoConfig": "configuration_phi3.X"}),
    "phi3-longrope": LLAMA
    | dict(model_type="phi3", architectures=["Phi3ForCausalLM"], embd_pdrop=0.0, resid_pdrop=0.1, pad_token_id=0)
    | dict(original_max_position_embeddings=16, sliding_window=None)
    | dict(rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 2.0, 4.0, 8.0])),
    "gemma2": LLAMA
    | dict(model_type="gemma2", architectures=["Gemma2ForCausalLM"], rms_norm_eps=1e-06, head_dim=16, pad_token_id=0)
    | dict(attn_logit_softcapping=3.0, final_logit_softcapping=2.0, query_pre_attn_scalar=24, sliding_window=5)
    | dict(hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", attention_bias=False)
    | dict(cache_implementation="hybrid", sliding_window_size=5, tie_word_embeddings=True),
    "gemma3-1b": LLAMA
    | dict(model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], rms_norm_eps=1e-06, head_dim=16)
    | dict(attn_logit_softcapping=None, final_logit_softcapping=None, query_pre_attn_scalar=24, sliding_window=5)
    | dict(hidden_activation="gelu_pytorch_tanh", attention_bias=False, cache_implementation="hybrid", pad_token_id=0)
    | dict(rope_local_base_freq=10000, rope_theta=1000000, sliding_window_pattern=6, num_hidden_layers=7)
    | dict(tie_word_embeddings=True),
    "starcoder2": SIZES
    | dict(model_type="starcoder2", architectures=["Starcoder2ForCausalLM"], num_key_value_heads=2, rope_theta=10000.0)
    | dict(hidden_act="gelu_pytorch_tanh", mlp_type="default", norm_type="layer_norm", norm_epsilon=1e-05)
    | dict(attention_dropout=0.15, embedding_dropout=0.1, residual_dropout=0.2, sliding_window=5, use_bias=True)
    | dict(bos_token_id=0, eos_token_id=0, initializer_range=0.018042, torch_dtype="bfloat16", pad_token_id=0),
    "bert": BERT | dict(position_embedding_type="absolute", gradient_checkpointing=False, classifier_dropout=0.2),
    "roberta": BERT
    | dict(model_type="roberta", architectures=["RobertaForMaskedLM"], layer_norm_eps=1e-05, pad_token_id=1)
    | dict(max_position_embeddings=66, type_vocab_size=1, bos_token_id=0, eos_token_id=2, classifier_dropout=0.2),
    "distilbert": dict(
        activation="gelu",
        architectures=["DistilBertForMaskedLM"],
        attention_dropout=0.15,
        dim=32,
        dropout=0.1,
        hidden_dim=72,
        initializer_range=0.02,
        max_position_embeddings=64,
        model_type="distilbert",
        n_heads=4,
        n_layers=3,
        pad_token_id=0,
        qa_dropout=0.1,
        seq_classif_dropout=0.2,
        sinusoidal_pos_embds=False,
        tie_weights_=True,
        transformers_version="4.10.0.dev0",
        vocab_size=V,
    ),
    "electra-discriminator": BERT
    | dict(model_type="electra", architectures=["ElectraForPreTraining"], embedding_size=16, classifier_dropout=0.2)
    | dict(summary_activation="gelu", summary_last_dropout=0.1, summary_type="first", summary_use_proj=True),
    "deberta-classifier": {key: value for key, value in BERT.items() if key != "architectures"}
    | dict(model_type="deberta-v2", architectures=["DebertaV2ForSequenceClassification"], max_relative_positions=-1)
    | dict(position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p")
    | dict(layer_norm_eps=1e-7, relative_attention=True, position_biased_input=False, type_vocab_size=0)
    | dict(pooler_dropout=0.25, pooler_hidden_act="gelu", pooler_hidden_size=32, cls_dropout=0.2)
    | dict(id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}),
}


def with_config(pair: Pair, folder: Path, config: dict[str, Any]) -> Path:
    """The pair's weights beside another config.json."""
    shutil.copy(pair.folder / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_as_published(
    name: str, pair: Callable[[str], Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = pair(name).case
    folder = with_config(pair(name), tmp_path, FILES[name])
    ours = load_pretrained(folder, dtype="fp32")
    assert "note:" not in capsys.readouterr().err  # nothing in it is unknown to us
    architecture: Any = getattr(transformers, case.architecture)
    theirs = architecture.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    for padding in ("none", "right"):
        their_arguments, our_arguments, real = make_batch(case, padding)
        found, expected = ours(**our_arguments), their_output(theirs, their_arguments)
        if case.task != "classification":
            found, expected = found[real], expected[real]
        error, scale = Difference.of(found, expected)
        assert error <= 1e-5 * max(1.0, scale)
    assert ours.config == pair(name).ours.config  # as from the file that transformers 5 writes


def test_every_family_is_here() -> None:
    from parity_cases import CASES

    assert {CASES[name].family for name in FILES} == {case.family for case in CASES.values()}


SEES = {  # how the modules of a model that also sees are named: by transformers 5, and in the files on the hub
    "five": {},
    "four": {"model.language_model.": "language_model.model.", "model.vision_tower.": "vision_tower."}
    | {"model.multi_modal_projector.": "multi_modal_projector."},
}


@pytest.mark.parametrize("version", SEES)
def test_gemma3_inside_a_model_that_sees(version: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """4b and larger: its text_config and language_model are read, named as each version does, and saved alone."""
    text = pair("gemma3").case.settings | dict(model_type="gemma3_text")
    vision = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, image_size=28)
    vision |= dict(patch_size=14, model_type="siglip_vision_model")
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    torch.manual_seed(0)
    theirs: Any = transformers.Gemma3ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    tensors = {f"model.{k}" if not k.startswith("model.") else k: v for k, v in theirs.model.state_dict().items()}
    for ours, other in SEES[version].items():
        tensors = {key.replace(ours, other): tensor for key, tensor in tensors.items()}
    assert sum("vision" in key for key in tensors) > 10
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    ids = torch.randint(3, V, (2, 19))
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits
    ours = load_pretrained(tmp_path)
    error, scale = Difference.of(ours(ids), expected)
    assert error <= 1e-5 * max(1.0, scale)
    assert ours.config == pair("gemma3").ours.config

    save_pretrained(ours, tmp_path / "alone")
    alone, info = transformers.Gemma3ForCausalLM.from_pretrained(tmp_path / "alone", output_loading_info=True)
    assert not any(info[misses] for misses in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        assert Difference.of(alone.eval()(input_ids=ids).logits, expected).error <= 1e-5 * max(1.0, scale)


def test_what_gemma3_4b_leaves_out() -> None:
    """Its file gives six settings of text; all others are defaults, which here are as published."""
    text = dict(hidden_size=2560, intermediate_size=10240, model_type="gemma3_text", num_hidden_layers=34)
    text |= dict(rope_scaling=dict(factor=8.0, rope_type="linear"), sliding_window=1024)
    theirs = transformers.Gemma3Config(text_config=copy.deepcopy(text)).text_config.to_dict()
    whole = dict(architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", text_config=text)
    ours = model_config(whole)
    assert ours == model_config(theirs | dict(architectures=["Gemma3ForCausalLM"]))
    assert (ours.head_dim, ours.n_kv_heads, ours.window) == (256, 4, 1024)


REFUSED = [
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt2", {"activation_function": "quick_gelu"}),
    ("opt", {"do_layer_norm_before": False}),
    ("opt", {"word_embed_proj_dim": 16}),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
    ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
    ("bert", {"position_embedding_type": "relative_key"}),
    ("bert", {"is_decoder": True}),
    ("bert", {"add_cross_attention": True}),
    ("bert", {"hidden_act": "swishy"}),
    ("bert", {"type_vocab_size": 0}),
    ("distilbert", {"activation": "quick_gelu"}),
    ("roberta", {"position_embedding_type": "relative_key_query"}),
    ("electra-discriminator", {"is_decoder": True}),
    ("deberta-classifier", {"conv_kernel_size": 3}),
    ("deberta-classifier", {"share_att_key": False}),
    ("deberta-classifier", {"pos_att_type": "c2p"}),
    ("deberta-classifier", {"position_biased_input": True}),
    ("deberta-classifier", {"norm_rel_ebd": "none"}),
    ("deberta-classifier", {"relative_attention": False}),
    ("deberta-classifier", {"embedding_size": 16}),
    ("deberta-classifier", {"pooler_hidden_size": 16}),
    ("deberta-classifier", {"attention_head_size": 16}),
]


@pytest.mark.parametrize(("name", "change"), REFUSED)
def test_settings_that_we_lack_are_refused(
    name: str, change: dict[str, Any], pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    """The message names the file, the key (or the kind of rope) and the value."""
    folder = with_config(pair(name), tmp_path, FILES[name] | change)
    key, value = next(iter(change.items()))
    said = [value["rope_type"]] if isinstance(value, dict) else [key, str(value)]
    with pytest.raises(UserError) as error:
        load_pretrained(folder)
    assert all(word in str(error.value) for word in ["config.json", *said])


NEEDED = [
    ("gpt2", "n_embd"),
    ("gpt_neox", "rotary_pct"),
    ("llama", "rms_norm_eps"),
    ("phi3", "num_hidden_layers"),
    ("gemma2", "query_pre_attn_scalar"),
    ("bert", "hidden_size"),
    ("roberta", "layer_norm_eps"),
    ("roberta", "type_vocab_size"),
    ("distilbert", "dim"),
    ("electra-discriminator", "embedding_size"),
    ("electra-discriminator", "layer_norm_eps"),
    ("deberta-classifier", "position_buckets"),
    ("deberta-classifier", "position_biased_input"),
    ("deberta-classifier", "pos_att_type"),
    ("deberta-classifier", "share_att_key"),
]


@pytest.mark.parametrize(("name", "key"), NEEDED)
def test_a_missing_key_that_changes_the_maths(name: str, key: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    """Refused: what transformers would take for it is in no checkpoint."""
    folder = with_config(pair(name), tmp_path, {k: v for k, v in FILES[name].items() if k != key})
    with pytest.raises(UserError, match=key):
        load_pretrained(folder)


PUBLISHED = [
    ("bert", "layer_norm_eps"),
    ("bert", "type_vocab_size"),
    ("bert", "hidden_act"),
    ("roberta", "pad_token_id"),
]
PUBLISHED += [("distilbert", "activation"), ("deberta-classifier", "max_relative_positions")]
PUBLISHED += [("bert", "model_type"), ("gpt_neox", "use_parallel_residual")]


@pytest.mark.parametrize(("name", "key"), PUBLISHED)
def test_a_missing_key_that_is_always_the_same(
    name: str, key: str, pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    """What every published file says, those that leave it out mean too."""
    folder = with_config(pair(name), tmp_path, {k: v for k, v in FILES[name].items() if k != key})
    assert load_pretrained(folder, dtype="fp32").config == pair(name).ours.config
