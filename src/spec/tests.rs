use super::*;
use crate::error::ErrorKind;
use crate::matching::Filters;
use crate::similarity::Measure;
use std::collections::BTreeMap;

const GOOD: &str = r#"
format = 1
name = "t"
[corpus]
files = ["./corpus.jsonl", "data/x.txt"]
context_length = 64
[models.a]
path = "./model_a"
[models.b]
path = "models/b"
[saes."a/layers.2"]
path = "./sae"
[saes."b/blocks.3.hook_resid_post"]
path = "x"
[compare]
pairs = "all"
[estimate]
measures = ["svcca", "cka"]
"#;

#[test]
fn reads_paths_aliases_and_defaults() {
    let spec = DataflowSpec::parse(GOOD, Path::new("flows/t.toml")).unwrap();
    assert_eq!(spec.corpus.files, ["flows/corpus.jsonl", "data/x.txt"]);
    assert_eq!(spec.models["a"].path, "flows/model_a");
    let pairs: Vec<String> = spec.pairs().iter().map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(pairs, ["a/layers.2 b/blocks.3.hook_resid_post"]);
    assert_eq!(spec.estimate.best, 5);
    assert_eq!(DataflowSpec::parse(&spec.to_toml(), Path::new("elsewhere/u.toml")).unwrap(), spec);
    assert_eq!(spec.default_directory(), Path::new("runs/t"));
}

#[test]
fn a_path_that_leads_somewhere_from_the_files_folder_only_is_answered_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        DataflowSpec::read(&path).map(|(spec, _)| spec).map_err(|e| e.to_string())
    };
    read(GOOD).expect("what is nowhere is for the plan to find");
    std::fs::create_dir_all(folder.path().join("models/b")).unwrap();
    let error = read(GOOD).unwrap_err();
    assert!(error.contains("models.b.path is \"models/b\"") && error.contains("write \"./models/b\""), "{error}");
    let meant = read(&GOOD.replace("models/b", "./models/b")).unwrap();
    assert_eq!(Path::new(&meant.models["b"].path), folder.path().join("models/b"));
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let text = GOOD.replace("context_length = 64", "context_length = 64\ncontext_lenght = 3");
    let error = DataflowSpec::parse(&text, Path::new("t.toml")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    let text = error.to_string();
    assert!(text.contains("`context_lenght` (did you mean `context_length`?)") && text.contains("line 7"), "{text}");
    let far = DataflowSpec::parse(&GOOD.replace("measures =", "zzz ="), Path::new("t.toml")).unwrap_err().to_string();
    assert!(far.contains("`zzz`") && !far.contains("did you mean"), "{far}");
    let value = GOOD.replace("pairs = \"all\"", "pairs = \"all\"\ncross = \"skech\"");
    let value = DataflowSpec::parse(&value, Path::new("t.toml")).unwrap_err().to_string();
    assert!(value.contains("compare.cross: unknown variant `skech` (did you mean `sketch`?)"), "{value}");
    let kind = GOOD.replace("context_length = 64", "context_length = \"64\"");
    let kind = DataflowSpec::parse(&kind, Path::new("t.toml")).unwrap_err().to_string();
    assert!(kind.contains("line 6: corpus.context_length: invalid type"), "{kind}");
    let most = GOOD.replace("measures =", "null = { permutations = 1_000_000_000_000 }\nmeasures =");
    let most = DataflowSpec::parse(&most, Path::new("t.toml")).unwrap_err().to_string();
    assert!(
        most.contains("permutations: invalid value: integer `1000000000000`, expected a whole number of at most"),
        "{most}"
    );
    let above = GOOD.replace("context_length = 64", "context_length = 9223372036854775808");
    let above = DataflowSpec::parse(&above, Path::new("t.toml")).unwrap_err().to_string();
    assert!(above.contains("line 6: corpus.context_length: the number is above 9223372036854775807, the"), "{above}");
}

