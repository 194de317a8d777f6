"""`output.push_to_hub`: a run's best checkpoint on a local hub, with its card; what goes wrong in one sentence."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from groundup.errors import UserError
from groundup.evaluation.pages import number
from groundup.hub.upload import check_upload, sentence
from groundup.trainers.command import main
from groundup.trainers.publish import gather
from local_hub import Hub, Repo
from upload_hub import UploadHandler, open_upload_hub

Given = tuple[Hub, type[UploadHandler]]
COMMAND = "import sys; from groundup.trainers.command import main; sys.exit(main(sys.argv[1:]))"
SETTINGS = """
    device=cpu trainer.max_iters=4 trainer.warmup_iters=1 trainer.batch_size=2 trainer.effective_batch_size=2
    trainer.max_seq_length=16 trainer.checkpoint_interval=2 trainer.log_interval=2 evaluation.interval=2
    evaluation.max_batches=1 evaluation.sample_tokens=0 evaluation.text_modeling_eval=false dataset.documents=line
    output.plots=false
"""


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Given]:
    hub, server, handler = open_upload_hub(tmp_path / "home")
    yield hub, handler
    server.shutdown()
    server.server_close()


def words_of(checkpoint: Path, place: Path, *words: str) -> list[str]:
    """The command line of a short run that is called `small`, in `place`/my runs."""
    text = place / "text.txt"
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(200)), encoding="utf-8")
    given = " ".join(words)
    named = [] if "output.run_name" in given else ["output.run_name=small"]
    named += [] if "output.push_to_hub" in given else ["output.push_to_hub=true"]
    paths = [f"model={checkpoint}", f"dataset.name={text}", f"output.output_dir={place / 'my runs'}"]
    return [*paths, *SETTINGS.split(), *named, *words]


@pytest.fixture
def train(tmp_path: Path, checkpoint: Callable[[str], Path], uploads: Given) -> Callable[..., Any]:
    """train("gpt2", "word=value", HF_TOKEN=...) makes a short run whose hub is the local one."""

    def run(name: str, *words: str, **env: str) -> Any:
        settings = {"GROUNDUP_CACHE": str(tmp_path / "cache"), "HF_TOKEN": "hf_local", **env}
        return uploads[0].run(COMMAND, *words_of(checkpoint(name), tmp_path, *words), **settings)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], Path]) -> Path:
    """The folder of runs, with one that ended without an upload."""
    place = tmp_path_factory.mktemp("trained")
    words = words_of(checkpoint("gpt2"), place, "output.push_to_hub=false")
    done = Hub("http://127.0.0.1:9", place / "home", {}, []).run(COMMAND, *words, GROUNDUP_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    return place / "my runs"


@pytest.fixture
def ended(trained: Path, tmp_path: Path) -> Path:
    """A run that ended without an upload."""
    runs = shutil.copytree(trained, tmp_path / "my runs", symlinks=True)
    return next(runs.glob("small/*/config.yaml")).parent


@pytest.fixture
def push(uploads: Given, tmp_path: Path) -> Callable[..., Any]:
    """push(run, "word=value") is `train.py --push`."""
    return lambda where, *words, **env: uploads[0].run(
        COMMAND, "--push", str(where), *words, **{"HF_TOKEN": "hf_local", **env}
    )


def put_down(files: dict[str, bytes], folder: Path) -> Path:
    """The files of a repository, as one gets them."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def header_of(card: bytes) -> dict[str, Any]:
    return yaml.safe_load(card.decode().split("---")[1])


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
    run = find_run("latest", tmp_path / "my runs")
    ours, _ = load_run(run)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(got).eval()
    ids = torch.randint(5, 20, (2, 9))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)
    results = json.loads((run / "training_results.json").read_text())
    assert results["uploaded_to"] == f"{hub.url}/team/small-gpt2"

    card, header = files["README.md"].decode(), header_of(files["README.md"])
    assert header["library_name"] == "transformers"
    assert header["pipeline_tag"] == "text-generation"
    assert "license" not in header
    assert "base_model" not in header  # a folder of this machine is no name that the hub knows
    assert "datasets" not in header
    assert str(tmp_path) not in card
    assert 'AutoModelForCausalLM.from_pretrained("team/small-gpt2")' in card
    assert f"| perplexity | {number(results['baseline']['heldout']['perplexity'])}" in card
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
    assert header_of(files["README.md"])["library_name"] == "peft"
    assert 'PeftModel.from_pretrained(base, "me/small")' in card
    assert str(tmp_path) not in card

    import peft
    import transformers
    from groundup.trainers.folder import find_run
    from groundup.trainers.load import load_run

    got = put_down(files, tmp_path / "got")
    base = json.loads((got / "adapter_config.json").read_text())["base_model_name_or_path"]
    theirs = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), got).eval()
    ours, _ = load_run(find_run("latest", tmp_path / "my runs"))
    ids = torch.randint(5, 20, (2, 9))
    torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ([], {"HF_TOKEN": ""}, "output.push_to_hub: no token is set"),
        ([], {"HF_HUB_OFFLINE": "1"}, "output.push_to_hub: HF_HUB_OFFLINE is set"),
        (["output.hub_model_id=a/b/c"], {}, "output.hub_model_id 'a/b/c' is no name of a repository"),
        (["output.run_name=my--run"], {}, "the run's name 'my--run' is none that a repository can have"),
        (["output.push_to_hub=false", "output.hub_model_id=a/b"], {}, "nothing is uploaded: set output.push_to_hub"),
    ],
)
def test_what_cannot_be_is_said_before_training(
    words: list[str], env: dict[str, str], said: str, train: Callable[..., Any], tmp_path: Path
):
    done = train("gpt2", *words, **env)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "my runs").rglob("step_*"))


