"""The house stands: a built wheel works anywhere, the scripts are thin, nothing imports transformers."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ["configs", "data", "errors", "evaluation", "hub", "models", "tokenizers", "trainers"]


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_built_wheel_works_outside_the_repository(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"  # building leaves files behind
    shutil.copytree(root, source, ignore=shutil.ignore_patterns(".*", "results", "build", "dist", "*.egg-info"))
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        source,
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path / "dist",
        cwd=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path / "site", wheel, cwd=tmp_path
    )
    assert installed.returncode == 0, installed.stderr
    (tmp_path / "words.txt").write_text("a text that is said again and again.\n\n" * 300)
    script = """
import groundup.models, groundup.tokenizers.load, tokenizers, pathlib, sys
print(groundup.models.__file__)
print(tokenizers.__file__)
from groundup.trainers.command import main
yaml = pathlib.Path(groundup.models.__file__).parent.parent / "configs" / "quickstart.yaml"
assert main(["--list-models"]) == 0  # the registry and the shapes came along
sys.exit(main(["--config", str(yaml), "dataset.name=words.txt", "model.vocab_size=270", "model.num_layers=1",
    "trainer.max_iters=2", "trainer.warmup_iters=1", "trainer.max_seq_length=32", "trainer.batch_size=2",
    "evaluation.sample_tokens=3", "evaluation.batch_size=2", "evaluation.interval=2", "general.device=cpu"]))
"""
    environment = {"PYTHONPATH": str(tmp_path / "site"), "GROUNDUP_CACHE": str(tmp_path / "cache")}
    used = run(sys.executable, "-c", script, cwd=tmp_path, **environment)
    assert used.returncode == 0, used.stderr
    models, tokenizers = used.stdout.split()[:2]
    assert models.startswith(str(tmp_path / "site")), models
    assert "groundup" not in tokenizers
    assert "openai-community/gpt2" in used.stdout
    assert list(tmp_path.glob("results/*/*/train/weights/step_00000002/model.safetensors"))


def test_nothing_imports_transformers(root: Path) -> None:
    """At run time it is not needed; as the truth of tests and the peer of benchmarks it is."""
    for folder in PACKAGES:
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.split(".")[0] in ("transformers", "peft") for name in names), path


def test_scripts_are_thin(root: Path) -> None:
    for script in ("train.py",):
        assert len((root / script).read_text().splitlines()) <= 60


def test_every_folder_is_mapped(root: Path) -> None:
    with_code = {p.parent.name for p in root.glob("*/*.py")} - {"tests", "benchmarks", "docs"}
    assert with_code == set(PACKAGES)
    assert not (root / "tokenizers" / "__init__.py").exists()


def test_files_stay_readable(root: Path) -> None:
    """A file is a concept: over 400 lines it is two."""
    for folder in [*PACKAGES, "benchmarks"]:
        for path in (root / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path
