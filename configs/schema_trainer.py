"""What `trainer:` (also `training:`) may say: steps, batches, precision, loss, optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import (
    LABELS,
    WORD,
    Flag,
    Fraction,
    Natural,
    NaturalNumber,
    Number,
    Positive,
    PositiveNumber,
    Section,
    Share,
    Text,
    key,
    spelled,
)
from .registry import MemoryOptimization


class Optimizer(Section):
    """The optimizer; `optimizer: AdamW` is short for `optimizer: {name: AdamW}`."""

    name: Annotated[Literal["adamw", "adamw_8bit", "paged_adamw_8bit"], spelled(adamw_torch="adamw")] = key(
        "adamw",
        "`adamw` (also `adamw_torch`): 8 bytes of moments a parameter; `adamw_8bit`: 2 bytes, in blocks of 8-bit "
        "codes; `paged_adamw_8bit`: those 2 bytes in the host's memory, where there is a CUDA GPU",
    )
    lr: NaturalNumber = key(6e-4, "highest learning rate, reached after warmup")
    min_lr: NaturalNumber = key(6e-6, "learning rate at the end of the decay; by default never above `lr`")
    weight_decay: NaturalNumber = key(0.01, "decay of matrices; biases and norms are not decayed")
    beta1: Share = key(0.9, "decay of the mean of the gradients")
    beta2: Share = key(0.999, "decay of the mean of the squared gradients")
    eps: PositiveNumber = key(1e-8, "added to the denominator")
    grad_clip: NaturalNumber = key(1.0, "the gradient's norm is cut to this; 0: never")
    correct_bias: Flag = key(True, "AdamW's bias correction; false as in the GPT-2 document's optimizer")
    layer_factors: Annotated[Literal["thirds"], WORD] | dict[Text, PositiveNumber] | None = key(
        None,
        "factors on the learning rate: `thirds`, 0.1 for embeddings and the lower third of the layers, 0.5 for the "
        "middle, 1 for the upper and the head; or a mapping of patterns of parameter names to factors, such as "
        "`{embedder: 0.1, 'core.layers.[0-3]': 0.5}`, of which the first that fits counts, else 1",
    )
    layer_decay: Annotated[Number, Field(gt=0, le=1)] | None = key(
        None, "factor on the learning rate from each layer to the one below: 1 for the head, embeddings the smallest"
    )


class DropoutSchedule(Section):
    """A dropout rate that moves with the steps and replaces all of the model's fixed rates; left out: none."""

    name: Annotated[Literal["constant", "linear", "triangle"], WORD] = key("linear", "shape of the curve")
    start: Share = key(0.0, "rate at start_iter")
    end: Share = key(0.0, "rate at end_iter; for `triangle` the rate at the peaks")
    start_iter: Natural = key(0, "step at which the curve begins; before it the rate is `start`")
    end_iter: Natural | None = key(None, "step at which the curve ends; default: the last step")
    cycles: Positive = key(1, "`triangle`: how many times it rises and falls")


