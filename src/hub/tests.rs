//! A cache in a temporary folder, and a hub that is a thread of the test.

use super::*;
use crate::error::ErrorKind;
use std::collections::BTreeMap;
use std::path::Path;
#[cfg(feature = "download")]
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap().unwrap()
}

fn hub(cache: &Path) -> Hub {
    Hub { cache: cache.to_path_buf(), offline: true, token: None, endpoint: None }
}

/// Files of a snapshot, each a link into `blobs/` as Python makes them.
fn fill(cache: &Path, repository: &str, files: &[&str]) -> PathBuf {
    let folder = cache.join(format!("models--{}", repository.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    for dir in ["refs", "blobs"] {
        std::fs::create_dir_all(folder.join(dir)).unwrap();
    }
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for (k, file) in files.iter().enumerate() {
        let (blob, link) = (folder.join(format!("blobs/{k}")), snapshot.join(file));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::write(&blob, format!("content of {file}")).unwrap();
        std::os::unix::fs::symlink(&blob, &link).unwrap();
    }
    snapshot
}

#[test]
fn references_are_read_and_written() {
    for (text, repository, revision, inside) in [
        ("hf:EleutherAI/pythia-70m", "EleutherAI/pythia-70m", "main", ""),
        ("hf:a/b@step3000", "a/b", "step3000", ""),
        ("hf:a/b@v1.0/layers.3/", "a/b", "v1.0", "layers.3"),
        (
            "hf:a/b/layer_3/width_16k/average_l0_59/params.npz",
            "a/b",
            "main",
            "layer_3/width_16k/average_l0_59/params.npz",
        ),
    ] {
        let found = reference(text);
        assert_eq!(
            (found.repository.as_str(), found.revision.as_str(), found.inside.as_str()),
            (repository, revision, inside)
        );
        assert_eq!(found.to_string(), text.trim_end_matches('/'));
    }
    assert_eq!(Reference::parse("data/hf:x").unwrap(), None);
    for bad in [
        "hf:",
        "hf:gpt2",
        "hf:a/",
        "hf:/b",
        "hf:a/b@",
        "hf:../b",
        "hf:a/..",
        "hf:a/b/../../c",
        "hf:a/b@x y",
        "hf:a/b//c",
    ] {
        let error = Reference::parse(bad).unwrap_err();
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains(bad), "{bad}: {error}");
    }
}

#[test]
fn the_environment_says_where_the_cache_is() {
    let of = |set: &[(&str, &str)]| {
        let set: BTreeMap<String, String> = set.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Hub::of(move |name| set.get(name).cloned())
    };
    let all = [
        ("HF_HUB_CACHE", "/one"),
        ("HUGGINGFACE_HUB_CACHE", "/two"),
        ("HF_HOME", "/three"),
        ("XDG_CACHE_HOME", "/four"),
        ("HOME", "/five"),
    ];
    let expected = ["/one", "/two", "/three/hub", "/four/huggingface/hub", "/five/.cache/huggingface/hub"];
    for (k, expected) in expected.iter().enumerate() {
        assert_eq!(of(&all[k..]).cache, Path::new(expected));
    }
    for (value, offline) in [("1", true), ("ON", true), ("True", true), ("0", false), ("", false)] {
        assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value:?}");
        assert_eq!(of(&[("TRANSFORMERS_OFFLINE", value)]).offline, offline, "{value:?}");
    }
    assert_eq!(of(&[("HF_TOKEN", "secret\n")]).token.as_deref(), Some("secret"));
}

#[test]
fn a_whole_snapshot_is_found_by_branch_and_by_commit() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["config.json", "model.safetensors", "tokenizer.json", "layers.3/cfg.json", "layers.3/sae.safetensors"];
    let snapshot = fill(dir.path(), "a/b", &files);
    let hub = hub(dir.path());
    for text in ["hf:a/b".to_string(), format!("hf:a/b@{COMMIT}")] {
        assert_eq!(hub.find(&reference(&text), Want::Model).unwrap(), snapshot);
    }
    assert_eq!(hub.find(&reference("hf:a/b/layers.3"), Want::Sae).unwrap(), snapshot.join("layers.3"));
    let file = hub.find(&reference("hf:a/b/layers.3/sae.safetensors"), Want::Sae).unwrap();
    assert_eq!(file, snapshot.join("layers.3/sae.safetensors"));
}

