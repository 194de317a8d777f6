"""What a parsed run still lacks, what follows from the rest, and what cannot go together."""

from __future__ import annotations

import importlib.util
from typing import Any, cast

from ..errors import UserError
from ..models.config import ModelConfig
from ..models.flash_limits import why_no_flash
from ..models.start import Start
from .architecture import architecture
from .batches import check_batches, complete_memory
from .dataset import LABELLED, check_dataset, complete_dataset, kind_of_data
from .devices import device_type
from .distillation import check as check_distillation
from .fields import shown
from .from_checkpoint import Refuse, check_tokenizer, complete_from
from .from_checkpoint import check as check_checkpoint
from .layers import ALTERNATIVES, Layer
from .methods import check as check_method
from .methods import complete as complete_method
from .not_yet import value_at
from .phases import check_phases
from .schedule import check_schedule
from .schema_model import Model
from .schema_run import FIELDS, RunConfig

_INSTEAD = {".".join(one): ".".join(other) for one, other in ALTERNATIVES}
_TRAINED_TOKENIZERS = ("bpe", "char")
# Keys without a default that a checkpoint gives one: see from_checkpoint.py.
_FROM_CHECKPOINT = ("trainer.batch_size", "trainer.gradient_accumulation_steps", "trainer.loss_fn")


def missing(run: RunConfig) -> list[str]:
    """One sentence for each key without a default that the run does not give."""
    found: list[str] = []
    for path, field in FIELDS.items():
        name = ".".join(path)
        instead = _INSTEAD.get(name)
        if not field.json_schema_extra["required"] or value_at(run, name) is not None or _comes_along(run, name):
            continue
        if instead and value_at(run, instead) is not None:
            continue
        if name == "trainer.warmup_iters" and run.trainer.lr_scheduler == "constant":
            continue
        found.append(f"{name} is missing: {field.description.partition('; default with a checkpoint')[0]}.")
    if run.model.core_model_type == "hf_core" and run.model.base_model is None:
        found.append("model.base_model is missing: under hf_core the blocks are those of a checkpoint.")
    if run.model.tokenizer_type == "bpe" and run.model.vocab_size is None:
        found.append("model.vocab_size is missing: a `bpe` tokenizer is trained to this size (GPT-2's is 50257).")
    return found


def _comes_along(run: RunConfig, name: str) -> bool:
    """Whether a key without a default follows from the checkpoint that the run names."""
    if run.model.core_model_type == "hf_core":
        return name.startswith("model.") and name != "model.tokenizer_type"
    return run.model.base_model is not None and name.startswith(("model.", *_FROM_CHECKPOINT))


