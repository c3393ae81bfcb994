//! How a plot reaches the notebook: content marked as evcxr wants it on the standard output.

/// Prints HTML for evcxr to show.
pub(crate) fn html(content: &str) {
    println!("EVCXR_BEGIN_CONTENT text/html\n{content}\nEVCXR_END_CONTENT");
}
