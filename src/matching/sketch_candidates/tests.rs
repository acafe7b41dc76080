use super::lists::Best;
use super::*;
use crate::linalg::Stream;
use crate::matching::standard_error;
use crate::moments::{Accumulator, Beside, ByLatent, LatentSums, Sketch};
use crate::sae::LatentBatch;

/// Sparse non-negative latents over `n` rows, the last ones of the second space noisy copies of the first ones.
fn spaces(seed: u64, n: usize, d: usize, copies: usize) -> [LatentBatch; 2] {
    let mut random = Stream::new(seed, "test", 0);
    let draw = |random: &mut Stream, often: f64| (random.unit() < often).then(|| (0.5 + random.unit()) as f32);
    let mut out = [(); 2].map(|()| LatentBatch { d_sae: d, row_starts: vec![0], ..Default::default() });
    for _ in 0..n {
        let first: Vec<Option<f32>> = (0..d).map(|i| draw(&mut random, 0.02 + 0.2 * (i % 5) as f64)).collect();
        let second: Vec<Option<f32>> = (0..d)
            .map(|j| match j.checked_sub(d - copies) {
                Some(k) if random.unit() < 0.8 => first[k],
                _ => draw(&mut random, 0.1),
            })
            .collect();
        for (out, row) in out.iter_mut().zip([first, second]) {
            for (i, x) in row.into_iter().enumerate().filter_map(|(i, x)| Some((i, x?))) {
                out.latents.push(i as u32);
                out.values.push(x);
            }
            out.row_starts.push(out.latents.len() as u32);
        }
    }
    out
}

struct Known {
    sketch: Sketch,
    sums: LatentSums,
    by: ByLatent,
}

fn known(batch: &LatentBatch, width: usize, seed: u64) -> Known {
    let mut random = Stream::new(seed, "buckets", 0);
    let places: Vec<u32> = (0..batch.n_rows()).map(|_| random.below(2 * width as u64) as u32).collect();
    let (mut sketch, mut sums) = (Sketch::new(batch.d_sae, width), LatentSums::new(batch.d_sae));
    let by = ByLatent::new(batch);
    sketch.fold((&by, &places)).unwrap();
    sums.fold(batch).unwrap();
    Known { sketch, sums, by }
}

#[test]
fn candidates_are_the_best_by_a_plain_estimate_and_begin_with_it() {
    let (d, width, keep) = (300, 64, 3);
    let [mut x, y] = spaces(1, 400, d, 40);
    // a latent that never fires and a constant one have no partner and are no latent's partner
    x.values.iter_mut().zip(&x.latents).filter(|(_, i)| **i == 7).for_each(|(v, _)| *v = 0.0);
    let (a, b) = (known(&x, width, 5), known(&y, width, 5));
    let (sa, sb) = (Standardised::new(&a.sums), Standardised::new(&b.sums));
    let got = choose_candidates(&CandidateSums::new(d, d), [(&a.sketch, &sa), (&b.sketch, &sb)], keep);
    let z = |k: &Known, s: &Standardised, i: usize| -> Option<Vec<f64>> {
        s.scale[i]?;
        let mean = s.sum[i] / s.n_rows;
        let row: Vec<f64> =
            k.sketch.latent(i).iter().zip(k.sketch.ones()).map(|(&v, one)| f64::from(v) - mean * one).collect();
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        Some(row.into_iter().map(|v| v / norm).collect())
    };
    let (za, zb): (Vec<_>, Vec<_>) = ((0..d).map(|i| z(&a, &sa, i)).collect(), (0..d).map(|j| z(&b, &sb, j)).collect());
    let r = |i: usize, j: usize| -> Option<f64> {
        Some(za[i].as_ref()?.iter().zip(zb[j].as_ref()?).map(|(a, b)| a * b).sum())
    };
    let mut expected = std::collections::BTreeSet::new();
    for i in 0..d {
        for flip in [false, true] {
            let pair = |k: usize| if flip { (k, i) } else { (i, k) };
            let mut all: Vec<(f64, usize)> = (0..d).filter_map(|k| Some((r(pair(k).0, pair(k).1)?, k))).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            expected.extend(all.iter().take(keep).map(|&(_, k)| pair(k)));
        }
    }
    let found: std::collections::BTreeSet<(usize, usize)> = (0..d)
        .flat_map(|i| got.candidates().row(i).map(move |k| (i, k)))
        .map(|(i, k)| (i, got.candidates().targets[k] as usize))
        .collect();
    assert_eq!(found, expected);
    assert!(sa.scale[7].is_none() && got.candidates().row(7).is_empty());
    for i in 0..d {
        for k in got.candidates().row(i) {
            let j = got.candidates().targets[k] as usize;
            let found = sa.correlate(i, &sb, j, got.sums()[k]).unwrap();
            let wanted = r(i, j).unwrap();
            assert!((found - wanted).abs() < 1e-6, "{i} {j}: {found} {wanted}");
            let error = standard_error(got.candidates(), k, (&sa, i), (&sb, j)).unwrap();
            assert!((error - (1.0 - wanted * wanted) / 8.0).abs() < 1e-6);
            assert_eq!(got.candidates().sketched_rows[k], 400);
        }
    }
}

