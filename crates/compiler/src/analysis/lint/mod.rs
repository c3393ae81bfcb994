//! Lint: what makes a compiled function slow or wrong and can be proven from its graph, by source line.
//!
//! Each kind is a line of the table in `rules/mod.rs` and a function beside it.

pub(super) mod cost;
mod finding;
mod rules;
mod scope;

pub use finding::{Cost, Finding, FindingKind};

use crate::report::{Form, Report};
use cost::graph_weight;
use rules::{RULES, Stage};
use scope::Scope;

impl Report {
    /// Returns what makes the function slow or wrong, with the line, the cost and what to write instead; the most
    /// expensive first. Nothing is run, except what depends on no input.
    ///
    /// ```
    /// use mlx::{Array, Dtype, ones_with};
    /// use mlx_compiler::{FindingKind, jit};
    ///
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let scale = mlx::ones([64]);
    /// let scaled = jit(move |x: &Array| x * &scale);
    /// scaled(&ones_with([16, 64], Dtype::Bfloat16))?;
    /// let findings = scaled.report().unwrap_or_default().lint();
    /// assert_eq!(findings[0].kind, FindingKind::SilentWidening);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for form in &self.forms {
            mlx::compiler_api::without_recording(|| lint_form(self, form, &mut findings));
        }
        merge(findings)
    }
}

fn lint_form(report: &Report, form: &Form, findings: &mut Vec<Finding>) {
    let total = graph_weight(&form.optimized).max(1.0);
    for (stage, graph) in [
        (Stage::Traced, &form.traced),
        (Stage::Optimized, &form.optimized),
        (Stage::Lowered, &form.lowered),
    ] {
        let rules = || RULES.iter().filter(move |rule| rule.stage == stage);
        Scope::visit(report, form, graph, total, &mut |scope| {
            for rule in rules() {
                for found in (rule.find)(scope) {
                    findings.push(scope.finding(rule.kind, rule.instead, found));
                }
            }
        });
    }
}

/// Adds up findings of one line that say the same, and puts the most expensive first.
fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let same = |one: &&mut Finding| {
            one.kind == finding.kind && one.site == finding.site && one.what == finding.what
        };
        match merged.iter_mut().find(same) {
            Some(one) => {
                one.count += 1;
                one.cost.bytes = one.cost.bytes.saturating_add(finding.cost.bytes);
                one.cost.share = (one.cost.share + finding.cost.share).min(1.0);
            }
            None => merged.push(finding),
        }
    }
    merged.sort_by(|a, b| b.cost.share.total_cmp(&a.cost.share));
    merged
}
