//! What sums were made from is looked at by every command that uses them: an SAE or a tokenizer that changed since, a dataflow
//! file that was edited in the run directory.

use crate::bench_rig::{cognate, project, run};
use crate::merge::{flow, merge, shards};
use std::path::{Path, PathBuf};

fn copy_folder(from: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(project().join(from)).unwrap().map(|e| e.unwrap()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Exit code and messages.
fn said(args: &[&str], more: &[&Path]) -> (i32, String) {
    let output = cognate().args(args).args(more).output().unwrap();
    let text = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned()).concat();
    (output.status.code().unwrap(), text)
}

#[test]
fn what_changed_since_the_sums_were_made_is_named_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    copy_folder("data/demo/saes/small-b/layers.3", &path("sae"));
    copy_folder("data/demo/models/small-a", &path("model"));
    let files = shards(folder.path(), 2);
    let flows: Vec<PathBuf> = ["a", "b"]
        .iter()
        .zip(&files)
        .map(|(name, file)| {
            let flow = flow(folder.path(), &format!("flow-{name}"), &[file]);
            let text = std::fs::read_to_string(&flow).unwrap();
            let text = text
                .replace("data/demo/saes/small-b/layers.3", path("sae").to_str().unwrap())
                .replace("data/demo/models/small-a", path("model").to_str().unwrap());
            std::fs::write(&flow, text).unwrap();
            run(&flow, &path(name), &["--quiet"]);
            flow
        })
        .collect();
    let (a, b) = (path("a"), path("b"));
    let merged = |out: &str| merge(&[&a, &b], &path(out));
    let shown = || {
        let output = cognate().arg("show").arg(&b).arg("small-b/resid_post.3/5").output().unwrap();
        let text = [&output.stdout, &output.stderr].map(|t| String::from_utf8_lossy(t).into_owned()).concat();
        (output.status.code().unwrap(), text)
    };
    let all_is_well = |out: &str| {
        let (code, text) = merged(out);
        assert_eq!(code, 0, "{text}");
        for (code, text) in [said(&["score"], &[&b]), said(&["report"], &[&b]), shown()] {
            assert!(code == 0 && !text.contains("warning"), "{text}");
        }
    };
    all_is_well("merged-0");

    // the dataflow file that the run keeps
    let kept = b.join("dataflow.toml");
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("min_active = 3", "min_active = 4")).unwrap();
    let name = kept.to_str().unwrap();
    for (code, text) in [merged("x"), said(&["score"], &[&b])] {
        assert!(code == 4 && text.contains(name) && text.contains("cognate run"), "{code} {text}");
    }
    for (code, text) in [said(&["report"], &[&b]), shown()] {
        assert!(code == 0 && text.contains("warning") && text.contains(name), "{code} {text}");
    }
    let page = std::fs::read_to_string(b.join("report.html")).unwrap();
    assert!(!page.contains("min_active = 4") && !page.contains("\"map\":{"), "nothing is drawn with it");
    // from a file that asks for the same in other words, which is the run's own from now on
    let given = std::fs::read_to_string(&flows[1]).unwrap();
    std::fs::write(&flows[1], format!("# a word more\n{given}")).unwrap();
    let (code, text) = said(&["run", "--out"], &[&b, &flows[1]]);
    assert!(code == 0 && text.contains("is written again"), "{text}");
    assert_eq!(std::fs::read(&kept).unwrap(), std::fs::read(&flows[1]).unwrap());
    all_is_well("merged-1");

    // an SAE, then a tokenizer: the same content to their readers, other bytes
    for (file, name) in [
        (path("sae/cfg.json"), "saes.\"small-b/resid_post.3\" cfg.json"),
        (path("model/tokenizer.json"), "models.small-a tokenizer.json"),
    ] {
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&whole[..], b"\n"].concat()).unwrap();
        for (code, text) in [merged("x"), said(&["score"], &[&b]), said(&["run", "--out"], &[&b, &flows[1]])] {
            assert!(code == 4 && text.contains(name), "{code} {text}");
        }
        let (code, text) = said(&["report"], &[&b]);
        let left_out = if name.starts_with("saes") { "no map of small-b/resid_post.3" } else { "may not mark tokens" };
        assert!(code == 0 && text.contains(name) && text.contains(left_out), "{code} {text}");
        let (code, text) = shown();
        assert_eq!((code, text.contains(name)), (0, name.starts_with("models")), "{text}");
        std::fs::write(&file, whole).unwrap();
    }
    assert!(!path("x").exists(), "a refusal writes nothing");
    all_is_well("merged-2");
}
