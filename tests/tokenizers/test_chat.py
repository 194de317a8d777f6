from __future__ import annotations

import json
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.chat import ChatTemplate, TemplateFailed, apply_chat_template, find_template
from groundup.tokenizers.load import load_tokenizer
from jinja2 import TemplateError
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

# In the manner of the models they are named after.
CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}"""
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = "26 Jul 2024" %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "\n\n" + system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none %}{{- tools | tojson(indent=4) }}{% endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
{% set system = messages[0]["content"] %}{% set loop_messages = messages[1:] %}
{%- else %}{% set loop_messages = messages %}{% endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system is defined %}{{- "[INST] " + system + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- else %}{{- " " + message["content"] + eos_token }}{%- endif %}
{%- endfor %}"""
OTHERS = """{% set ns = namespace(n=0, last='') %}{% for m in messages %}
{% if m.role == 'tool' %}{% continue %}{% endif %}
  {% generation %}[{{ m.content }}]
  {% endgeneration %}
{% set ns.n = ns.n + 1 %}{% if ns.n > 2 %}{% break %}{% endif %}
{%+ if m.thinking %}<{{ m.thinking }}|{{ m.reasoning_content }}>{% endif %}
{{ dict(a=ns.n, b="é<'").items() | list }} {{ m | tojson }}{{ m | tojson(indent=2, sort_keys=true) }}
{% endfor %}{{ strftime_now("%Y") }}{{ messages | length }}{{ tools }}{{ nothing }}{{ pad_token }}"""
TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "zephyr": ZEPHYR, "gemma": GEMMA, "mistral": MISTRAL, "others": OTHERS}

TURNS = [
    {"role": "user", "content": '  What\'s <b>1</b> + "1"?\n'},
    {"role": "assistant", "content": "2\n\n", "thinking": "1, 2", "tool_calls": None},
    {"role": "user", "content": "Ünd {{ 1 }} then?"},
]
CHATS = {
    "turns": TURNS,
    "system": [{"role": "system", "content": " Be brief. "}, *TURNS],
    "answered": [*TURNS, {"role": "assistant", "content": "3 日本"}],
    "tool": [*TURNS[:2], {"role": "tool", "content": "[]"}, TURNS[2]],
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_that_of_transformers(name: str, chat: str, prompted: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f<", "description": "é"}}] if chat == "tool" else None
    ours = ChatTemplate(TEMPLATES[name], TOKENS)
    settings = {"tools": tools, "add_generation_prompt": prompted}
    expected, refused = theirs(chat, chat_template=TEMPLATES[name], **settings)
    if refused is None:
        assert ours.render(CHATS[chat], **settings) == expected
        return
    assert name == "gemma"
    with pytest.raises(TemplateFailed) as failed:
        ours.render(CHATS[chat], **settings)
    assert str(failed.value) == refused


def theirs(chat: str, **settings) -> tuple[str | None, str | None]:
    """The text that transformers renders, or why it does not."""
    messages = [{k: v for k, v in message.items() if v is not None} for message in CHATS[chat]]
    try:
        return render_jinja_template([messages], **settings, **TOKENS)[0][0], None
    except TemplateError as error:
        return None, str(error)


def test_where_generation_is_marked() -> None:
    messages = CHATS["answered"]
    dropped = [{k: v for k, v in message.items() if v is not None} for message in messages]
    ((expected,), (spans,)) = render_jinja_template(
        [dropped], chat_template=OTHERS, return_assistant_tokens_mask=True, **TOKENS
    )
    text, ours = ChatTemplate(OTHERS, TOKENS).render_spans(messages)
    assert (text, ours) == (expected, spans)
    assert len(ours) == 3
    scoped = "{% set a = 1 %}{% generation %}{% set a = 2 %}{{ a }}{% endgeneration %}{{ a }}"
    assert ChatTemplate(scoped, {}).render_spans(messages) == ("21", [(0, 1)])


def test_text_and_tokens_by_the_tokenizer_s_own_template(shared: Path, tmp_path: Path) -> None:
    """BERT's special tokens have names; GPT-2's template is one of several."""
    bert = tmp_path / "bert"
    bert.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).write_bytes((shared / "tokenizers/bert-base-uncased" / name).read_bytes())
    (bert / "chat_template.jinja").write_text(
        "{{ cls_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}[SEP]{% endfor %}"
    )
    ours, theirs = load_tokenizer(bert), AutoTokenizer.from_pretrained(bert)
    text = theirs.apply_chat_template(TURNS, tokenize=False)
    assert apply_chat_template(ours, TURNS) == text
    assert ours.encode(text) == theirs.apply_chat_template(TURNS).input_ids
    assert ours.named_tokens == theirs.special_tokens_map
    assert ours.control_tokens.keys() == theirs.added_tokens_encoder.keys()
    assert ours.finds_control_tokens


def test_a_template_is_chosen_by_name() -> None:
    tokenizer = ByteTokenizer()
    assert find_template(tokenizer) is None
    with pytest.raises(UserError, match="the tokenizer byte has no chat template: give one"):
        apply_chat_template(tokenizer, TURNS)
    tokenizer.chat_template = {"default": "a", "rag": "b{{ eos_token }}"}
    assert [find_template(tokenizer), find_template(tokenizer, "rag")] == ["a", "b{{ eos_token }}"]
    assert apply_chat_template(tokenizer, TURNS, template="rag") == "b<|endoftext|>"
    assert apply_chat_template(tokenizer, TURNS, template="{{ messages[0].role }}") == "user"
    with pytest.raises(UserError, match=r"no chat template called 'rga'\. Did you mean 'rag'"):
        find_template(tokenizer, "rga")
    tokenizer.chat_template = {"rag": "b", "tool": "c"}
    with pytest.raises(UserError, match="has the chat templates rag, tool, and none is the default: name one in"):
        find_template(tokenizer)


@pytest.mark.parametrize("kind", ["byte", "huggingface"])
def test_a_template_is_kept_with_the_tokenizer(kind: str, tmp_path: Path, shared: Path) -> None:
    tokenizer = ByteTokenizer() if kind == "byte" else load_tokenizer(shared / "tokenizers/bert-base-uncased")
    tokenizer.chat_template = CHATML
    tokenizer.save(tmp_path / "saved")
    tokenizer.save_hf(tmp_path / "hf")
    for folder in ("saved", "hf"):
        assert load_tokenizer(tmp_path / folder).chat_template == CHATML
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.chat_template == CHATML
    if kind == "byte":  # what ends a turn is found in the text
        tokenizer.chat_template = "x{{ eos_token }}"
        tokenizer.save_hf(tmp_path / "hf")
        assert AutoTokenizer.from_pretrained(tmp_path / "hf").apply_chat_template(TURNS).input_ids == [ord("x"), 256]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(a=1) }}",
        "{% set ns = namespace(_a=1) %}",
        "{% set ns = namespace() %}{% set ns._a = 1 %}",
        "{{ raise_exception.__globals__.items() }}",
        "{{ dict.__call__.__globals__.items() }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(TemplateFailed):
        print(ChatTemplate(source, {}).render(TURNS))


def test_a_template_that_is_no_jinja() -> None:
    with pytest.raises(UserError, match="the chat template of x is no Jinja: line 2: "):
        ChatTemplate("a\n{% for %}", {}, "the chat template of x")
    tokenizer = ByteTokenizer()
    with pytest.raises(UserError, match="the chat template of byte fails: no such thing"):
        apply_chat_template(tokenizer, TURNS, template="{{ raise_exception('no such thing') }}")
    assert json.dumps(TURNS)  # no message was changed
