"""What the page of a run says in sentences."""

from __future__ import annotations

from typing import Any

from ..evaluation.baseline import NAME as BAG_OF_WORDS
from ..evaluation.pages import number
from .checkpoint import checkpoints
from .folder import RunFolder
from .progress import duration
from .results import METHODS, TASKS, Results, bag_of_words, better, headline, metric_of, of_best, value_of_best


def summary(r: Results) -> str:
    """The run in a paragraph: what, from what, on what, how long, how well."""
    start = r["base_model"]
    from_what = f"the weights of {start}" if start and not r["random_weights"] else "random weights"
    if start and r["random_weights"]:
        from_what += f" in the shape of {start}"
    partly = (
        "" if r["trained_parameters"] == r["parameters"] else f", of which {r['trained_parameters']:,} were trained"
    )
    text = (
        f"{r['model']} is {TASKS.get(r['task'], r['task'])}, with {r['parameters']:,} parameters{partly}. It started "
        f"from {from_what} and was trained ({METHODS.get(r['method'], r['method'])}) on {r['dataset']} for "
        f"{r['steps']:,} steps, {r['epochs']:.3g} passes over the data, on {r['device']}, in "
        f"{duration(r['training_seconds'])}."
    )
    if r["base_model"] == BAG_OF_WORDS:
        text = (
            f"{r['model']} counts words and pairs of words, weighs each by how rare it is (TF-IDF), and tells the "
            f"classes of {r['dataset']} apart by logistic regression on {r['parameters']:,} weights. It knows no order "
            f"of words beyond the pairs: what a network has to beat. It was fitted in {r['training_seconds']:.1f} s."
        )
    if "teacher" in r:
        text += f" It learned from the teacher {r['teacher']}."
    before, after = r.get("baseline", {}).get("heldout", {}), of_best(r) or r.get("heldout", {})
    words = bag_of_words(r, "held out")
    if "accuracy" in after:
        was = f" went from {number(before['accuracy'])} before training to" if "accuracy" in before else " is"
        text += f" Accuracy on {after['rows']:,} held-out rows{was} {number(after['accuracy'])}"
        text += f"; a bag of words with logistic regression reaches {number(words['accuracy'])}." if words else "."
    elif "perplexity" in after:
        was = f" went from {_said(before['perplexity'])} before training to" if "perplexity" in before else " is"
        text += f" Perplexity on held-out text{was} {_said(after['perplexity'])}."
    elif "discriminator_accuracy" in after:
        right, replaced = 100 * after["discriminator_accuracy"], 100 * after["replaced_share"]
        text += (
            f" It tells of {number(right)} % of held-out tokens rightly whether they were replaced; {number(replaced)} "
            f"% are, so that who calls none replaced is right of {number(100 - replaced)} %."
        )
    if "test" in r:
        text += f" On {r['test']['rows']:,} rows of the test split it is {number(r['test']['accuracy'])}."
    return text


def _said(value: Any) -> str:
    return "no finite number" if value is None else number(value)


def warnings(r: Results) -> list[str]:
    """What whoever reads the numbers has to know first."""
    found: list[str] = []
    if r.get("error"):
        found.append(f"The run could not go on after step {r['steps']:,} of {r['steps_wanted']:,}: {r['error']}.")
    elif r.get("gave_up"):
        found.append(
            f"The run ended after step {r['steps']:,} of {r['steps_wanted']:,}: the held-out {metric_of(r)} no longer "
            "improved."
        )
    elif not r["finished"]:
        found.append(f"The run was stopped after step {r['steps']:,} of {r['steps_wanted']:,}.")
    if "heldout" not in r:
        found.append("Nothing was held out, or nothing measured at the end: there are no numbers of unseen data.")
    elif not r["finished"]:
        found.append(f"The held-out numbers are those of step {r.get('heldout_step', 0):,}, when it was last measured.")
    if r["skipped_steps"]:
        found.append(f"{r['skipped_steps']:,} steps changed nothing: their loss or gradient was not finite.")
    what, after = headline(r)
    if what != "test" and _is_worse(r, r.get("baseline", {}).get("heldout", {}), after):
        found.append(f"On unseen data the model is worse than before training, by its held-out {metric_of(r)}.")
    words = bag_of_words(r, what)
    if "accuracy" in words and "accuracy" in after and after["accuracy"] < words["accuracy"]:
        found.append("The bag of words, which knows no order of words, does better than this model.")
    return found


def _is_worse(r: Results, before: Results, after: Results) -> bool:
    """Whether the number that chose the best checkpoint is a worse one than before training."""
    metric = (r.get("best") or {}).get("metric", "loss")
    one, other = before.get(metric), after.get(metric)
    return one is not None and other is not None and better(metric, one, other)


def note(r: Results) -> str:
    """What the numbers mean, and of which rows and weights they are."""
    seen = r.get("heldout", {})
    text = "Loss is the mean of a target's negative log-likelihood: lower is better."
    if r.get("objective") == "replaced tokens":
        text = "Loss is the generator's plus the weighted loss of the discriminator: lower is better."
    if "perplexity" in seen:
        text += " Perplexity is its exponential: among how many equally likely tokens the model chooses."
    if "macro_f1" in seen:
        text += " Macro F1 is the mean of the classes' F1."
    if of_best(r):
        text += (
            f" Held-out {metric_of(r)} was best at step {r['best']['step']:,}: that checkpoint is the one that is kept "
            "as `best`, evaluated, exported and, where there is a test split, tested."
        )
    if "test" in r:
        text += " What is not said to be of the test split is of the held-out rows."
    if r.get("heldout_of") and seen.get("rows", 0) < r["heldout_of"]:
        text += f" Of {r['heldout_of']:,} held-out rows {seen.get('rows', 0):,} were measured, spread evenly."
    if "test" in r and r["test"]["rows"] < r["test"].get("of", 0):
        text += f" Of the test split's {r['test']['of']:,} rows {r['test']['rows']:,} were measured, spread evenly."
    return text


def where_weights_are(folder: RunFolder, r: Results) -> str:
    """Which checkpoints are left, and which of them is used."""
    if r["base_model"] == BAG_OF_WORDS:
        return f"Its words and weights are in {BAG_OF_WORDS}."
    steps = [path.name for path in checkpoints(folder.weights)]
    if not steps:
        return "None of its checkpoints is left."
    best = r["best"]
    said = f"Its checkpoints are in train/weights: {len(steps)} are kept, `last` leads to {steps[-1]}"
    if best is None:
        return f"{said}, there is no `best`: evaluation and export take the last."
    return (
        f"{said}, `best` to step {best['step']:,} with the best held-out {metric_of(r)}, {number(value_of_best(r))}: "
        "evaluation and export take the best."
    )
