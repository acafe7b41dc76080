//! `cognate score` against runs that had the keys from their start; scores inside categories against plain sums.

use crate::bench_rig::{WITHOUT_LAYER_1, cognate, latents, matches, project, run, small_demo};
use cognate::corpus::Corpus;
use cognate::linalg::Matrix;
use cognate::sae::Encode;
use cognate::similarity::{SvccaRule, svcca};
use cognate::spec::DataflowSpec;
use cognate::table::{GroupRow, MatchRow, SimilarityRow, TableReader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

fn score(run: &Path, settings: &[&str], out: &Path) -> Output {
    let mut command = cognate();
    command.arg("score").arg(run).arg("--out").arg(out);
    settings.iter().for_each(|s| {
        command.args(["--set", s]);
    });
    command.output().unwrap()
}

fn similarities(run: &Path) -> Vec<SimilarityRow> {
    TableReader::open(&run.join("tables/similarities.parquet")).unwrap().read_all().unwrap()
}

#[test]
fn scores_from_saved_sums_are_the_bytes_of_a_run_that_had_these_keys_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    run(&small_demo(folder.path(), &[]), &base, &["--quiet"]);
    let was = "filters = { min_correlation = 0.1, min_active = 3, one_to_one = true }\nmeasures = [\"svcca_k10\", \"cka\"]\n\
               pairings = [\"forward\", \"backward\", \"mutual\"]";
    for (k, (keys, settings)) in [
        // nothing set: the run's own tables
        (was.to_string(), vec![]),
        (
            "best = 3\nfilters = { min_correlation = 0.1, min_active = 3, one_to_one = \"hungarian\", non_concept = true }\n\
             measures = [\"rsa\", \"svcca_k5\"]\npairings = [\"backward\"]\ncategories = \"data/categories.toml\""
                .to_string(),
            vec![
                "estimate.best=3",
                "estimate.filters.one_to_one=hungarian",
                "estimate.filters.non_concept=true",
                "estimate.measures=[\"rsa\", \"svcca_k5\"]",
                "estimate.pairings=[\"backward\"]",
                "estimate.categories=data/categories.toml",
            ],
        ),
        (
            "rules = \"as_published\"\nfilters = { min_active = 3, shared_token = false }\ncategories = \"data/categories-33.toml\"\n\
             measures = [\"svcca_as_published\"]\npairings = [\"forward\", \"backward\"]"
                .to_string(),
            vec![
                "estimate.rules=as_published",
                "estimate.filters={ min_active = 3, shared_token = false }",
                "estimate.categories=data/categories-33.toml",
                "estimate.measures=[\"svcca_as_published\"]",
                "estimate.pairings=[\"forward\", \"backward\"]",
            ],
        ),
        (
            "filters = { min_correlation = 0.1, min_active = 3, one_to_one = true, min_within = 0.2 }\n\
             measures = [\"svcca_k10\", \"cka\"]\npairings = [\"mutual\"]"
                .to_string(),
            vec!["estimate.filters.min_within=0.2", "estimate.pairings=[\"mutual\"]"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let [whole, out] = ["whole", "out"].map(|name| folder.path().join(format!("{name}-{k}")));
        run(&small_demo(folder.path(), &[(was, keys.as_str())]), &whole, &["--quiet", "--workers", "2"]);
        let said = score(&base, &settings, &out);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        for table in ["latents", "matches", "pairs", "similarities", "groups", "group_sizes", "cycles"] {
            let file = format!("tables/{table}.parquet");
            if table == "matches" && settings.contains(&"estimate.rules=as_published") {
                // partners were listed by the run's own rules
                let of = |run: &Path| -> Vec<_> {
                    matches(run).into_iter().map(|m| MatchRow { listed: Default::default(), ..m }).collect()
                };
                assert_eq!(of(&whole), of(&out), "{settings:?}");
                continue;
            }
            if table == "groups" && settings.contains(&"estimate.rules=as_published") {
                let of = |run: &Path| -> Vec<_> {
                    let rows: Vec<GroupRow> = TableReader::open(&run.join(&file)).unwrap().read_all().unwrap();
                    rows.into_iter().map(|g| GroupRow { min_within: None, ..g }).collect()
                };
                assert_eq!(of(&whole), of(&out), "{settings:?}");
                continue;
            }
            let same = std::fs::read(whole.join(&file)).unwrap() == std::fs::read(out.join(&file)).unwrap();
            assert!(same, "{settings:?}: {table} differs; {}", String::from_utf8_lossy(&said.stdout));
        }
        let subsets: BTreeSet<String> = similarities(&out).into_iter().map(|s| s.subset).collect();
        assert_eq!(subsets.len(), [1, 9, 34, 1][k], "{subsets:?}");
        if k == 3 {
            let rows = matches(&out);
            let within = |m: &MatchRow| m.listed.within_correlation;
            assert!(rows.iter().filter(|m| m.kept).all(|m| within(m).is_some_and(|r| r >= 0.2)));
            let dropped = || rows.iter().filter(|m| m.dropped_by.as_deref() == Some("min_within"));
            assert!(dropped().all(|m| within(m).is_none_or(|r| r < 0.2)) && dropped().count() > 100);
            assert!(rows.iter().filter(|m| m.kept).count() > 10, "some hold");
            let counts = crate::chance::pairs(&out);
            assert!(!counts.is_empty());
            assert!(counts.iter().all(|p| p.counts.n_kept_null.is_none() && p.counts.n_mutual_null.is_some()));
        }
    }
}

#[test]
fn keys_that_change_sums_are_refused_by_name_and_changed_saes_too() {
    let folder = tempfile::tempdir().unwrap();
    let (out, sae) = (folder.path().join("run"), folder.path().join("sae"));
    std::fs::create_dir(&sae).unwrap();
    for file in ["cfg.json", "sae.safetensors"] {
        std::fs::copy(project().join("data/demo/saes/small-b/layers.3").join(file), sae.join(file)).unwrap();
    }
    let changes =
        [("data/demo/saes/small-b/layers.3", sae.to_str().unwrap()), ("max_tokens = 12_000", "max_tokens = 2_000")];
    run(&small_demo(folder.path(), &changes), &out, &["--quiet"]);
    for (setting, code, word) in [
        ("corpus.context_length=32", 2, "corpus.context_length"),
        ("estimate.top_tokens=3", 2, "estimate.top_tokens"),
        ("name=other", 2, "name"),
        ("estimate.activation_measures=[]", 2, "activation_measures"),
        ("seed=9", 2, "seed"),
        ("estimate.filters.min_corelation=0.2", 2, "min_corelation"),
        ("estimate.best", 2, "key=value"),
        ("estimate.filters.min_within=2", 2, "min_within is 2, expected -1 to 1"),
        ("min_active=5", 2, "--set min_active: there is no such key (did you mean estimate.filters.min_active?)"),
        ("foo=1", 2, "--set foo: there is no such key; keys that can be set: estimate.filters, "),
        ("corpus.context_length=64", 2, "that key changes the sums"),
        (
            "estimate.filters.one_to_one=hungry",
            2,
            "--set estimate.filters.one_to_one=hungry: estimate.filters.one_to_one is \"hungry\"",
        ),
    ] {
        let said = score(&out, &[setting], &folder.path().join("x"));
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!text.contains(" line "), "the file's lines are not to blame: {text}");
        assert!(said.status.code() == Some(code) && text.contains(word), "{setting}: {text}");
    }
    assert!(!folder.path().join("x").exists(), "nothing is written for a wrong request");
    let said = cognate().arg("score").arg(&out).args(["--set", "estimate.filters.mutual=true"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let scores = out.join("scores/filters.mutual-true");
    assert!(scores.join("tables/similarities.parquet").exists());
    // a summary like a run's, and a folder that is read like a run's
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("closest") && text.lines().count() < 60, "{text}");
    let read = |args: &[&str], more: &[&str]| {
        let output = cognate().args(args).arg(&scores).args(more).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let [text, warned] = read(&["status"], &[]);
    assert!(
        text.contains(": scores, made from the sums of a run") && text.contains("snapshot    1 at "),
        "{text}{warned}"
    );
    let [json, _] = read(&["status", "--json"], &[]);
    assert!(json.contains("\"state\":\"scores\"") && json.contains("\"checkpoint\":null"), "{json}");
    let [_, warned] = read(&["report"], &[]);
    assert_eq!(warned, "", "the page has everything");
    let page = std::fs::read_to_string(scores.join("report.html")).unwrap();
    assert!(page.len() > 100_000 && !page.contains("not finished yet"));
    assert!(read(&["show"], &["small-b/resid_post.3/5"])[0].contains("small-b/resid_post.3"));
    let output = cognate().arg("diff").arg(&scores).arg(&out).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("matches"), "tables are compared");
    std::fs::write(sae.join("cfg.json"), std::fs::read_to_string(sae.join("cfg.json")).unwrap() + "\n").unwrap();
    let said = score(&out, &[], &folder.path().join("x"));
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.code() == Some(4) && text.contains("small-b/resid_post.3") && text.contains("cfg.json"),
        "{text}"
    );
}

/// The published pairs within a category, by hand: dense latents of every row, the members' correlations by plain two-pass sums, each target picks among
/// the members, the lowest target of each source stays.
#[test]
fn a_categorys_published_pairs_are_those_of_plain_sums() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[
            WITHOUT_LAYER_1,
            ("max_tokens = 12_000", "max_tokens = 8_000"),
            ("filters = { min_correlation = 0.1, min_active = 3, one_to_one = true }", "rules = \"as_published\""),
            ("\nmeasures = [\"svcca_k10\", \"cka\"]\n", "\ncategories = \"data/categories-33.toml\"\n"),
            ("pairings = [\"forward\", \"backward\", \"mutual\"]\n", ""),
            ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []"),
        ],
    );
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);

    let spec = DataflowSpec::read(&flow).unwrap().0;
    let sites = ["small-a/resid_post.2", "small-b/resid_post.3"];
    let models = ["small-a", "small-b"].map(|m| cognate::model::open(Path::new(&spec.models[m].path)).unwrap());
    let saes =
        sites.map(|s| cognate::sae::open(Path::new(&spec.sae(&s.parse().unwrap()).unwrap().path), None).unwrap());
    let tokenizer = Arc::new(cognate::model::tokenizer(Path::new(&spec.models["small-a"].path)).unwrap());
    let mut corpus = Corpus::open(spec.corpus.clone(), tokenizer).unwrap();
    let mut columns = [0, 1].map(|_| vec![Vec::<f64>::new(); 1024]);
    while let Some(batch) = corpus.next_batch().unwrap() {
        for (k, columns) in columns.iter_mut().enumerate() {
            let hookpoint = sites[k].parse::<cognate::ids::Site>().unwrap().hookpoint;
            let x = cognate::model::forward(models[k].as_ref(), &batch, &batch.views[0], &[hookpoint], &[])
                .unwrap()
                .remove(0)
                .x;
            let encoded = saes[k].encode(&x, Encode::Sparse).unwrap();
            for r in 0..encoded.n_rows() {
                columns.iter_mut().for_each(|c| c.push(0.0));
                let (latents, values) = encoded.row(r);
                for (&latent, &value) in latents.iter().zip(values) {
                    *columns[latent as usize].last_mut().unwrap() = f64::from(value);
                }
            }
        }
    }
    let n = columns[0][0].len() as f64;
    let standard = |column: &Vec<f64>| -> Vec<f64> {
        let mean = column.iter().sum::<f64>() / n;
        let sd = (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        column.iter().map(|v| (v - mean) / (sd + 1e-8)).collect()
    };
    let z = columns.each_ref().map(|side| side.iter().map(standard).collect::<Vec<_>>());
    let lists: BTreeMap<String, cognate::matching::Category> = spec.estimate.lists.unwrap().categories;
    let rows = latents(&out);
    let members = |site: &str, name: &str| -> Vec<usize> {
        let of = |l: &&cognate::table::LatentRow| {
            let texts: Vec<String> = l.top.iter().take(5).map(|t| t.token.trim().to_lowercase()).collect();
            let label = texts.join(",");
            lists[name].words.iter().any(|w| label.contains(w.as_str()))
                || (lists[name].digit && label.contains(char::is_numeric))
        };
        rows.iter().filter(|l| l.site.to_string() == site).filter(of).map(|l| l.latent as usize).collect()
    };
    let mut scored = 0;
    for row in similarities(&out).iter().filter(|s| s.subset != "all" && s.measure == "svcca_as_published") {
        assert_eq!(row.pairing.as_str(), "backward");
        let (a, b) = (members(sites[0], &row.subset), members(sites[1], &row.subset));
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        if a.len() > 2 && b.len() > 2 {
            for &j in &b {
                let r = |i: usize| z[0][i].iter().zip(&z[1][j]).map(|(x, y)| x * y).sum::<f64>() / n;
                let best = a.iter().copied().reduce(|best, i| if r(i) > r(best) { i } else { best }).unwrap();
                if !pairs.iter().any(|p| p.0 == best) {
                    pairs.push((best, j));
                }
            }
        }
        assert_eq!(row.n_pairs, pairs.len() as u64, "{}", row.subset);
        let gather = |sae: &cognate::sae::Sae, which: &dyn Fn(&(usize, usize)) -> usize| {
            let all = sae.decoder_rows();
            let data = pairs.iter().flat_map(|p| all.row(which(p)).iter().map(|&v| f64::from(v))).collect();
            Matrix::from_vec(pairs.len(), all.n_cols(), data)
        };
        let expected = svcca(&gather(&saes[0], &|p| p.0), &gather(&saes[1], &|p| p.1), SvccaRule::AsPublished).unwrap();
        match (row.value, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                assert!((found - expected.value).abs() < 1e-9, "{}: {found} {}", row.subset, expected.value);
                scored += 1;
            }
            (found, expected) => panic!("{}: {found:?} {expected:?}", row.subset),
        }
    }
    assert!(scored >= 5, "{scored} categories have three pairs");
}
