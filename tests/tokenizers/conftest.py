"""Texts that tokenizers get wrong, and where tiktoken's files lie."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

ODD = [
    "",
    " ",
    "  two  spaces ",
    "\t tabs\n\nand\r\nline ends \n",
    "日本語のテキスト 😀 naïve café cafe\u0301",
    "مرحبا بالعالم ÄÖÜ ß 한국어 नमस्ते",
    "\u200b zero \u00a0 width \ufeff \u2028 \x00 \x7f \x85",
    "a<s>b </s> <mask> x [MASK] <|endoftext|> <|endofprompt|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ====================== " + "    " * 9 + "x",
    "I'll I'LL don't DON'T we've 12345 1,234.5 x=1;y=2 http://a.b/c?d=e#f",
    "[CLS][SEP] [PAD]<pad> <unk>[UNK] <|padding|> <mask>",
    "ﬁ ½ … ™ Ａ１ ㍿ \u1100\u1161\u11a8 각 👩\u200d👩\u200d👧 🇩🇪 e\u0301\u0323",
    "hello , world . it 's do n't ' ok ' !",
]


@pytest.fixture(scope="session")
def texts(shared: Path) -> list[str]:
    """Some 800 stretches of Wikipedia, Shakespeare, reviews, news, instructions, and what is odd in text."""
    wiki = (shared / "text/wikitext-2/wiki.valid.raw").read_text(encoding="utf-8").split("\n")
    plays = (shared / "text/tinyshakespeare/input.txt").read_text(encoding="utf-8").split("\n\n")
    rows = json.loads((shared / "instruct/alpaca_data_1k.json").read_text(encoding="utf-8"))
    reviews = csv.reader((shared / "classification/imdb/test.csv").read_text(encoding="utf-8").splitlines()[1::40])
    news = csv.reader((shared / "classification/ag_news/test.csv").read_text(encoding="utf-8").splitlines()[::80])
    rng = random.Random(0)
    noise = ["".join(rng.choice("ab \n_-.,é日1'😀") for _ in range(rng.randint(1, 60))) for _ in range(300)]
    return [
        *ODD,
        *noise,
        *wiki[::20],
        *plays[::60],
        *(row[0] for row in reviews),
        *(row[2] for row in news),
        *(row["instruction"] + "\n" + row["output"] for row in rows[::12]),
    ]


@pytest.fixture
def tiktoken_cache(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken finds its files there."""
    folder = shared / "tokenizers/tiktoken-cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    return folder
