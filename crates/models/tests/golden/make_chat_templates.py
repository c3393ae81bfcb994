#!/usr/bin/env python3
"""Writes chat_templates.json: templates and what Python's transformers makes of them.

Needs transformers (5.24 was used). Run it in this folder.
"""

import json

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [
    {"role": "system", "content": " be\n<brief> "},
    {"role": "user", "content": 'Hi "\u00e9"\n'},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "more?"},
]

# One template to a line.
LINES = r'''
{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}
{% for m in messages %}{% generation %}{% set x = m.content %}{{ loop.index }}{{ x }}{% endgeneration %}{{ x }}{% endfor %}
{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}
{{ {'a': [1, 2.5, none, true], 'b': {}, 'c': []} | tojson(indent=2) }}
{{ {'a': [1, {'k': 'v'}], 'b': 'é"\n<&>'} | tojson(indent=4) }}
{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=True, sort_keys=True) }}
{{ [1, {'b': 1}] | tojson(separators=(',', ':')) }}
{{ [1, {'b': 1}] | tojson(indent='\t') }}
{{ [1e16, 1.0, 0.1, 1e-5, 123456789012345680.0, -0.0, 3, 1e22, 1.5e300] | tojson }}
{{ messages | tojson }}
{{ messages[0] | tojson(indent=1) }}
{% if strftime_now is defined %}now{% endif %}
{{ strftime_now('%%') }}{{ strftime_now('%Y') | length }}{{ strftime_now('%d %b %Y') | length }}
{% if tools is not none and tools %}yes{% else %}no{% endif %}{{ tools is defined }}{{ documents is none }}
{% if not tools is defined %}a{% else %}b{% endif %}
{{ none }} {{ true }} {{ false }} {{ 1.0 }} {{ 3 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 4 / 2 }}
{{ ['a', 1, none, true, 2.5] }} {{ {'a': 'b', 'c': [1]} }} {{ ('x', 1) }}
{{ 'it\'s' }} {{ ["it's", 'say "x"', 'a\nb'] }}
{{ none ~ true ~ 1 }} {{ [1, none] | join(',') }} {{ true | string }} {{ none | string }}
{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ ns.found }}{{ ns.n }}
{{ messages[0].content.strip() }}|{{ messages[0].content.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'xxaxx'.strip('x') }}
{{ 'a,b,c'.split(',') }} {{ 'a b  c'.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a</think>b'.split('</think>')[-1].lstrip('\n') }} {{ 'x'.split(',')[0] }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a,b'.rsplit(',') }} {{ 'a b c'.rsplit() }}
{{ "they're bill's o'NEIL x2y".title() }} {{ "hello WORLD".capitalize() }} {{ "Hello".swapcase() }} {{ "hi there".title() }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }}
{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'éabc'.find('c', 1) }} {{ 'abc'.index('b') }} {{ 'abc'.find('x') }} {{ 'abcabc'.count('b') }}
{{ 'a-b'.partition('-') }} {{ 'ab'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'ab'.rpartition('-') }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removesuffix('x') }} {{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'x'.center(4, '*') }}{{ 'ab'.center(5) }}|{{ 'x'.ljust(3) }}|{{ 'x'.rjust(3) }}|
{{ 'a\tb'.expandtabs(4) }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'a\nb\n'.splitlines(true) }} {{ ''.splitlines() }}
{{ '{} and {}'.format('a', 1) }} {{ '{0}{x}'.format('a', x=2) }} {{ "%.2f" | format(1.5) }}
{{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'a'.isdigit() }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ '12'.isdecimal() }} {{ '-'.join(['a', 'b']) }} {{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }}
{{ 'abcdef'[1:3] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[::2] }} {{ 'abc'[0] }} {{ 'abc'[-1] }} {{ 'abc'[5:] }}
{{ messages[1:] | length }} {{ messages[::-1][0].role }} {{ messages[-1]['role'] }} {{ messages[:-1] | length }} {{ [1,2,3,4][1:3] }} {{ [1,2,3,4][::-2] }} {{ [1,2,3,4][-3:-1] }}
{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in {'b': 1, 'a': 2} | items %}{{ k }}={{ v }};{% endfor %}{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}={{ v }};{% endfor %}
{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(x) }} {% endfor %}
{% for x in [] %}a{% else %}empty{% endfor %}{% for x in [1, 2, 3, 4] if x % 2 == 0 %}{{ x }}{{ loop.last }}{% endfor %}
{% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% macro f2() %}<{{ caller(1) }}>{% endmacro %}{% call(x) f2() %}{{ x }}{% endcall %}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | map(attribute='role') | join('-') }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list }} {{ (messages | selectattr('role', '==', 'user') | first).content }} {{ messages | map(attribute='content') | map('trim') | list }}
{{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is sequence }} {{ {} is sequence }} {{ 1 is number }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ none is none }} {{ x is defined }} {{ x is undefined }} {{ true is boolean }} {{ 1 is integer }} {{ 1.0 is float }} {{ 1 is integer and true is integer }} {{ [] is iterable and [] is not mapping }} {{ true is number }} {{ true is integer }}
{{ 4 is divisibleby(2) }} {{ 3 is odd }} {{ 'a' in 'abc' }} {{ 'a' in ['a'] }} {{ 'a' in {'a': 1} }} {{ 'x' not in 'abc' }} {{ 1 is eq(1) }} {{ 'a' is in(['a']) }} {{ true is true }} {{ 1 is sameas(1) }} {{ 'A' is upper }}
{{ undefined_thing }}|{{ undefined_thing | default('d') }}|{{ '' | default('d', true) }}|{{ messages[0].nothing }}|{{ messages[0].get('nothing', 'x') }}|{{ messages[0].get('nothing') }}|{{ 'a' if undefined_thing }}|{{ undefined_thing | length }}
{{ 'a' 'b' }}{{ "x" * 3 }}{{ [1] * 2 }}{{ [1] + [2] }}{{ 'a' + 'b' }}{{ 1 + 2.5 }}{{ true + 1 }}
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A'] | sort }} {{ [1, 1, 2] | unique | list }} {{ [1, 2] | sum }} {{ [1, 2, 3] | max }} {{ [1, 2] | last }} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ [1,2,3,4,5] | batch(2) | list }} {{ 'a b c' | wordcount }} {{ -3 | abs }} {{ '3' | int }} {{ 'x' | int(5) }} {{ '3.5' | float }} {{ 2.567 | round(1) }} {{ 2.5 | round }} {{ 'abc' | upper }} {{ 'hello world' | title }} {{ 'hello world' | capitalize }} {{ ' x ' | trim }} {{ 'aXb' | replace('X', 'y') }} {{ 'abc' | length }} {{ 'abc' | list }} {{ 'abc' | first }} {{ {'a': 1} | length }} {{ [[1, 2], [3]] | sum(start=[]) }}
{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\nb\n\nc' | indent(width=4, first=false) }}|{{ 'a\n\nb' | indent(2, blank=true) }}
{% for g in [{'r': 'a', 'v': 1}, {'r': 'b', 'v': 2}, {'r': 'a', 'v': 3}] | groupby('r') %}{{ g.grouper }}:{% for i in g.list %}{{ i.v }}{% endfor %};{% endfor %}{% for k, l in [{'r': 'b'}, {'r': 'a'}] | groupby('r') %}{{ k }}{{ l | length }}{% endfor %}
{% set text %}a {{ 1 }} b{% endset %}[{{ text }}]{% set a, b = 1, 2 %}{{ a }}{{ b }}{% filter upper %}abc{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% raw %}{{ x }}{% endraw %}{# comment #}
{{ dict(a=1, b='x') }} {{ dict(a=1).keys() | list }} {{ dict(a=1).values() | list }} {{ {'a': 1}.items() | list }} {{ {'a': {'b': 2}}['a']['b'] }} {{ {'a': 1}.a }} {{ {1: 'x'}[1] }}
{{ {'items': [1], 'keys': 2}.items() | list }} {{ {'items': 5}['items'] }}
{{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }} {% set j = joiner(', ') %}{{ j() }}a{{ j() }}b
{{ not true }} {{ true and 'x' }} {{ '' or 'y' }} {{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }} {{ (1, 2) == [1, 2] }}
{{ messages[0]['content'] | trim | length }} {{ messages | length - 1 }} {{ (messages | last).role }} {{ messages | first | tojson }}
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}
{{ raise_exception('no') }}
{{ nothing.at.all }}
{{ 'a' + 1 }}
{{ {'a': 1} | nosuchfilter }}
{{ "a" | tojson(indent=2) }}{{ 5 | tojson }}{{ none | tojson }}{{ "\x7f\u2028" | tojson }}{{ "\x7f" | tojson(ensure_ascii=true) }}
{{ '<b>' | e }} {{ '<b>' | escape }} {{ '<b>' | safe }} {{ 'a' | e ~ '<' }} {{ '<b>x</b>' | striptags }} {{ 1000000 | filesizeformat }}
{{ messages | map(attribute='role') | unique | list }} {{ ['a', 'b'] | map('upper') | join }} {{ [1,2,3] | select('odd') | list }} {{ [1,2,3] | reject('gt', 1) | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ [{'a': 1}, {}] | map(attribute='a', default=0) | list }} {{ ['x', 'y'] | map('replace', 'x', 'z') | list }} {{ [0, 1] | select | list }}
{%- set tool_calls = [{'function': {'name': 'f', 'arguments': {'x': 1, 'y': [true, none]}}}] -%}{%- for tc in tool_calls -%}{{- '\n{"name": "' + tc.function.name + '", "arguments": ' + (tc.function.arguments | tojson) + '}' -}}{%- endfor -%}
{%- set d = {} %}{%- for i in range(2) %}{%- set d = dict(d, **{'k' ~ i: i}) %}{%- endfor %}{{ d }}
{{ [1, 2, 3] | list | tojson }}{{ (1, 2) | tojson }}{{ range(3) | list | tojson }}{{ {'a': 1}.items() | list | tojson }}
{{ 10 | string + 'x' }} {{ 1 ~ '' }} {{ 1.5 | int }} {{ '0x1A' | int(0, 16) }} {{ true | int }} {{ 1e3 }} {{ 1_000 }} {{ 5 // 2.0 }} {{ 2 ** -1 }} {{ 7 % -3 }} {{ -7.5 // 2 }}
{{ [none, 1] | select('none') | list }} {{ messages is string }} {{ messages[0].content is string }} {{ messages[0] is mapping }}
{%- for message in messages[::-1] %}{%- set index = (messages | length - 1) - loop.index0 %}{{ index }}{{ message.role }}{% endfor %}
{{ messages[0].content[:3] }} {{ messages[0].content[-3:] }} {{ 'abc'[1:][0] }} {{ messages[0]['content'].split('\n')[0] }} {{ 'a\nb'.split('\n') | length }}
{% for m in messages recursive %}{{ m.role }}{% endfor %} {% for a in [[1, [2]], [3, []]] recursive %}{{ a[0] }}{% endfor %}
{{ ['a', 'b'].index('b') }} {{ [1, 1, 2].count(1) }} {{ ('a', 'b')[1] }} {{ 'x' ~ ('a', 'b') }}
{%- if tools is iterable and tools | length > 0 %}tools{% endif %}{%- if tools %}a{% elif not documents %}b{% endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{{ ns.last_query_index }}
{%- set content = '<think>\nx\n</think>\n\ny' %}{{ content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') }}|{{ content.split('</think>')[-1].lstrip('\n') }}|{% if '</think>' in content %}in{% endif %}
{{ (messages[0].content if messages[0].role == 'system' else '') | trim }}{{ '\n\n' if not loop is defined }}{{ messages[0].tool_calls is defined and messages[0].tool_calls }}{% if messages[0].tool_calls %}x{% endif %}{{ messages[0]['reasoning_content'] is string }}
{%- for k in ({'b': 1, 'a': 2}).keys() | list | sort %}{{ k }}{% endfor %}{{ ({'b': 1})['b'] }}{{ {'a': [1, {'b': 2}]}.a[1].b }}{{ 'x' if {} else 'y' }}{{ not [] }}
{{ 'a' ~ nothing ~ 'b' }}{{ nothing == none }}{{ nothing is none }}{{ [nothing] | length }}{% for x in nothing %}x{% endfor %}
{{ nothing + 'a' }}
{{ none + 'a' }}
{{ messages[99] is defined }}{{ messages[0].content[99] is defined }}{{ {}['x'] is defined }}{{ messages[99] }}
{{ messages[0].role in ['system', 'developer'] }}{{ messages | length > 1 and messages[1].role == 'user' }}{{ 5 // 2 * 2 + 5 % 2 }}{{ 1 if 1 > 0 else 2 }}{{ -1 ** 2 }}{{ 2 ** 3 ** 2 }}{{ 10 - 2 - 3 }}{{ not 1 == 2 }}
'''

