"""Any task of lm-evaluation-harness on a model of ours: `evaluate.py --tasks lm-eval:TASK`, or in Python

    from groundup.evaluation.harness import HarnessModel  # before lm_eval: see evaluate_library.py
    lm_eval.simple_evaluate(model=HarnessModel(model, tokenizer), tasks=["gsm8k"], limit=50)

The harness builds requests and counts; log-likelihoods and texts are ours. It is an extra:
pip install 'groundup[harness]'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .engine import LOGLIKELIHOOD, loglikelihoods, score, scored_by
from .evaluate_library import find_evaluate_library
from .registry import HARNESS, EvalContext, Numbers
from .requests import Encoded, template_of
from .writing import write

try:
    find_evaluate_library()
    from lm_eval.api.model import TemplateLM
    from lm_eval.models.utils import normalize_gen_kwargs
    from lm_eval.utils import get_rolling_token_windows
except ModuleNotFoundError as error:
    raise UserError(
        f"lm-evaluation-harness is not installed ({error.name} is missing): pip install 'groundup[harness]'"
    ) from None

WRITES_BY = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}
"""What may be said of how texts are written, after the harness gave other spellings one name."""


class HarnessModel(TemplateLM):
    """A causal model as the harness calls one. `settings` are those of `loglikelihoods`."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        name: str = "groundup",
        batch_size: int | None = None,
        add_bos: bool | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        if scored_by(model) != LOGLIKELIHOOD:
            raise UserError("lm-evaluation-harness needs a causal language model: an encoder has no log-likelihoods")
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.template = template_of(tokenizer, model, add_bos)
        self.size, self.progress = batch_size, progress
        self.settings = {"batch_size": batch_size, "progress": progress, **settings}
        self.add_bos = add_bos
        self._device = model.embedder.tokens.weight.device

    @property
    def eot_token_id(self) -> int:
        if self.tokenizer.eos_id is None:
            raise UserError(f"the tokenizer {self.tokenizer.name} names no EOS token: the harness needs one")
        return self.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        return self.eot_token_id if self.template.empty is None else self.template.empty

    @property
    def max_length(self) -> int:
        return self.model.config.max_seq_len

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        begun = self.template.empty_text is not None and string.startswith(self.template.empty_text)
        plain = add_special_tokens is False or (add_special_tokens is None and begun)
        return [*(() if plain else self.template.before), *self.tokenizer.encode(string)]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        from ..tokenizers.chat import apply_chat_template

        return apply_chat_template(self.tokenizer, chat_history, add_generation_prompt=add_generation_prompt)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        pairs = [request.args for request in requests]
        found = loglikelihoods(self.model, self.tokenizer, pairs, add_bos=self.add_bos, **self.settings)
        answers = [(one.sum, one.is_greedy) for one in found]
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        items = [self._item([*context, *ids], len(ids)) for _, context, ids in requests]
        return [(one.sum, one.is_greedy) for one in score(self.model, items, **self.settings)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        items: list[Encoded] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for given, scored in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1):
                items.append(self._item([*given, scored[-1]], len(scored)))
                owners.append(number)
        sums = [0.0] * len(requests)
        for owner, found in zip(owners, score(self.model, items, title="rolling", **self.settings), strict=True):
            sums[owner] += found.sum
        for request, total in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return sums

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(number)
        texts = [""] * len(requests)
        for members in groups.values():
            prompts = [requests[i].args[0] for i in members]
            for i, text in zip(members, self._write(prompts, requests[members[0]].args[1]), strict=True):
                texts[i] = text
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return texts

    def _write(self, prompts: list[str], said: dict[str, Any]) -> list[str]:
        settings: dict[str, Any] = dict(normalize_gen_kwargs(said))
        unknown = sorted(settings.keys() - WRITES_BY)
        if unknown:
            raise UserError(f"the task sets {unknown[0]} for what is written, which is not available here")
        until = [word for word in settings["until"] if word]
        temperature = float(settings.get("temperature") or 0.0) if settings["do_sample"] else 0.0
        written = write(
            self.model,
            self.tokenizer,
            prompts,
            max_new_tokens=settings["max_gen_toks"],
            stop=until,
            temperature=temperature,
            top_p=settings.get("top_p") if temperature else None,
            batch_size=self.size or 8,
            title="generate_until" if self.progress else None,
        )
        return [one.text for one in written]

    def _item(self, ids: list[int], n: int) -> Encoded:
        kept = ids[-(self.max_length + 1) :]
        return Encoded(tuple(kept), n, len(ids) - len(kept))


