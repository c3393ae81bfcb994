//! The `{% generation %}` blocks of `transformers`, translated to plain Jinja.
//!
//! Such a block marks what a model was trained to write, which makes no difference in a prompt. A block of
//! `with` also has its own scope and writes its contents.

use std::borrow::Cow;

/// Returns the template with `generation` blocks replaced by `with` blocks.
pub(super) fn without_generation(template: &str) -> Cow<'_, str> {
    if !template.contains("generation") {
        return Cow::Borrowed(template);
    }
    let mut written = String::with_capacity(template.len());
    let mut rest = template;
    let mut raw = false;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        written.push_str(before);
        let length = tag_length(tag, raw);
        let (tag, behind) = tag.split_at(length);
        match statement(tag) {
            Some("raw") => raw = true,
            Some("endraw") => raw = false,
            _ => {}
        }
        match statement(tag).filter(|_| !raw) {
            Some("generation") => written.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => written.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => written.push_str(tag),
        }
        rest = behind;
    }
    written.push_str(rest);
    Cow::Owned(written)
}

/// Returns the length of the tag that a text begins with, or of its first character. Within `raw` only
/// statements count, because one of them ends it.
fn tag_length(text: &str, raw: bool) -> usize {
    let end = match text.as_bytes().get(1) {
        Some(b'%') => "%}",
        Some(b'#') if !raw => return text.find("#}").map_or(text.len(), |at| at + 2),
        Some(b'{') if !raw => "}}",
        _ => return 1,
    };
    if raw && statement_at(text) != Some("endraw") {
        return 1;
    }
    let mut quote = None;
    for (at, c) in text.char_indices().skip(2) {
        match quote {
            // An escaped quote does not end a string; two escapes do not escape the quote after them.
            Some(open) if c == open && !escaped(&text[..at]) => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[at..].starts_with(end) => return at + end.len(),
            None => {}
        }
    }
    text.len()
}

fn escaped(text: &str) -> bool {
    let backslashes = text.bytes().rev().take_while(|&byte| byte == b'\\').count();
    backslashes % 2 == 1
}

/// Returns the only word of a statement, where it is one of a single word.
fn statement(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    Some(inner.trim())
}

/// Returns the same for the statement that a text begins with.
fn statement_at(text: &str) -> Option<&str> {
    let end = text.find("%}")?;
    statement(&text[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::without_generation;

    #[rstest::rstest]
    #[case("{% generation %}a{% endgeneration %}", "{% with %}a{% endwith %}")]
    #[case(
        "{%- generation -%}a{%- endgeneration +%}",
        "{%- with -%}a{%- endwith +%}"
    )]
    #[case("{%generation%}{{x}}{%endgeneration%}", "{%with%}{{x}}{%endwith%}")]
    #[case("{{ '{% generation %}' }}", "{{ '{% generation %}' }}")]
    #[case("{{ '\\'{% generation %}' }}", "{{ '\\'{% generation %}' }}")]
    #[case("{# it's {% generation %} #}", "{# it's {% generation %} #}")]
    #[case(
        "{% raw %}{% generation %}{{'{% endraw %}{% generation %}",
        "{% raw %}{% generation %}{{'{% endraw %}{% with %}"
    )]
    #[case(
        "{ {% if add_generation_prompt %}é{% endif %}",
        "{ {% if add_generation_prompt %}é{% endif %}"
    )]
    #[case("{% generation", "{% generation")]
    fn only_blocks_are_rewritten(#[case] template: &str, #[case] wanted: &str) {
        assert_eq!(without_generation(template), wanted);
    }
}
