# ruff: noqa: C408 (fields read better as keywords)
"""Every family that ModelConfig must hold, tiny and all weights random, against transformers: logits and gradients.

A family here is a transformers class with its settings, the ModelConfig that says the same, and rows that name each of
their modules and ours. Weights go across by those rows; gradients come back by them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
import transformers
from groundup.models import Model, ModelConfig, RopeConfig, RopeScaling, build_model
from torch import Tensor, nn

logging.getLogger("transformers").setLevel(logging.ERROR)

V, T, LAYERS = 99, 19, 3
SIZES = dict(vocab_size=V, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=72)
SIZES |= dict(max_position_embeddings=64, attention_dropout=0.0)
OURS = dict(vocab_size=V, d_model=32, n_layers=LAYERS, n_heads=4, d_ff=72, max_seq_len=64)
BIASES = dict(qkv_bias=True, out_bias=True, ffn_bias=True)


@dataclass
class Family:
    theirs: str  # class name
    settings: dict
    config: ModelConfig
    rows: str  # their module, then ours, several where theirs is fused; a "~" or "!" before: see split()
    task: str = "causal_lm"


GPT2 = """
    transformer.wte              embedder.tokens
    transformer.wpe              embedder.positions
    transformer.h.*.ln_1         core.layers.*.attn.norm_in
    ~transformer.h.*.attn.c_attn core.layers.*.attn.f.q core.layers.*.attn.f.k core.layers.*.attn.f.v
    ~transformer.h.*.attn.c_proj core.layers.*.attn.f.out
    transformer.h.*.ln_2         core.layers.*.ffn.norm_in
    ~transformer.h.*.mlp.c_fc    core.layers.*.ffn.f.up
    ~transformer.h.*.mlp.c_proj  core.layers.*.ffn.f.down
    transformer.ln_f             core.norm
    score                        head.out
"""
NEOX = """
    gpt_neox.embed_in                            embedder.tokens
    gpt_neox.layers.*.input_layernorm            core.layers.*.attn.norm_in
    !gpt_neox.layers.*.attention.query_key_value core.layers.*.attn.f.q core.layers.*.attn.f.k core.layers.*.attn.f.v
    gpt_neox.layers.*.attention.dense            core.layers.*.attn.f.out
    gpt_neox.layers.*.post_attention_layernorm   core.layers.*.ffn.norm_in
    gpt_neox.layers.*.mlp.dense_h_to_4h          core.layers.*.ffn.f.up
    gpt_neox.layers.*.mlp.dense_4h_to_h          core.layers.*.ffn.f.down
    gpt_neox.final_layer_norm                    core.norm
    embed_out                                    head.out
    lm_head                                      head.out
"""
LLAMA = """
    model.embed_tokens                        embedder.tokens
    model.layers.*.input_layernorm            core.layers.*.attn.norm_in
    model.layers.*.self_attn.q_proj           core.layers.*.attn.f.q
    model.layers.*.self_attn.k_proj           core.layers.*.attn.f.k
    model.layers.*.self_attn.v_proj           core.layers.*.attn.f.v
    model.layers.*.self_attn.qkv_proj         core.layers.*.attn.f.q core.layers.*.attn.f.k core.layers.*.attn.f.v
    model.layers.*.self_attn.q_norm           core.layers.*.attn.f.q_norm
    model.layers.*.self_attn.k_norm           core.layers.*.attn.f.k_norm
    model.layers.*.self_attn.o_proj           core.layers.*.attn.f.out
    model.layers.*.post_attention_layernorm   core.layers.*.ffn.norm_in
    model.layers.*.mlp.gate_proj              core.layers.*.ffn.f.gate
    model.layers.*.mlp.up_proj                core.layers.*.ffn.f.up
    model.layers.*.mlp.gate_up_proj           core.layers.*.ffn.f.gate core.layers.*.ffn.f.up
    model.layers.*.mlp.down_proj              core.layers.*.ffn.f.down
    model.norm                                core.norm
    lm_head                                   head.out
    score                                     head.out
"""
GEMMA = (
    LLAMA.replace("ffn.norm_in", "attn.norm_out")
    + """
    model.layers.*.pre_feedforward_layernorm  core.layers.*.ffn.norm_in
    model.layers.*.post_feedforward_layernorm core.layers.*.ffn.norm_out
