"""What `output:`, `general:` and `distributed:` may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Flag, Natural, Positive, Section, Text, Whole, key


class Output(Section):
    """Where results go."""

    output_dir: Text = key(
        "results",
        "folder of all runs; a run's own is <output_dir>/<model>/<timestamp>, and in test mode "
        "<output_dir>/test-mode/<model>/<timestamp>",
    )
    run_name: Text | None = key(None, "name of the model in that path; default: the name of the configuration file")
    save_total_limit: Positive | None = key(3, "checkpoints that are kept, `last` and `best` apart; null: all of them")
    plots: Flag = key(True, "draw curves of loss and learning rate as PNG")
    push_to_hub: Flag = key(
        False, "upload the best checkpoint and a model card to the Hugging Face hub at the end; adapters by themselves"
    )
    hub_model_id: Text | None = key(
        None, "its name there, `user/model`; default: the name of the run, below the user whose token it is"
    )
    hub_private: Flag = key(True, "a repository that is made for it is seen by its owner alone")


class Logging(Section):
    """Who else is told of the run's progress."""

    wandb_log: Flag = key(False, "log to Weights & Biases (pip install wandb)")
    wandb_project: Text = key("SuperTinyLanguageModels", "its project there")
    wandb_run_name: Text | None = key(None, "its name there; default: the path of the run")
    tensorboard_log: Flag = key(False, "write TensorBoard files (pip install tensorboard)")


class Paths(Section):
    """Parts of the output folder that may lie elsewhere."""

    data_dir: Text | None = key(
        None, "tokenised corpora and trained tokenizers; default: $GROUNDUP_CACHE, else ~/.cache/groundup"
    )
    checkpoint_dir: Text | None = key(
        None, "checkpoints, in <checkpoint_dir>/<model>/<timestamp>; default: train/weights in the run's folder"
    )
    eval_dir: Text | None = key(None, "results on held-out text; default: test in the run's folder")


Seed = Annotated[Whole, Field(ge=0, lt=2**63)]


class General(Section):
    """Everything else."""

    seed: Seed = key(1337, "of weights, data order and dropout")
    device: Text = key("auto", "`auto` (cuda, then mps, then cpu), `cuda`, `cuda:1`, `mps` or `cpu`")
    logging: Logging = key(None, "who else is told", factory=Logging)
    paths: Paths = key(None, "parts of the output folder that lie elsewhere", factory=Paths)


class Distributed(Section):
    """More than one process."""

    num_processes: Positive = key(1, "processes that train together")
    use_deepspeed: Flag = key(False, "shard optimizer, gradients and weights over the processes")
    deepspeed_config: Text | None = key(None, "path of a DeepSpeed configuration, a JSON file")
    zero_stage: Natural | None = key(None, "what is sharded: 1 optimizer states, 2 gradients too, 3 weights too")