#[test]
fn what_is_missing_is_named_with_its_place_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot =
        fill(dir.path(), "a/b", &["config.json", "model.safetensors.index.json", "one.safetensors", "res/cfg.json"]);
    let index = r#"{"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}"#;
    std::fs::write(snapshot.join("model.safetensors.index.json"), index).unwrap();
    let hub = hub(dir.path());
    let said = |text: &str, want: Want| {
        let error = hub.fetch(&reference(text), want, &|_| panic!("offline")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        error.to_string()
    };
    let lacks = |said: String, parts: &[&str]| {
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    let place = snapshot.display().to_string();
    lacks(said("hf:a/b", Want::Model), &["two.safetensors is missing", &place, "hf download a/b", "HF_HUB_OFFLINE"]);
    std::fs::write(snapshot.join("two.safetensors"), "").unwrap();
    lacks(said("hf:a/b", Want::Model), &["tokenizer.json is missing"]);
    assert_eq!(hub.find(&reference("hf:a/b"), Want::Weights).unwrap(), snapshot);
    // a link whose blob is gone is a missing file
    std::fs::remove_file(dir.path().join("models--a--b/blobs/0")).unwrap();
    lacks(said("hf:a/b", Want::Config), &["config.json is missing"]);
    lacks(said("hf:a/b/res", Want::Sae), &["file of weights) is missing", "--include \"res/*\""]);
    lacks(said("hf:a/b/res/ae.pt", Want::Sae), &["res/ae.pt is missing", "hf download a/b res/ae.pt"]);
    lacks(said("hf:a/b@v2", Want::Model), &["there is no", "refs/v2", "--revision v2"]);
    lacks(said(&format!("hf:a/b@{}", COMMIT.replace('0', "9")), Want::Model), &["there is no", "snapshots/9123"]);
    lacks(said("hf:a/c", Want::Model), &["there is no", "models--a--c/refs/main"]);
    // a reference file that leads elsewhere is not followed
    std::fs::write(dir.path().join("models--a--b/refs/main"), "../../x").unwrap();
    lacks(said("hf:a/b", Want::Config), &["there is no"]);
}

#[cfg(feature = "download")]
/// A hub that answers from memory; what was asked for is written down.
fn serve(files: &'static [(&'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> =
                (BufReader::new(&stream).lines().map_while(|l| l.ok())).take_while(|line| !line.is_empty()).collect();
            let path = lines[0].split(' ').nth(1).unwrap().to_string();
            let range =
                lines.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(String::from));
            let body = if path == "/api/models/a/b/revision/main" {
                let names: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
                Some(serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string())
            } else {
                let name = path.strip_prefix("/a/b/resolve/main/").unwrap_or("?");
                files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.to_string())
            };
            let answer = match (body, range) {
                (None, _) => {
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_string() + "Connection: close\r\n\r\n"
                }
                (Some(body), None) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                }
                (Some(body), Some(range)) => {
                    let (from, to) = range.split_once('-').unwrap();
                    let from: usize = from.parse().unwrap();
                    let to = to.parse().map_or(body.len(), |to: usize| (to + 1).min(body.len()));
                    if to == body.len() {
                        heard.lock().unwrap().push(path.rsplit_once("main/").unwrap().1.to_string());
                    }
                    format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nETag: \"{}\"\r\n\
                         X-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n{}",
                        to - from,
                        to - 1,
                        body.len(),
                        path.replace('/', "_"),
                        &body[from..to]
                    )
                }
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, asked)
}

