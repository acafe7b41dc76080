//! Latents whose correlation is known by construction: of the token alone, of the context alone, of both. Documents
//! have topics, tokens follow Zipf's law and repeat inside a document. The figures of listed pairs are compared with
//! the truth, and so are two estimators that are wrong, to see that the test can fail.

use cognate::corpus::{Document, TokenBatch};
use cognate::linalg::Stream;
use cognate::matching::ListedFigures;
use cognate::moments::{
    Accumulator, ByLatent, GivenSums, ListedBatch, ListedSide, ListedSums, PartnerIndex, RowKey, RowMemory,
    differences, groups_of_rows,
};
use cognate::sae::LatentBatch;
use std::collections::BTreeMap;

const VOCABULARY: usize = 2_000;
const TOPICS: usize = 24;
const DOCUMENTS: usize = 1_500;
const LENGTH: usize = 20;
const SEEDS: u64 = 12;
/// What a latent depends on: token, context.
const KINDS: [[f64; 2]; 3] = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];

struct Row {
    document: usize,
    token: usize,
    /// Of each kind, both sides.
    values: [[f32; 2]; 3],
}

/// A table of values that are mostly 0, both sides alike as far as `shared` says: `[n][2]`.
fn table(stream: &mut Stream, n: usize, alive: f64, shared: f64) -> Vec<[f64; 2]> {
    let one = |stream: &mut Stream| stream.unit();
    (0..n)
        .map(|_| {
            if one(stream) >= alive {
                return [0.0; 2];
            }
            let both = 1.0 + one(stream);
            [(); 2].map(|()| shared * both + (1.0 - shared) * (1.0 + one(stream)))
        })
        .collect()
}

/// The variances of both columns, and their covariance.
fn second_moments(of: impl Iterator<Item = [f64; 2]> + Clone) -> [f64; 3] {
    let n = of.clone().count() as f64;
    let mean = [0, 1].map(|k: usize| of.clone().map(|v| v[k]).sum::<f64>() / n);
    let product = |a: usize, b: usize| of.clone().map(|v| (v[a] - mean[a]) * (v[b] - mean[b])).sum::<f64>() / n;
    [product(0, 0), product(1, 1), product(0, 1)]
}

struct World {
    rows: Vec<Row>,
    of_token: Vec<[f64; 2]>,
    of_topic: Vec<[f64; 2]>,
}

fn world(seed: u64) -> World {
    let mut stream = Stream::new(seed, "given", 0);
    let of_token = table(&mut stream, VOCABULARY, 0.3, 0.9);
    let of_topic = table(&mut stream, TOPICS, 0.4, 0.8);
    let mut below = 0.0;
    let zipf: Vec<f64> = (0..VOCABULARY)
        .map(|v| {
            below += 1.0 / (v + 3) as f64;
            below
        })
        .collect();
    let mut rows = Vec::new();
    for document in 0..DOCUMENTS {
        let topic = (stream.unit() * TOPICS as f64) as usize;
        let mut tokens: Vec<usize> = Vec::new();
        for _ in 0..LENGTH {
            // one in three repeats a token of the document
            let token = if !tokens.is_empty() && stream.unit() < 0.3 {
                tokens[(stream.unit() * tokens.len() as f64) as usize]
            } else {
                {
                    let at = stream.unit() * below;
                    zipf.partition_point(|below_v| *below_v < at).min(VOCABULARY - 1)
                }
            };
            tokens.push(token);
        }
        for token in tokens {
            let values = KINDS.map(|[token_part, context_part]| {
                [0, 1].map(|side: usize| {
                    let noise = if stream.unit() < 0.2 { stream.unit() } else { 0.0 };
                    (token_part * of_token[token][side] + context_part * of_topic[topic][side] + noise) as f32
                })
            });
            rows.push(Row { document, token, values });
        }
    }
    World { rows, of_token, of_topic }
}

/// Variance of the noise: 0 in four of five rows, else uniform.
const NOISE: f64 = 0.2 / 3.0 - 0.01;

/// What should come out, given which tokens the rows with a partner have: (r_token, r_within, token_share of the source) of each kind.
fn truth(world: &World, paired: &[usize]) -> [[f64; 3]; 3] {
    let [ta, tb, tab] = second_moments(paired.iter().map(|&t| world.of_token[world.rows[t].token]));
    let [ca, cb, cab] = second_moments(world.of_topic.iter().copied());
    KINDS.map(|[t, c]| {
        let total = |of_token: f64, of_context: f64| t * of_token + c * of_context + NOISE;
        let within = |of_context: f64| c * of_context + NOISE;
        [
            t * tab / (total(ta, ca) * total(tb, cb)).sqrt(),
            c * cab / (within(ca) * within(cb)).sqrt(),
            t * ta / total(ta, ca),
        ]
    })
}

fn latents(rows: &[Row], side: usize) -> LatentBatch {
    let mut out = LatentBatch { d_sae: KINDS.len(), row_starts: vec![0], ..LatentBatch::default() };
    for row in rows {
        for (latent, values) in (0u32..).zip(&row.values).filter(|(_, values)| values[side] != 0.0) {
            out.latents.push(latent);
            out.values.push(values[side]);
        }
        out.row_starts.push(out.latents.len() as u32);
    }
    out
}