#[test]
fn what_is_counted_goes_on_and_the_estimated_share_shrinks() {
    let (d, width) = (120, 64);
    let batches: Vec<[LatentBatch; 2]> = (0..4).map(|k| spaces(k, 500, d, 60)).collect();
    let (mut sums, mut sketches) = ([(); 2].map(|()| LatentSums::new(d)), [(); 2].map(|()| Sketch::new(d, width)));
    let mut counted = CandidateSums::new(d, d);
    let mut exact = crate::moments::CrossTile::new(0, d, d);
    let mut errors = Vec::new();
    for (k, batch) in batches.iter().enumerate() {
        let of_batch = [0, 1].map(|side| known(&batch[side], width, 9 + k as u64));
        let mut random = Stream::new(9 + k as u64, "buckets", 0);
        let places: Vec<u32> = (0..500).map(|_| random.below(2 * width as u64) as u32).collect();
        for side in 0..2 {
            sums[side].fold(&batch[side]).unwrap();
            sketches[side].fold((&of_batch[side].by, &places)).unwrap();
        }
        counted.fold((&of_batch[0].by, Beside::own(&batch[1]))).unwrap();
        exact.fold((&of_batch[0].by, Beside::own(&batch[1]))).unwrap();
        let s = [0, 1].map(|side| Standardised::new(&sums[side]));
        counted = choose_candidates(&counted, [(&sketches[0], &s[0]), (&sketches[1], &s[1])], 2);
        // the copies, found at once and counted since, come nearer to the exact correlation than the sketch ever could
        let off: Vec<(f64, f64)> = (0..60)
            .map(|i| {
                let entry = counted.candidates().find(i, 60 + i).expect("a copy is a candidate");
                assert_eq!(counted.candidates().sketched_rows[entry], 500, "it was chosen once and stayed");
                let (i, j) = (i as usize, 60 + i as usize);
                let r = |xy: f64| s[0].correlate(i, &s[1], j, xy).unwrap();
                let error = standard_error(counted.candidates(), entry, (&s[0], i), (&s[1], j)).unwrap();
                (r(counted.sums()[entry]) - r(exact.row(i).unwrap()[j]), error)
            })
            .collect();
        let rms = |v: Vec<f64>| (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt();
        errors.push((rms(off.iter().map(|o| o.0).collect()), rms(off.iter().map(|o| o.1).collect())));
    }
    // 500 of 2000 rows are estimated at the end
    assert!(errors[3].0 < 0.35 * errors[0].0 && errors[3].1 < 0.35 * errors[0].1, "{errors:?}");
    // 60 draws: the standard error is right within a third
    assert!(errors.iter().all(|(off, error)| (off / error - 1.0).abs() < 0.34), "{errors:?}");
}

#[test]
fn ties_go_to_the_lower_partner_however_lists_are_put_together() {
    let offers = [(0.5f32, 9), (0.7, 4), (0.7, 2), (f32::NAN, 1), (0.7, 8), (-0.1, 0)];
    let mut whole = Best::new(1, 3);
    offers.iter().for_each(|&(r, p)| whole.offer(0, r, p));
    assert_eq!(whole.list(0).collect::<Vec<_>>(), [(0.7, 2), (0.7, 4), (0.7, 8)]);
    for cut in 0..=offers.len() {
        let (mut left, mut right) = (Best::new(1, 3), Best::new(1, 3));
        offers[..cut].iter().for_each(|&(r, p)| left.offer(0, r, p));
        offers[cut..].iter().for_each(|&(r, p)| right.offer(0, r, p));
        right.merge(&left);
        assert_eq!(right.list(0).collect::<Vec<_>>(), whole.list(0).collect::<Vec<_>>());
    }
}

/// Pairs that the search finds, and all that there are, in order.
fn searched(sides: Sides<'_>, counted: &CandidateSums, keep: usize) -> [Vec<(u32, u32)>; 2] {
    let known = rows::Known::of_sources(counted, sides);
    let search = Search::of_any(sides, keep).expect("enough latents");
    [by_signs::best_of_some(&search, known), by_products::best_of_all(known, sides, keep)].map(|mut pairs| {
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    })
}

#[test]
fn a_search_by_signs_finds_partners_and_is_the_same_on_any_number_of_threads() {
    let (d, width, keep) = (1500, 512, 4);
    let mut batches = spaces(3, 1500, d, 700);
    // one that never fires on either side, and one that fires alone: its partners are as far as chance goes
    for (batch, latent) in batches.iter_mut().zip([7, 9]) {
        batch.values.iter_mut().zip(&batch.latents).filter(|(_, i)| **i == latent).for_each(|(v, _)| *v = 0.0);
    }
    let [a, b] = [0, 1].map(|k| known(&batches[k], width, 5));
    let (sa, sb) = (Standardised::new(&a.sums), Standardised::new(&b.sums));
    let sides: Sides<'_> = [(&a.sketch, &sa), (&b.sketch, &sb)];
    let none = CandidateSums::new(d, d);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| searched(sides, &none, keep))
    };
    let [found, all] = on(1);
    assert_eq!(on(3)[0], found);
    let missed = all.iter().filter(|pair| found.binary_search(pair).is_err()).count();
    assert!(missed * 50 < all.len(), "{missed} of {}", all.len());
    // all pairs of copies, which are far above chance
    let copies = (0..700u32).map(|k| (k, k + 800)).filter(|&(i, j)| i != 7 && j != 9);
    let exact: Vec<(u32, u32)> = copies.filter(|pair| all.binary_search(pair).is_ok()).collect();
    assert!(exact.len() > 600, "{}", exact.len());
    assert!(exact.iter().all(|pair| found.binary_search(pair).is_ok()));
    assert!(found.iter().all(|&(i, j)| i != 7 && j != 9));
}

