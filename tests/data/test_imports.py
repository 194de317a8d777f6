"""What is not needed is not imported: `--validate` and `--help` come this way."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "datasets",
    "transformers",
    "tokenizers",
    "tiktoken",
    "pyarrow",
    "requests",
    "huggingface_hub",
    "pandas",
}


@pytest.mark.parametrize(
    "module", ["groundup.data", "groundup.data.text", "groundup.data.sampling", "groundup.tokenizers.load"]
)
def test_no_heavy_import(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "", done.stderr


def test_names_of_the_package() -> None:
    import groundup.data as data

    assert data.Sampler.__module__ == "groundup.data.sampling"
    assert callable(data.load_text_data)
    with pytest.raises(AttributeError, match="no attribute 'sampler'"):
        data.sampler  # noqa: B018