def measure_harness(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The kind of task `lm-eval:TASK`; TASK is a name of the harness's or a YAML file of its format."""
    from lm_eval import simple_evaluate

    run_tasks: Any = simple_evaluate
    adapter = HarnessModel(
        model,
        tokenizer,
        name=context.name,
        batch_size=context.batch_size,
        batch_tokens=context.batch_tokens,
        add_bos=context.add_bos,
        progress=context.progress,
        scores=context.scores,
        stop=context.stop,
    )
    if context.data is not None:
        raise UserError(f"--data: {context.task} takes its rows from where the harness says: leave it out")
    name, manager = context.once(lambda: _task(context.task.removeprefix(HARNESS)))
    seeds: dict[str, Any] = {} if context.seed is None else {"fewshot_random_seed": context.seed}
    try:
        results: Any = run_tasks(
            model=adapter,
            tasks=[name],
            num_fewshot=context.n_shot,
            limit=context.limit,
            task_manager=manager,
            log_samples=context.sample is not None,
            confirm_run_unsafe_code=context.allow_code_execution,
            **seeds,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{context.task}: the harness cannot run it ({' '.join(str(error).split())})") from error
    for task, rows in results.get("samples", {}).items():
        for row in rows:
            if context.sample is not None:
                context.sample({"harness_task": task, "id": row["doc_id"], **_plain(row)})
    return _numbers(name, results)


def check_harness(model: Model, tokenizer: Tokenizer, context: EvalContext) -> None:
    """Whether there is such a task, and the model is one for it. Raises UserError."""
    HarnessModel(model, tokenizer)
    context.once(lambda: _task(context.task.removeprefix(HARNESS)))


def _task(name: str) -> tuple[str, Any]:
    """The harness's name of a task, and what finds it."""
    import yaml
    from lm_eval.tasks import TaskManager

    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"{HARNESS}{name}: there is no such file")
        said = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
        if not isinstance(said, dict) or "task" not in said:
            raise UserError(f"{path}: it names no `task`: it is no declaration of lm-evaluation-harness")
        alone = isinstance(said["task"], str) and "group" not in said  # a group may name tasks of the harness itself
        return str(said["task"]), TaskManager(include_path=str(path.parent), include_defaults=not alone)
    manager = TaskManager()
    if not manager.match_tasks([name]):
        raise UserError(f"lm-evaluation-harness has no task '{name}'.{nearest(name, manager.all_tasks)}")
    return name, manager


def _numbers(name: str, results: Any) -> Numbers:
    """{"acc,none": x} -> {"acc": x}; of a group, the numbers of its tasks under `groups`."""
    found = {task: _without_filter(numbers) for task, numbers in results["results"].items()}
    numbers: Numbers = dict(found.pop(name, {}))
    n = [sizes["effective"] for sizes in results.get("n-samples", {}).values()]
    versions = results.get("versions", {})
    numbers |= {"n": sum(n), "scored": "by lm-evaluation-harness", "version": versions.get(name)}
    return numbers | ({"groups": {task: {**one, "n": 0} for task, one in found.items()}} if found else {})


def _without_filter(numbers: dict[str, Any]) -> dict[str, Any]:
    plain = {key.removesuffix(",none"): value for key, value in numbers.items()}
    return {key: value for key, value in plain.items() if isinstance(value, int | float)}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """What of a logged sample is a number or a text."""
    return {key: value for key, value in row.items() if isinstance(value, str | int | float) and key != "doc_id"}