#[test]
fn a_list_that_is_none_is_answered_with_an_example_and_a_wrong_name_is_told_once() {
    let refused = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        DataflowSpec::parse(&GOOD.replace(from, to), Path::new("t.toml")).unwrap_err().to_string()
    };
    for (from, to, expect) in [
        (
            "files = [\"./corpus.jsonl\", \"data/x.txt\"]",
            "files = \"x.txt\"",
            "line 5: corpus.files: invalid type: string \"x.txt\", expected an array, for example [\"x.txt\"]",
        ),
        ("[estimate]", "[estimate]\nmeasures = \"cka,svcca\"", "expected an array, for example [\"cka\", \"svcca\"]"),
        (
            "[estimate]",
            "[estimate]\ntop_context = 3",
            "estimate.top_context: invalid type: integer `3`, expected an array, for example [3, 3]",
        ),
        ("files = [\"./corpus.jsonl\", \"data/x.txt\"]", "files = { a = 1 }", "expected an array, in brackets"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(expect), "{to}: {error}");
    }
    for (from, to, name) in [
        ("[saes.\"a/layers.2\"]", "[saes.\"a/layers.2#x y\"]", "a/layers.2#x y"),
        ("[saes.\"a/layers.2\"]", "[saes.\"a/layer.2\"]", "a/layer.2"),
        ("pairs = \"all\"", "pairs = \"all\"\nhookpoints = [\"a/embed#\"]", "a/embed#"),
    ] {
        let error = refused(from, to);
        assert_eq!(error.matches(name).count(), 1, "{error}");
        assert!(error.contains(" line "), "{error}");
    }
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    for (from, to, expect) in [
        ("format = 1", "format = 9", "format is 9"),
        ("name = \"t\"", "name = \"a/b\"", "name is"),
        ("context_length = 64", "context_length = 1", "context_length"),
        ("pairs = \"all\"", "pairs = []", "pairs is empty"),
        ("pairs = \"all\"", "pairs = [[\"a/resid_post.2\", \"c/resid_post.3\"]]", "no [models.c]"),
        ("pairs = \"all\"", "pairs = \"some\"", "pairs"),
        ("[saes.\"a/layers.2\"]", "[saes.\"z/layers.2\"]", "no [models.z]"),
        ("[saes.\"a/layers.2\"]", "[saes.\"a/layer.2\"]", "hookpoint"),
        ("[estimate]", "[estimate]\nbest = 0", "estimate.best"),
        ("[estimate]", "[estimate]\nstop_when = { churn_below = 0.0 }", "estimate.stop_when"),
        ("[estimate]", "[estimate]\nstop_when = { churn_below = 0.1, snapshots = 0 }", "estimate.stop_when"),
        ("[estimate]", "[estimate]\nfilters = { one_to_one = \"first\" }", "as_published"),
        ("[estimate]", "[estimate]\nfilters = { non_concept = \"junk\" }", "punctuation"),
        ("[estimate]", "[estimate]\ntop_tokens = 4\nfilters = { shared_token = true }", "top_tokens is 4"),
        ("pairs = \"all\"", "pairs = \"all\"\nhookpoints = [\"c/embed\"]", "no [models.c]"),
        ("pairs = \"all\"", "pairs = \"all\"\nhookpoints = [\"a/embed\", \"a/embed\"]", "a/embed twice"),
        ("pairs = \"all\"", "pairs = \"all\"\nhookpoints = [\"a/layers.2\"]", "take one of them out"),
        ("pairs = \"all\"", "pairs = [[\"a/embed\", \"b/embed\"]]\nhookpoints = [\"a/embed\"]", "leave hookpoints out"),
    ] {
        let error = DataflowSpec::parse(&GOOD.replace(from, to), Path::new("t.toml")).unwrap_err();
        assert!(error.to_string().contains(expect), "{to}: {error}");
    }
}

/// The good file with `lines` under a heading instead of its own lines.
fn with(heading: &str, lines: &str) -> String {
    let text =
        if heading == "[estimate]" { GOOD.replace("measures = [\"svcca\", \"cka\"]\n", "") } else { GOOD.to_string() };
    match text.contains(heading) {
        true => text.replace(heading, &format!("{heading}\n{lines}")),
        false => format!("{text}{heading}\n{lines}\n"),
    }
}

fn read(text: &str) -> std::result::Result<DataflowSpec, String> {
    DataflowSpec::parse(text, Path::new("t.toml")).map_err(|e| e.to_string())
}