# Blank lines, indents and blocks.
LONG = [
    """{%- for m in messages %}
    {%- if m['role'] == 'assistant' %}
        {%- generation %}
        {{- m['content'] + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- '<' ~ m['role'] ~ '>' }}
    {%- endif %}
{%- endfor %}""",
    """a
{# comment #}
b
{% if true %}
c
{% endif %}
  {% if true %}  d
  {% endif %}
{%- if true -%}   e   {%- endif -%}  f {{- 'g' -}} h
""",
    "{% generation %}\nx\n{% endgeneration %}\ny\n\n",
]


def render(template):
    values = {"messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return _compile_jinja_template(template).render(bos_token="<s>", eos_token="</s>", **values)
    except Exception:
        # What Python refuses.
        return None


# Tests of values of all kinds.
TESTS = "boolean defined undefined none string mapping sequence iterable number integer float true false".split()
VALUES = "none true 1 1.5 'a' '' [] [1] {} {'a':1} (1,) nothing messages messages[0].nothing".split()
KINDS = [f"{value}: " + " ".join(f"{{{{ {value} is {test} }}}}" for test in TESTS) for value in VALUES]

templates = [line for line in LINES.split("\n") if line] + LONG + KINDS
with open("chat_templates.json", "w", encoding="utf-8") as file:
    pairs = [[template, render(template)] for template in templates]
    json.dump(pairs, file, ensure_ascii=True, indent=0)
    file.write("\n")
