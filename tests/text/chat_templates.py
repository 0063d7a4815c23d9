"""Chat templates of every kind that models have, written for the tests."""

from __future__ import annotations

CHATML = """\
{% for message in messages %}{% if loop.first and message.role != 'system' %}\
{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}\
{{ '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>' ~ '\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""
TRIMMED = """\
{{ bos_token }}{% for message in messages %}
{{ '<|start|>' + message['role'] + '<|mid|>\n\n' + message['content'] | trim + '<|end|>' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|mid|>\n\n' }}{% endif %}
"""
SYSTEM_IN_USER = """\
{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}
{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}
{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}
{% for message in rest %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}{% endif %}
{% set content = system + message['content'] if loop.first else message['content'] %}
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}
"""
NO_SYSTEM = """\
{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}
{%- for message in messages %}
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}
{% set role = 'model' if message.role == 'assistant' else message.role %}
{{- '<|start|>' + role + '\n' + message.content | trim + '<|end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start|>model\n' }}{% endif %}
"""
DATED = """\
{{- bos_token }}{% set now = strftime_now('%d %b %Y') if strftime_now is defined else '' %}
{%- if messages[0].role == 'system' %}{% set said = messages[0].content | trim %}
{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}
{{- '<|start|>system\nToday: ' + now + '\n\n' }}{{ said }}{{ '<|end|>' }}
{% for message in messages %}
{{- '<|start|>' + message.role + '\n' + message.content | trim + '<|end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}
"""
REASONING = """\
{% for message in messages %}{% set said = message.content %}
{% if message.role == 'assistant' %}
{% if '</think>' in said %}{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}
{% if loop.last %}{% set said = '<think>\n\n</think>\n\n' + said.lstrip('\n') %}{% endif %}
{% endif %}
{{ '<|im_start|>' + message.role + '\n' + said + '<|im_end|>\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""
SKIPS_EMPTY = """\
{% for message in messages %}{% if message.role == 'system' and message.content | length > 0 %}
{{- '<|system|>' + message.content + eos_token }}{% elif message.role == 'user' %}
{{- '<|user|>' + message.content + eos_token }}{% elif message.role == 'assistant' %}
{{- '<|assistant|>' + message.content + eos_token }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}
"""
MARKED = """\
{% macro turn(role, text) %}<|start|>{{ role }}|{{ text }}<|end|>{% endmacro %}
{% for message in messages %}
{%- if message.role == 'system' %}{% continue %}{% endif %}
{%- if message.role == 'assistant' %}{% generation %}{{ turn('a', message.content) }}
{%- endgeneration %}{% else %}{{ turn('u', message.content) }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<|start|>a|' }}{% endif %}
"""

# Each with the kind of its conversations, and whether one extends its beginning.
EXPRESSED = {
    "chatml": (CHATML, {"system", "user", "assistant"}, True),
    "trimmed": (TRIMMED, {"system", "user", "assistant"}, True),
    "system in user": (SYSTEM_IN_USER, {"system", "user", "assistant"}, False),
    # Behind a user's message it takes anybody's but a user's.
    "no system": (NO_SYSTEM, {"system", "user", "assistant"}, True),
    "dated": (DATED, {"system", "user", "assistant"}, True),
    "reasoning": (REASONING, {"system", "user", "assistant"}, False),
    "skips empty": (SKIPS_EMPTY, {"system", "user", "assistant"}, True),
    "marked": (MARKED, {"user", "assistant"}, True),
}

# Each with a part of the reason.
UNEXPRESSED = {
    "no template": ("{% for %}", "it cannot be read: "),
    "by length": (
        "{% for m in messages %}{{ m.content if m.content | length < 99 else '…' }};{% endfor %}",
        "it looks at system messages: its length",
    ),
    "by character": (
        "{% for m in messages %}{{ m.content[0] }}{{ m.content }};{% endfor %}",
        "__getitem__",
    ),
    "upper case": (
        "{% for m in messages %}{{ m.content | upper }};{% endfor %}",
        "are not in their order, each of them once",
    ),
    "twice": (
        "{% for m in messages %}{{ m.content }}{{ m.content }};{% endfor %}",
        "are not in their order, each of them once",
    ),
    "counted": (
        "{% for m in messages %}{{ loop.index }}{{ m.content }};{% endfor %}",
        "depends on other messages",
    ),
    "by spaces": (
        "{% for m in messages %}{{ m.content if ' ' in m.content else '-' + m.content }};"
        "{% endfor %}",
        "it looks for whitespace in system messages",
    ),
    "compared": (
        "{% for m in messages %}{{ '!' if m.content == messages[-1].content }}{{ m.content }};"
        "{% endfor %}",
        "whether it is another message's",
    ),
    "never": ("{{ raise_exception('closed') }}", "closed"),
    "the weekday of a system": (
        "{{ strftime_now('%-d') }}{% for m in messages %}{{ m.content }};{% endfor %}",
        "it formats the time as '%-d'",
    ),
    "tools": ("{% for t in tools %}{{ t }}{% endfor %}", "'NoneType' object is not iterable"),
}