def complete(run: RunConfig, start: Start | None = None) -> RunConfig:
    """Fill in what follows from other settings, and from the checkpoint. Completing twice changes nothing."""
    if start is not None:
        run = complete_memory(complete_method(complete_from(run, start), start), start)
    model, trainer = run.model, run.trainer
    if model.ffn.ffn_type == "silu_ffn" and "activation" not in model.ffn.model_fields_set:
        model = model.model_copy(update={"ffn": model.ffn.model_copy(update={"activation": "silu"})})
    steps = cast("int | None", trainer.gradient_accumulation_steps)  # given, or effective_batch_size is: see missing()
    effective = trainer.effective_batch_size
    changes: dict[str, Any] = {}
    if steps is None and effective is not None:
        changes["gradient_accumulation_steps"] = max(1, effective // trainer.batch_size)
    if effective is None and steps is not None:
        changes["effective_batch_size"] = trainer.batch_size * steps
    if trainer.max_seq_length is None:
        changes["max_seq_length"] = model.context_window
    if trainer.warmup_iters is None and trainer.lr_scheduler == "constant":
        changes["warmup_iters"] = 0
    measured: dict[str, Any] = {"batch_size": run.evaluation.batch_size or trainer.batch_size}
    unsaid = run.evaluation.takes_place and run.evaluation.metric_for_best_model is None
    if unsaid and trainer.class_weights and kind_of_data(run) == LABELLED:
        measured["metric_for_best_model"] = "macro_f1"  # held-out losses know no weights
    return complete_dataset(
        run.model_copy(
            update={
                "model": model,
                "trainer": trainer.model_copy(update=changes),
                "evaluation": run.evaluation.model_copy(update=measured),
            }
        )
    )


def collect(found: list[str], layer: Layer) -> Refuse:
    """A function that adds a sentence, with where its key was written."""

    def refuse(path: str, sentence: str) -> None:
        end = "" if sentence.endswith(("?", ".")) else "."
        found.append(f"{layer.where(tuple(path.split('.')))}: {sentence}{end}")

    return refuse


def impossible(run: RunConfig, layer: Layer, start: Start | None = None) -> list[str]:
    """One sentence for each combination that cannot be honoured, with where it was written."""
    found: list[str] = []
    refuse = collect(found, layer)
    if start is None:
        _sizes(run.model, refuse)
    else:
        check_checkpoint(run, start, layer, refuse)
        check_method(run, start, layer, refuse)
    if start is None or run.model.core_model_type == "hf_core":
        _unused(run.model, refuse)
    for name in ("load_in_4bit", "load_in_8bit"):
        if start is None and getattr(run.model, name):
            refuse(
                f"model.{name}", "it is a checkpoint that is loaded: name one in model.base_model, or leave this out"
            )
    if start is None and run.fine_tuning is not None:
        refuse("fine_tuning", "it is a checkpoint that is fine-tuned: name one in model.base_model, or leave this out")
    _method(run, refuse)
    check_distillation(run, start, refuse)
    _objective(run, start, refuse)
    _steps(run, start, refuse)
    check_schedule(run, refuse)
    check_batches(run, start, layer, refuse)
    check_phases(run, start, refuse)
    check_dataset(run, start, refuse)
    _evaluation(run, refuse)
    if run.output.hub_model_id is not None and not run.output.push_to_hub:
        refuse("output.hub_model_id", "nothing is uploaded: set output.push_to_hub to true, or leave this out")
    for extra in ("wandb", "tensorboard"):
        if getattr(run.general.logging, f"{extra}_log") and importlib.util.find_spec(extra) is None:
            refuse(f"general.logging.{extra}_log", f"{extra} is not installed: pip install {extra}, or set it to false")
    if not found:
        try:
            config = architecture(run, run.model.vocab_size or 256, start)
        except UserError as error:
            found.append(f"model: {error}.")
        else:
            _flash(run, config, refuse)
    return found


def _sizes(model: Model, refuse: Refuse) -> None:
    attn, ffn = model.attn, model.ffn
    query_heads = attn.num_q_heads or attn.num_kv_heads
    if query_heads % attn.num_kv_heads:
        refuse("model.attn.num_q_heads", f"{query_heads} is not a multiple of num_kv_heads {attn.num_kv_heads}")
    elif model.hidden_dim % query_heads:
        refuse("model.hidden_dim", f"{model.hidden_dim} is not a multiple of the {query_heads} query heads")
    elif model.positional_encoding_type == "rope" and model.hidden_dim // query_heads % 2:
        refuse(
            "model.positional_encoding_type",
            f"rope rotates pairs, and a head is {model.hidden_dim // query_heads} wide",
        )
    if model.positional_encoding_type == "sincos" and model.hidden_dim % 2:
        refuse("model.hidden_dim", f"sincos pairs sines with cosines: {model.hidden_dim} must be even")
    if ffn.ffn_type == "silu_ffn" and ffn.activation != "silu":
        refuse("model.ffn.activation", f"silu_ffn has SiLU; {ffn.activation} needs ffn_type: generic")
    norms = (attn.normalization, ffn.normalization, model.lm_head_normalization)
    if not model.norm_bias and "layer_norm" not in norms:
        refuse("model.norm_bias", "only layer_norm has a bias, and no norm here is one")


def _unused(model: Model, refuse: Refuse) -> None:
    """Settings of a choice that was not made."""
    init = model.initialization_fn
    for name, used, switch in (
        ("rope_theta", model.positional_encoding_type == "rope", "positional_encoding_type"),
        ("initialization_fn.gain", init.name == "xavier", "initialization_fn.name"),
        ("initialization_fn.mode", init.name == "kaiming", "initialization_fn.name"),
        ("initialization_fn.nonlinearity", init.name == "kaiming", "initialization_fn.name"),
        ("tokenizer_dataset_name", model.tokenizer_type in _TRAINED_TOKENIZERS, "tokenizer_type"),
        ("tokenizer_simplify", model.tokenizer_type == "bpe", "tokenizer_type"),
        ("tokenizer_min_frequency", model.tokenizer_type == "bpe", "tokenizer_type"),
    ):
        value, default = value_at(model, name), FIELDS[("model", *name.split("."))].default
        if not used and value != default:
            given = f"{shown(value)} has no effect with {switch} {value_at(model, switch)}"
            refuse(f"model.{name}", f"{given}: leave it out, or {shown(default)}")
    check_tokenizer("model.tokenizer_type", model.tokenizer_type, refuse)


def _objective(run: RunConfig, start: Start | None, refuse: Refuse) -> None:
    """The loss, and the attention that it needs."""
    trainer = run.trainer
    causal = start.config.causal if start is not None else run.model.attn.attn_type == "causal"
    if kind_of_data(run) == LABELLED:
        _classes(run, start, refuse)
    elif not causal and trainer.loss_fn == "cross_entropy":
        sees = "every position sees the token it should predict"
        if start is not None:
            refuse("trainer.loss_fn", f"{start.name} is an encoder, in which {sees}: use masked_lm")
        else:
            refuse(
                "model.attn.attn_type",
                f"with bidirectional attention {sees}; use causal, or trainer.loss_fn masked_lm or next_token_mlm",
            )
    elif causal and trainer.loss_fn in ("masked_lm", "replaced_token"):
        subject = f"{start.name} is a decoder" if start is not None else "with causal attention this is a decoder"
        refuse(
            "trainer.loss_fn",
            f"{subject}: {trainer.loss_fn} needs what comes after a token as well; use cross_entropy or next_token_mlm",
        )
    _replaced(run, refuse)
    masks = trainer.loss_fn in ("masked_lm", "replaced_token", "next_token_mlm")
    if masks and not trainer.mask_ratio:
        refuse("trainer.mask_ratio", f"{trainer.loss_fn} learns from masked tokens only: it must be above 0")
    if not masks and trainer.mask_ratio != FIELDS["trainer", "mask_ratio"].default:
        refuse("trainer.mask_ratio", "only masked_lm and next_token_mlm mask tokens, and replaced_token: leave it out")


def _replaced(run: RunConfig, refuse: Refuse) -> None:
    """What goes with a generator, and what with that alone."""
    trainer = run.trainer
    if trainer.loss_fn == "replaced_token":
        if not trainer.generator_size:
            refuse("trainer.generator_size", "a generator has some width: a share above 0")
        if run.model.core_model_type == "hf_core":
            refuse("trainer.loss_fn", "replaced_token trains a whole encoder: leave hf_core out")
        if run.fine_tuning is not None and run.fine_tuning.method != "full":
            refuse("fine_tuning.method", "replaced_token trains a whole encoder: leave it out")
        return
    for name in ("generator_size", "discriminator_weight"):
        if getattr(trainer, name) != FIELDS["trainer", name].default:
            refuse(f"trainer.{name}", "only loss_fn replaced_token has a generator: leave it out")


def _flash(run: RunConfig, config: ModelConfig, refuse: Refuse) -> None:
    """Flash attention, where no step of training could take it."""
    if run.model.use_flash_attention is not True:
        return
    trainer, schedule = run.trainer, run.trainer.dropout_schedule
    rates = (schedule.start, schedule.start if schedule.name == "constant" else schedule.end) if schedule else ()
    why = why_no_flash(
        config,
        device_type(run.general.device),
        {"no": "fp32"}.get(trainer.mixed_precision, trainer.mixed_precision),
        dropout=min(rates, default=None),
        context=trainer.max_seq_length or run.model.context_window,
        packed=trainer.datasampling != "standard",
    )
    if why is not None:
        refuse("model.use_flash_attention", f"{why}: use `auto`")


def _classes(run: RunConfig, start: Start | None, refuse: Refuse) -> None:
    """What a classifier needs: a checkpoint to put a head on, and its own loss."""
    if start is None or run.model.core_model_type == "hf_core":
        refuse("dataset.format", "a classifier is a checkpoint with a new head: name one in model.base_model")
    if run.trainer.loss_fn != "cross_entropy":
        refuse("trainer.loss_fn", "classes are learned by cross_entropy: leave it out")
    if run.trainer.datasampling != "standard":
        refuse("trainer.datasampling", "labelled texts are read in batches of similar length: leave it out")


def _steps(run: RunConfig, start: Start | None, refuse: Refuse) -> None:
    """How much is in a step."""
    model, trainer = run.model, run.trainer
    batch, steps = trainer.batch_size, trainer.gradient_accumulation_steps
    if trainer.effective_batch_size != batch * steps:
        refuse(
            "trainer.effective_batch_size",
            f"{trainer.effective_batch_size} is not batch_size {batch} x gradient_accumulation_steps {steps}",
        )
    described = start is None or model.core_model_type == "hf_core"
    if described and trainer.max_seq_length and trainer.max_seq_length > model.context_window:
        refuse("trainer.max_seq_length", f"{trainer.max_seq_length} is more than context_window {model.context_window}")
    if model.use_liger_kernels and trainer.loss_chunk_tokens == 0:
        refuse("trainer.loss_chunk_tokens", "0 takes all logits at once, which use_liger_kernels avoids: leave it out")


def _method(run: RunConfig, refuse: Refuse) -> None:
    """Settings that a choice beside them takes the sense from."""
    if run.fine_tuning is None:
        return
    spectrum, quantization = run.fine_tuning.spectrum, run.fine_tuning.quantization
    if spectrum.layers_to_finetune != "auto" and spectrum.snr_threshold != _default("spectrum", "snr_threshold"):
        refuse(
            "fine_tuning.spectrum.snr_threshold",
            "it chooses layers, and layers_to_finetune names them: leave one of the two out",
        )
    if not run.model.load_in_8bit or run.model.load_in_4bit:
        return
    for name in ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "block_size"):
        if getattr(quantization, name) != _default("quantization", name):
            refuse(
                f"fine_tuning.quantization.{name}",
                "this is of weights in 4 bits, and model.load_in_8bit loads them in 8: leave it out",
            )


def _default(section: str, name: str) -> Any:
    return FIELDS["fine_tuning", section, name].default


def _evaluation(run: RunConfig, refuse: Refuse) -> None:
    """Benchmarks that there are not, and what would be measured in a run that never evaluates."""
    evaluation = run.evaluation
    if evaluation.mcq_benchmarks or evaluation.benchmarks or evaluation.harness_tasks or evaluation.benchmark_data:
        from ..evaluation.benchmarks import wrong_benchmarks  # with the table of tasks

        for name, sentence in wrong_benchmarks(evaluation):
            refuse(f"evaluation.{name}", sentence)
    if evaluation.takes_place:
        return
    switch = "strategy no" if evaluation.do_eval else "do_eval false"
    for name in ("mcq_benchmarks", "benchmarks", "measure_gap", "patience", "metric_for_best_model"):
        if getattr(evaluation, name):
            refuse(f"evaluation.{name}", f"with evaluation.{switch} a run measures nothing: leave one of the two out")
