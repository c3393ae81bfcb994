//! A report as HTML: one piece without scripts, whose parts fold.

use std::fmt::Write;

use html_escape::encode_text as escaped;

use crate::report::Report;

impl Report {
    /// Returns the report as HTML: what was recognized, refused and found, and the graph after each pass, if
    /// [`keep_passes`](crate::CompileOptions::keep_passes) asked for those. It needs no other file and no script.
    pub fn to_html(&self) -> String {
        let findings = self.lint();
        let mut html = String::from("<div class=\"mlx-report\" style=\"font-family:monospace\">");
        list(&mut html, "formulas fused", &self.fired, false);
        list(&mut html, "formulas refused", &self.refused, true);
        list(&mut html, "findings", &findings, true);
        list(&mut html, "parts timed", &self.autotuned, false);
        list(
            &mut html,
            "notes of autotuning",
            &self.autotune_warnings,
            true,
        );
        list(
            &mut html,
            "nodes that keep it from being replayed",
            &self.interpreted,
            true,
        );
        let forms = "types that the trace was compiled for";
        list(&mut html, forms, &self.specialized, false);
        let guards = "comparisons of sizes that must come out as in the trace";
        list(&mut html, guards, &self.guards, false);
        let _ = write!(
            html,
            "<details><summary>{}</summary><pre>{}</pre></details>",
            escaped(&self.to_string().lines().last().unwrap_or_default()),
            escaped(&self.to_string())
        );
        let mut before: Option<String> = None;
        for pass in self.passes() {
            let text = pass.graph.to_text_with_sites();
            let n = pass.graph.op_count();
            // Most passes leave most graphs as they are.
            let is_same = before.as_ref() == Some(&text);
            let body = match is_same {
                true => "unchanged",
                false => text.as_str(),
            };
            let _ = write!(
                html,
                "<details><summary>{} {}: {n} operations{}</summary><pre>{}</pre></details>",
                if pass.name == "trace" {
                    "before"
                } else {
                    "after"
                },
                escaped(pass.name),
                if is_same { ", unchanged" } else { "" },
                escaped(body)
            );
            before = Some(text);
        }
        html + "</div>"
    }

    /// Shows the report in a notebook run by evcxr, which calls this for the last expression of a cell.
    pub fn evcxr_display(&self) {
        println!(
            "EVCXR_BEGIN_CONTENT text/html\n{}\nEVCXR_END_CONTENT",
            self.to_html()
        );
        println!("EVCXR_BEGIN_CONTENT text/plain\n{self}\nEVCXR_END_CONTENT");
    }
}

/// A part that folds, with a line for each entry; open when it has any and `opens`.
fn list(html: &mut String, title: &str, lines: &[impl ToString], opens: bool) {
    let open = if opens && !lines.is_empty() {
        " open"
    } else {
        ""
    };
    let _ = write!(
        html,
        "<details{open}><summary>{} {title}</summary><ul>",
        lines.len()
    );
    for line in lines {
        let _ = write!(html, "<li>{}</li>", escaped(&line.to_string()));
    }
    html.push_str("</ul></details>");
}
