//! Maps between the raw activations of two places: the whole line against least squares over the rows themselves, and what may not change it.

use crate::bench_rig::{
    WITHOUT_LAYER_1, by_rank, cognate, matches, project, run, same_tables, skip, small_demo, tables,
};
use crate::readout::{maps, rows_of};
use cognate::linalg::Matrix;
use cognate::matching::Direction;
use cognate::similarity::{MapKind, Units};
use cognate::table::{PairRow, TableReader};
use std::path::Path;

/// Two models with an SAE each; and a place beside itself, the model under two names.
const STITCHED: [(&str, &str); 5] = [
    ("[models.small-b]", "[models.again]\npath = \"data/demo/models/small-a\"\n[models.small-b]"),
    WITHOUT_LAYER_1,
    (
        "pairs = \"all\"",
        "pairs = [[\"small-a/resid_post.2\", \"small-b/resid_post.3\"], [\"small-a/resid_post.2\", \"again/resid_post.2\"]]\n\
         stitch = true",
    ),
    ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []"),
    ("max_tokens = 12_000", "max_tokens = 5_000"),
];

/// Rows of means and of the least-squares map of `rows`, by Gauss and Jordan: (mean x, mean y, `[d_y][d_x]`).
fn fit(x: &Matrix<f32>, y: &Matrix<f32>, rows: &[usize]) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let (d, e, n) = (x.n_cols(), y.n_cols(), rows.len() as f64);
    let mean = |m: &Matrix<f32>, j: usize| rows.iter().map(|&r| f64::from(m.row(r)[j])).sum::<f64>() / n;
    let (mean_x, mean_y): (Vec<f64>, Vec<f64>) =
        ((0..d).map(|j| mean(x, j)).collect(), (0..e).map(|j| mean(y, j)).collect());
    let mut a = vec![vec![0.0; d + e]; d];
    for &r in rows {
        let centred = |m: &Matrix<f32>, mean: &[f64]| -> Vec<f64> {
            m.row(r).iter().zip(mean).map(|(&v, mean)| f64::from(v) - mean).collect()
        };
        let (u, w) = (centred(x, &mean_x), centred(y, &mean_y));
        for i in 0..d {
            a[i].iter_mut().zip(u.iter().chain(&w)).for_each(|(sum, v)| *sum += u[i] * v);
        }
    }
    let ridge = 1e-3 * (0..d).map(|i| a[i][i]).sum::<f64>() / d as f64;
    (0..d).for_each(|i| a[i][i] += ridge);
    for i in 0..d {
        let pivot = a[i].clone();
        for (k, row) in a.iter_mut().enumerate() {
            let by = if k == i { 1.0 - 1.0 / pivot[i] } else { row[i] / pivot[i] };
            row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= by * p);
        }
    }
    let weight = (0..e).map(|j| (0..d).map(|i| a[i][d + j]).collect()).collect();
    (mean_x, mean_y, weight)
}

/// R² over rows: fitted on one half, judged on the rows of the other, both ways.
fn plain(x: &Matrix<f32>, y: &Matrix<f32>, half: &[u8]) -> f64 {
    let (mut error, mut total) = (0.0, 0.0);
    for side in [0, 1] {
        let of = |want: bool| (0..half.len()).filter(|&r| (half[r] == side) == want).collect::<Vec<usize>>();
        let (fitted, judged) = (of(true), of(false));
        let (mean_x, mean_y, weight) = fit(x, y, &fitted);
        for j in 0..y.n_cols() {
            let own = judged.iter().map(|&r| f64::from(y.row(r)[j])).sum::<f64>() / judged.len() as f64;
            for &r in &judged {
                let along = x.row(r).iter().zip(&mean_x).zip(&weight[j]);
                let predicted = mean_y[j] + along.map(|((&v, m), t)| t * (f64::from(v) - m)).sum::<f64>();
                error += (f64::from(y.row(r)[j]) - predicted).powi(2);
                total += (f64::from(y.row(r)[j]) - own).powi(2);
            }
        }
    }
    1.0 - error / total
}

