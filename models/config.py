"""The one dataclass that describes every architecture this package can build. It imports no torch.

Shapes, here and in every file of this folder:

    B batch        T tokens of the input      S tokens that can be attended to (T, and what a cache holds)
    C d_model      E d_embed                  F d_ff        V vocab_size
    H n_heads      G n_kv_heads               D head_dim    R rotated part of D
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from ..errors import UserError, nearest
from .checks import check_combinations, check_fields, check_rope, check_scaling

Task = Literal["causal_lm", "masked_lm", "classification", "replaced_token", "encoder"]
Positions = Literal["learned", "sincos", "rope", "relative", "none"]
Norm = Literal["layernorm", "rmsnorm", "none"]
NormSlot = Literal["in", "out", "sum"]
LayerKind = Literal["global", "local"]
Activation = Literal["gelu", "gelu_tanh", "relu", "leakyrelu", "tanh", "sigmoid", "silu", "none"]
Init = Literal["gpt2", "xavier", "kaiming", "none"]

TASKS: tuple[Task, ...] = get_args(Task)
DERIVED: Any = None  # the default of fields that __post_init__ works out from the others


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length a model was first trained on."""

    type: Literal["linear", "llama3", "longrope"]
    factor: float = 1.0  # how many times longer the context became
    original_max_seq_len: int = 0  # llama3, longrope: the length before stretching
    low_freq_factor: float = 1.0  # llama3: wavelengths above original / low are divided by `factor`
    high_freq_factor: float = 4.0  # llama3: wavelengths below original / high stay as they are
    short_factor: tuple[float, ...] = ()  # longrope: a divisor for each frequency, up to the original length
    long_factor: tuple[float, ...] = ()  # longrope: the same, beyond it
    attention_factor: float | None = None  # longrope: multiplies cos and sin; None: from `factor`

    def __post_init__(self) -> None:
        check_scaling(self)


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embeddings: frequencies theta^(-2i/R) on the first R = fraction * head_dim of a head."""

    theta: float = 10_000.0
    fraction: float = 1.0
    scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        check_rope(self)

    def rotated(self, head_dim: int) -> int:
        """How many of a head's dimensions are rotated."""
        return int(head_dim * self.fraction)