"""
)
OPT = """
    model.decoder.embed_tokens                    embedder.tokens
    model.decoder.embed_positions                 embedder.positions
    model.decoder.layers.*.self_attn_layer_norm   core.layers.*.attn.norm_in
    model.decoder.layers.*.self_attn.q_proj       core.layers.*.attn.f.q
    model.decoder.layers.*.self_attn.k_proj       core.layers.*.attn.f.k
    model.decoder.layers.*.self_attn.v_proj       core.layers.*.attn.f.v
    model.decoder.layers.*.self_attn.out_proj     core.layers.*.attn.f.out
    model.decoder.layers.*.final_layer_norm       core.layers.*.ffn.norm_in
    model.decoder.layers.*.fc1                    core.layers.*.ffn.f.up
    model.decoder.layers.*.fc2                    core.layers.*.ffn.f.down
    model.decoder.final_layer_norm                core.norm
"""
BERT = """
    base.embeddings.word_embeddings                 embedder.tokens
    base.embeddings.position_embeddings             embedder.positions
    base.embeddings.token_type_embeddings           embedder.types
    base.embeddings.LayerNorm                       embedder.norm
    base.embeddings_project                         embedder.project
    base.encoder.layer.*.attention.self.query       core.layers.*.attn.f.q
    base.encoder.layer.*.attention.self.key         core.layers.*.attn.f.k
    base.encoder.layer.*.attention.self.value       core.layers.*.attn.f.v
    base.encoder.layer.*.attention.self.query_proj  core.layers.*.attn.f.q
    base.encoder.layer.*.attention.self.key_proj    core.layers.*.attn.f.k
    base.encoder.layer.*.attention.self.value_proj  core.layers.*.attn.f.v
    base.encoder.layer.*.attention.output.dense     core.layers.*.attn.f.out
    base.encoder.layer.*.attention.output.LayerNorm core.layers.*.attn.norm_sum
    base.encoder.layer.*.intermediate.dense         core.layers.*.ffn.f.up
    base.encoder.layer.*.output.dense               core.layers.*.ffn.f.down
    base.encoder.layer.*.output.LayerNorm           core.layers.*.ffn.norm_sum
    base.encoder.rel_embeddings                     core.relative
    base.encoder.LayerNorm                          core.relative_norm
    base.pooler.dense                               head.dense
    pooler.dense                                    head.dense
    classifier                                      head.out
    classifier.dense                                head.dense
    classifier.out_proj                             head.out
    cls.predictions                                 head.out
    cls.predictions.decoder                         head.out
    cls.predictions.transform.dense                 head.dense
    cls.predictions.transform.LayerNorm             head.norm
    lm_head                                         head.out
    lm_head.decoder                                 head.out
    lm_head.dense                                   head.dense
    lm_head.layer_norm                              head.norm
    generator_predictions.dense                     head.dense
    generator_predictions.LayerNorm                 head.norm
    generator_lm_head                               head.out
    discriminator_predictions.dense                 head.dense
    discriminator_predictions.dense_prediction      head.out
"""
DISTILBERT = """
    distilbert.embeddings.word_embeddings             embedder.tokens
    distilbert.embeddings.position_embeddings         embedder.positions
    distilbert.embeddings.LayerNorm                   embedder.norm
    distilbert.transformer.layer.*.attention.q_lin    core.layers.*.attn.f.q
    distilbert.transformer.layer.*.attention.k_lin    core.layers.*.attn.f.k
    distilbert.transformer.layer.*.attention.v_lin    core.layers.*.attn.f.v
    distilbert.transformer.layer.*.attention.out_lin  core.layers.*.attn.f.out
    distilbert.transformer.layer.*.sa_layer_norm      core.layers.*.attn.norm_sum
    distilbert.transformer.layer.*.ffn.lin1           core.layers.*.ffn.f.up
    distilbert.transformer.layer.*.ffn.lin2           core.layers.*.ffn.f.down
    distilbert.transformer.layer.*.output_layer_norm  core.layers.*.ffn.norm_sum
    vocab_transform                                   head.dense
    vocab_layer_norm                                  head.norm
    vocab_projector                                   head.out
    pre_classifier                                    head.dense
    classifier                                        head.out
