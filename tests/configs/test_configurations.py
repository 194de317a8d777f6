"""The configurations people run: each loads and resolves on every device, and nothing costly is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from groundup.configs.architecture import architecture
from groundup.configs.plan import plan
from groundup.configs.schema import load_config

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if path.name not in ("models.yaml", "model_sets.yaml")
)  # those are the registry


def test_there_are_some():
    names = {path.name for path in FILES}
    assert {"gpt2_small.yaml", "gpt2_small_fineweb.yaml", "quickstart.yaml", "shakespeare_char.yaml"} <= names


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_resolves_on_every_device(tmp_path: Path, path: Path, device: str, capsys: pytest.CaptureFixture[str]):
    run = load_config(path, find_device=lambda: device)
    assert run.general.device == device
    assert run.output.run_name == path.stem
    assert capsys.readouterr().err == ""  # no notes about a file of our own
    again = tmp_path / "config.yaml"
    again.write_text(run.to_yaml())
    assert load_config(again) == run
    assert "parameters" in str(plan(run))


def test_gpt2_small_with_the_real_recipe_is_half_a_million_tokens_a_step():
    for device in ("cuda", "mps", "cpu"):
        run = load_config(ROOT / "configs" / "gpt2_small_fineweb.yaml", find_device=lambda device=device: device)
        assert plan(run).tokens_per_step == 524_288
        assert sum(plan(run).parameters.values()) == 124_439_808


def test_gpt2_small_is_gpt2():
    run = load_config(ROOT / "configs" / "gpt2_small.yaml", find_device=lambda: "cpu")
    config = architecture(run, 50_257)
    assert (config.n_layers, config.d_model, config.n_heads, config.d_ff, config.max_seq_len) == (
        12,
        768,
        12,
        3072,
        1024,
    )
    assert (config.activation, config.positions, config.init) == ("gelu", "learned", "gpt2")
    assert {config.attn_norm, config.ffn_norm, config.head_norm} == {"layernorm"}
    assert config.tie_embeddings
    assert config.qkv_bias
    assert config.out_bias
    assert config.ffn_bias
    assert config.norm_bias
    assert not config.head_bias


def test_shakespeare_has_nanogpts_settings():
    run = load_config(ROOT / "configs" / "shakespeare_char.yaml", find_device=lambda: "cpu")
    model, trainer, optimizer = run.model, run.trainer, run.trainer.optimizer
    assert (model.num_layers, model.attn.num_kv_heads, model.hidden_dim, model.context_window) == (4, 4, 128, 64)
    assert (trainer.batch_size, trainer.max_iters, trainer.warmup_iters) == (12, 2000, 100)
    assert (optimizer.lr, optimizer.min_lr, optimizer.beta2, optimizer.weight_decay) == (1e-3, 1e-4, 0.99, 0.1)


@pytest.mark.parametrize(
    "code",
    [
        "from groundup.configs.schema import load_config; load_config('configs/quickstart.yaml', ['device=cuda'])",
        "from groundup.configs.cli import parse, help_text; help_text()",
        "from groundup.configs.docs import plain_text; plain_text()",
        "from groundup.configs.schema import load_config; from groundup.configs.plan import plan; "
        "str(plan(load_config('configs/gpt2_small.yaml', ['device=cpu'])))",
        "from groundup.configs.schema import load_config; from groundup.configs.plan import plan; "
        "str(plan(load_config(None, ['model=Llama-3.1-8B', 'device=cuda'])))",
    ],
)
def test_nothing_costly_is_imported(code: str):
    costly = ("torch", "numpy", "transformers", "datasets", "matplotlib")
    check = f"import sys; {code}; print([name for name in {costly} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
