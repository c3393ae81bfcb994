//! A report as JSON, for programs; `docs/lint.md` has the schema.

use serde_json::{Value, json};

use crate::Finding;
use crate::graph::SourceLocation;
use crate::report::{Choice, Report};

/// The version of the form, which changes when a field changes its meaning.
const VERSION: u32 = 1;

impl Report {
    /// Returns the report as JSON: an object with the fields `version`, `fired`, `refused`, `elementwise_kernels`,
    /// `programs`, `cuda_graph`, `interpreted`, `rematerialization`, `ops_before`, `ops_after`, `findings` and `passes`.
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
            "cuda_graph": self.cuda_graph,
            "interpreted": self.interpreted,
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