#[test]
fn places_map_as_least_squares_over_rows_says() {
    let dir = tempfile::tempdir().unwrap();
    let (flow, out) = (small_demo(dir.path(), &STITCHED), dir.path().join("out"));
    run(&flow, &out, &["--quiet"]);
    let table = maps(&out);
    let of = |target: &str, direction: Direction, kind: MapKind| {
        let found = table.iter().find(|r| {
            r.pair.target.to_string() == target && r.direction == direction && r.kind == kind && r.units == Units::Raw
        });
        found.map(|row| row.score)
    };
    let (a, half, beside) = rows_of(&flow, "small-a/resid_post.2");
    let (b, _, _) = rows_of(&flow, "small-b/resid_post.3");
    let near = |found: Option<f64>, right: f64, within: f64| {
        assert!((found.unwrap() - right).abs() < within, "{found:?}, plain {right}");
    };
    let other = "small-b/resid_post.3";
    let forward = of(other, Direction::Forward, MapKind::LeastSquares).unwrap();
    near(forward.r_squared, plain(&a, &b, &half), 1e-7);
    // the null's products are of f32 rows
    near(forward.null, plain(&a, &b.gather_rows(&beside), &half), 1e-5);
    let backward = of(other, Direction::Backward, MapKind::LeastSquares).unwrap();
    near(backward.r_squared, plain(&b, &a, &half), 1e-7);
    for score in [forward, backward] {
        assert!(score.r_squared.unwrap() > 0.2 && score.null.unwrap() < 0.1, "{score:?}");
    }
    assert_eq!(of(other, Direction::Forward, MapKind::Orthogonal), None, "128 and 160 dimensions");

    // a place beside itself: R² is 1 but for the ridge, and a rotation that turns nothing
    for direction in [Direction::Forward, Direction::Backward] {
        let own = of("again/resid_post.2", direction, MapKind::LeastSquares).unwrap();
        let turned = of("again/resid_post.2", direction, MapKind::Orthogonal).unwrap();
        assert!(own.r_squared.unwrap() > 0.999 && own.null.unwrap() < 0.1, "{own:?}");
        assert!((turned.r_squared.unwrap() - 1.0).abs() < 1e-9 && turned.null.unwrap() < 0.1, "{turned:?}");
    }

    // decoder rows under the map of all rows
    let open = |sae: &str| cognate::sae::open(&project().join("data/demo/saes").join(sae), None).unwrap();
    let saes = [open("small-a/layers.2"), open("small-b/layers.3")];
    let all: Vec<usize> = (0..half.len()).collect();
    let weights = [fit(&a, &b, &all).2, fit(&b, &a, &all).2];
    let rows = matches(&out);
    for (side, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
        let found = by_rank(&rows, "small-a/resid_post.2", other, direction);
        let mut compared = 0;
        for row in found.values() {
            let Some((source, target)) = row.source_latent.zip(row.target_latent) else {
                assert_eq!(row.cosines.mapped, None);
                continue;
            };
            let (own, partner) = if side == 0 { (source, target) } else { (target, source) };
            let own = saes[side].decoder_rows().row(own as usize);
            let partner = saes[1 - side].decoder_rows().row(partner as usize);
            let mapped: Vec<f64> =
                weights[side].iter().map(|t| t.iter().zip(own).map(|(t, &v)| t * f64::from(v)).sum()).collect();
            let along: f64 = mapped.iter().zip(partner).map(|(m, &v)| m * f64::from(v)).sum();
            let norms =
                mapped.iter().map(|m| m * m).sum::<f64>() * partner.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            near(row.cosines.mapped, along / norms.sqrt(), 1e-6);
            compared += 1;
        }
        assert!(compared > 300, "{compared}");
    }
    let pairs: Vec<PairRow> = TableReader::open(&out.join("tables/pairs.parquet")).unwrap().read_all().unwrap();
    let of_sae = pairs.iter().find(|p| p.pair.target.to_string() == other).unwrap().mapped;
    assert!(of_sae.mean.unwrap() > of_sae.null_mean.unwrap() + 0.1, "{of_sae:?}");
    assert!(of_sae.share_above.unwrap() > 0.2, "{of_sae:?}");
    let raw = pairs.iter().find(|p| p.pair.target.to_string() != other).unwrap().mapped;
    assert_eq!(raw, Default::default(), "dimensions have no decoder");

    // any workers, and the tables again from saved sums; other units
    let expected = tables(&out);
    let three = dir.path().join("three");
    run(&flow, &three, &["--quiet", "--workers", "3"]);
    same_tables(&expected, &three, "three workers");
    let score = |name: &str, more: &[&str]| {
        let scored = dir.path().join(name);
        let output = cognate().arg("score").arg(&out).args(more).arg("--out").arg(&scored).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        scored
    };
    assert_eq!(maps(&score("again", &[])), table);
    assert_eq!(matches(&dir.path().join("again")), rows);
    let std = maps(&score("std", &["--set", "estimate.map.units=std"]));
    assert!(std.iter().all(|row| row.units == Units::Std) && std[0].score != table[0].score);
    taken_over(&out, dir.path(), &b);
}

