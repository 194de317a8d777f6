"""Chat templates: a conversation as text, by the Jinja template that comes with a tokenizer.

Rendered as transformers' apply_chat_template does it (utils/chat_template_utils.py, version 5): the same environment,
the same variables, the same text. A template comes from the network: it runs in Jinja's sandbox.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from .base import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]
"""`role`, `content`, and what else the template reads."""
Span = tuple[int, int]

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # no characters, so no text has them: where {% generation %} begins and ends
REASONING = ("reasoning_content", "thinking", "reasoning")
"""What data sets and templates call the model's thoughts before its answer."""


class TemplateFailed(Exception):
    """What a template found wrong with a conversation, or with itself, in its own words."""


class ChatTemplate:
    """The text of a conversation by a Jinja template, which sees `messages`, `tools` and the named special tokens.

    Raises UserError for a template that is no Jinja.
    """

    def __init__(self, source: str, tokens: Mapping[str, str], name: str = "the chat template") -> None:
        self.source, self.tokens, self.name = source, dict(tokens), name
        self._template = _compile(source, name)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The text; `add_generation_prompt` goes on to where the assistant's answer begins. Raises TemplateFailed."""
        text = self._render(messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables)
        return text.replace(_OPEN, "").replace(_CLOSE, "") if self._marks_generation else text

    def render_spans(self, messages: Sequence[Message], **settings: Any) -> tuple[str, list[Span]]:
        """The text, and where in it what stands between {% generation %} and {% endgeneration %} begins and ends."""
        parts = re.split(f"([{_OPEN}{_CLOSE}])", self._render(messages, **settings))
        text, spans, starts = "", list[Span](), list[int]()
        for part in parts:
            if part == _OPEN:
                starts.append(len(text))
            elif part == _CLOSE:
                spans.append((starts.pop(), len(text)))
            else:
                text += part
        return text, sorted(spans)

    @cached_property
    def _marks_generation(self) -> bool:
        return re.search(r"\{%[-+]?\s*generation\b", self.source) is not None

    def _render(self, messages: Sequence[Message], **settings: Any) -> str:
        settings = {"tools": None, "documents": None, "add_generation_prompt": False, **self.tokens, **settings}
        try:
            return self._template.render(messages=[_plain(message) for message in messages], **settings)
        except Exception as error:  # a template fails in as many ways as Python does
            raise TemplateFailed(" ".join(str(error).split()) or type(error).__name__) from None


def find_template(tokenizer: Tokenizer, name: str | None = None) -> str | None:
    """The tokenizer's template: its only one, the one of that name, else the default one; None where it has none.

    Raises UserError for a name that it has not, and for several of which none is the default.
    """
    templates = tokenizer.chat_template
    if not isinstance(templates, dict):
        return templates
    if (name or "default") in templates:
        return templates[name or "default"]
    if name is None:
        raise UserError(
            f"the tokenizer {tokenizer.name} has the chat templates {', '.join(sorted(templates))}, and none is the "
            "default: name one in dataset.preprocessing.chat_template"
        )
    raise UserError(f"the tokenizer {tokenizer.name} has no chat template called '{name}'.{nearest(name, templates)}")


def apply_chat_template(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    template: str | None = None,
    add_generation_prompt: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **variables: Any,
) -> str:
    """The conversation as text by the tokenizer's own template, or by `template` (a name or the Jinja itself).

    Raises UserError: the tokenizer has no template, or it fails for these messages.
    """
    named = isinstance(tokenizer.chat_template, dict) and template in tokenizer.chat_template
    source = find_template(tokenizer, template if named else None) if named or template is None else template
    if source is None:
        raise UserError(f"the tokenizer {tokenizer.name} has no chat template: give one")
    chat = ChatTemplate(source, tokenizer.named_tokens, f"the chat template of {tokenizer.name}")
    try:
        return chat.render(messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables)
    except TemplateFailed as error:
        raise UserError(f"{chat.name} fails: {error}") from None


def _plain(message: Message) -> dict[str, Any]:
    """The message without what is None; the model's thoughts under each name that templates read them by."""
    plain = {key: value for key, value in message.items() if value is not None}
    thoughts = next((plain[key] for key in REASONING if key in plain), None)
    return plain if thoughts is None else {"thinking": thoughts, **plain, "reasoning_content": thoughts}


@lru_cache(maxsize=64)
def _compile(source: str, name: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        return sandbox().from_string(source)
    except TemplateSyntaxError as error:
        raise UserError(f"{name} is no Jinja: line {error.lineno}: {error.message}") from None


def sandbox(**options: Any) -> ImmutableSandboxedEnvironment:
    """The environment that templates run in: nothing of Python is to be had, and nothing passed in can be changed."""
    from jinja2 import TemplateError, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """{% generation %} ... {% endgeneration %}: what the assistant wrote, between two marks."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            marks = [nodes.Output([nodes.TemplateData(mark)]) for mark in (_OPEN, _CLOSE)]
            return nodes.Scope([marks[0], *body, marks[1]]).set_lineno(line)

    class Dict:
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any) -> Any:
            return dict.fromkeys(*args)

    class SafeNamespace(Namespace):
        def __init__(*args: Any, **kwargs: Any) -> None:  # a value may be called self
            self, *positional = args
            for name in dict(*positional, **kwargs):
                _refuse_private(name)
            Namespace.__init__(self, *positional, **kwargs)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_private(name)
            super().__setitem__(name, value)

    def _refuse_private(name: Any) -> None:
        if str(name).startswith("_"):
            raise SecurityError(f"a namespace takes no name that begins with an underscore, and got {name!r}")

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        # Jinja's own escapes HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"], **options
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": Dict(),
        "namespace": SafeNamespace,
    }
    return environment
