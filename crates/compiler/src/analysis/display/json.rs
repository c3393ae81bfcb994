//! A report as JSON, for programs; `docs/lint.md` has the schema.

use serde_json::{Value, json};

use crate::Finding;
use crate::graph::SourceLocation;
use crate::report::{Choice, Report, TimingSource, TunedSite};

/// The version of the form, which changes when a field changes its meaning.
const VERSION: u32 = 1;

impl Report {
    /// Returns the report as JSON: an object with the fields `version`, `fired`, `refused`, `elementwise_kernels`,
    /// `programs`, `autotuned`, `autotune_warnings`, `cuda_graph`, `interpreted`, `specialized`, `guards`, `rematerialization`,
    /// `ops_before`, `ops_after`, `findings` and `passes`.
    pub fn to_json(&self) -> String {
        let fired = self.fired.iter().map(|fired| {
            let reason = match &fired.choice {
                Choice::Kernel => Value::Null,
                Choice::Body(refusal) => json!(refusal.reason),
            };
            json!({"fusion": fired.fusion.name(), "site": site(fired.site), "composed": reason})
        });
        let refused = self.refused.iter().map(|refused| {
            json!({
                "fusion": refused.fusion.name(),
                "site": site(refused.site),
                "kind": format!("{:?}", refused.refusal.kind),
                "reason": refused.refusal.reason,
            })
        });
        let passes = self
            .passes()
            .map(|pass| json!({"name": pass.name, "graph": pass.graph.to_string()}));
        let whole = json!({
            "version": VERSION,
            "fired": fired.collect::<Vec<_>>(),
            "refused": refused.collect::<Vec<_>>(),
            "elementwise_kernels": self.elementwise_kernels,
            "programs": self.programs,
            "autotuned": self.autotuned.iter().map(tuned).collect::<Vec<_>>(),
            "autotune_warnings": self.autotune_warnings,
            "cuda_graph": self.cuda_graph,
            "interpreted": self.interpreted,
            "specialized": self.specialized,
            "guards": self.guards,
            "rematerialization": self.rematerialization.as_ref().map(|done| json!({
                "operations": done.operations,
                "bytes": done.bytes,
                "peak_before": done.peak_before,
                "peak_after": done.peak_after,
            })),
            "ops_before": self.ops_before,
            "ops_after": self.ops_after,
            "findings": self.lint().iter().map(Finding::to_value).collect::<Vec<_>>(),
            "passes": passes.collect::<Vec<_>>(),
        });
        whole.to_string()
    }
}

fn tuned(tuned: &TunedSite) -> Value {
    let reason = match &tuned.source {
        TimingSource::Untimed(reason) => json!(reason),
        _ => Value::Null,
    };
    let forms = tuned.forms.iter().map(|form| {
        json!({
            "form": form.form,
            "median_us": form.median.as_secs_f64() * 1e6,
            "spread_us": form.spread.as_secs_f64() * 1e6,
        })
    });
    json!({
        "what": tuned.what,
        "site": site(tuned.site),
        "key": tuned.key,
        "forms": forms.collect::<Vec<_>>(),
        "default": tuned.default,
        "chosen": tuned.chosen,
        "source": tuned.source.name(),
        "untimed": reason,
        "count": tuned.count,
    })
}

impl Finding {
    fn to_value(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "site": site(self.site),
            "what": self.what,
            "bytes": self.cost.bytes,
            "share": self.cost.share,
            "instead": self.instead,
            "count": self.count,
        })
    }
}

fn site(site: SourceLocation) -> Value {
    match site.at {
        Some(at) => json!({"file": at.file(), "line": at.line(), "column": at.column()}),
        None => Value::Null,
    }
}