@pytest.mark.parametrize(
    ("name", "given"), [("my--run", False), ("größe", False), ("x" * 97, False), ("größe", True), ("a/b/c", True)]
)
def test_a_name_is_looked_at_whoever_gave_it(name: str, given: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_local")
    check_upload("me/small" if given else "small", "output.push_to_hub", given=given)
    with pytest.raises(UserError, match=r"in output\.hub_model_id$" if not given else "write user/model$"):
        check_upload(name, "output.push_to_hub", given=given)


def test_a_run_that_was_refused_is_whole_and_the_printed_command_uploads_it(
    train: Callable[..., Any], uploads: Given, tmp_path: Path
):
    hub, handler = uploads
    handler.refuse_with[""] = (403, "Private repository storage limit reached, please\nupgrade your plan.")
    done = train("gpt2", "output.hub_model_id=team/x")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: output.push_to_hub: 'team/x' was not uploaded: ")
    assert "(403): Private repository storage limit reached, please upgrade your plan; the run is whole in" in last
    assert list((tmp_path / "my runs").glob("*/*/train/weights/best"))
    assert list((tmp_path / "my runs").glob("*/*/upload/README.md"))

    words = shlex.split(last.split("`")[1])  # the folder of runs has a space in its name
    assert words[:3] == ["python", "train.py", "--push"]
    handler.refuse_with.clear()
    done = hub.run(COMMAND, *words[2:], HF_TOKEN="hf_local")
    assert done.returncode == 0, done.stderr
    assert handler.private == {"team/x": True}
    assert "model.safetensors" in hub.repos["team/x"].files


@pytest.mark.parametrize(
    ("refused", "env", "said"),
    [
        ({"": (403, "")}, {}, "your token may not write there (403)"),
        ({"": (401, "no")}, {}, "the hub does not accept your token (401)"),
        ({}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached at http://127.0.0.1:9: check the network"),
        ({}, {"HF_TOKEN": ""}, "--push: no token is set"),
    ],
)
def test_a_hub_that_refuses(
    refused: dict[str, tuple[int, str]], env: dict[str, str], said: str, push: Any, ended: Path, uploads: Given
):
    uploads[1].refuse_with.update(refused)
    done = push(ended, "output.hub_private=false", **env)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: --push: ")
    assert said in last
    if "HF_TOKEN" not in env:
        assert f"`python train.py --push '{ended}' output.hub_private=false` tries again" in last
    assert "uploaded_to" not in json.loads((ended / "training_results.json").read_text())


def test_a_run_is_uploaded_later(push: Any, ended: Path, uploads: Given):
    hub, handler = uploads
    done = push("latest", f"output.output_dir={ended.parent.parent}")
    assert done.returncode == 0, done.stderr
    assert handler.private == {"me/small": True}
    card = hub.repos["me/small"].files["README.md"].decode()
    assert 'from_pretrained("me/small")' in card  # with its owner, without whom it is not found
    results = json.loads((ended / "training_results.json").read_text())
    assert results["uploaded_to"] == f"{hub.url}/me/small"
    done = push(ended)  # the same repository again: this run made it
    assert done.returncode == 0, done.stderr


def test_a_repository_that_nobody_named_is_not_written_over(push: Any, ended: Path, uploads: Given):
    hub, handler = uploads
    hub.repos["me/small"] = Repo({"model.safetensors": b"another's"})
    done = push(ended)
    assert done.returncode == 1
    assert "you have a repository of that name already: name it in output.hub_model_id (USER/small)" in done.stderr
    assert hub.repos["me/small"].files == {"model.safetensors": b"another's"}
    done = push(ended, "output.hub_model_id=me/small")
    assert done.returncode == 0, done.stderr
    assert handler.private == {}  # as visible as it was
    assert hub.repos["me/small"].files["model.safetensors"] != b"another's"


def test_a_repository_that_was_made_before_it_broke_off_is_named_for_the_next_try(
    push: Any, ended: Path, uploads: Given
):
    hub, handler = uploads
    handler.refuse_with["/commit/"] = (500, "")
    done = push(ended)
    assert done.returncode == 1
    assert "the hub has an error of its own (500" in done.stderr
    words = shlex.split(done.stderr.splitlines()[-1].split("`")[1])
    assert words[-1] == "output.hub_model_id=me/small"
    handler.refuse_with.clear()
    assert hub.run(COMMAND, *words[2:], HF_TOKEN="hf_local").returncode == 0
    assert handler.private == {"me/small": True}


def test_a_second_upload_keeps_the_licence_and_clears_what_was_there(push: Any, ended: Path, uploads: Given):
    hub, handler = uploads
    card = b"---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\ntags: [old]\n---\n# Old\n"
    old = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_config.json"]
    old += ["adapter_model.safetensors", "generator/config.json", "generator/model.safetensors", "vocab.txt"]
    kept = {"LICENSE": b"mine", ".gitattributes": b"*.safetensors filter=lfs"}
    hub.repos["me/mine"] = Repo({"README.md": card, **kept, **dict.fromkeys(old, b"old")})
    handler.private["me/mine"] = True  # its card is read with the token
    done = push(ended, "output.hub_model_id=me/mine")
    assert done.returncode == 0, done.stderr
    files = hub.repos["me/mine"].files
    trained = {"README.md", "config.json", "model.safetensors"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert set(files) == {*kept, *trained, *tokenizer}
    header = header_of(files["README.md"])
    assert [header[key] for key in ("license", "license_name", "license_link")] == ["other", "mine", "LICENSE"]
    assert header["tags"] == ["groundup"]
    assert "add `license:`" not in files["README.md"].decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "--push nowhere: there is no such folder"),
        (["RUN", "trainer.epochs=9"], "it takes output.hub_model_id and output.hub_private, leave trainer.epochs out"),
        (["RUN", "output.output_dir=x"], "leave output.output_dir out"),
        (["RUN", "output.hub_private=perhaps"], "output.hub_private"),
        (["RUN", "--plan"], "--push uploads a run and exits: leave --plan out"),
        (["RUN", "--config", "a.yaml"], "leave --config out"),
        (["RUN"], "--push: HF_HUB_OFFLINE is set"),
    ],
)
def test_what_cannot_be_pushed(words: list[str], said: str, ended: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--push", *(str(ended) if word == "RUN" else word for word in words)]) == 1
    assert said in capsys.readouterr().err


def test_a_run_without_results_is_to_go_on_first(
    ended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("groundup.trainers.publish.check_upload", lambda *given, **more: None)
    (ended / "training_results.json").unlink()
    assert main(["--push", str(ended)]) == 1
    assert f"the run has not ended: python train.py --resume '{ended}'" in capsys.readouterr().err


def test_a_bag_of_words_has_no_model_to_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("groundup.trainers.publish.check_upload", lambda *given, **more: None)
    (tmp_path / "config.yaml").write_text("model: bag-of-words-tfidf\ndataset: {name: imdb}\n")
    assert main(["--push", str(tmp_path)]) == 1
    assert "is no network, so there is no model to upload" in capsys.readouterr().err


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "step_2" / "adapter").mkdir(parents=True)
    (tmp_path / "step_2" / "adapter" / "adapter_config.json").write_text("{}")

    def copy(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", copy)
    with pytest.raises(UserError, match=r"cannot write .*upload \(.*No space left on device.*\): free some space"):
        gather(tmp_path / "step_2", tmp_path / "upload")
    monkeypatch.setattr("shutil.copytree", copy)
    with pytest.raises(UserError, match=r"cannot write .*upload \(No space left on device\): free some space"):
        gather(tmp_path / "step_2", tmp_path / "upload")


def answered(status: int, words: str | None = None) -> Exception:
    from huggingface_hub.errors import HfHubHTTPError

    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return HfHubHTTPError("Client Error.\nurl", response=response, server_message=words)


def named(name: str, base: type[Exception] = Exception) -> Exception:
    return type(name, (base,), {})("two\nlines")


def caused(error: Exception) -> Exception:
    """As the library wraps what went wrong with a file."""
    outer = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (answered(403, "You don't have the rights."), "the hub refuses it (403): You don't have the rights"),
        (answered(403), "your token may not write there (403): set HF_TOKEN to one that may write"),
        (answered(400, "Invalid metadata"), "the hub refuses it (400): Invalid metadata"),
        (answered(404), "there is no repository 'me/x' that your token may write to (404)"),
        (answered(429), "the hub asks for fewer requests (429): wait some minutes"),
        (answered(503, "Down."), "the hub has an error of its own (503, Down): try again later"),
        (caused(answered(500)), "the hub has an error of its own (500): try again later"),
        (named("ReadTimeout"), "the hub did not answer in time: try again"),
        (named("WriteError"), "the upload broke off: try again"),
        (caused(ConnectionResetError(errno.ECONNRESET, "reset")), "the upload broke off: try again"),
        (named("ConnectError"), "the hub cannot be reached at "),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), "x.json cannot be read (Permission denied)"),
        (named("NobodyKnows"), "NobodyKnows: two lines"),
    ],
)
def test_sentences(error: Exception, said: str):
    assert said in sentence(error, "me/x")
    assert "download" not in sentence(error, "me/x")
    assert "fetched" not in sentence(error, "me/x")