/// A dictionary that is taken over is read by Cognate and by sae-lens, and both encode with it alike.
fn taken_over(out: &Path, folder: &Path, b: &Matrix<f32>) {
    let export = |more: &[&str]| {
        let output = cognate().arg("export").arg(out).args(more).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.code(), said)
    };
    let dir = folder.join("taken");
    let (from, into, to) = ("small-a/resid_post.2", "small-b/resid_post.3", dir.to_str().unwrap());
    let (code, said) = export(&["--dictionary", to, "--from", from, "--into", into, "--maps"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("as a SAELens folder of small-b/resid_post.3") && said.contains("by chance"), "{said}");
    let sae = cognate::sae::open(&dir, None).unwrap();
    assert_eq!((sae.shape().d_in, sae.shape().d_sae), (b.n_cols(), 1024));
    let declared = &sae.shape().declared;
    assert_eq!((declared.model.as_deref(), declared.d_in), (Some("small-b"), Some(b.n_cols())));
    let rows: Vec<usize> = (0..64).collect();
    let own = sae.encode(&b.gather_rows(&rows), cognate::sae::Encode::Sparse).unwrap();
    assert!(own.latents.len() > 100, "{}", own.latents.len());

    // rows are the decoder's under the map that is written beside it
    let bytes = std::fs::read(out.join("maps.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f64> {
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    };
    let k =
        (0..2).find(|k| tensors.tensor(&format!("{k}.forward.weight")).unwrap().shape() == [b.n_cols(), 128]).unwrap();
    let (weight, bias) = (floats(&format!("{k}.forward.weight")), floats(&format!("{k}.forward.bias")));
    let before = cognate::sae::open(&project().join("data/demo/saes/small-a/layers.2"), None).unwrap();
    let along = |row: &[f32], j: usize| -> f64 {
        weight[j * 128..][..128].iter().zip(row).map(|(t, &v)| t * f64::from(v)).sum()
    };
    for (j, bias) in bias.iter().enumerate() {
        let right = along(before.decoder_bias(), j) + bias;
        assert!((f64::from(sae.decoder_bias()[j]) - right).abs() < 1e-4 * right.abs().max(1.0));
        for i in (0..1024).step_by(97) {
            let (found, right) = (f64::from(sae.decoder_rows().row(i)[j]), along(before.decoder_rows().row(i), j));
            assert!((found - right).abs() < 1e-4 * right.abs().max(1.0), "{found}, expected {right}");
        }
    }

    for (wrong, word) in [
        (&["--dictionary", to, "--from", from, "--into", into][..], "the folder holds something"),
        (&["--dictionary", "x", "--from", "again/resid_post.2", "--into", from], "has no SAE"),
        (&["--dictionary", "x", "--from", from, "--into", "small-b/resid_post.1"], "the run has maps between"),
        (&["--dictionary", "x", "--from", "small-a", "--into", into], "expected MODEL/HOOKPOINT"),
        (&["--maps", "--into", into], "--into has no effect here"),
        (&["--directions"], "compare.readout = true"),
    ] {
        let (code, said) = export(wrong);
        assert!(code != Some(0) && said.contains(word), "{wrong:?}: {said}");
    }

    let python = std::env::var("COGNATE_SAE_LENS_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = std::process::Command::new(&python).args(["-c", "import sae_lens"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return skip("sae-lens is not installed for COGNATE_SAE_LENS_PYTHON (python3)");
    }
    let activations = folder.join("rows.safetensors");
    let view = |x: &Matrix<f32>| x.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (some, data) = (b.gather_rows(&rows), view(&b.gather_rows(&rows)));
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![64, some.n_cols()], &data).unwrap();
    std::fs::write(&activations, safetensors::serialize([("x", tensor)], None).unwrap()).unwrap();
    let script = project().join("benches/peers/load_sae_lens.py");
    let output = std::process::Command::new(&python).arg(script).args([&dir, &activations]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (found["hook_name"].as_str(), found["model_name"].as_str()),
        (Some("blocks.3.hook_resid_post"), Some("small-b"))
    );
    let found: Vec<Vec<f32>> = serde_json::from_value(found["latents"].clone()).unwrap();
    for (r, row) in found.iter().enumerate() {
        let mut ours = vec![0.0; 1024];
        let (latents, values) = own.row(r);
        latents.iter().zip(values).for_each(|(&i, &v)| ours[i as usize] = v);
        for (i, (a, b)) in row.iter().zip(&ours).enumerate() {
            assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "row {r}, latent {i}: {a} by sae-lens, {b} here");
        }
    }
}
