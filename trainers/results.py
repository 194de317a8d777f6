"""What training_results.json says, for who reads it: which numbers stand for the run, what they are called."""

from __future__ import annotations

from typing import Any

from ..evaluation.baseline import NAME as BAG_OF_WORDS

Results = dict[str, Any]

NUMBERS = {
    "loss": "loss (nats)",
    "perplexity": "perplexity",
    "bits_per_byte": "bits a byte",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "train_loss": "loss on training rows",
    "gap": "gap, held out less training",
    "train_accuracy": "accuracy on training rows",
    "generator_loss": "loss of the generator (nats a masked token)",
    "discriminator_loss": "loss of the discriminator (nats a token)",
    "discriminator_accuracy": "accuracy of the discriminator",
    "replaced_share": "share of tokens that are replaced",
    "soft_loss": "distance from the teacher's distribution",
    "cosine_loss": "1 - cosine of the hidden states",
    "rows": "rows",
    "tokens": "tokens",
    "bytes": "bytes of text",
}
METRICS = {"loss": "loss", "accuracy": "accuracy", "macro_f1": "macro F1"}
"""What may choose the best checkpoint."""
TASKS = {
    "causal_lm": "a decoder that predicts the next token",
    "masked_lm": "an encoder that guesses masked tokens",
    "classification": "a classifier",
    "replaced_token": "a discriminator of replaced tokens",
}
METHODS = {
    "full": "all weights",
    "head": "the head alone",
    "lora": "LoRA adapters on a frozen base",
    "qlora": "LoRA adapters on a frozen, quantised base",
    "spectrum": "the layers with the most signal (Spectrum)",
    "tf-idf": "TF-IDF and logistic regression",
}
KEY_SETTINGS = {
    "trainer.optimizer.name": "optimizer",
    "trainer.optimizer.lr": "learning rate",
    "trainer.optimizer.min_lr": "lowest learning rate",
    "trainer.lr_scheduler": "schedule",
    "trainer.optimizer.weight_decay": "weight decay",
    "trainer.optimizer.grad_clip": "gradient norm clipped at",
    "trainer.batch_size": "batch size",
    "trainer.gradient_accumulation_steps": "batches a step",
    "trainer.max_seq_length": "longest sequence (tokens)",
    "trainer.label_smoothing": "label smoothing",
    "trainer.class_weights": "class weights",
    "trainer.loss_fn": "loss",
    "trainer.mixed_precision": "precision",
    "general.seed": "seed",
}


def better(metric: str, one: float, other: float) -> bool:
    """Whether the first of two held-out numbers is the better one: a lower loss, a higher accuracy or F1."""
    return one < other if metric == "loss" else one > other


def headline(results: Results) -> tuple[str, dict[str, Any]]:
    """What the run's numbers are of, and the numbers: of the checkpoint that is used, the best where there is one.

    They are of the test split where there is one, else of held-out data.
    """
    if "test" in results:
        return "test", results["test"]
    return "held out", of_best(results) or results.get("heldout", {})


def bag_of_words(results: Results, what: str) -> dict[str, Any]:
    """The bag of words' numbers of the held-out rows, or of the test split."""
    numbers = results.get("baseline", {}).get(BAG_OF_WORDS, {})
    if what != "test":
        return {key: value for key, value in numbers.items() if not key.startswith("test_")}
    return {key.removeprefix("test_"): value for key, value in numbers.items() if key.startswith("test_")}


def metric_of(r: Results) -> str:
    """The held-out number that chose the best checkpoint, in words; the loss, where results do not say."""
    return METRICS[(r.get("best") or {}).get("metric", "loss")]


def value_of_best(r: Results) -> float | None:
    """That number, of the best checkpoint."""
    best = r.get("best") or {}
    return best.get(best.get("metric", "loss"))


def of_best(r: Results) -> dict[str, Any]:
    """The held-out numbers of the best checkpoint, where that is not the last."""
    return (r.get("best") or {}).get("heldout", {})