"""


def gpt2(kind: str = "LMHeadModel") -> Family:
    settings = dict(vocab_size=V, n_embd=32, n_layer=LAYERS, n_head=4, n_inner=72, n_positions=64)
    config = ModelConfig(**OURS, **BIASES, activation="gelu_tanh")
    return Family(f"GPT2{kind}", settings, config, GPT2, "causal_lm" if kind == "LMHeadModel" else "classification")


def neox(**changes: object) -> Family:
    settings = SIZES | dict(rotary_pct=0.25, rotary_emb_base=5000, tie_word_embeddings=False) | changes
    config = ModelConfig(
        **OURS,
        **BIASES,
        positions="rope",
        rope=RopeConfig(5000.0, 0.25),
        parallel=bool(changes.get("use_parallel_residual", True)),
        tie_embeddings=False,
    )
    return Family("GPTNeoXForCausalLM", settings, config, NEOX)


def llama(theirs: str = "LlamaForCausalLM", settings: dict | None = None, **fields: object) -> Family:
    """Llama and its descendants: `settings` are theirs, `fields` ours, for what differs from a plain Llama."""
    settings = SIZES | dict(num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False) | (settings or {})
    ours = dict(positions="rope", norm="rmsnorm", n_kv_heads=2, activation="silu", gated=True, tie_embeddings=False)
    task = "classification" if theirs.endswith("Classification") else "causal_lm"
    return Family(theirs, settings, ModelConfig(**OURS | ours | fields), LLAMA, task)


def rope(**parameters: object) -> dict:
    return dict(rope_parameters=dict(rope_theta=10_000.0) | parameters)


def phi3(original: int, attention_factor: float | None = None) -> Family:
    short, long = [1.0, 1.1, 1.2, 1.3], [1.0, 2.0, 4.0, 8.0]
    scaling = dict(rope_type="longrope", short_factor=short, long_factor=long, factor=64 / original)
    scaling |= dict(original_max_position_embeddings=original)
    if attention_factor:
        scaling |= dict(attention_factor=attention_factor)
    settings = dict(sliding_window=None, original_max_position_embeddings=original, pad_token_id=0) | rope(**scaling)
    ours = RopeScaling(
        "longrope",
        64 / original,
        original,
        short_factor=tuple(short),
        long_factor=tuple(long),
        attention_factor=attention_factor,
    )
    return llama("Phi3ForCausalLM", settings, rope=RopeConfig(scaling=ours))


def gemma(generation: int) -> Family:
    settings = dict(head_dim=16, query_pre_attn_scalar=24, sliding_window=4, tie_word_embeddings=True)
    settings |= dict(hidden_activation="gelu_pytorch_tanh", pad_token_id=0)
    ours = dict(head_dim=16, attn_scale=24**-0.5, window=4, norm_unit_offset=True, norm_slots=("in", "out"))
    ours |= dict(embed_scale=32**0.5, activation="gelu_tanh", tie_embeddings=True)
    if generation == 2:
        settings |= dict(attn_logit_softcapping=3.0, final_logit_softcapping=2.0)  # low enough to bend the logits
        ours |= dict(attn_softcap=3.0, logit_softcap=2.0, layer_pattern=("local", "global"))
        family = llama("Gemma2ForCausalLM", settings, **ours)
    else:
        sliding, full = (
            dict(rope_type="default", rope_theta=100.0),
            dict(rope_type="linear", rope_theta=1e4, factor=8.0),
        )
        settings |= dict(layer_types=["sliding_attention", "sliding_attention", "full_attention"])
        settings |= dict(rope_parameters=dict(sliding_attention=sliding, full_attention=full))
        ours |= dict(qk_norm=True, layer_pattern=("local", "local", "global"), rope_local=RopeConfig(100.0))
        ours |= dict(rope=RopeConfig(scaling=RopeScaling("linear", 8.0)))
        family = llama("Gemma3ForCausalLM", settings, **ours)
    family.rows = GEMMA
    return family


def opt() -> Family:
    settings = dict(vocab_size=V, num_hidden_layers=LAYERS, hidden_size=32, num_attention_heads=4, ffn_dim=72)
    settings |= dict(max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.0)
    config = ModelConfig(**OURS, **BIASES, position_offset=2, activation="relu")
    return Family("OPTForCausalLM", settings, config, OPT)


def bert(theirs: str, prefix: str, settings: dict | None = None, rows: str = BERT, **fields: object) -> Family:
    """BERT and its descendants, whose modules stand under `prefix`."""
    settings = SIZES | dict(layer_norm_eps=1e-12, pad_token_id=0, type_vocab_size=2) | (settings or {})
    ours = dict(norm_eps=1e-12, n_token_types=2, embed_norm=True, norm_slots=("sum",), head_norm="none", causal=False)
    tasks = {"ForMaskedLM": "masked_lm", "ForPreTraining": "replaced_token"}
    task = next((task for ending, task in tasks.items() if theirs.endswith(ending)), "classification")
    config = ModelConfig(**OURS | BIASES | ours | fields)
    return Family(theirs, settings, config, rows.replace("base.", prefix + "."), task)


def roberta(kind: str) -> Family:
    settings = dict(type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, max_position_embeddings=66)
    ours = dict(n_token_types=1, position_offset=2, pad_token_id=1, norm_eps=1e-5, classifier_activation="tanh")
    return bert(f"RobertaFor{kind}", "roberta", settings, **ours)


def distilbert(kind: str) -> Family:
    settings = dict(vocab_size=V, n_layers=LAYERS, dim=32, n_heads=4, hidden_dim=72, max_position_embeddings=64)
    family = bert(f"DistilBertFor{kind}", "", rows=DISTILBERT, n_token_types=0, classifier_activation="relu")
    family.settings = settings | dict(pad_token_id=0)
    return family


def electra(kind: str) -> Family:
    return bert(f"ElectraFor{kind}", "electra", dict(embedding_size=16), d_embed=16, classifier_activation="gelu")


def deberta(kind: str) -> Family:
    settings = dict(type_vocab_size=0, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8)
    settings |= dict(norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, layer_norm_eps=1e-7)
    settings |= dict(pooler_hidden_size=32, pooler_hidden_act="gelu")
    ours = dict(n_token_types=0, positions="relative", relative_buckets=8, relative_span=64, norm_eps=1e-7)
    return bert(f"DebertaV2For{kind}", "deberta", settings, **ours, classifier_activation="gelu")


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
LLAMA3 |= dict(original_max_position_embeddings=16)
FAMILIES = {
    "gpt2": gpt2(),
    "gpt2-classifier": gpt2("ForSequenceClassification"),
    "gpt-neox": neox(),
    "gpt-neox-sequential": neox(use_parallel_residual=False),
    "llama": llama(),
    "llama-3": llama(
        settings=rope(**LLAMA3) | dict(tie_word_embeddings=True, num_key_value_heads=1),
        rope=RopeConfig(scaling=RopeScaling("llama3", 8.0, 16)),
        tie_embeddings=True,
        n_kv_heads=1,
    ),
    "llama-biased": llama(settings=dict(attention_bias=True, mlp_bias=True, head_dim=10), **BIASES, head_dim=10),
    "llama-classifier": llama("LlamaForSequenceClassification", dict(pad_token_id=0)),
    "mistral": llama("MistralForCausalLM", dict(sliding_window=5), window=5, layer_pattern=("local",)),
    "qwen2": llama("Qwen2ForCausalLM", rope(rope_theta=1e6), qkv_bias=True, rope=RopeConfig(1e6)),
    "qwen3": llama("Qwen3ForCausalLM", dict(head_dim=16), qk_norm=True, head_dim=16),
    "phi3-long": phi3(16),
    "phi3-short": phi3(32, attention_factor=1.3),
    "phi3-partial": llama(
        "Phi3ForCausalLM",
        dict(sliding_window=6, pad_token_id=0, partial_rotary_factor=0.5) | rope(partial_rotary_factor=0.5),
        window=6,
        layer_pattern=("local",),
        rope=RopeConfig(fraction=0.5),
    ),
    "gemma2": gemma(2),
    "gemma3": gemma(3),
    "opt": opt(),
    "bert": bert("BertForMaskedLM", "bert"),
    "bert-classifier": bert("BertForSequenceClassification", "bert", classifier_activation="tanh"),
    "roberta": roberta("MaskedLM"),
    "roberta-classifier": roberta("SequenceClassification"),
    "distilbert": distilbert("MaskedLM"),
    "distilbert-classifier": distilbert("SequenceClassification"),
    "electra-generator": electra("MaskedLM"),
    "electra-discriminator": electra("PreTraining"),
    "electra-classifier": electra("SequenceClassification"),
    "deberta-v3": deberta("MaskedLM"),
    "deberta-v3-classifier": deberta("SequenceClassification"),
}


def build_theirs(family: Family) -> nn.Module:
    """Their model, every weight moved by noise: no norm and no bias is left at its default."""
    cls = getattr(transformers, family.theirs)
    config = cls.config_class(**family.settings, attn_implementation="eager")
    if family.task == "classification":
        config.num_labels = 3
        config.pad_token_id = config.pad_token_id or 0
    torch.manual_seed(0)
    model = cls(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def read_rows(rows: str) -> dict[str, tuple[str, list[str]]]:
    """Their module -> the marker before it, and our modules."""
    table = {}
    for line in filter(str.strip, rows.splitlines()):
        theirs, *ours = line.split()
        table[theirs.lstrip("~!")] = (theirs[0], ours)
    return table


def split(theirs: Tensor, marker: str, lengths: list[int], head_dim: int) -> list[Tensor]:
    """One of their tensors as ours. "~": stored (in, out). "!": rows stacked head by head, [H, (q, k, v), D]."""
    if marker == "!":
        return [part.flatten(0, 1) for part in theirs.unflatten(0, (-1, len(lengths), head_dim)).unbind(1)]
    return list((theirs.t() if marker == "~" and theirs.dim() == 2 else theirs).split(lengths))


def pairs(theirs: nn.Module, ours: Model, rows: str, attribute: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, their tensor, our tensor): `attribute` ("data" or "grad") of every parameter of ours, exactly once."""
    table, filled = read_rows(rows), set()
    parameters = dict(ours.named_parameters(remove_duplicate=False))
    for name, parameter in theirs.named_parameters():
        module, _, kind = name.rpartition(".")
        layer = next((part for part in module.split(".") if part.isdigit()), "")
        marker, modules = table[module.replace(f".{layer}.", ".*.") if layer else module]
        names = [f"{ours_module.replace('*', layer)}.{kind}" for ours_module in modules]
        lengths = [len(parameters[n]) for n in names]
        parts = split(getattr(parameter, attribute), marker, lengths, ours.config.head_dim)
        for n, part in zip(names, parts, strict=True):
            assert id(parameters[n]) not in filled, f"{n} is filled twice"
            filled.add(id(parameters[n]))
            yield n, part, getattr(parameters[n], attribute)
    unfilled = [n for n, p in ours.named_parameters() if id(p) not in filled]
    assert not unfilled, f"no row fills {unfilled}"


