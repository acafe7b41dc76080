//! What is decided, asked and refused, over the demo's headers.

use crate::error::ErrorKind;
use crate::plan::{Outline, Purpose, Request, SavedSums};
use crate::spec::{Cross, DataflowSpec};
use std::collections::BTreeMap;
use std::path::Path;

/// A request for two spaces of the demo with these lines in `[compare]`, and without some limit of memory.
fn request(purpose: Purpose, lines: &str) -> Request {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = home.join("data/demo");
    let demo = demo.display();
    let text = format!(
        "format = 1\nname = \"t\"\n[corpus]\nfiles = [\"{demo}/corpus.jsonl\"]\ncontext_length = 64\nbatch_contexts = 4\n[models]\n\
         a.path = \"{demo}/models/small-a\"\nb.path = \"{demo}/models/small-b\"\n[saes.\"a/blocks.1.hook_resid_post\"]\n\
         path = \"{demo}/saes/small-a/layers.1\"\n[saes.\"b/resid_post.3\"]\npath = \"{demo}/saes/small-b/layers.3\"\n[compare]\n\
         pairs = \"all\"\n{lines}\n"
    );
    let spec = DataflowSpec::parse(&text, &home.join("t.toml")).unwrap_or_else(|e| panic!("{e}"));
    Request { spec, purpose, memory_limit: u64::MAX, known_cross: None }
}

fn outline(lines: &str, memory_limit: u64) -> Outline {
    Request { memory_limit, ..request(Purpose::Outline, lines) }.outline().unwrap()
}

#[test]
fn the_file_stays_as_written_and_what_was_decided_stands_apart() {
    let auto = "cross = \"auto\"\nwidth = 128";
    let (exact, sketch) = (outline("", u64::MAX), outline("cross = \"sketch\"\nwidth = 128", u64::MAX));
    let screens = |o: &Outline| o.costs().iter().filter(|c| c.kind == "screen").map(|c| c.memory_bytes).sum::<u64>();
    let least = exact.memory_bytes() - screens(&exact);
    for (limit, known, expected) in [
        (least, None, Cross::Exact),
        (least - 1, None, Cross::Sketch),
        (least - 1, Some(Cross::Exact), Cross::Exact),
        (u64::MAX, Some(Cross::Sketch), Cross::Sketch),
    ] {
        let request = Request { memory_limit: limit, known_cross: known, ..request(Purpose::Outline, auto) };
        let decided = request.outline().unwrap();
        assert_eq!((decided.cross(), decided.spec().compare.cross), (expected, Cross::Auto), "{limit} {known:?}");
        let same = if expected == Cross::Sketch { &sketch } else { &exact };
        assert_eq!(
            (decided.tiles(), decided.memory_bytes() - screens(&decided)),
            (same.tiles(), same.memory_bytes() - screens(same))
        );
        // screening is done without where it does not fit, and where the processor cannot
        let fits = decided.memory_bytes() <= limit && limit != least;
        assert_eq!(screens(&decided) > 0, fits && screens(&exact) > 0, "{limit} {known:?}");
    }
    // a file that decides is taken at its word
    let told = Request { known_cross: Some(Cross::Sketch), ..request(Purpose::Outline, "") };
    assert_eq!(told.outline().unwrap().cross(), Cross::Exact);
}

#[test]
fn places_stand_in_their_plain_form_and_the_request_is_not_touched() {
    let request = request(Purpose::Run, "");
    let before = request.spec.clone();
    let sites: Vec<String> = request.outline().unwrap().spec().saes.keys().map(ToString::to_string).collect();
    assert_eq!(sites, ["a/resid_post.1", "b/resid_post.3"]);
    assert_eq!(request.spec, before);
}

#[test]
fn what_is_suggested_is_what_that_request_needs() {
    let roomy = outline("cross = \"sketch\"\nwidth = 256", u64::MAX);
    let screens: u64 = roomy.costs().iter().filter(|c| c.kind == "screen").map(|c| c.memory_bytes).sum();
    let limit = roomy.memory_bytes() - screens;
    assert_eq!(roomy.screens_left_out(), None);
    assert_eq!(outline("cross = \"sketch\"\nwidth = 256", limit).screens_left_out(), (screens > 0).then_some(screens));
    for lines in ["width = 512\ncross = \"auto\"", "cross = \"sketch\"\nwidth = 1024"] {
        let said = outline(lines, limit).check_memory().unwrap_err();
        assert_eq!(said.kind(), ErrorKind::Machine);
        let needs = crate::units::human_bytes(limit);
        let expected = format!("compare.cross = \"sketch\" with width = 256 needs {needs}; or compare fewer pairs");
        assert!(said.to_string().contains(&expected), "{said}");
    }
    // narrower than that is no sketch, and no remedy
    let said = outline("cross = \"sketch\"\nwidth = 64", 1 << 20).check_memory().unwrap_err().to_string();
    assert!(!said.contains("with width") && said.contains("raise --memory-limit"), "{said}");
}

#[test]
fn a_plan_is_shown_before_it_is_read_through_and_never_where_it_does_not_fit() {
    let mut shown = Vec::new();
    let request = Request { purpose: Purpose::Run, ..request(Purpose::Run, "") };
    let plan = request.plan(|outline| shown.push(outline.memory_bytes())).unwrap();
    assert_eq!(shown, [plan.memory_bytes()]);
    assert!(plan.fingerprint_parts().contains_key("models.a model.safetensors"));
    assert_eq!(plan.fingerprint_parts()["compare.cross"], "\"exact\"");
    assert_eq!(plan.fingerprint().len(), 64);
    let tight = Request { memory_limit: 1 << 20, ..request };
    let refused = tight.plan(|_| panic!("it is shown"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Machine);
}

#[test]
fn what_is_not_here_can_be_shown_and_not_run() {
    let mut request = request(Purpose::Outline, "");
    request.spec.corpus.files = vec!["nowhere/*.jsonl".to_string()];
    let outline = request.outline().unwrap();
    assert!(outline.assumptions()[0].contains("nowhere/*.jsonl"), "{:?}", outline.assumptions());
    let refused = request.plan(|_| panic!("it is shown")).unwrap_err();
    assert!(refused.kind() == ErrorKind::Request && refused.to_string().contains("nowhere/*.jsonl"), "{refused}");
    // sums that are saved need no corpus, no memory for batches, and are of the run that they were
    let run = self::request(Purpose::Run, "").plan(|_| {}).unwrap();
    let parts = run.fingerprint_parts().clone();
    let saved = SavedSums { parts: parts.clone(), asked: None };
    let plan = Request { purpose: Purpose::SavedSums(saved), ..request.clone() }.plan(|_| {}).unwrap();
    assert_eq!((plan.fingerprint(), plan.corpus_files().len()), (run.fingerprint(), 0));
    assert!(plan.costs().iter().all(|cost| !cost.only_streaming) && plan.memory_bytes() < run.memory_bytes());
    // other settings over the same sums is another run, of the same files
    let mut other = request.clone();
    other.spec.estimate.best = 3;
    let saved = SavedSums { parts: parts.clone(), asked: Some(Box::new(request.spec.clone())) };
    let scored = Request { purpose: Purpose::SavedSums(saved), ..other }.plan(|_| {}).unwrap();
    let differ: BTreeMap<&String, &String> =
        scored.fingerprint_parts().iter().filter(|(key, value)| parts.get(*key) != Some(value)).collect();
    assert_eq!(differ.into_iter().collect::<Vec<_>>(), [(&"estimate.best".to_string(), &"3".to_string())]);
}