#[test]
fn numbers_out_of_range_are_refused_wherever_they_stand() {
    for (heading, line, expect) in [
        (
            "[estimate]",
            "filters = { min_correlation = nan }",
            "min_correlation is NaN, expected -1 or more and below 1",
        ),
        ("[estimate]", "filters = { min_correlation = inf }", "min_correlation is inf"),
        ("[estimate]", "filters = { min_correlation = -inf }", "min_correlation is -inf"),
        ("[estimate]", "filters = { min_correlation = 1.0 }", "min_correlation is 1"),
        ("[estimate]", "filters = { min_correlation = -1.5 }", "min_correlation is -1.5"),
        (
            "[estimate]",
            "filters = { min_active = -1 }",
            "line 18: estimate.filters.min_active: invalid value: integer `-1`, expected a whole number of 0 or more",
        ),
        ("[estimate]", "stop_when = { churn_below = nan }", "churn_below = NaN"),
        ("[estimate]", "stop_when = { churn_below = inf }", "churn_below = inf"),
        ("[estimate]", "stop_when = { churn_below = 1.5 }", "churn_below = 1.5"),
        ("[estimate]", "top_tokens = 9000000000", "top_tokens is 9000000000, expected 0 to 1000"),
        ("[estimate]", "top_context = [4, 9000000000]", "top_context (after) is 9000000000"),
        ("[estimate]", "best = 251", "best is 251, expected 1 to 250"),
        ("[estimate]", "snapshot_every = 0", "snapshot_every is 0, expected 1 or more"),
        ("[checkpoint]", "every = 0", "checkpoint.every is 0"),
        ("[checkpoint]", "minutes = 10_001", "checkpoint.minutes is 10001, expected 0 to 10000"),
        ("[check]", "tokens = 0", "check.tokens is 0"),
        (
            "[corpus]",
            "batch_contexts = 576460752303423488",
            "batch_contexts is 576460752303423488, expected 1 to 1048576",
        ),
        ("[corpus]", "batch_contexts = 100_000_000", "batch_contexts is 100000000"),
        ("[corpus]", "batch_contexts = 0", "batch_contexts is 0"),
    ] {
        let error = read(&with(heading, line)).unwrap_err();
        assert!(error.contains(expect), "{line}: {error}");
    }
    let product = GOOD.replace("context_length = 64", "context_length = 65536\nbatch_contexts = 65536");
    assert!(read(&product).unwrap_err().contains("is 4294967296 tokens"), "{:?}", read(&product));
    for good in ["filters = { min_correlation = -1.0 }", "stop_when = { churn_below = 1.0 }", "top_tokens = 1000"] {
        assert!(read(&with("[estimate]", good)).is_ok(), "{good}");
    }
}

#[test]
fn what_is_named_twice_is_refused() {
    for (heading, line, expect) in [
        ("[estimate]", "measures = [\"cka\", \"rsa\", \"cka\"]", "estimate.measures names \"cka\" twice"),
        ("[estimate]", "measures = [\"svcca\", \"svcca_var99\"]", "estimate.measures names \"svcca\" twice"),
        ("[estimate]", "measures = [\"mutual_knn\", \"mutual_knn10\"]", "names \"mutual_knn10\" twice"),
        ("[estimate]", "activation_measures = [\"cka\", \"cka\"]", "estimate.activation_measures names \"cka\" twice"),
        (
            "[estimate]",
            "measures = [\"cka\"]\npairings = [\"mutual\", \"mutual\"]",
            "estimate.pairings names \"mutual\" twice",
        ),
        ("[estimate]", "filters = { non_concept = [\"digits\", \"digits\"] }", "non_concept names \"digits\" twice"),
        ("[corpus]", "labels = [\"lang\", \"lang\"]", "corpus.labels names \"lang\" twice"),
    ] {
        let error = read(&with(heading, line)).unwrap_err();
        assert!(error.contains(expect), "{line}: {error}");
    }
    let files = GOOD.replace("\"data/x.txt\"", "\"./corpus.jsonl\"");
    assert!(read(&files).unwrap_err().contains("corpus.files names"), "{:?}", read(&files));
}

