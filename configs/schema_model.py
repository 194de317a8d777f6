"""What `model:` may say: an architecture to train from scratch, or (with `base_model`) a checkpoint to start from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from .fields import (
    WORD,
    Flag,
    FlagOrAuto,
    Natural,
    Positive,
    PositiveNumber,
    Section,
    Share,
    Text,
    fold,
    key,
    spelled,
)

Normalization = Annotated[
    Literal["rms_norm", "layer_norm", "none"], spelled(rmsnorm="rms_norm", layernorm="layer_norm", no="none")
]
Activation = Annotated[
    Literal["gelu", "gelu_tanh", "relu", "leakyrelu", "tanh", "sigmoid", "silu", "none"],
    spelled(leaky_relu="leakyrelu", gelu_new="gelu_tanh", gelu_pytorch_tanh="gelu_tanh", linear="none", no="none"),
]


TOKENIZERS = (
    "bpe",
    "byte",
    "char",
    "gpt2",
    "p50k_base",
    "cl100k_base",
    "o200k_base",
    "llama_32k",
    "mistral_32k",
    "opt_50k",
)


def _tokenizer(value: Any) -> Any:
    """A documented name in its one spelling; a path as it is."""
    folded = fold(value).replace("gpt_2", "gpt2") if isinstance(value, str) else value
    return folded if folded in TOKENIZERS else value


Tokenizer = Annotated[Text, BeforeValidator(_tokenizer)]


class FeedForward(Section):
    """The feed-forward half of a block."""

    ffn_type: Annotated[Literal["generic", "silu_ffn"], WORD] = key(
        None,
        "`generic`: two linear layers, an activation between; `silu_ffn`: the SiLU of one linear layer gates another",
        required=True,
    )
    ffn_dim: Positive = key(None, "width between the two linear layers, commonly 4 x hidden_dim", required=True)
    bias: Flag = key(False, "biases in the feed-forward's linear layers")
    ffn_dropout: Share = key(0.0, "dropout at the beginning of the feed-forward, on its normalised input")
    activation: Activation = key(
        "gelu",
        "activation of a `generic` feed-forward; `gelu` is exact, `gelu_tanh` GPT-2's approximation",
    )
    normalization: Normalization = key("rms_norm", "norm before the feed-forward")


class Attention(Section):
    """The attention half of a block."""

    attn_type: Annotated[Literal["causal", "bidirectional"], WORD] = key(
        None,
        "`causal`: a token sees itself and what came before; `bidirectional`: it sees the whole text",
        required=True,
    )
    num_kv_heads: Positive = key(None, "number of key and value heads", required=True)
    num_q_heads: Positive | None = key(
        None, "number of query heads, a multiple of num_kv_heads (grouped-query attention); default: num_kv_heads"
    )
    bias: Flag = key(False, "biases in the attention's linear layers")
    attn_dropout: Share = key(0.0, "dropout at the beginning of the attention, on its normalised input")
    attn_probs_dropout: Share = key(0.0, "dropout on the attention probabilities, as in GPT-2")
    normalization: Normalization = key("rms_norm", "norm before the attention")


class Initialization(Section):
    """How new weights are drawn; `initialization_fn: xavier` is short for `initialization_fn: {name: xavier}`."""

    name: Annotated[Literal["xavier", "kaiming", "gpt2", "none"], spelled(gpt_2="gpt2", no="none")] = key(
        "kaiming",
        "`xavier`, `kaiming`, `gpt2` (normal 0.02, less for projections into the residual stream in deep models) or "
        "`none` (as PyTorch leaves them)",
    )
    gain: PositiveNumber = key(1.0, "factor of the xavier initialisation")
    mode: Annotated[Literal["fan_in", "fan_out"], WORD] = key("fan_in", "which width the kaiming initialisation keeps")
    nonlinearity: Activation = key("gelu", "what kaiming's gain is taken from; sqrt(2) for gelu and silu")


class Model(Section):
    """An architecture, or a checkpoint; the keys of the two do not mix (except under `core_model_type: hf_core`).

    Under hf_core the blocks are those of `base_model`, and embedder, head and tokenizer are described and new:
    `hidden_dim`, `context_window`, `positional_encoding_type` and `lm_head_normalization` default to what fits it.
    """

    # --- an architecture, trained from scratch ------------------------------------------------------------------
    core_model_type: Annotated[Literal["generic", "hf_core"], WORD] = key(
        None,
        "`generic`: blocks of attention and feed-forward; `hf_core`: those of the checkpoint `base_model`",
        required=True,
    )
    num_layers: Positive = key(None, "number of blocks", required=True)
    hidden_dim: Positive = key(None, "width of the hidden state", required=True)
    context_window: Positive = key(None, "longest sequence the model is built for, in tokens", required=True)
    ffn: FeedForward = key(None, "the feed-forward of every block", factory=FeedForward)
    attn: Attention = key(None, "the attention of every block", factory=Attention)
    ffn_weight_tying: Flag = key(False, "one feed-forward shared by all blocks")
    c_proj_weight_tying: Flag = key(False, "one attention output projection (c_proj) shared by all blocks")
    freeze_core: Flag | None = key(
        None, "keep the core's weights as they are; default: true under hf_core, unknown elsewhere"
    )
    residual_dropout: Share = key(0.0, "dropout on what attention and feed-forward add to the residual stream")
    norm_bias: Flag = key(True, "the bias of layer_norm itself (`bias` elsewhere speaks of linear layers)")

    embedding_model_type: Annotated[Literal["generic"], WORD] = key("generic", "a learned embedding for each token")
    embedding_weight_tying: Flag = key(True, "one matrix for the embedding and the language-model head")
    embedding_dropout: Share = key(0.0, "dropout on the embedded input")
    positional_encoding_type: Annotated[Literal["learned", "sincos", "rope", "none"], spelled(no="none")] = key(
        None,
        "`learned` or `sincos` (added to the embeddings), `rope` (rotates queries and keys) or `none`",
        required=True,
    )
    rope_theta: PositiveNumber = key(10_000.0, "base of rope's wavelengths")

    lm_head_type: Annotated[Literal["generic"], WORD] = key(
        "generic", "a linear layer from the hidden state to the vocabulary"
    )
    lm_head_normalization: Normalization = key("rms_norm", "norm before the head")
    lm_head_bias: Flag = key(False, "a bias in the head")
    lm_head_dropout: Share = key(0.0, "dropout before the head")
    model_shell_type: Annotated[Literal["standard"], WORD] = key("standard", "embedder, core and head as one model")
    initialization_fn: Initialization = key(None, "how new weights are drawn", factory=Initialization)

    tokenizer_type: Tokenizer = key(
        None,
        "`bpe` (trained here), `byte`, `char`, `gpt2`, `p50k_base`, `cl100k_base`, `o200k_base`, `llama_32k`, "
        "`mistral_32k`, `opt_50k`, or the path of a tokenizer.json or of a directory that holds one",
        required=True,
    )
    vocab_size: Positive | None = key(
        None,
        "`bpe`: size of the vocabulary to train (required); with any other tokenizer: rows of the embedding, at least "
        "the tokenizer's own size; default: that size",
    )
    tokenizer_dataset_name: Text | None = key(
        None, "`bpe`: the corpus the tokenizer is trained on, named like `dataset.name`; default: the run's own"
    )
    tokenizer_simplify: Flag = key(True, "`bpe`: foreign symbols are stripped and digits stand one by one")
    tokenizer_min_frequency: Natural = key(
        1,
        "`bpe`: how often a pair must occur to be merged; 1 reaches the vocabulary asked for wherever that is possible",
    )

    # --- a checkpoint to start from -----------------------------------------------------------------------------
    base_model: Text | None = key(
        None,
        "what to start from: an alias or id of the registry (`train.py --list-models`), a Hugging Face model id, a "
        "directory with config.json and weights, or the folder of a run",
    )
    init: Annotated[Literal["pretrained", "random"], WORD] = key(
        "pretrained", "`pretrained`: its weights; `random`: its shape with new weights, which needs no download"
    )
    tokenizer: Text | None = key(
        None,
        "tokenizer of the checkpoint, named like `tokenizer_type`; default: base_model's own (with `init: random`, "
        "where it is not on this machine, a BPE trained on the data set)",
    )
    load_in_8bit: Flag = key(False, "load the checkpoint's linear layers in 8 bits")
    load_in_4bit: Flag = key(False, "load the checkpoint's linear layers in 4 bits")
    trust_remote_code: Flag = key(
        False, "run Python code that comes with a checkpoint: refused, every model here is native"
    )
    use_flash_attention: FlagOrAuto = key(
        "auto",
        "`auto`: torch's choice; true: at every step whose mask allows it, an error where none does; false: never. "
        "training_results.json has its share of all calls of attention",
    )
    use_liger_kernels: Flag = key(
        False,
        "on CUDA, fused Triton kernels for RMSNorm, rope, gated feed-forwards and the loss, and at most a quarter of a "
        "batch's logits at once; elsewhere the same steps in plain torch",
    )


CHECKPOINT_KEYS = (
    "base_model",
    "init",
    "tokenizer",
    "load_in_8bit",
    "load_in_4bit",
    "trust_remote_code",
    "use_flash_attention",
    "use_liger_kernels",
)
ARCHITECTURE_KEYS = tuple(name for name in Model.model_fields if name not in CHECKPOINT_KEYS)
# What the checkpoint decides under hf_core, where embedder, head and tokenizer are described and the core is not.
CORE_KEYS = (
    "num_layers",
    "ffn",
    "attn",
    "ffn_weight_tying",
    "c_proj_weight_tying",
    "residual_dropout",
    "norm_bias",
    "rope_theta",
    "tokenizer",
)
