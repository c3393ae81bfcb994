//! Help, versions, completions and exit statuses of the command line.

use std::process::{Command, Output};

use rstest::rstest;

fn mlx(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlx"))
        .args(args)
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[rstest]
#[case(&[], "transcribe")]
#[case(&["--help"], "Exit status: 0 for success")]
#[case(&["-h"], "generate")]
#[case(&["help", "generate"], "--max-tokens")]
#[case(&["demo", "--help"], "--audio")]
#[case(&["doctor", "--help"], "--json")]
#[case(&["transcribe", "--help"], "--no-timestamps")]
#[case(&["generate", "--help"], "--repetition-penalty")]
#[case(&["launch", "--help"], "--hostfile")]
#[case(&["lint", "--help"], "--allow")]
#[case(&["tune", "--help"], "--output")]
#[case(&["profile", "--help"], "--svg")]
#[case(&["diff", "--help"], ".mlxfn")]
#[case(&["export", "--help"], "without MLX")]
#[case(&["completions", "--help"], "bash")]
#[case(&["--version"], env!("CARGO_PKG_VERSION"))]
fn help_is_printed_to_the_standard_output(#[case] args: &[&str], #[case] wanted: &str) {
    let output = mlx(args);
    let (out, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(out.contains(wanted) && errors.is_empty(), "{out}{errors}");
}

#[rstest]
#[case(&["sing"], "sing")]
#[case(&["--loud"], "--loud")]
#[case(&["doctor", "--loud"], "--loud")]
#[case(&["transcribe"], "<FILE>")]
#[case(&["transcribe", "--beams", "many", "a.wav"], "many")]
#[case(&["generate", "--prompt", "a", "--chat", "b"], "--chat")]
#[case(&["launch", "-n", "2"], "<PROGRAM>")]
#[case(&["launch", "-n", "0", "true"], "0")]
#[case(&["lint", "--allow"], "--allow")]
#[case(&["diff", "a.txt"], "<FILE>")]
#[case(&["export"], "<FOLDER>")]
#[case(&["completions", "dos"], "dos")]
fn a_wrong_command_line_ends_with_2(#[case] args: &[&str], #[case] named: &str) {
    let output = mlx(args);
    let (out, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.starts_with("error: ") && errors.contains(named),
        "{errors}"
    );
    assert_eq!(out, "");
}

#[test]
fn layers_over_ranks_want_ranks() {
    let output = mlx(&["generate", "--pipeline", "--prompt", "a"]);
    assert_eq!(output.status.code(), Some(1));
    let (_, errors) = texts(&output);
    assert!(errors.contains("wants the ranks of a group"), "{errors}");
}

#[rstest]
#[case("bash", "complete -F")]
#[case("zsh", "#compdef mlx")]
#[case("fish", "complete -c mlx")]
fn completions_name_the_options(#[case] shell: &str, #[case] wanted: &str) {
    let (out, errors) = texts(&mlx(&["completions", shell]));
    assert!(
        out.contains(wanted) && out.contains("no-timestamps"),
        "{out}{errors}"
    );
}

#[test]
fn two_graphs_are_compared_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, body: &str| {
        let path = folder.path().join(name);
        let text = format!("graph f(x0: float32[2]) {{\n{body}\n}}");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let a = write("a.txt", "  %0: float32[2] = exp x0\n  return %0");
    let b = write(
        "b.txt",
        "  %0: float32[2] = exp x0\n  %1: float32[2] = add %0, 1.0\n  return %1",
    );
    let (out, errors) = texts(&mlx(&["diff", &a, &b]));
    assert!(
        out.contains("> ") && out.contains("they differ first in line 3"),
        "{out}{errors}"
    );
    assert!(
        out.contains("add                                   0      1  <>"),
        "{out}"
    );
    assert_eq!(mlx(&["diff", &a, &b]).status.code(), Some(1));
    let same = mlx(&["diff", &a, &a]);
    assert_eq!(same.status.code(), Some(0));
    assert!(texts(&same).0.contains("the graphs are the same"));
}