#[cfg(feature = "download")]
#[test]
fn what_the_cache_lacks_is_downloaded_once_and_nothing_more() {
    let (endpoint, asked) = serve(&[
        ("config.json", "{\"a\": 1}"),
        ("model.safetensors", "the weights"),
        ("pytorch_model.bin", "the weights again"),
        ("tokenizer.json", "{}"),
        ("README.md", "# words"),
        ("layers.3/cfg.json", "{\"k\": 8}"),
        ("layers.3/sae.safetensors", "an sae"),
        ("layers.3/examples.safetensors", "much else"),
        ("layers.4/sae.safetensors", "another sae"),
        ("many/one.pt", "one of two"),
        ("many/two.pt", "two of two"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub { offline: false, endpoint: Some(endpoint), ..hub(dir.path()) };
    let steps = Mutex::new(Vec::new());
    let tell =
        |step: &DownloadStep| steps.lock().unwrap().push((step.file.to_string(), step.done_bytes, step.size_bytes));
    let taken = || {
        let mut asked = asked.lock().unwrap();
        asked.sort();
        std::mem::take(&mut *asked)
    };

    let model = hub.fetch(&reference("hf:a/b"), Want::Model, &tell).unwrap();
    assert_eq!(std::fs::read_to_string(model.join("model.safetensors")).unwrap(), "the weights");
    assert_eq!(taken(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert!(steps.lock().unwrap().contains(&("model.safetensors".into(), 11, 11)));
    // a second time, and offline, it is there
    assert_eq!(Hub { offline: true, ..hub.clone() }.fetch(&reference("hf:a/b"), Want::Model, &tell).unwrap(), model);
    assert!(taken().is_empty());
    // a part that is gone is fetched alone
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    hub.fetch(&reference("hf:a/b"), Want::Model, &tell).unwrap();
    assert_eq!(taken(), ["tokenizer.json"]);

    let sae = hub.fetch(&reference("hf:a/b/layers.3"), Want::Sae, &tell).unwrap();
    assert_eq!(sae, model.join("layers.3"));
    assert_eq!(taken(), ["layers.3/cfg.json", "layers.3/sae.safetensors"]);
    let file = hub.fetch(&reference("hf:a/b/many/two.pt"), Want::Sae, &tell).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "two of two");

    for (text, kind, says) in [
        ("hf:a/b/many", ErrorKind::Request, "2 files of weights"),
        ("hf:a/b/layers.9", ErrorKind::Request, "no file of weights there"),
        ("hf:a/c/layers.3", ErrorKind::Request, "knows no such repository"),
    ] {
        // one of the two files is in the cache by now: look at a fresh one
        let fresh = tempfile::tempdir().unwrap();
        let error =
            Hub { cache: fresh.path().into(), ..hub.clone() }.fetch(&reference(text), Want::Sae, &tell).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(says), "{text}: {error}");
    }
}

#[cfg(feature = "download")]
#[test]
fn a_hub_that_cannot_be_reached_is_the_machines_word() {
    let dir = tempfile::tempdir().unwrap();
    // a port that was free a moment ago
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hub = Hub { offline: false, endpoint: Some(format!("http://127.0.0.1:{port}")), ..hub(dir.path()) };
    let error = hub.fetch(&reference("hf:a/b"), Want::Model, &|_| {}).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Machine);
    assert!(text.contains("cannot be reached") && text.contains("hf download a/b") && !text.contains("http"), "{text}");
}

#[test]
fn what_cannot_be_read_just_now_is_not_told_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = fill(dir.path(), "a/b", &["config.json", "model.safetensors"]);
    let hub = hub(dir.path());
    // a link to itself: no read of it comes to an end, as with a disk that does not answer
    let refs = snapshot.ancestors().nth(2).unwrap().join("refs");
    std::os::unix::fs::symlink("moment", refs.join("moment")).unwrap();
    let told = |text: &str| hub.fetch(&reference(text), Want::Weights, &|_| ()).unwrap_err();
    let error = told("hf:a/b@moment");
    assert_eq!(error.kind(), ErrorKind::Machine, "{error}");
    let said = error.to_string();
    assert!(said.starts_with("hf:a/b@moment: read ") && said.contains("refs/moment"), "{said}");
    let error = told("hf:a/b@gone");
    assert!(error.kind() == ErrorKind::Request && error.to_string().contains("it is not in the cache"), "{error}");
}