#[test]
fn a_search_takes_what_is_counted_in_place_of_what_is_estimated() {
    let (d, width, keep) = (1500, 128, 2);
    let batches = spaces(4, 700, d, 300);
    let [a, b] = [0, 1].map(|k| known(&batches[k], width, 6));
    let (sa, sb) = (Standardised::new(&a.sums), Standardised::new(&b.sums));
    let sides: Sides<'_> = [(&a.sketch, &sa), (&b.sketch, &sb)];
    let first = choose_candidates(&CandidateSums::new(d, d), sides, keep);
    // as if counting had shown that the best are none, and one of the last is the best of all
    let mut sums = first.sums().to_vec();
    let candidates = (**first.candidates()).clone();
    for i in (0..d).step_by(3) {
        for entry in candidates.row(i) {
            let j = candidates.targets[entry] as usize;
            let (product, r) = (sa.sum[i] * sb.sum[j] / sa.n_rows, if entry % 5 == 0 { 0.999 } else { -0.5 });
            sums[entry] = product + r / (sa.scale[i].unwrap() * sb.scale[j].unwrap()) / sa.n_rows;
        }
    }
    let counted = CandidateSums::with(d, d, candidates, sums).unwrap();
    let [found, all] = searched(sides, &counted, keep);
    let missed = all.iter().filter(|pair| found.binary_search(pair).is_err()).count();
    assert!(missed * 20 < all.len(), "{missed} of {}", all.len());
    let known = counted.candidates();
    for i in (0..d).step_by(3) {
        for entry in known.row(i) {
            let pair = (i as u32, known.targets[entry]);
            assert_eq!(found.binary_search(&pair).is_ok(), all.binary_search(&pair).is_ok(), "{pair:?}");
        }
    }
}
