//! Chat templates give what Python's `transformers` gives, and no template ends the process.
//!
//! `golden/make_chat_templates.py` has written down what Python makes of each template.

use mlx_models::llama::{ChatTemplate, Message};
use rstest::rstest;

fn talk() -> [Message; 4] {
    [
        Message::system(" be\n<brief> "),
        Message::user("Hi \"é\"\n"),
        Message::assistant("Yo"),
        Message::user("more?"),
    ]
}

fn render(template: &str) -> Result<String, String> {
    let template = ChatTemplate::new(template, "<s>", "</s>");
    template
        .render(&talk(), true)
        .map_err(|error| error.to_string())
}

#[test]
fn templates_give_what_python_gives() {
    let golden = include_str!("golden/chat_templates.json");
    let golden: Vec<(String, Option<String>)> = serde_json::from_str(golden).unwrap();
    assert!(golden.len() > 60, "{}", golden.len());
    for (template, wanted) in golden {
        assert_eq!(render(&template).ok(), wanted, "{template}");
    }
}

/// What `transformers` does not have, but templates of other programs do.
#[rstest]
#[case(
    "{{ ('{\"b\": [1, 2.5, null], \"a\": true}' | fromjson).b }}",
    "[1, 2.5, None]"
)]
#[case(
    "{{ '{\"b\": 1, \"a\": [true]}' | fromjson | tojson }}",
    "{\"b\": 1, \"a\": [true]}"
)]
#[case("{{ '[1, 2]' | from_json | length }}", "2")]
#[case("{{ unk_token }}{{ pad_token }}", "<unk>")]
#[case("{{ '{} of 1000000 {:>4}'.format(1, 2) }}", "1 of 1000000    2")]
fn other_words(#[case] template: &str, #[case] wanted: &str) {
    let template = ChatTemplate::new(template, "<s>", "</s>").with_token("unk_token", "<unk>");
    assert_eq!(template.render(&talk(), true).unwrap(), wanted);
}

#[test]
fn the_date_is_todays() {
    let text = render("{{ strftime_now('%Y-%m-%d|%B|%-d|%H:%M:%S|%p|%j|%%') }}").unwrap();
    let parts: Vec<&str> = text.split('|').collect();
    assert_eq!(parts.len(), 7, "{text}");
    let date: Vec<u32> = parts[0].split('-').map(|n| n.parse().unwrap()).collect();
    assert!(date[0] >= 2025 && (1..=12).contains(&date[1]), "{text}");
    let months = ["January", "May", "December"];
    assert!(
        [1, 5, 12]
            .iter()
            .zip(months)
            .all(|(n, m)| date[1] != *n || parts[1] == m),
        "{text}"
    );
    assert_eq!(parts[2].parse::<u32>().unwrap(), date[2]);
    assert!(parts[4] == "AM" || parts[4] == "PM", "{text}");
    assert_eq!(parts[6], "%");
}

#[rstest]
#[case("{{ strftime_now('%Q') }}", "strftime_now: wanted a format")]
#[case("{{ 'no json' | fromjson }}", "fromjson")]
#[case(
    "{{ messages | tojson(separators=[',']) }}",
    "separators: wanted two texts"
)]
#[case("{{ messages | tojson(indent=100000000) }}", "indent: wanted")]
#[case(
    "{{ messages | tojson(indent='x' * 65) }}",
    "indent: wanted a text or a number up to 64"
)]
#[case("{{ messages | tojson(color=1) }}", "chat template")]
#[case(
    "{{ undefined_thing | tojson }}",
    "tojson: wanted a value that JSON has"
)]
#[case("{{ 'x'.center(100000000000) }}", "center: wanted at most")]
#[case("{{ '\t'.expandtabs(1000000) }}", "expandtabs: wanted at most")]
#[case("{{ '{:>1000000000}'.format('x') }}", "format: wanted")]
#[case("{{ 'x' * 1000000000000 }}", "chat template")]
#[case("{% generation %}x", "chat template")]
#[case("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "chat template")]
fn what_cannot_be_done_is_an_error(#[case] template: &str, #[case] says: &str) {
    let text = render(template).unwrap_err();
    assert!(
        text.contains("chat template: ") && text.contains(says),
        "{text}"
    );
}

/// Lists in lists, as deep as a template's steps allow: dropping and printing them recurs.
#[rstest]
#[case("[ns.x]", "", Some("ok"))]
#[case("{'a': ns.x}", "{% if ns.x == ns.x %}{% endif %}", Some("ok"))]
#[case("[ns.x]", "{{ ns.x | tojson }}", None)]
#[case("[ns.x]", "{{ ns.x }}{{ 1 / 0 }}", None)]
fn deep_values_do_not_overflow_the_stack(
    #[case] deeper: &str,
    #[case] then: &str,
    #[case] wanted: Option<&str>,
) {
    let template = format!(
        "{{% set ns = namespace(x=[]) %}}{{% for j in range(2) %}}{{% for i in range(90000) %}}\
         {{% set ns.x = {deeper} %}}{{% endfor %}}{{% endfor %}}{then}ok"
    );
    assert_eq!(render(&template).ok().as_deref(), wanted);
}
