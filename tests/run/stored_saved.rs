//! What is done with runs over files: two processes, scores again, exports, a merge of shards. As of the model that runs here.

use crate::bench_rig::{WITHOUT_LAYER_1, cognate, run, same_tables, small_demo, tables};
use crate::determinism::{hosts, start};
use crate::merge::{flow, merge, shards};
use crate::stored::{Dump, SHORT, found, in_files};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    all.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

#[test]
fn processes_scores_and_exports_are_those_of_the_model_that_runs_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let replace =
        [SHORT[0], SHORT[1], WITHOUT_LAYER_1, ("pairs = \"all\"", "pairs = \"all\"\nreadout = true\nstitch = true")];
    let flow = small_demo(folder.path(), &replace);
    run(&flow, &path("here"), &["--quiet"]);
    let rows = Dump::of(&flow, &["resid_post.2"]).write(folder.path(), 0, &[801], true);
    let flow = in_files(folder.path(), &[("resid_post.2", &rows)], &replace);
    run(&flow, &path("files"), &["--quiet"]);
    let hosts = hosts(folder.path(), 2);
    for child in [0, 1].map(|i| start(&flow, &path("two"), &hosts, 2, i, 1)) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    same_tables(&tables(&path("files")), &path("two"), "two processes");

    // nothing of what follows needs the files
    std::fs::remove_dir_all(path("resid_post.2")).unwrap();
    let of = |name: &str| {
        let call = |arguments: &[&str]| {
            let output = cognate().args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let text = |more: &str| path(&format!("{name}{more}")).to_str().unwrap().to_string();
        call(&["score", &text(""), "--set", "estimate.filters.min_correlation=0.3", "--out", &text("-scored")]);
        call(&["export", &text(""), "--directions", &text("-directions"), "--maps", &text("-maps")]);
        call(&["show", &text(""), "small-a/resid_post.2/3"]);
        call(&["report", &text("")]);
        (found(&path(&format!("{name}-scored"))), ["-directions", "-maps"].map(|what| tensors(Path::new(&text(what)))))
    };
    let (here, files) = (of("here"), of("files"));
    assert!(here.1.iter().all(|tensors| tensors.len() > 2));
    assert!(here == files, "what is made from the sums differs");
}

/// The flow `name` over `files` with small-a's activations in files of its own.
fn over(folder: &Path, name: &str, files: &[&Path], rows: &[(&str, &[String])]) -> PathBuf {
    let flow = flow(folder, name, files);
    let text = std::fs::read_to_string(&flow).unwrap();
    let lists: Vec<String> = rows.iter().map(|(place, paths)| format!("{place:?} = {paths:?}")).collect();
    let elsewhere = format!("tokenizer = \"data/demo/models/small-a\"\nfiles = {{ {} }}\n", lists.join(", "));
    std::fs::write(&flow, text.replace("path = \"data/demo/models/small-a\"\n", &elsewhere)).unwrap();
    flow
}

#[test]
fn runs_over_the_files_of_their_shards_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let corpus = shards(folder.path(), 3);
    let places = ["resid_post.1", "resid_post.2"];
    let mut of_shard: Vec<[String; 2]> = Vec::new();
    for (k, shard) in corpus.iter().enumerate() {
        let here = flow(folder.path(), &format!("flow-here{k}"), &[shard]);
        run(&here, &path(&format!("here{k}")), &["--quiet"]);
        let dump = Dump::of(&here, &places);
        let own = path(&format!("rows{k}"));
        of_shard.push([0, 1].map(|place| dump.write(&own, place, &[100], true)));
        let rows = [0, 1].map(|place| (places[place], std::slice::from_ref(&of_shard[k][place])));
        run(&over(folder.path(), &format!("flow{k}"), &[shard], &rows), &path(&format!("files{k}")), &["--quiet"]);
    }
    let merged = |parts: &[&str], out: &str| {
        let parts: Vec<PathBuf> = parts.iter().map(|name| path(name)).collect();
        merge(&parts.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &path(out))
    };
    assert_eq!(merged(&["here0", "here1", "here2"], "here").0, 0);
    let (code, said) = merged(&["files0", "files1", "files2"], "files");
    assert_eq!(code, 0, "{said}");
    assert!(found(&path("here")) == found(&path("files")), "the merge of runs over files is another");
    assert_eq!((merged(&["files0", "files1"], "two").0, merged(&["two", "files2"], "three").0), (0, 0));
    same_tables(&tables(&path("files")), &path("three"), "a merge of a merge");
    let output = cognate().arg("score").arg(path("files")).arg("--out").arg(path("scored")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // the merge's dataflow file is that of one run over all
    let all = [0, 1].map(|place| of_shard.iter().map(|of| of[place].clone()).collect::<Vec<String>>());
    let text = std::fs::read_to_string(path("files").join("dataflow.toml")).unwrap();
    assert!(of_shard.iter().flatten().all(|pattern| text.contains(pattern)), "{text}");
    let shards: Vec<&Path> = corpus.iter().map(PathBuf::as_path).collect();
    let rows = [0, 1].map(|place| (places[place], all[place].as_slice()));
    let whole = over(folder.path(), "whole", &shards, &rows);
    run(&whole, &path("whole"), &["--quiet"]);
    run(&path("files").join("dataflow.toml"), &path("again"), &["--quiet"]);
    assert!(found(&path("whole")) == found(&path("again")), "its dataflow file is of another run");

    // what cannot be added
    let rows = [0, 1].map(|place| (places[place], std::slice::from_ref(&of_shard[0][place])));
    let first = over(folder.path(), "first", &shards[..1], &rows);
    std::fs::copy(&corpus[0], path("copy.jsonl")).unwrap();
    let mut longer = std::fs::read_to_string(path("copy.jsonl")).unwrap();
    longer.push('\n');
    std::fs::write(path("copy.jsonl"), longer).unwrap();
    let text = std::fs::read_to_string(&first)
        .unwrap()
        .replace(corpus[0].to_str().unwrap(), path("copy.jsonl").to_str().unwrap());
    std::fs::write(&first, text).unwrap();
    run(&first, &path("first"), &["--quiet"]);
    let (code, said) = merged(&["files0", "first"], "never");
    assert!(code == 2 && said.contains("both read the models.small-a files of resid_post.1"), "{said}");
    let (code, said) = merged(&["files0", "here1"], "never");
    assert!(code == 2 && said.contains("asked for different things"), "{said}");
}
