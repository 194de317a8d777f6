"""`tokenizers/` in the repository's root must not hide Hugging Face's `tokenizers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
assert sys.path[0] == {root!r}, sys.path[0]
import tokenizers
import datasets
import groundup.tokenizers.load as ours
assert "site-packages" in tokenizers.__file__, tokenizers.__file__
assert tokenizers.Tokenizer(tokenizers.models.BPE()).get_vocab_size() == 0
assert datasets.Dataset.from_dict({{"text": ["a"]}})[0] == {{"text": "a"}}
assert ours.load_tokenizer("byte").encode("hi") == [104, 105]
print("fine")
"""


def test_the_folder_is_no_regular_package(root: Path) -> None:
    assert (root / "tokenizers").is_dir()
    assert not (root / "tokenizers/__init__.py").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_script_in_the_root_imports_all_three(root: Path, tmp_path: Path, elsewhere: bool) -> None:
    script = root / "_shadow_test_script.tmp"
    try:
        script.write_text(PROGRAM.format(root=str(root)))
        where = tmp_path if elsewhere else root
        done = subprocess.run([sys.executable, str(script)], cwd=where, capture_output=True, text=True, timeout=60)
    finally:
        script.unlink()
    assert done.stdout == "fine\n", done.stderr
