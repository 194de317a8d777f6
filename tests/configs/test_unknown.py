"""A key that nobody knows is an error at every depth, in files, profiles and on the command line, with the nearest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from groundup.configs.schema_run import FIELDS
from groundup.configs.unknown import hint, known_keys

Refused = Callable[..., str]

TYPOS = {
    "modle.num_layers": "model.num_layers",
    "mdel": "model",
    "model.hiden_dim": "model.hidden_dim",
    "model.n_layers": "model.num_layers",
    "model.attn.num_kv_head": "model.attn.num_kv_heads",
    "model.ffn.fnn_dim": "model.ffn.ffn_dim",
    "model.initialization_fn.gian": "model.initialization_fn.gain",
    "trainer.batchsize": "trainer.batch_size",
    "trainer.optimizer.learning_rat": "trainer.learning_rate",
    "trainer.optimizer.betta1": "trainer.optimizer.beta1",
    "trainer.lr": "trainer.optimizer.lr",  # the right word in the wrong section
    "training.learning_rte": "training.learning_rate",  # as the person spells it
    "trainer.eval.num_sample": "trainer.eval.num_samples",
    "evaluation.intervall": "evaluation.interval",
    "general.logging.wandb_logs": "general.logging.wandb_log",
    "general.paths.dat_dir": "general.paths.data_dir",
    "fine_tuning.lora.target_module": "fine_tuning.lora.target_modules",
    "dataset.preprocessing.add_eos": "dataset.preprocessing.add_eos_token",
    "distributed.zero_stag": "distributed.zero_stage",
    "output.save_total_limits": "output.save_total_limit",
    "seed": "general.seed",
    "modle.zzzz": "model",  # no word like it: the section
}


@pytest.mark.parametrize(("typo", "meant"), TYPOS.items())
def test_in_a_file(refused: Refused, typo: str, meant: str):
    message = refused({typo: 1})
    assert message.startswith(f"Unknown key {typo} (")
    assert "run.yaml, line" in message
    assert f"Did you mean '{meant}'?" in message


@pytest.mark.parametrize(("typo", "meant"), TYPOS.items())
@pytest.mark.parametrize("form", ["--{}", "--{}=1", "{}=1"])
def test_on_the_command_line(refused: Refused, typo: str, meant: str, form: str):
    words = [form.format(typo), "1"] if form == "--{}" else [form.format(typo)]
    message = refused({}, *words)
    assert message.startswith(f"Unknown key {typo} on the command line.")
    assert f"Did you mean '{meant}'?" in message


@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_in_a_profile_of_this_device_and_of_another(refused: Refused, profile: str):
    message = refused({f"profiles.{profile}.trainer.batchsize": 1})
    assert f"Unknown key profiles.{profile}.trainer.batchsize (" in message
    assert f"Did you mean 'profiles.{profile}.trainer.batch_size'?" in message


@pytest.mark.parametrize("path", [path for path in FIELDS if path != ("models",)])
def test_one_letter_too_many_in_any_key_is_caught(path: tuple[str, ...]):
    typo = ".".join(path) + "x"
    assert typo not in known_keys()
    assert f"'{'.'.join(path)}'" in hint(typo)


def test_keys_are_never_abbreviated(refused: Refused):
    assert refused({}, "--trainer.batch", "4").startswith("Unknown key trainer.batch ")


def test_several_unknown_keys_are_told_at_once(refused: Refused):
    message = refused({"trainer.a_key": 1, "model.b_key": 2})
    assert message.startswith("2 problems")
    assert "trainer.a_key" in message
    assert "model.b_key" in message


def test_nothing_near(refused: Refused):
    assert "`python train.py --help-all` lists every key." in refused({"zzzz.qqqq": 1})
    assert "Did you mean" not in refused({"zzzz.qqqq": 1})


def test_a_device_that_is_none(refused: Refused):
    message = refused({"profiles.cud.trainer.batch_size": 1})
    assert "Unknown device profiles.cud (" in message
    assert "Did you mean 'cuda'?" in message