/// The figures of each kind, and the rows that have a partner.
fn told(world: &World) -> ([[f64; 3]; 3], Vec<usize>) {
    let mut index = PartnerIndex::new(RowKey::Token, VOCABULARY);
    let mut memories = [(); 2].map(|()| RowMemory::new(KINDS.len(), index.n_cells()));
    let mut share = GivenSums::new(KINDS.len());
    let mut sums = ListedSums::new(KINDS.len(), KINDS.len());
    sums.list(&[(0, 0), (1, 1), (2, 2)]);
    let mut paired = Vec::new();
    for (number, rows) in world.rows.chunks(1_024).enumerate() {
        let mut tokens = TokenBatch::new(number as u64, 0);
        let mut starts = Vec::new();
        for (p, row) in rows.iter().enumerate() {
            let number = row.document as u64;
            if tokens.documents.last().is_none_or(|d| d.number != number) {
                starts.push((p as u32, tokens.documents.len() as u32));
                tokens.documents.push(Document { number, record: number, ..Document::default() });
            }
        }
        tokens.push(rows.iter().map(|r| r.token as u32).collect(), &vec![true; rows.len()], &starts);
        let partners = index.next(&tokens, &tokens.views[0]);
        let own = [0, 1].map(|side| latents(rows, side));
        let other = [0, 1].map(|k: usize| memories[k].next(&partners, &own[k]));
        share.fold((&partners, &own[0], &other[0])).unwrap();
        let turned =
            [0, 1].map(|k: usize| [&own[k], &other[k], &differences(&own[k], &other[k], &partners)].map(ByLatent::new));
        let side = |k: usize| {
            let [own, partner, difference] = &turned[k];
            ListedSide { own, partner, difference }
        };
        let given: Vec<bool> = partners.of_rows.iter().map(Option::is_some).collect();
        let n = rows.len() as u32;
        let beside: Vec<u32> = (0..n).map(|r| (r + n / 2) % n).collect();
        let batch =
            ListedBatch { sides: [side(0), side(1)], groups: &groups_of_rows(&tokens), given: &given, beside: &beside };
        sums.fold(batch).unwrap();
        paired.extend((0..rows.len()).filter(|r| given[*r]).map(|r| number * 1_024 + r));
    }
    let figures = ListedFigures::of(&sums);
    let of = |k: u32| {
        let listed = figures.find(k, k).unwrap();
        assert!(listed.within_null.unwrap().abs() < 0.1, "{listed:?}");
        [listed.token_correlation.unwrap(), listed.within_correlation.unwrap(), share.share(k as usize).unwrap()]
    };
    ([0, 1, 2].map(of), paired)
}

/// r_token with a partner that may be of the same document.
fn with_any_document(world: &World, kind: usize) -> f64 {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (t, row) in world.rows.iter().enumerate() {
        if let Some(s) = last.insert(row.token, t) {
            pairs.push([f64::from(row.values[kind][0]), f64::from(world.rows[s].values[kind][1])]);
        }
    }
    let [a, b, ab] = second_moments(pairs.iter().copied());
    ab / (a * b).sqrt()
}

/// r_token from each token's mean, its own product with it.
fn plug_in(world: &World, kind: usize) -> f64 {
    let value = |row: &Row| row.values[kind].map(f64::from);
    let [a, b, _] = second_moments(world.rows.iter().map(value));
    let mut of_token: BTreeMap<usize, (f64, [f64; 2])> = BTreeMap::new();
    for row in &world.rows {
        let (n, sums) = of_token.entry(row.token).or_default();
        *n += 1.0;
        sums.iter_mut().zip(value(row)).for_each(|(sum, v)| *sum += v);
    }
    let means = world.rows.iter().map(|row| {
        let (n, sums) = of_token[&row.token];
        sums.map(|sum| sum / n)
    });
    second_moments(means)[2] / (a * b).sqrt()
}

/// Mean of `errors` in units of its standard error.
fn off_by(errors: &[f64]) -> f64 {
    let n = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / n;
    let variance = errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (n - 1.0);
    mean.abs() / (variance / n).sqrt()
}

#[test]
fn what_is_told_is_the_truth_and_the_wrong_estimators_are_seen_to_be_wrong() {
    let mut errors = vec![vec![Vec::new(); 3]; KINDS.len()];
    let mut wrong = [Vec::new(), Vec::new()];
    for seed in 0..SEEDS {
        let world = world(seed);
        let (told, paired) = told(&world);
        assert!(paired.len() * 10 > world.rows.len() * 7, "{} rows have a partner", paired.len());
        let truth = truth(&world, &paired);
        assert!(truth[0][0] > 0.7 && truth[2][0] > 0.3 && truth[2][1] > 0.4, "{truth:?}");
        for kind in 0..KINDS.len() {
            for (k, errors) in errors[kind].iter_mut().enumerate() {
                errors.push(told[kind][k] - truth[kind][k]);
            }
        }
        wrong[0].push(with_any_document(&world, 1) - truth[1][0]);
        wrong[1].push(plug_in(&world, 1) - truth[1][0]);
    }
    for (kind, errors) in errors.iter().enumerate() {
        for (what, errors) in ["r_token", "r_within", "token_share"].iter().zip(errors) {
            assert!(off_by(errors) < 3.0, "{what} of {:?}: {errors:?}", KINDS[kind]);
        }
    }
    for (what, errors) in ["a partner of the same document", "each token's own mean"].iter().zip(&wrong) {
        assert!(off_by(errors) > 6.0, "{what} takes no context for token: {errors:?}");
    }
}
