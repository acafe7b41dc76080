//! Latents read out of the other model's activations: the whole line against least squares over the rows themselves, and what may not change it.

use crate::bench_rig::{WITHOUT_LAYER_1, cognate, matches, project, run, same_tables, small_demo, tables};
use crate::kill::killed_and_taken_up;
use crate::merge::{flow, merge, shards};
use cognate::corpus::Corpus;
use cognate::linalg::Matrix;
use cognate::matching::Direction;
use cognate::moments::FoldRows;
use cognate::spec::DataflowSpec;
use cognate::table::{MapRow, ReadoutRow, TableReader, Verdict};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const READOUT: (&str, &str) = ("pairs = \"all\"", "pairs = \"all\"\nreadout = true");

/// The same beside maps between the places.
const BOTH: (&str, &str) = ("pairs = \"all\"", "pairs = \"all\"\nreadout = true\nstitch = true");

pub fn maps(run: &Path) -> Vec<MapRow> {
    TableReader::open(&run.join("tables/maps.parquet")).unwrap().read_all().unwrap()
}

fn readout(run: &Path) -> Vec<ReadoutRow> {
    TableReader::open(&run.join("tables/readout.parquet")).unwrap().read_all().unwrap()
}

/// Activations of a place over all batches, the half of each row, and the row beside it in the null.
pub fn rows_of(flow: &Path, site: &str) -> (Matrix<f32>, Vec<u8>, Vec<usize>) {
    let spec = DataflowSpec::read(flow).unwrap().0;
    let site: cognate::ids::Site = site.parse().unwrap();
    let path = PathBuf::from(&spec.models[&site.model].path);
    let mut corpus = Corpus::open(spec.corpus.clone(), Arc::new(cognate::model::tokenizer(&path).unwrap())).unwrap();
    let model = cognate::model::open(&path).unwrap();
    let (mut data, mut half, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(batch) = corpus.next_batch().unwrap() {
        let found =
            cognate::model::forward(model.as_ref(), &batch, &batch.views[0], &[site.hookpoint], &[]).unwrap().remove(0);
        let folds = FoldRows::of(&batch);
        beside.extend(folds.beside.iter().map(|&r| half.len() + r as usize));
        half.extend(folds.fold);
        data.extend_from_slice(found.x.as_slice());
    }
    let n = half.len();
    (Matrix::from_vec(n, data.len() / n, data), half, beside)
}

/// R² over rows: the ridge's normal equations by Gauss and Jordan on one half, judged on the rows of the other.
fn plain(x: &[f64], w: &Matrix<f32>, half: &[u8]) -> f64 {
    let d = w.n_cols();
    let (mut error, mut total) = (0.0, 0.0);
    for fit in [0, 1] {
        let rows: Vec<usize> = (0..x.len()).filter(|&r| half[r] == fit).collect();
        let n = rows.len() as f64;
        let mean: Vec<f64> = (0..d).map(|j| rows.iter().map(|&r| f64::from(w.row(r)[j])).sum::<f64>() / n).collect();
        let mean_x = rows.iter().map(|&r| x[r]).sum::<f64>() / n;
        let mut a = vec![vec![0.0; d + 1]; d];
        for &r in &rows {
            let centred: Vec<f64> = w.row(r).iter().zip(&mean).map(|(&v, m)| f64::from(v) - m).collect();
            for i in 0..d {
                (0..d).for_each(|j| a[i][j] += centred[i] * centred[j]);
                a[i][d] += centred[i] * (x[r] - mean_x);
            }
        }
        (0..d).for_each(|i| a[i][i] *= 1.0 + 1e-3);
        for i in 0..d {
            let pivot = a[i].clone();
            for (k, row) in a.iter_mut().enumerate() {
                let by = if k == i { 1.0 - 1.0 / pivot[i] } else { row[i] / pivot[i] };
                row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= by * p);
            }
        }
        let others: Vec<usize> = (0..x.len()).filter(|&r| half[r] != fit).collect();
        let own_mean = others.iter().map(|&r| x[r]).sum::<f64>() / others.len() as f64;
        for &r in &others {
            let along = |(j, &v): (usize, &f32)| a[j][d] * (f64::from(v) - mean[j]);
            let predicted = mean_x + w.row(r).iter().enumerate().map(along).sum::<f64>();
            error += (x[r] - predicted).powi(2);
            total += (x[r] - own_mean).powi(2);
        }
    }
    1.0 - error / total
}