class Trainer(Section):
    """How the weights are found."""

    trainer_type: Annotated[Literal["base_trainer"], spelled(base="base_trainer")] = key(
        "base_trainer", "the one trainer"
    )

    # --- how long ---------------------------------------------------------------------------------------------
    max_iters: Positive | None = key(None, "optimizer steps (or give `epochs`)", required=True)
    epochs: PositiveNumber | None = key(None, "passes over the training data (instead of `max_iters`)")
    head_first_epochs: NaturalNumber | None = key(
        None, "the first so many of the epochs train a checkpoint's head alone, those after them everything"
    )

    # --- how much at a time -----------------------------------------------------------------------------------
    batch_size: Positive = key(
        None,
        "sequences in one forward pass; default with a checkpoint: the registry's for the device, else by its size",
        required=True,
    )
    gradient_accumulation_steps: Positive = key(
        None,
        "forward passes in one optimizer step (or give `effective_batch_size`); default with a checkpoint: up to 16 "
        "sequences in one step",
        required=True,
    )
    effective_batch_size: Positive | None = key(
        None, "sequences in one optimizer step: batch_size x gradient_accumulation_steps, whichever of them is missing"
    )
    batch_sizes: dict[str, dict[str, Positive]] | None = key(
        None, "batch size by model and task (instead of `batch_size`): `{gpt2: {classification: 8}}`"
    )
    batch_size_auto_adjust: Flag = key(
        True, "where memory runs out, cut a micro-batch in two and go on with the same sequences a step; false: stop"
    )
    min_batch_size: Positive = key(1, "but into no fewer sequences than this")
    max_memory_usage: Annotated[Number, Field(gt=0, le=1)] | None = key(
        None, "share of the device's memory (of the machine's, on a CPU) that may be used; null: all there is"
    )
    memory_optimization: dict[Text, MemoryOptimization] = key(
        None,
        "for models of a family (`model_type` of config.json), where the keys themselves are not given: "
        "`{llama: {gradient_checkpointing: true}}`; see models.memory_optimization below",
        factory=dict,
    )
    max_seq_length: Positive | None = key(
        None,
        "tokens in one sequence; default: model.context_window; with a checkpoint 1024, and never more than it was "
        "trained for",
    )

    # --- learning rate ----------------------------------------------------------------------------------------
    lr_scheduler: Annotated[
        Literal["cosine", "linear", "constant_with_warmup", "constant"], spelled(cosine_annealing="cosine")
    ] = key("cosine", "how the learning rate falls from `lr` to `min_lr` after warmup; `constant` has none")
    decay_lr: Flag = key(True, "let the learning rate fall at all; false: it stays at `lr` after warmup")
    warmup_iters: Natural | None = key(
        None, "steps over which the learning rate rises from 0 (or give `warmup_ratio`)", required=True
    )
    warmup_ratio: Fraction | None = key(None, "warmup as a share of all steps (instead of `warmup_iters`)")
    lr_decay_iters: Positive | None = key(None, "step at which the decay ends; default: the last step")
    optimizer: Optimizer = key(None, "the optimizer and its rates", factory=Optimizer)

    # --- what is learned --------------------------------------------------------------------------------------
    loss_fn: Annotated[Literal["cross_entropy", "next_token_mlm", "masked_lm", "replaced_token"], WORD] = key(
        None,
        "`cross_entropy` of the next token; for encoders `masked_lm` (BERT), or `replaced_token`: what a generator put "
        "in place of masked ones is found (ELECTRA); `next_token_mlm`: the position before a masked token guesses it; "
        "default with a checkpoint: `masked_lm` for an encoder, `cross_entropy` for a decoder",
        required=True,
    )
    mask_ratio: Fraction = key(
        0.15, "`masked_lm`, `replaced_token`, `next_token_mlm`: share of the input tokens that is chosen"
    )
    generator_size: Fraction = key(
        0.25,
        "`replaced_token`: the generator's width as a share of the model's; it is as deep, and shares its embeddings",
    )
    discriminator_weight: PositiveNumber = key(
        50.0, "`replaced_token`: weight of the discriminator's loss beside the generator's"
    )
    label_smoothing: Share = key(
        0.0,
        "share of the target's probability that is spread over the vocabulary, or the classes; default for labelled "
        "texts, whatever the method: 0.1, and 0 for `imdb`",
    )
    class_weights: Annotated[Literal["balanced"], WORD] | Annotated[dict[Text, PositiveNumber], LABELS] | None = key(
        None,
        "how much more a row of one class counts in a classifier's loss than of another, by its label: `{spam: 5}`, 1 "
        "for those left out; `balanced`: the rarer, the more, so that all classes count alike. Held-out losses count "
        "every row alike",
    )
    loss_chunk_tokens: Natural | None = key(
        None, "tokens whose logits exist at once; null: chosen so that they stay small, 0: all of them"
    )
    dropout_schedule: DropoutSchedule | None = key(
        None, "a dropout rate that moves with the steps, for every dropout of the model"
    )

    # --- data order -------------------------------------------------------------------------------------------
    dataloader: Annotated[Literal["standard"], WORD] = key("standard", "batches from the tokenised corpus")
    datasampling: Annotated[Literal["standard", "sequential", "packed"], WORD] = key(
        "standard",
        "`standard`: random crops of the text; `packed`: every token once an epoch, in rows that keep documents apart; "
        "`sequential`: the same rows in the order of the text; default for `wikitext`: see dataset.stride",
    )

    # --- precision and speed ----------------------------------------------------------------------------------
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"], spelled(none="no", fp32="no", float16="fp16", bfloat16="bf16")
    ] = key("no", "`no` is fp32; `bf16` and `fp16` compute in 16 bits and keep fp32 weights")
    compile: Flag = key(False, "torch.compile: slow first steps, faster ones after")
    gradient_checkpointing: Flag = key(
        False, "compute the inside of a block again in the backward pass instead of keeping it: a third slower"
    )
    deterministic: Flag = key(True, "prefer operations that give the same result every time, where a GPU has others")

    # --- when things happen -----------------------------------------------------------------------------------
    log_interval: Positive = key(10, "steps between two lines of the log")
    checkpoint_interval: Positive = key(10_000, "steps between two checkpoints")
    max_nonfinite_steps: Positive = key(5, "steps in a row with NaN or infinite loss after which the run stops")
