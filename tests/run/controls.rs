//! Controls: an SAE against itself is equal to itself, shuffled rows are chance, turned documents are chance.

use crate::bench_rig::{WITHOUT_LAYER_1, latents, matches, project, run, small_demo};
use cognate::linalg::{Matrix, Stream};
use cognate::matching::Direction;
use cognate::similarity::{Measure, Permutations, compare_rows};
use cognate::table::{SimilarityRow, TableReader};

const MEASURES: &str = "svcca svcca_k10 rsa rsa_cosine cka procrustes pwcca mutual_knn10";

fn list(measures: &str) -> String {
    let names: Vec<String> = measures.split(' ').map(|m| format!("\"{m}\"")).collect();
    format!("measures = [{}]", names.join(", "))
}

#[test]
fn an_sae_against_itself_is_equal_to_itself_and_far_above_chance() {
    let folder = tempfile::tempdir().unwrap();
    let measures = list(MEASURES);
    let flow = small_demo(
        folder.path(),
        &[
            ("data/demo/models/small-b", "data/demo/models/small-a"),
            WITHOUT_LAYER_1,
            ("[saes.\"small-b/resid_post.3\"]", "[saes.\"small-b/resid_post.2\"]"),
            ("data/demo/saes/small-b/layers.3", "data/demo/saes/small-a/layers.2"),
            ("max_tokens = 12_000", "max_tokens = 6_000"),
            ("filters = { min_correlation = 0.1, min_active = 3, one_to_one = true }", "filters = { min_active = 3 }"),
            ("measures = [\"svcca_k10\", \"cka\"]\npairings", &format!("{measures}\npairings")),
            ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []"),
        ],
    );
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let n_active: Vec<u64> = latents(&out).iter().filter(|l| l.site.model == "small-a").map(|l| l.n_active).collect();
    let mut n_live = 0;
    let (mut n_common, mut n_found) = (0, 0);
    for m in matches(&out).iter().filter(|m| m.rank == 1 && m.direction == Direction::Forward) {
        let latent = m.source_latent.unwrap();
        if n_active[latent as usize] == 0 {
            assert_eq!((m.correlation, m.dropped_by.as_deref()), (None, Some("dead")));
            continue;
        }
        n_live += 1;
        assert!((m.correlation.unwrap() - 1.0).abs() < 1e-12, "{m:?}");
        // two latents that fire on one token alone, the same one, are one latent here: the lower is taken
        assert!(
            m.target_latent <= m.source_latent
                && (m.target_latent == m.source_latent || m.significance.margin < Some(1e-9))
        );
        if n_active[latent as usize] >= 20 {
            assert!(m.mutual && m.kept && m.significance.null_correlation.unwrap() < 0.9, "{m:?}");
            n_common += 1;
            n_found += usize::from(m.significance.q_value.unwrap() < 0.01);
        }
    }
    assert!(n_live > 500 && n_found == n_common, "{n_live} {n_common} {n_found}");
    // every latent finds itself, but for those that fire on one token alone, the same one
    let counts = &crate::chance::pairs(&out)[0].counts;
    let twins = n_live as u64 - counts.n_mutual;
    assert!(twins < n_live as u64 / 10 && counts.mean_best_correlation_forward.unwrap() > 1.0 - 1e-9, "{counts:?}");
    assert!(counts.n_mutual_above_chance.unwrap() > counts.n_mutual * 9 / 10, "{counts:?}");
    assert!(counts.n_mutual_null.unwrap() < counts.n_mutual && counts.n_mutual_above_chance_null.unwrap() <= 51);
    let scores: Vec<SimilarityRow> =
        TableReader::open(&out.join("tables/similarities.parquet")).unwrap().read_all().unwrap();
    let mutual: Vec<&SimilarityRow> = scores.iter().filter(|s| s.pairing.as_str() == "mutual").collect();
    assert_eq!(mutual.len(), 8);
    for score in mutual {
        assert!((score.value.unwrap() - 1.0).abs() < 1e-9, "{score:?}");
        assert!(score.null_mean.unwrap() < 0.95 && score.p_value == Some(1.0 / 21.0), "{score:?}");
        assert!(
            score.one_decoder && score.q_value.is_none(),
            "an SAE beside itself is told, and tests nothing: {score:?}"
        );
    }
}

#[test]
fn shuffled_rows_of_real_decoders_score_within_their_null() {
    let rows = |path: &str, name: &str| {
        let sae = cognate::sae::open(&project().join(path), None).unwrap();
        let mut order = Stream::new(3, name, 0).permutation(sae.decoder_rows().n_rows());
        order.truncate(400);
        let all = sae.decoder_rows();
        let data = order.iter().flat_map(|&i| all.row(i as usize).iter().map(|&v| f64::from(v))).collect();
        Matrix::from_vec(order.len(), all.n_cols(), data)
    };
    let p = rows("data/demo/saes/small-a/layers.2", "one");
    let q = rows("data/demo/saes/small-b/layers.3", "another");
    let measures: Vec<Measure> = format!("{MEASURES} svcca_as_published rsa_euclidean jaccard_knn10")
        .split(' ')
        .map(|m| m.parse().unwrap())
        .collect();
    let nulls = Permutations::Seeded { seed: 5, stream: "null/control", runs: 60 };
    let scores = compare_rows(&p, &q, &measures, nulls).unwrap();
    assert_eq!(scores.len(), measures.len());
    for score in scores {
        let (value, null) = (score.value.unwrap(), score.null.unwrap());
        let distance = (value - null.mean).abs() / null.sd.unwrap();
        assert!(null.p_value > 0.02 && distance < 3.5, "{}: {value} {null:?}", score.measure);
    }
}
