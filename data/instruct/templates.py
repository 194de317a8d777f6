"""The prompts for tokenizers without a chat template, as chat templates: they are kept with what is trained on them.

`END` stands for the variable that holds the end-of-text token.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

ALPACA = """\
{%- set ns = namespace(intro='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}{%- set ns.intro = message.content -%}
{%- elif message.role == 'user' -%}
{%- if not loop.first and messages[loop.index0 - 1].role != 'system' -%}{{- '\\n\\n' -}}
{%- elif ns.intro -%}{{- ns.intro ~ '\\n\\n' -}}
{%- elif message.input -%}{{- 'Below is an instruction that describes a task, paired with an input that provides \
further context. Write a response that appropriately completes the request.\\n\\n' -}}
{%- else -%}{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the \
request.\\n\\n' -}}
{%- endif -%}
{{- '### Instruction:\\n' ~ (message.instruction if message.input else message.content) ~ '\\n\\n' -}}
{%- if message.input -%}{{- '### Input:\\n' ~ message.input ~ '\\n\\n' -}}{%- endif -%}
{{- '### Response:' -}}
{%- elif message.role == 'assistant' -%}{{- message.content ~ END -}}
{%- else -%}{{- raise_exception('alpaca knows no messages of a ' ~ message.role) -}}
{%- endif -%}
{%- endfor -%}"""
"""Stanford Alpaca's prompt, word for word (tatsu-lab/stanford_alpaca, train.py); a system message takes the place of
its first sentence, and further turns follow without it."""

PLAIN = """\
{%- if tools -%}{{- '### Tools:\\n' ~ (tools | tojson) ~ '\\n\\n' -}}{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}{{- '### Assistant:\\n' ~ message.content ~ END ~ '\\n\\n' -}}
{%- else -%}{{- '### ' ~ message.role | capitalize ~ ':\\n' ~ message.content ~ '\\n\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Assistant:\\n' -}}{%- endif -%}"""
"""A heading and a paragraph a message."""

RAW = """\
{%- for message in messages -%}
{{- message.content -}}
{%- if message.role == 'assistant' -%}{{- END -}}{%- endif -%}
{%- endfor -%}"""
"""Nothing but the texts: prompt and completion of a custom template."""

END_ANSWERS = """\
{%- set ns = namespace(ended=[]) -%}
{%- for message in messages -%}
{%- set ended = dict(message, content=message.content ~ END) if message.role == 'assistant' else message -%}
{%- set ns.ended = ns.ended + [ended] -%}
{%- endfor -%}
{%- set messages = ns.ended %}
"""
"""Before a template that leaves answers without an end: each gets the end-of-text token."""


def beginning_with(text: str, template: str) -> str:
    """The template with a text before it. A newline after a block is no text, so its first line stays a line."""
    return "{{- " + json.dumps(text) + " }}{% set begun = true %}\n" + template


def ending_with(template: str, variable: str | None) -> str:
    """The template with the end-of-text token of that name; None for no end."""
    return template.replace("END", variable or "''")


def is_dated(template: str) -> bool:
    """Whether a template writes the date of the day it is rendered on."""
    return "strftime_now" in template and _DATE.search(template) is None


def with_date(template: str, kept: Any, now: datetime) -> str:
    """The template with a fixed date: `now`, or that of `kept` if it is this template with one.

    A macro takes the place of the function. It knows the directives (`%d`) that stand in the template.
    """
    if isinstance(kept, str) and template in kept and (found := _DATE.search(kept)):
        return found[0] + template
    directives = sorted({*re.findall(r"(?<!\{)%-?[A-Za-z]", template)}, key=len, reverse=True)
    filters = "".join(f" | replace({json.dumps(one)}, {json.dumps(now.strftime(one))})" for one in directives)
    return "{% macro strftime_now(format) %}{{- format" + filters + " -}}{% endmacro %}\n" + template


_DATE = re.compile(r"\{% macro strftime_now\(format\) %\}.*?\{% endmacro %\}\n")