@functools.cache
def both(name: str) -> tuple[nn.Module, Model]:
    """Their model and ours, with the same weights."""
    family = FAMILIES[name]
    theirs = build_theirs(family)
    ours = build_model(family.config, family.task, 3 if family.task == "classification" else None).eval()
    for key, their_weight, our_weight in pairs(theirs, ours, family.rows, "data"):
        assert our_weight.shape == their_weight.shape, key
        our_weight.copy_(their_weight)
    return theirs, ours


def inputs(family: Family, padding: str) -> tuple[dict, dict]:
    """Their arguments and ours for a batch of three rows, two of them padded."""
    torch.manual_seed(1)
    ids, mask = torch.randint(3, V, (3, T)), torch.ones(3, T, dtype=torch.long)
    for row, padded in ((1, 7), (2, 3)):
        if padding == "left":
            mask[row, :padded] = 0
        elif padding == "right":
            mask[row, T - padded :] = 0
    ids = ids.masked_fill(mask == 0, family.settings.get("pad_token_id", 0))
    ours = dict(input_ids=ids, attention_mask=None if padding == "none" else mask)
    theirs = dict(input_ids=ids, attention_mask=mask)
    if family.config.n_token_types > 1:
        types = torch.randint(0, 2, (3, T))
        ours["token_type_ids"] = theirs["token_type_ids"] = types
    if family.theirs.startswith("GPT2"):  # the one that does not count by the mask unless told
        theirs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return theirs, ours


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Equal to 1e-5 of the largest number compared (of 1, if all are smaller)."""
    scale = max(1.0, theirs.abs().max().item())
    error = (ours - theirs).abs().max().item()
    assert error <= 1e-5 * scale, f"{what}: differs by {error:.1e} where numbers go up to {scale:.1f}"


CASES = [
    (name, padding)
    for name, family in FAMILIES.items()
    for padding in ("none", "right", "left")
    if padding != "left" or family.config.causal  # encoders are padded on the right
]


@pytest.mark.parametrize(("name", "padding"), CASES)
def test_logits_and_gradients(name: str, padding: str) -> None:
    family = FAMILIES[name]
    theirs, ours = both(name)
    theirs.zero_grad()
    ours.zero_grad()
    their_inputs, our_inputs = inputs(family, padding)
    their_logits, our_logits = theirs(**their_inputs).logits, ours(**our_inputs)
    assert our_logits.shape == their_logits.shape
    if family.task != "classification":
        real = their_inputs["attention_mask"].bool()  # what padding says is nobody's business
        their_logits, our_logits = their_logits[real], our_logits[real]
    assert their_logits.std() > 0.1  # something to compare
    close(our_logits, their_logits, "logits")

    weight = torch.randn_like(their_logits)
    (their_logits * weight).sum().backward()
    (our_logits * weight).sum().backward()
    for key, their_grad, our_grad in pairs(theirs, ours, family.rows, "grad"):
        close(our_grad, their_grad, f"gradient of {key}")