#[test]
fn a_key_that_changes_nothing_is_refused_and_a_default_is_no_wish() {
    let sketch = "pairs = \"all\"\ncross = \"sketch\"";
    for (heading, line, key) in [
        ("pairs = \"all\"", "width = 1024", "compare.width"),
        ("pairs = \"all\"", "candidates = 20", "compare.candidates"),
        ("pairs = \"all\"", "refine = \"second-pass\"", "compare.refine"),
        ("[estimate]", "pairings = [\"forward\"]", "estimate.pairings"),
        ("[estimate]", "measures = [\"cka\"]\npairings = []", "estimate.measures"),
        ("[estimate]", "null = { permutations = 99 }", "estimate.null.permutations"),
        ("[estimate]", "null = { at = \"snapshot\" }", "estimate.null.at"),
        ("[estimate]", "measures = [\"cka\"]\nnull = { at = \"snapshot\", permutations = 0 }", "estimate.null.at"),
        ("[estimate]", "null = { activation_permutations = 19 }", "estimate.null.activation_permutations"),
        ("[estimate]", "filters = { dead = false }", "estimate.filters.dead"),
        ("[estimate]", "top_tokens = 0\ntop_context = [3, 3]", "estimate.top_context"),
    ] {
        let error = read(&with(heading, line)).unwrap_err();
        assert!(error.contains(key) && error.contains("changes nothing here"), "{line}: {error}");
    }
    let asked = with("[estimate]", "null = { documents = true }").replace("pairs = \"all\"", sketch);
    assert!(read(&asked).unwrap_err().contains("estimate.null.documents = true changes nothing here"));

    for (heading, line) in [
        ("pairs = \"all\"", "width = 512\ncandidates = 10\nrefine = \"continue\""),
        ("pairs = \"all\"", "cross = \"auto\"\nwidth = 1024\ncandidates = 20"),
        (
            "[estimate]",
            "pairings = [\"mutual\"]\nnull = { permutations = 1000, activation_permutations = 9, documents = false }",
        ),
        ("[estimate]", "rules = \"as_published\"\nfilters = { dead = false }\nnull = { permutations = 10 }"),
        ("[estimate]", "activation_measures = [\"cka\"]\nnull = { activation_permutations = 19 }"),
        ("[check]", "doctor = \"warn\"\ntokens = 100"),
        // switched off in so many words
        ("[check]", "doctor = \"off\"\ntokens = 100"),
        (
            "[estimate]",
            "measures = []\nactivation_measures = []\nnull = { permutations = 9, activation_permutations = 3 }",
        ),
    ] {
        let spec = read(&with(heading, line)).unwrap_or_else(|e| panic!("{line}: {e}"));
        // what a merge writes down, with every key spelt out, is read again
        assert_eq!(read(&spec.to_toml()).unwrap_or_else(|e| panic!("{line}: {e}")), spec);
    }
    let sketched = read(&GOOD.replace("pairs = \"all\"", sketch)).unwrap();
    assert_eq!(read(&sketched.to_toml()).unwrap(), sketched, "documents = true is the default there, and no wish");
}

#[test]
fn all_pairs_hookpoints_of_one_model_in_order_and_of_several_across_them() {
    let pairs = |listed: &str| -> Vec<String> {
        let text = GOOD.replace("pairs = \"all\"", &format!("pairs = \"all\"\nhookpoints = {listed}"));
        let spec = DataflowSpec::parse(&text, Path::new("t.toml")).unwrap();
        spec.pairs().iter().skip(1).map(|(a, b)| format!("{a} {b}")).collect()
    };
    assert_eq!(
        pairs("[\"a/resid_post.5\", \"a/embed\", \"a/layers.3.mlp\"]"),
        ["a/resid_post.5 a/embed", "a/resid_post.5 a/layers.3.mlp", "a/embed a/layers.3.mlp"]
    );
    assert_eq!(pairs("[\"b/embed\", \"a/resid_post.5\", \"a/embed\"]"), ["a/resid_post.5 b/embed", "a/embed b/embed"]);
    assert_eq!(pairs("[\"a/embed\"]"), Vec::<String>::new());
    let alone = GOOD.replace("b/blocks.3.hook_resid_post", "a/layers.10").replace("a/layers.2\"", "a/layers.9\"");
    let alone = alone.replace("[compare]", "[saes.\"a/embed\"]\npath = \"y\"\n[compare]");
    let alone = DataflowSpec::parse(&alone, Path::new("t.toml")).unwrap();
    let pairs: Vec<String> = alone.pairs().iter().map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(pairs, ["a/embed a/layers.9", "a/embed a/layers.10", "a/layers.9 a/layers.10"]);
}

