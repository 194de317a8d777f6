"""What the files beside a vocabulary say: tokenizer_config.json, special_tokens_map.json, added_tokens.json, templates.

Read as transformers reads them: added_tokens_decoder of tokenizer_config.json says everything of added tokens; without
it, special_tokens_map.json goes before tokenizer_config.json and added_tokens.json says which ids were added.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from ..errors import UserError
from .batch import Side

if TYPE_CHECKING:
    from tokenizers import AddedToken

NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""The special tokens that have a name, in the order in which those that a vocabulary lacks are added to it."""
CONFIG = "tokenizer_config.json"
# A length that nobody meant: int(1e30) stands in many files.
NO_LENGTH = 10**20
# Classes that say nothing of how a tokenizer works.
GENERIC = ("PreTrainedTokenizer", "TokenizersBackend", "PythonBackend")


@dataclass(frozen=True)
class Settings:
    """The settings of one folder. `class_name` is transformers' ("BertTokenizer"), None where none or any is named."""

    folder: Path = Path()
    values: dict[str, Any] = field(default_factory=dict)
    class_name: str | None = None
    model_type: str | None = None
    added: dict[int, AddedToken] = field(default_factory=dict)
    chat_template: str | dict[str, str] | None = None

    @overload
    def flag(self, key: str, default: bool) -> bool: ...
    @overload
    def flag(self, key: str, default: None) -> bool | None: ...
    def flag(self, key: str, default: bool | None) -> bool | None:
        """A setting that is true or false; `default` where missing or null. Raises UserError for anything else."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise UserError(f"{self.folder / CONFIG}: {key} is {value!r}, must be true or false")
        return default if value is None else value

    def side(self, key: str, default: Side) -> Side:
        """left or right. Raises UserError for anything else."""
        value = self.values.get(key, default)
        if value not in ("left", "right"):
            raise UserError(f"{self.folder / CONFIG}: {key} is {value!r}, must be left or right")
        return cast("Side", value)

    @property
    def max_length(self) -> int | None:
        value = self.values.get("model_max_length")
        return int(value) if isinstance(value, int | float) and value < NO_LENGTH else None

    def special(self, key: str, default: str | None = None) -> AddedToken | None:
        """The special token of that name; `default` where nothing is said, None where null is."""
        name = f"{key}_token"
        value = self.values.get(name, default)
        return None if not value else self._token(value, name)

    def extra(self) -> list[AddedToken]:
        """Special tokens with a name that only this model knows, then those without a name."""
        listed = self.values.get("extra_special_tokens") or self.values.get("additional_special_tokens") or []
        known = {f"{key}_token" for key in NAMED}
        own = [
            value
            for key, value in self.values.items()
            if key.endswith("_token") and key not in known and isinstance(value, str | dict)
        ]
        own += listed.values() if isinstance(listed, dict) else listed
        return [self._token(value, "extra_special_tokens") for value in own]

    def _token(self, value: Any, key: str) -> AddedToken:
        text = value.get("content") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise UserError(f"{self.folder / CONFIG}: {key} is {value!r}, must be a text or name its content")
        listed = next((token for token in self.added.values() if token.content == text), None)
        return listed or _token({"content": text, **(value if isinstance(value, dict) else {}), "special": True})


def read_settings(folder: Path) -> Settings:
    """The settings in a folder, of which none need be there. Raises UserError for a file that cannot be read."""
    values, model = _mapping(folder / CONFIG), _mapping(folder / "config.json")
    if "added_tokens_decoder" in values:
        added = {int(i): _token(token) for i, token in values["added_tokens_decoder"].items()}
    else:
        values |= _mapping(folder / "special_tokens_map.json")
        special = {_content(values.get(f"{key}_token")) for key in NAMED}
        special |= {_content(token) for token in values.get("additional_special_tokens") or []}
        added = {
            i: _token({"content": text, "special": text in special, "normalized": text not in special})
            for text, i in _mapping(folder / "added_tokens.json").items()
        }
    name = values.get("tokenizer_class") or model.get("tokenizer_class")
    name = name.removesuffix("Fast") if isinstance(name, str) else None
    model_type = model.get("model_type")
    return Settings(folder, values, name, model_type, dict(sorted(added.items())), _chat_template(folder, values))


def _chat_template(folder: Path, values: dict[str, Any]) -> str | dict[str, str] | None:
    """The template of chat_template.jinja, else of tokenizer_config.json; several have names."""
    named: dict[str, str] = {}
    single = folder / "chat_template.jinja"
    if single.is_file():
        named["default"] = single.read_text(encoding="utf-8")
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        named[path.stem] = path.read_text(encoding="utf-8")
    if named:
        return named["default"] if set(named) == {"default"} else named
    template = values.get("chat_template")
    if isinstance(template, list):
        return {one["name"]: one["template"] for one in template}
    return template


def _token(fields: dict[str, Any]) -> AddedToken:
    from tokenizers import AddedToken

    kept = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(fields["content"], **{key: fields[key] for key in kept if key in fields})


def _content(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}): fetch it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is no mapping of settings: fetch it again")
    return values
