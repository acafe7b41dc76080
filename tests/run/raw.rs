//! Hookpoints without an SAE, and models that are one GGUF file: the whole line against plain sums over the same rows.

use crate::bench_rig::{by_rank, cognate, latents, matches, project, run, same_tables, small_demo, tables};
use crate::determinism::{hosts, start};
use crate::kill::killed_and_taken_up;
use cognate::corpus::Corpus;
use cognate::linalg::Matrix;
use cognate::matching::Direction;
use cognate::spec::DataflowSpec;
use cognate::table::{HistoryRow, RowPairing, SimilarityRow, TableReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Two raw pairs beside the two pairs of SAEs; no moments but those that the raw pairs need.
const ALL: (&str, &str) = (
    "pairs = \"all\"",
    "pairs = \"all\"\nhookpoints = [\"small-a/embed\", \"small-a/resid_post.3\", \"small-b/resid_post.1\"]",
);
const NO_ACTIVATION_MEASURES: (&str, &str) =
    ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []");

/// Activations of every counted row of the flow's corpus, `[n, d]`, one matrix for each (model, hookpoint).
fn rows_of(flow: &Path, sites: &[&str]) -> Vec<Matrix<f32>> {
    let spec = DataflowSpec::read(flow).unwrap().0;
    let sites: Vec<cognate::ids::Site> = sites.iter().map(|s| s.parse().unwrap()).collect();
    let path = |model: &str| PathBuf::from(&spec.models[model].path);
    let tokenizer = Arc::new(cognate::model::tokenizer(&path(&sites[0].model)).unwrap());
    let mut corpus = Corpus::open(spec.corpus.clone(), tokenizer).unwrap();
    let mut data: Vec<(usize, Vec<f32>)> = vec![(0, Vec::new()); sites.len()];
    let models: Vec<_> = sites.iter().map(|s| cognate::model::open(&path(&s.model)).unwrap()).collect();
    while let Some(batch) = corpus.next_batch().unwrap() {
        for ((site, model), (width, data)) in sites.iter().zip(&models).zip(&mut data) {
            let x = cognate::model::forward(model.as_ref(), &batch, &batch.views[0], &[site.hookpoint], &[])
                .unwrap()
                .remove(0)
                .x;
            *width = x.n_cols();
            data.extend_from_slice(x.as_slice());
        }
    }
    data.into_iter().map(|(width, data)| Matrix::from_vec(data.len() / width, width, data)).collect()
}

/// Columns less their means, in f64.
fn centred(x: &Matrix<f32>) -> Vec<Vec<f64>> {
    let n = x.n_rows() as f64;
    let column = |j: usize| -> Vec<f64> { x.rows().map(|r| f64::from(r[j])).collect() };
    (0..x.n_cols())
        .map(|j| {
            let (values, mean) = (column(j), column(j).iter().sum::<f64>() / n);
            values.into_iter().map(|v| v - mean).collect()
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Plain co-moments of two sets of centred columns.
fn co_moment(x: &[Vec<f64>], y: &[Vec<f64>]) -> Vec<Vec<f64>> {
    x.iter().map(|a| y.iter().map(|b| dot(a, b)).collect()).collect()
}

/// Best partners of a pair in the run against the argmax of plain correlations, both ways.
fn check_matches(out: &Path, source: (&str, &Matrix<f32>), target: (&str, &Matrix<f32>)) {
    let (x, y) = (centred(source.1), centred(target.1));
    let c = co_moment(&x, &y);
    let (xx, yy): (Vec<f64>, Vec<f64>) = (x.iter().map(|v| dot(v, v)).collect(), y.iter().map(|v| dot(v, v)).collect());
    let r = |i: usize, j: usize| Some(c[i][j] / (xx[i] * yy[j]).sqrt()).filter(|r| r.is_finite());
    let rows = matches(out);
    let mut compared = 0;
    for direction in [Direction::Forward, Direction::Backward] {
        let found = by_rank(&rows, source.0, target.0, direction);
        let n = if direction == Direction::Forward { x.len() } else { y.len() };
        for k in 0..n {
            let all: Vec<Option<f64>> = match direction {
                Direction::Forward => (0..y.len()).map(|j| r(k, j)).collect(),
                Direction::Backward => (0..x.len()).map(|i| r(i, k)).collect(),
            };
            let row = &found[&(k as u32, 1)];
            let partner = if direction == Direction::Forward { row.target_latent } else { row.source_latent };
            let best = all.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            let (got, partner) = (row.correlation.unwrap(), partner.unwrap() as usize);
            assert!((got - best).abs() < 1e-9, "{} {direction:?} {k}: {got}, plain {best}", source.0);
            assert!((all[partner].unwrap() - best).abs() < 1e-9, "{} {direction:?} {k}: partner {partner}", source.0);
            compared += 1;
        }
    }
    println!("{} x {}: {compared} best partners", source.0, target.0);
}

/// The rows of each batch turned by half of it, round its end.
fn turned(flow: &Path, x: &Matrix<f32>) -> Matrix<f32> {
    let spec = DataflowSpec::read(flow).unwrap().0;
    let tokenizer = cognate::model::tokenizer(Path::new(&spec.models.values().next().unwrap().path)).unwrap();
    let mut corpus = Corpus::open(spec.corpus.clone(), Arc::new(tokenizer)).unwrap();
    let mut order = Vec::new();
    while let Some(batch) = corpus.next_batch().unwrap() {
        let (first, n) = (order.len(), batch.n_rows());
        order.extend((0..n).map(|r| first + (r + n / 2) % n));
    }
    x.gather_rows(&order)
}

/// Mutual best pairs and distinct best partners both ways, by plain correlations of centred columns.
fn plain_counts(x: &[Vec<f64>], y: &[Vec<f64>]) -> (u64, [u64; 2]) {
    let squares = |x: &[Vec<f64>]| -> Vec<f64> { x.iter().map(|v| dot(v, v)).collect() };
    let (c, xx, yy) = (co_moment(x, y), squares(x), squares(y));
    let r = |i: usize, j: usize| Some(c[i][j] / (xx[i] * yy[j]).sqrt()).filter(|r| r.is_finite());
    let first = |n: usize, of: &dyn Fn(usize) -> Option<f64>| {
        (0..n).filter_map(|k| Some((k, of(k)?))).reduce(|best, next| if next.1 > best.1 { next } else { best })
    };
    let forward: Vec<Option<usize>> = (0..x.len()).map(|i| Some(first(y.len(), &|j| r(i, j))?.0)).collect();
    let backward: Vec<Option<usize>> = (0..y.len()).map(|j| Some(first(x.len(), &|i| r(i, j))?.0)).collect();
    let mutual = (0..x.len()).filter(|&i| forward[i].is_some_and(|j| backward[j] == Some(i))).count();
    let distinct = |side: &[Option<usize>]| {
        side.iter().flatten().copied().collect::<std::collections::BTreeSet<usize>>().len() as u64
    };
    (mutual as u64, [distinct(&forward), distinct(&backward)])
}

#[test]
fn dimensions_are_compared_as_they_are_against_plain_sums() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = "pairs = [[\"small-a/resid_post.3\", \"small-b/resid_post.2\"], [\"small-a/resid_post.3\", \"small-a/embed\"], \
                 [\"small-b/resid_post.3\", \"small-a/embed\"], [\"small-a/resid_post.1\", \"small-b/resid_post.3\"]]";
    let no_pair = "[saes.\"small-a/resid_post.2\"]\npath = \"data/demo/saes/small-a/layers.2\"\n";
    let changes = [("pairs = \"all\"", pairs), ("max_tokens = 12_000", "max_tokens = 3_000"), (no_pair, "")];
    let flow = small_demo(folder.path(), &changes);
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    // resid_post.3 of small-b has an SAE, so it is the mixed pair's latents
    let sites = ["small-a/resid_post.3", "small-b/resid_post.2", "small-a/embed", "small-b/resid_post.3"];
    let x = rows_of(&flow, &sites);
    let sae = cognate::sae::open(&project().join("data/demo/saes/small-b/layers.3"), None).unwrap();
    let encoded = sae.encode(&x[3], cognate::sae::Encode::Sparse).unwrap();
    let mut sparse = Matrix::zeros(x[3].n_rows(), encoded.d_sae);
    for r in 0..encoded.n_rows() {
        let (latents, values) = encoded.row(r);
        latents.iter().zip(values).for_each(|(&j, &v)| sparse.row_mut(r)[j as usize] = v);
    }
    check_matches(&out, (sites[0], &x[0]), (sites[1], &x[1]));
    check_matches(&out, (sites[0], &x[0]), (sites[2], &x[2]));
    // a latent that never fires has no partner, so only the latents that do are laid beside the plain sums
    let alive: Vec<usize> = (0..encoded.d_sae).filter(|&j| sparse.rows().any(|r| r[j] != 0.0)).collect();
    let backward = by_rank(&matches(&out), sites[3], sites[2], Direction::Backward);
    let (embed, fired) = (centred(&x[2]), centred(&sparse));
    for (k, dimension) in embed.iter().enumerate() {
        let r =
            |j: &usize| dot(dimension, &fired[*j]) / (dot(dimension, dimension) * dot(&fired[*j], &fired[*j])).sqrt();
        let best = alive.iter().map(r).fold(f64::NEG_INFINITY, f64::max);
        let got = backward[&(k as u32, 1)].correlation.unwrap();
        assert!((got - best).abs() < 1e-9, "mixed, dimension {k}: {got}, plain {best}");
    }

    // counts of the mixed pair and of a raw one, real and with the target's rows turned: plain sums over all rows
    let rows = crate::chance::pairs(&out);
    for (source, x, target, y) in [(sites[3], &sparse, sites[2], &x[2]), (sites[0], &x[0], sites[1], &x[1])] {
        let of_pair =
            |r: &&cognate::table::PairRow| r.pair.source.to_string() == source && r.pair.target.to_string() == target;
        let counts = &rows.iter().find(of_pair).unwrap().counts;
        let forward = [counts.n_distinct_partners_forward, counts.n_distinct_partners_backward];
        assert_eq!((counts.n_mutual, forward), plain_counts(&centred(x), &centred(y)), "{source} x {target}");
        let null = [counts.n_distinct_partners_forward_null, counts.n_distinct_partners_backward_null];
        let (mutual, distinct) = plain_counts(&centred(x), &centred(&turned(&flow, y)));
        // products of turned rows of raw activations are in f32, so that one near tie may fall the other way
        let slack = if source == sites[0] { 1 } else { 0 };
        assert!(counts.n_mutual_null.unwrap().abs_diff(mutual) <= slack, "{counts:?}, plain {mutual}");
        for (got, want) in null.into_iter().zip(distinct) {
            assert!(got.unwrap().abs_diff(want) <= slack, "{counts:?}, plain {distinct:?}");
        }
    }

    let n = x[0].n_rows() as f64;
    let latents = latents(&out);
    for row in latents.iter().filter(|r| r.site.to_string() == sites[0]) {
        let values: Vec<f64> = x[0].rows().map(|r| f64::from(r[row.latent as usize])).collect();
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(row.n_active, values.iter().filter(|v| **v != 0.0).count() as u64);
        assert!((row.mean - mean).abs() < 1e-12 && (row.std - std).abs() < 1e-9, "{row:?}: {mean} {std}");
        assert_eq!((row.max.map(f64::from), row.top[0].value), (Some(max), max as f32));
        assert!(row.top.len() > 1 && !row.top[0].token.is_empty());
    }
    assert_eq!(latents.iter().filter(|r| r.site.to_string() == sites[0]).count(), x[0].n_cols());

    let scores: Vec<SimilarityRow> =
        TableReader::open(&out.join("tables/similarities.parquet")).unwrap().read_all().unwrap();
    let of = |pairing: RowPairing| scores.iter().filter(|s| s.pairing == pairing).count();
    assert_eq!(
        (of(RowPairing::Mutual), of(RowPairing::Activations)),
        (2, 8),
        "decoder rows belong to the one pair of SAEs"
    );
    let (a, b) = (centred(&x[0]), centred(&x[1]));
    let frobenius = |c: Vec<Vec<f64>>| c.iter().flatten().map(|v| v * v).sum::<f64>().sqrt();
    let cka = frobenius(co_moment(&a, &b)).powi(2) / (frobenius(co_moment(&a, &a)) * frobenius(co_moment(&b, &b)));
    let row = scores.iter().find(|s| s.measure == "cka" && s.pair.target.to_string() == sites[1]).unwrap();
    assert!((row.value.unwrap() - cka).abs() < 1e-9, "{row:?}: plain {cka}");
    assert!(row.null_mean.unwrap() < cka);
    let history: Vec<HistoryRow> = TableReader::open(&out.join("tables/history.parquet")).unwrap().read_all().unwrap();
    let raw = history.iter().find(|h| h.pair.target.to_string() == sites[1]).unwrap();
    assert!(raw.measures.iter().any(Option::is_none) && raw.measures.iter().any(Option::is_some), "{raw:?}");
}

#[test]
fn raw_pairs_have_the_same_bytes_for_any_workers_and_processes() {
    let folder = tempfile::tempdir().unwrap();
    for (k, changes) in [vec![ALL], vec![ALL, NO_ACTIVATION_MEASURES]].into_iter().enumerate() {
        let flow = small_demo(folder.path(), &changes);
        let first = folder.path().join(format!("first-{k}"));
        run(&flow, &first, &["--quiet", "--in-flight", "1"]);
        let expected = tables(&first);
        let raw = matches(&first).iter().filter(|m| m.pair.source.to_string() == "small-a/embed" && m.mutual).count();
        assert!(raw > 10, "{raw} mutual matches");
        let two = folder.path().join(format!("two-{k}"));
        run(&flow, &two, &["--quiet", "--workers", "2", "--in-flight", "8"]);
        same_tables(&expected, &two, "2 workers");
        if k == 1 {
            let (out, hosts) = (folder.path().join("processes"), hosts(folder.path(), 2));
            for child in (0..2).map(|i| start(&flow, &out, &hosts, 2, i, 1)).collect::<Vec<_>>() {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            same_tables(&expected, &out, "2 processes");
        }
    }
}

#[test]
fn raw_pairs_killed_at_random_moments_end_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    killed_and_taken_up(folder.path(), &small_demo(folder.path(), &[ALL, NO_ACTIVATION_MEASURES]), 3);
}

const GGUF: &str = r#"format = 1
name = "gguf"
[corpus]
files = ["data/demo/corpus.jsonl"]
context_length = 64
batch_contexts = 8
max_tokens = 3_000
[models.q]
path = "tests/fixtures/gguf/qwen2_f16.gguf"
[compare]
pairs = "all"
hookpoints = ["q/embed", "q/resid_post.0", "q/resid_post.1"]
[estimate]
activation_measures = ["cka"]
"#;

#[test]
fn a_gguf_file_is_a_model_with_its_own_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let flow = folder.path().join("flow.toml");
    std::fs::write(&flow, GGUF).unwrap();
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let (sites, rows) = (["q/embed", "q/resid_post.1"], matches(&out));
    assert_eq!(rows.iter().filter(|m| m.rank == 1).count(), 3 * 2 * 32, "three pairs, both ways, 32 dimensions");
    let tokenizer = cognate::model::tokenizer(&project().join("tests/fixtures/gguf/qwen2_f16.gguf")).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (None, Some(365)), "the metadata names no BOS");
    let x = rows_of(&flow, &sites);
    let latents = latents(&out);
    assert_eq!(x[0].n_rows() as f64, (latents[0].n_active as f64 / latents[0].frequency).round());
    check_matches(&out, (sites[0], &x[0]), (sites[1], &x[1]));
    let top: Vec<&str> = latents.iter().flat_map(|l| &l.top).map(|t| t.token.as_str()).collect();
    assert!(top.iter().any(|t| t.trim().chars().any(char::is_alphabetic)), "{top:?}");

    // a copy elsewhere is the same run; a second model of the same tokenizer may stand beside the first
    let copy = folder.path().join("qwen2_f16.gguf");
    std::fs::copy(project().join("tests/fixtures/gguf/qwen2_f16.gguf"), &copy).unwrap();
    let moved = GGUF.replace("path = \"tests/fixtures/gguf/qwen2_f16.gguf\"", &format!("path = {copy:?}"));
    std::fs::write(&flow, &moved).unwrap();
    run(&flow, &out, &["--quiet"]);
    let two = moved.replace("[compare]", "[models.r]\npath = \"tests/fixtures/gguf/qwen2_f16.gguf\"\n[compare]");
    std::fs::write(&flow, two.replace("\"q/resid_post.1\"]", "\"r/resid_post.1\"]")).unwrap();
    run(&flow, &folder.path().join("two"), &["--quiet"]);
    let pairs: std::collections::BTreeSet<String> =
        matches(&folder.path().join("two")).iter().map(|m| format!("{} {}", m.pair.source, m.pair.target)).collect();
    assert_eq!(pairs.into_iter().collect::<Vec<_>>(), ["q/embed r/resid_post.1", "q/resid_post.0 r/resid_post.1"]);

    // other weights are another run, another tokenizer is refused
    let mut bytes = std::fs::read(&copy).unwrap();
    let last = bytes.len() - 64;
    bytes[last] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    std::fs::write(&flow, &moved).unwrap();
    for (text, code, word) in [
        (moved.clone(), 4, "models.q qwen2_f16.gguf"),
        (
            two.replace("tests/fixtures/gguf/qwen2_f16.gguf", "data/demo/models/small-a").replace("q/embed", "r/embed"),
            2,
            "have different tokenizers",
        ),
    ] {
        std::fs::write(&flow, text).unwrap();
        let output = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn the_plan_says_what_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[ALL, NO_ACTIVATION_MEASURES]);
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "take      small-a/embed, resid_post.3 (2 places): 128 dimensions as they are",
        "match     small-a/embed, resid_post.3 x small-b/resid_post.1 (2 pairs): 128 x 160 dimensions, co-moments",
        "match     small-a/resid_post.1, resid_post.2 x small-b/resid_post.3 (2 pairs): 1024 x 1024 latents, 4 tiles",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let few = "pairs = \"all\"\nhookpoints = [\"small-a/embed\", \"small-b/resid_post.9\"]";
    let few = small_demo(folder.path(), &[("pairs = \"all\"", few)]);
    let output = cognate().arg("plan").arg(&few).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("resid_post.9") && said.contains("small-b"), "{said}");
}
