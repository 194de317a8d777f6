"""`output.push_to_hub`: a run's best checkpoint on a local hub, with its card; what goes wrong in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from local_hub import Hub
from upload_hub import UploadHandler, open_upload_hub

Given = tuple[Hub, type[UploadHandler]]
TRAIN = "import sys; from groundup.trainers.command import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Given]:
    hub, server, handler = open_upload_hub(tmp_path / "home")
    yield hub, handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def train(tmp_path: Path, checkpoint: Callable[[str], Path], uploads: Given) -> Callable[..., Any]:
    """train("gpt2", "word=value", HF_TOKEN=...) makes a short run whose hub is the local one."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(200)), encoding="utf-8")

    def run(name: str, *words: str, **env: str) -> Any:
        few = "device=cpu trainer.max_iters=4 trainer.warmup_iters=1 trainer.batch_size=2 trainer.max_seq_length=16"
        few += " trainer.effective_batch_size=2 evaluation.interval=2 evaluation.max_batches=1 output.plots=false"
        few += " evaluation.sample_tokens=0 evaluation.text_modeling_eval=false dataset.documents=line"
        few += " trainer.checkpoint_interval=2 trainer.log_interval=2 output.run_name=small"
        few += "" if any("push_to_hub" in word for word in words) else " output.push_to_hub=true"
        place = [f"model={checkpoint(name)}", f"dataset.name={text}", f"output.output_dir={tmp_path / 'out'}"]
        settings = {"GROUNDUP_CACHE": str(tmp_path / "cache"), "HF_TOKEN": "hf_local", **env}
        return uploads[0].run(TRAIN, *place, *few.split(), *words, **settings)

    return run


def put_down(files: dict[str, bytes], folder: Path) -> Path:
    """The files of a repository, as one gets them."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_full_run_is_uploaded_as_transformers_reads_it(train: Callable[..., Any], uploads: Given, tmp_path: Path):
    import transformers
    from groundup.trainers.folder import find_run
    from groundup.trainers.load import load_run

    done = train("gpt2", "output.hub_model_id=team/small-gpt2")
    assert done.returncode == 0, done.stderr
    hub, handler = uploads
    assert handler.private == {"team/small-gpt2": True}
    assert f"uploaded: {hub.url}/team/small-gpt2" in done.stderr
    files = hub.repos["team/small-gpt2"].files
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)

    got = put_down(files, tmp_path / "got")
    run = find_run("latest", tmp_path / "out")
    ours, _ = load_run(run)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(got).eval()
    ids = torch.randint(5, 20, (2, 9))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)
    results = json.loads((run / "training_results.json").read_text())
    assert results["uploaded_to"] == f"{hub.url}/team/small-gpt2"

    card = files["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "transformers"
    assert header["pipeline_tag"] == "text-generation"
    assert "license" not in header
    assert "base_model" not in header  # a folder of this machine is no name that the hub knows
    assert 'AutoModelForCausalLM.from_pretrained("team/small-gpt2")' in card
    assert f"| perplexity | {results['baseline']['heldout']['perplexity']:,.4g}" in card
    assert f"weights of step {results['best']['step']} of 4" in card


def test_an_adapter_is_uploaded_by_itself(train: Callable[..., Any], uploads: Given, tmp_path: Path):
    done = train("gpt2", "fine_tuning.method=lora", "output.hub_private=false")
    assert done.returncode == 0, done.stderr
    hub, handler = uploads
    assert handler.private == {"me/small": False}  # named after the run, below whose token it is
    files = hub.repos["me/small"].files
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(files)
    assert "model.safetensors" not in files
    card = files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "peft"
    assert "PeftModel.from_pretrained" in card

    import peft
    import transformers
    from groundup.trainers.folder import find_run
    from groundup.trainers.load import load_run

    got = put_down(files, tmp_path / "got")
    base = json.loads((got / "adapter_config.json").read_text())["base_model_name_or_path"]
    theirs = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), got).eval()
    ours, _ = load_run(find_run("latest", tmp_path / "out"))
    ids = torch.randint(5, 20, (2, 9))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ([], {"HF_TOKEN": ""}, "output.push_to_hub: no token is set"),
        ([], {"HF_HUB_OFFLINE": "1"}, "output.push_to_hub: HF_HUB_OFFLINE is set"),
        (["output.hub_model_id=a/b/c"], {}, "output.hub_model_id 'a/b/c' is no name of a repository"),
        (["output.push_to_hub=false", "output.hub_model_id=a/b"], {}, "nothing is uploaded: set output.push_to_hub"),
    ],
)
def test_what_cannot_be_is_said_before_training(
    words: list[str], env: dict[str, str], said: str, train: Callable[..., Any], tmp_path: Path
):
    done = train("gpt2", *words, **env)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("step_*"))


@pytest.mark.parametrize(
    ("status", "env", "said"),
    [
        (403, {}, "your token may not write there (403)"),
        (401, {}, "the hub does not accept your token (401)"),
        (None, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached at http://127.0.0.1:9"),
    ],
)
def test_a_hub_that_refuses_leaves_the_run_whole(
    status: int | None, env: dict[str, str], said: str, train: Callable[..., Any], uploads: Given, tmp_path: Path
):
    uploads[1].refuse_with[:] = [status] if status else []
    done = train("gpt2", "output.hub_model_id=team/x", **env)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: output.push_to_hub: 'team/x' was not uploaded: ")
    assert said in last
    assert "the run is whole in " in last
    assert "`hf upload team/x " in last
    assert list((tmp_path / "out").glob("*/*/train/weights/best"))
    assert list((tmp_path / "out").glob("*/*/upload/README.md"))