@dataclass(frozen=True)
class ModelConfig:
    """One transformer, encoder or decoder. Every field is honoured or refused: see checks.py.

    Fields whose default is DERIVED say beside it what None becomes; after construction they hold that value, and
    dataclasses.replace() keeps it: pass None along with a change that it should follow.
    """

    # --- size
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_seq_len: int  # the context trained on; a hard limit for learned positions only
    n_kv_heads: int = DERIVED  # n_heads; fewer is grouped-query attention
    head_dim: int = DERIVED  # d_model / n_heads

    # --- embedder
    d_embed: int = DERIVED  # d_model; another width adds a projection (ELECTRA)
    n_token_types: int = 0  # rows of the segment embedding (BERT); 0: none
    positions: Positions = "learned"
    position_offset: int = 0  # learned: rows before the first position (OPT, RoBERTa: 2)
    pad_token_id: int | None = None  # set: positions count the ids that differ from it (RoBERTa), not the mask
    embed_norm: bool = False  # norm on the summed embeddings (BERT)
    embed_scale: float = 1.0  # Gemma: sqrt(d_model), rounded to the activation dtype

    # --- norms and the residual stream
    norm: Norm = "layernorm"
    norm_eps: float = 1e-5
    norm_bias: bool = True  # layernorm only
    norm_unit_offset: bool = False  # rmsnorm only: stores w and multiplies by (1 + w) (Gemma)
    norm_slots: tuple[NormSlot, ...] = ("in",)  # x = sum( x + out( f( in(x) ) ) ), see block.py
    attn_norm: Norm = DERIVED  # norm; the kind used around attention
    ffn_norm: Norm = DERIVED  # norm; the kind used around the feed-forward
    head_norm: Norm = DERIVED  # norm; the last one, before the head ("none" in post-norm models)
    parallel: bool = False  # attention and feed-forward read the same x (GPT-NeoX)

    # --- attention
    causal: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False  # norm each query and key head before rope (Qwen3, Gemma 3)
    attn_scale: float = DERIVED  # head_dim^-0.5; (3 head_dim)^-0.5 with relative positions
    attn_softcap: float | None = None  # scores = cap * tanh(scores / cap) (Gemma 2)
    window: int | None = None  # "local" layers: a query sees this many tokens back, itself included
    layer_pattern: tuple[LayerKind, ...] = ("global",)  # tiled over the layers
    rope: RopeConfig = RopeConfig()
    rope_local: RopeConfig | None = None  # local layers' own; None: `rope`
    relative_buckets: int = 0  # relative: distances are sorted into 2 * this many buckets (DeBERTa)
    relative_span: int = 0  # relative: the distance at which buckets end
    share_attn_out: bool = False  # one output projection for all layers

    # --- feed-forward
    activation: Activation = "gelu"
    gated: bool = False  # act(gate(x)) * up(x) instead of act(up(x))
    ffn_bias: bool = False
    share_ffn: bool = False  # one feed-forward for all layers

    # --- head
    tie_embeddings: bool = True
    head_bias: bool = False  # causal_lm only: masked_lm heads always have one
    logit_softcap: float | None = None
    head_activation: Activation = "gelu"  # masked_lm, replaced_token: after the head's dense layer
    classifier_activation: Literal["tanh", "relu", "gelu"] | None = None  # None: no dense layer and no bias
    classifier_pooling: Literal["first", "last"] = DERIVED  # "last" real token if causal, else "first"

    # --- dropout, in the order met; all of it in training only
    embed_dropout: float = 0.0  # on the summed (and normed) embeddings
    attn_dropout: float = 0.0  # on the input of attention, after its norm
    attn_probs_dropout: float = 0.0  # on the attention probabilities
    ffn_dropout: float = 0.0  # on the input of the feed-forward, after its norm
    residual_dropout: float = 0.0  # on the output of attention and feed-forward, before the sum
    residual_dropout_on_attn: bool = True  # False: on that of the feed-forward alone (DistilBERT)
    head_dropout: float = 0.0  # on what the head reads, after the last norm
    classifier_dropout: float = 0.0  # classification: before the last projection

    # --- initialisation, see init.py
    init: Init = "gpt2"
    init_std: float = 0.02
    init_gain: float = 1.0  # xavier
    init_mode: Literal["fan_in", "fan_out"] = "fan_in"  # kaiming
    init_nonlinearity: Activation = "gelu"  # kaiming

    def __post_init__(self) -> None:
        check_fields(self)
        three_terms = 3 if self.positions == "relative" else 1  # content, and position both ways
        head_dim = self.head_dim or self.d_model // self.n_heads
        derived = {
            "n_kv_heads": self.n_heads,
            "head_dim": head_dim,
            "d_embed": self.d_model,
            "attn_norm": self.norm,
            "ffn_norm": self.norm,
            "head_norm": self.norm,
            "attn_scale": (three_terms * head_dim) ** -0.5,
            "classifier_pooling": "last" if self.causal else "first",
        }
        for field, value in derived.items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)
        check_combinations(self)

    def layer_kind(self, layer: int) -> LayerKind:
        """Whether layer number `layer` attends globally or within `window`."""
        return self.layer_pattern[layer % len(self.layer_pattern)]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts: what JSON can hold, and from_dict reads back exactly."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of to_dict. Raises UserError for a key that is no field."""
        values = dict(values)
        for field in ("rope", "rope_local"):
            if isinstance(values.get(field), dict):
                rope = dict(values[field])
                if isinstance(rope.get("scaling"), dict):
                    rope["scaling"] = _construct(RopeScaling, rope["scaling"])
                values[field] = _construct(RopeConfig, rope)
        return _construct(cls, values)


def _construct(cls: type, values: dict[str, Any]) -> Any:
    """cls(**values) with lists as tuples."""
    known = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            raise UserError(f"{cls.__name__} has no field '{key}'.{nearest(key, known)}")
    return cls(**{key: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for key, v in values.items()})


def _plain(value: Any) -> Any:
    """The same with tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    return [_plain(item) for item in cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value
