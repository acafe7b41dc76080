//! A dataflow file on standard input: `cognate run -` does what the same file does by name, and resumes as it does.

use crate::bench_rig::{cognate, run, same_tables, small_demo, tables, wait_for};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Output, Stdio};

/// `cognate` with these arguments and `text` on its standard input.
fn started(text: &str, arguments: &[&str]) -> Child {
    let mut command = cognate();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child
}

fn given(text: &str, arguments: &[&str]) -> Output {
    started(text, arguments).wait_with_output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn gives_the_tables_of_the_same_file_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let text = std::fs::read_to_string(&flow).unwrap();
    let by_name = folder.path().join("by-name");
    run(&flow, &by_name, &["--quiet"]);

    let piped = folder.path().join("piped");
    let out = piped.to_str().unwrap();
    let mut child = started(&text, &["run", "-", "--quiet", "--out", out]);
    wait_for(&mut child, &piped.join("manifest.json"));
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = given(&text, &["run", "-", "--out", out]);
    succeeded(&rest);
    assert!(String::from_utf8_lossy(&rest.stderr).contains("resuming after "));
    same_tables(&tables(&by_name), &piped, "by name and on standard input");

    // the run directory is whole: what comes later reads the file that it keeps
    assert_eq!(std::fs::read_to_string(piped.join("dataflow.toml")).unwrap(), text);
    let scored = cognate().args(["score", out, "--set", "estimate.filters.min_active=9"]).output().unwrap();
    succeeded(&scored);
    // and the same file by name finds it complete
    let again = run(&flow, &piped, &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is complete"));
}

#[test]
fn is_planned_and_refused_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(small_demo(folder.path(), &[])).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&succeeded(&given(&text, &["plan", "-", "--json"]))).unwrap();
    assert_eq!(plan["name"], "small");

    let wrong = text.replace("context_length", "context_lenth");
    let refused = given(&wrong, &["run", "-", "--out", folder.path().join("run").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: dataflow file on standard input line 7: "), "{said}");
    assert!(said.contains("unknown field `context_lenth` (did you mean `context_length`?)"), "{said}");
    assert!(!Path::new(&folder.path().join("run")).exists());

    // what begins with ./ is relative to the working directory, which is all the folder there is
    let dotted = text.replace("\"data/demo", "\"./data/demo");
    succeeded(&given(&dotted, &["plan", "-"]));
}