#[test]
fn published_rules_bring_their_filters_measures_and_direction_but_what_is_written_stands() {
    let parse = |estimate: &str| {
        let text = GOOD.replace("[estimate]\nmeasures = [\"svcca\", \"cka\"]", &format!("[estimate]\n{estimate}"));
        DataflowSpec::parse(&text, Path::new("t.toml")).unwrap().estimate
    };
    let published = parse("rules = \"as_published\"");
    assert_eq!(published.filters, Filters::as_published());
    let names: Vec<String> = published.measures.iter().map(Measure::to_string).collect();
    assert_eq!((names, published.pairings), (vec!["svcca_as_published".into(), "rsa".into()], vec![Pairing::Backward]));
    let mixed =
        parse("rules = \"as_published\"\nmeasures = [\"cka\"]\nfilters = { one_to_one = \"best\", min_active = 3 }");
    let expected = Filters { one_to_one: crate::matching::OneToOne::Best, min_active: 3, ..Filters::as_published() };
    assert_eq!((mixed.filters, mixed.measures), (expected, vec![Measure::Cka]));
    assert_eq!(parse("").filters, Filters::default());
}

#[test]
fn places_are_resolved_by_family_and_two_spellings_of_one_are_refused() {
    let families = |a: &str| BTreeMap::from([("a".to_string(), a.to_string()), ("b".to_string(), "gpt2".to_string())]);
    let resolved = |text: &str, a: &str| DataflowSpec::parse(text, Path::new("t.toml")).unwrap().resolved(&families(a));
    let pairs =
        |spec: &DataflowSpec| -> Vec<String> { spec.site_pairs().iter().map(|(a, b)| format!("{a} {b}")).collect() };
    let plain = resolved(GOOD, "llama").unwrap();
    assert_eq!(pairs(&plain), ["a/resid_post.2 b/resid_post.3"]);
    assert_eq!(plain.sae(&"b/resid_post.3".parse().unwrap()).unwrap().path, "x");
    assert_eq!(plain.resolved(&families("llama")).unwrap(), plain);
    let mlp = GOOD.replace("a/layers.2", "a/blocks.2.hook_mlp_out");
    assert_eq!(pairs(&resolved(&mlp, "llama").unwrap()), ["a/mlp_out.2 b/resid_post.3"]);
    assert_eq!(pairs(&resolved(&mlp, "gemma2").unwrap()), ["a/mlp_out_normed.2 b/resid_post.3"]);
    let foreign = resolved(&GOOD.replace("a/layers.2", "a/gpt_neox.layers.2"), "llama").unwrap_err().to_string();
    assert!(foreign.contains("\"a/gpt_neox.layers.2\"") && foreign.contains("not known in family llama"), "{foreign}");
    for (from, to, expect) in [
        (
            "[saes.\"a/layers.2\"]",
            "[saes.\"a/resid_post.2\"]\npath = \"y\"\n[saes.\"a/layers.2\"]",
            "[saes] names a/layers.2 and a/resid_post.2, which are both a/resid_post.2",
        ),
        (
            "pairs = \"all\"",
            "pairs = \"all\"\nhookpoints = [\"a/mlp_out.1\", \"a/layers.1.mlp\"]",
            "a/mlp_out.1 and a/layers.1.mlp, which are both a/mlp_out.1",
        ),
        (
            "pairs = \"all\"",
            "pairs = \"all\"\nhookpoints = [\"a/resid_post.2\"]",
            "has an SAE in [saes.\"a/layers.2\"]",
        ),
        (
            "pairs = \"all\"",
            "pairs = [[\"a/embed\", \"b/embed\"], [\"a/hook_embed\", \"b/embed\"]]",
            "a/hook_embed with b/embed twice (also as a/embed with b/embed)",
        ),
        (
            "pairs = \"all\"",
            "pairs = [[\"a/embed\", \"b/embed\"], [\"b/embed\", \"a/hook_embed\"]]",
            "compare.pairs names a/embed with b/embed and b/embed with a/hook_embed; a pair is matched in both directions",
        ),
    ] {
        let error = resolved(&GOOD.replace(from, to), "llama").unwrap_err().to_string();
        assert!(error.contains(expect), "{to}: {error}");
    }
}