#[test]
fn latents_are_read_out_as_least_squares_over_rows_says() {
    let dir = tempfile::tempdir().unwrap();
    let one = WITHOUT_LAYER_1;
    let flow = small_demo(dir.path(), &[READOUT, one, ("max_tokens = 12_000", "max_tokens = 5_000")]);
    let out = dir.path().join("out");
    run(&flow, &out, &["--quiet"]);
    let rows = readout(&out);
    assert_eq!(rows.len(), 2048, "every latent of both sides");
    let (a, half, beside) = rows_of(&flow, "small-a/resid_post.2");
    let (b, _, _) = rows_of(&flow, "small-b/resid_post.3");
    let latents = |x: &Matrix<f32>, layer: &str| {
        let sae = cognate::sae::open(&project().join("data/demo/saes").join(layer), None).unwrap();
        let encoded = sae.encode(x, cognate::sae::Encode::Sparse).unwrap();
        let mut dense = Matrix::<f64>::zeros(x.n_rows(), encoded.d_sae);
        for r in 0..x.n_rows() {
            let (latents, values) = encoded.row(r);
            latents.iter().zip(values).for_each(|(&i, &v)| dense.row_mut(r)[i as usize] = f64::from(v));
        }
        dense
    };
    let sides = [
        (Direction::Forward, latents(&a, "small-a/layers.2"), &b),
        (Direction::Backward, latents(&b, "small-b/layers.3"), &a),
    ];
    let near = |found: Option<f64>, right: f64| {
        assert!((found.unwrap() - right).abs() < 1e-7 * right.abs().max(1.0), "{found:?}, plain {right}");
    };
    let mut compared = 0;
    for (direction, x, w) in &sides {
        let turned = w.gather_rows(&beside);
        let table: Vec<&ReadoutRow> = rows.iter().filter(|r| r.direction == *direction).collect();
        for row in table.iter().filter(|r| r.found.r_squared.is_some()).step_by(211) {
            let column: Vec<f64> = x.rows().map(|x| x[row.latent as usize]).collect();
            near(row.found.r_squared, plain(&column, w, &half));
            near(row.found.null, plain(&column, &turned, &half));
            // the regression of w on x
            let n = column.len() as f64;
            let mean = column.iter().sum::<f64>() / n;
            let variance: f64 = column.iter().map(|x| (x - mean).powi(2)).sum();
            let along =
                |j: usize| w.rows().zip(&column).map(|(w, x)| f64::from(w[j]) * (x - mean)).sum::<f64>() / variance;
            near(row.found.norm, (0..w.n_cols()).map(|j| along(j).powi(2)).sum::<f64>().sqrt());
            compared += 1;
        }
    }
    assert!(compared > 6, "{compared}");
    // chance matches few of them, and every one passes the filters of the real ones
    let is_matched = |r: &&ReadoutRow| r.by_chance.is_some_and(|[matched, _]| matched);
    let by_chance = rows.iter().filter(is_matched).count();
    let matched = rows.iter().filter(|r| r.verdict == Some(Verdict::Matched)).count();
    assert!(rows.iter().all(|r| r.by_chance.is_some()) && by_chance * 10 < matched, "{by_chance} of {matched}");
    let level: std::collections::BTreeMap<(Direction, u32), f64> = (matches(&out).iter())
        .filter_map(|m| {
            let latent = if m.direction == Direction::Forward { m.source_latent } else { m.target_latent };
            Some(((m.direction, latent?), m.significance.null_correlation?))
        })
        .collect();
    let points: std::collections::BTreeMap<(Direction, u32), f64> = (matches(&out).iter().filter(|m| m.rank == 1))
        .filter_map(|m| {
            let latent = if m.direction == Direction::Forward { m.source_latent } else { m.target_latent };
            Some(((m.direction, latent?), m.significance.point?))
        })
        .collect();
    for row in rows.iter().filter(is_matched) {
        assert!(level[&(row.direction, row.latent)] >= 0.5, "{row:?}");
    }
    for row in &rows {
        match (row.verdict, row.found.r_squared, row.found.chance_point) {
            (Some(Verdict::Matched | Verdict::Dropped), ..) => assert!(row.found.r_best.unwrap() >= 0.5),
            // what has a strong partner is not missing, whatever the filters say
            (Some(_), ..) if row.found.r_best.is_some_and(|r| r >= 0.5) => {
                let key = (row.direction, row.latent);
                assert!(points.get(&key).is_some_and(|point| row.found.r_best.unwrap() <= *point), "{row:?}");
            }
            (Some(Verdict::Readable), Some(r), Some(point)) => assert!(r > point && r >= 0.25),
            (Some(Verdict::Faint), Some(r), Some(point)) => assert!(r > point.max(0.0) && r < 0.25),
            (Some(Verdict::Absent), Some(r), Some(point)) => assert!(r <= point.max(0.0)),
            (None, r, point) => assert!(r.is_none() || point.is_none()),
            other => panic!("{other:?}"),
        }
    }

    // any workers, and the tables again from saved sums
    let expected = tables(&out);
    let three = dir.path().join("three");
    run(&flow, &three, &["--quiet", "--workers", "3"]);
    same_tables(&expected, &three, "three workers");
    let output = cognate().arg("score").arg(&out).arg("--out").arg(dir.path().join("scored")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(readout(&dir.path().join("scored")), rows);
    exported(&out, &rows, dir.path());
}

/// What is exported has the lengths that the table says, and a control vector is one row of it.
fn exported(out: &Path, rows: &[ReadoutRow], folder: &Path) {
    let export = |more: &[&str]| {
        let output = cognate().arg("export").arg(out).args(more).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let vector = folder.join("v.gguf");
    let (latent, vector_name) = ("small-a/resid_post.2/0", vector.to_str().unwrap());
    let row = rows.iter().find(|r| r.direction == Direction::Forward && r.found.norm.is_some()).unwrap();
    let latent = latent.replace("/0", &format!("/{}", row.latent));
    let (done, said) = export(&["--directions", "--control-vector", vector_name, "--latent", &latent]);
    assert!(done, "{said}");
    let bytes = std::fs::read(out.join("directions.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    for (k, direction) in [(0, Direction::Forward), (1, Direction::Backward)] {
        let known: Vec<&ReadoutRow> =
            rows.iter().filter(|r| r.direction == direction && r.found.norm.is_some()).collect();
        let latents = tensors.tensor(&format!("{k}.latents")).unwrap();
        let latents: Vec<u32> =
            latents.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect();
        assert_eq!(latents, known.iter().map(|r| r.latent).collect::<Vec<_>>());
        let of = tensors.tensor(&format!("{k}.directions")).unwrap();
        let (width, data) = (of.shape()[1], floats(of.data()));
        for (row, g) in known.iter().zip(data.chunks_exact(width)) {
            let norm = g.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            assert!((norm / row.found.norm.unwrap() - 1.0).abs() < 1e-6);
        }
        if k == 0 {
            let file = std::fs::read(&vector).unwrap();
            assert_eq!(floats(&file[file.len() - 4 * width..]), data[..width]);
            assert!(file.starts_with(b"GGUF\x03\0\0\0"));
            assert!(file.windows(11).any(|w| w == b"direction.3"));
        }
    }
    let other = folder.join("w.gguf");
    let other = other.to_str().unwrap();
    for (wrong, word) in [
        (&["--control-vector", other, "--latent", "small-a/resid_post.2"][..], "expected MODEL/HOOKPOINT/LATENT"),
        (&["--control-vector", other, "--latent", "small-a/resid_post.1/3"], "the run has"),
        (&["--control-vector", vector_name, "--latent", &latent], "v.gguf is there already"),
        (&["--control-vector", "no/such/v.gguf", "--latent", &latent], "there is no folder no/such"),
        (&[], "nothing to export"),
    ] {
        let (done, said) = export(wrong);
        assert!(!done && said.contains(word), "{said}");
    }
}

#[test]
fn kills_change_no_readout_and_no_map() {
    let dir = tempfile::tempdir().unwrap();
    let flow = small_demo(dir.path(), &[BOTH, ("max_tokens = 12_000", "max_tokens = 6_000")]);
    killed_and_taken_up(dir.path(), &flow, 3);
}

/// Halves are by document, so those of shards add up.
#[test]
fn readouts_and_maps_of_shards_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = shards(folder.path(), 2);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for (name, files) in [("a", &files[..1]), ("b", &files[1..]), ("whole", &files[..])] {
        let flow = flow(folder.path(), &format!("flow-{name}"), files);
        let text = std::fs::read_to_string(&flow).unwrap().replace(BOTH.0, BOTH.1);
        std::fs::write(&flow, text).unwrap();
        run(&flow, &path(name), &["--quiet"]);
    }
    let (code, said) = merge(&[&path("a"), &path("b")], &path("merged"));
    assert_eq!(code, 0, "{said}");
    let (whole, merged) = (readout(&path("whole")), readout(&path("merged")));
    assert_eq!(whole.len(), merged.len());
    let mut defined = 0;
    for (a, b) in whole.iter().zip(&merged) {
        assert_eq!((a.latent, a.partner), (b.latent, b.partner));
        // the null turns rows within batches, which a shard cuts elsewhere
        for (x, y) in [(a.found.r_squared, b.found.r_squared), (a.found.norm, b.found.norm)] {
            match (x, y) {
                (Some(x), Some(y)) => assert!((x - y).abs() < 1e-7 * x.abs().max(1.0), "{x} {y}"),
                (x, y) => assert_eq!(x, y),
            }
        }
        defined += usize::from(a.found.r_squared.is_some());
    }
    assert!(defined > 300, "{defined}");
    let [whole, merged] = ["whole", "merged"].map(|name| maps(&path(name)));
    assert_eq!(whole.len(), merged.len());
    for (a, b) in whole.iter().zip(&merged) {
        assert_eq!((a.tokens, a.kind, a.direction), (b.tokens, b.kind, b.direction));
        let (x, y) = (a.score.r_squared.unwrap(), b.score.r_squared.unwrap());
        assert!((x - y).abs() < 1e-9, "{x} {y}");
    }
}
