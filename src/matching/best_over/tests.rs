//! Choices over a grid of places against a look at every correlation of it.

use super::*;
use proptest::prelude::*;

/// Correlations of two places, `[source][target]`; `None` where undefined.
type Grid = Vec<Vec<Option<f64>>>;

/// Some pairs of places: which two, correlations, and those by chance.
type Pairs = Vec<([u32; 2], Grid, Grid)>;

/// Best partner of each source latent, or of each target latent.
fn best(r: &Grid, of_targets: bool) -> Vec<Option<Partner>> {
    let n = if of_targets { r[0].len() } else { r.len() };
    let first = |list: Vec<Option<f64>>| {
        let top = list.iter().flatten().copied().reduce(f64::max)?;
        let latent = list.iter().position(|v| *v == Some(top))? as u32;
        Some(Partner { latent, correlation: Correlation::new(top)? })
    };
    let list = |i: usize| if of_targets { r.iter().map(|row| row[i]).collect() } else { r[i].clone() };
    (0..n).map(|i| first(list(i))).collect()
}

fn found(pairs: &Pairs, model_of: &[u32], n_active: &[Vec<u64>]) -> BestOver {
    let lists: Vec<[Vec<Option<Partner>>; 4]> =
        pairs.iter().map(|(_, r, null)| [best(r, false), best(r, true), best(null, false), best(null, true)]).collect();
    let place_pairs: Vec<PlacePair<'_>> = (pairs.iter().zip(&lists))
        .map(|((places, ..), [a, b, c, d])| PlacePair { places: *places, best: [a, b], null: Some([c, d]) })
        .collect();
    let n_active: Vec<&[u64]> = n_active.iter().map(Vec::as_slice).collect();
    best_over(&place_pairs, model_of, &n_active)
}

/// Of a latent, every correlation with another place's latents: place, latent, r, and the same by chance.
fn all_of(pairs: &Pairs, place: u32, latent: usize, by_chance: bool) -> Vec<(u32, u32, f64)> {
    let mut out = Vec::new();
    for ([a, b], r, null) in pairs {
        let grid = if by_chance { null } else { r };
        if *a == place {
            out.extend((0u32..).zip(&grid[latent]).filter_map(|(j, r)| Some((*b, j, (*r)?))));
        }
        if *b == place {
            out.extend((0u32..).zip(grid).filter_map(|(i, row)| Some((*a, i, row[latent]?))));
        }
    }
    out
}

/// Two models of two and three places, one of them compared with itself besides; some pairs are left out.
const MODEL_OF: [u32; 5] = [0, 0, 1, 1, 1];
const WIDTHS: [usize; 5] = [4, 3, 5, 4, 3];

fn grids() -> impl Strategy<Value = Pairs> {
    let pairs: Vec<[u32; 2]> = (0..5).flat_map(|a| (a + 1..5).map(move |b| [a, b])).collect();
    let entry = || prop::option::weighted(0.9, -8i8..9).prop_map(|v| v.map(|v| f64::from(v) / 8.0));
    let grid = move |[a, b]: [u32; 2]| {
        prop::collection::vec(prop::collection::vec(entry(), WIDTHS[b as usize]), WIDTHS[a as usize])
    };
    let one = move |places: [u32; 2]| {
        (any::<bool>(), grid(places), grid(places), 0u8..8).prop_map(move |(turn, r, null, there)| {
            let turned = |g: &Grid| (0..g[0].len()).map(|j| g.iter().map(|row| row[j]).collect()).collect();
            let [a, b] = places;
            let pair = if turn { ([b, a], turned(&r), turned(&null)) } else { (places, r, null) };
            (there > 0).then_some(pair)
        })
    };
    pairs.into_iter().map(one).collect::<Vec<_>>().prop_map(|all| all.into_iter().flatten().collect())
}

proptest! {
    #[test]
    fn choices_and_counts_are_those_of_a_look_at_the_whole_grid(pairs in grids(), busy in prop::collection::vec(1u64..9, 19)) {
        let mut busy = busy.into_iter();
        let n_active: Vec<Vec<u64>> = WIDTHS.iter().map(|&n| busy.by_ref().take(n).collect()).collect();
        let over = found(&pairs, &MODEL_OF, &n_active);
        let n_places: BTreeMap<[u32; 2], BTreeSet<u32>> = pairs.iter().flat_map(|([a, b], ..)| [[*a, *b], [*b, *a]])
            .fold(BTreeMap::new(), |mut all, [own, other]| {
                all.entry([own, MODEL_OF[other as usize]]).or_insert_with(BTreeSet::new).insert(other);
                all
            });
        prop_assert_eq!(over.keys().collect::<Vec<_>>(), n_places.keys().collect::<Vec<_>>());
        let plain = |place: u32, latent: usize, model: u32, by_chance: bool| {
            let mut all = all_of(&pairs, place, latent, by_chance);
            all.retain(|c| MODEL_OF[c.0 as usize] == model);
            let top = all.iter().map(|c| c.2).reduce(f64::max)?;
            all.into_iter().filter(|c| c.2 == top).min_by_key(|c| (c.0, c.1))
        };
        let tuple = |c: &Option<Chosen>| c.map(|c| (c.place, c.latent, c.correlation.value()));
        for ([place, model], of) in &over {
            prop_assert_eq!(of.n_places as usize, n_places[&[*place, *model]].len());
            for (i, chosen) in of.best.iter().enumerate() {
                prop_assert_eq!(tuple(chosen), plain(*place, i, *model, false));
                let by_chance = plain(*place, i, *model, true);
                prop_assert_eq!(tuple(&of.null.as_ref().unwrap()[i]), by_chance);
                let s = of.significance[i];
                prop_assert_eq!(s.null_correlation, by_chance.map(|c| c.2));
                // of so few latents one band holds all
                let levels: Vec<f64> = (0..of.best.len()).filter_map(|k| plain(*place, k, *model, true)).map(|c| c.2).collect();
                let reach = chosen.map(|c| levels.iter().filter(|&&level| level >= c.correlation.value()).count());
                let p = reach.filter(|_| !levels.is_empty()).map(|c| (c + 1) as f64 / (levels.len() + 1) as f64);
                prop_assert_eq!(s.p_value, p);
                let next = all_of(&pairs, *place, i, false).into_iter()
                    .filter(|c| MODEL_OF[c.0 as usize] == *model && Some(c.0) != chosen.map(|c| c.place)).map(|c| c.2).reduce(f64::max);
                prop_assert_eq!(s.margin, chosen.zip(next).map(|(c, next)| c.correlation.value() - next));
            }
        }
        for models in [[0, 1], [0, 0], [1, 1]] {
            let got = count_over(&over, &MODEL_OF, models);
            let latents = |model: u32| (0..5u32).filter(move |p| MODEL_OF[*p as usize] == model)
                .flat_map(|p| (0..WIDTHS[p as usize]).map(move |i| (p, i)));
            for by_chance in [false, true] {
                let point = |place: u32, latent: usize, model: u32| {
                    over.get(&[place, model]).and_then(|of| of.significance[latent].point)
                };
                let [a, b] = models;
                let (mut mutual, mut above) = (0, 0);
                for (p, i) in latents(a) {
                    let Some((q, j, r)) = plain(p, i, b, by_chance) else { continue };
                    let back = plain(q, j as usize, a, by_chance).map(|c| (c.0, c.1 as usize));
                    if back == Some((p, i)) && (a != b || (p, i) < (q, j as usize)) {
                        mutual += 1;
                        let beyond = |point: Option<f64>| point.is_some_and(|point| r > point);
                        above += u64::from(beyond(point(p, i, b)) && beyond(point(q, j as usize, a)));
                    }
                }
                let (of, of_above) = if by_chance {
                    (got.n_mutual_null, got.n_mutual_above_chance_null)
                } else {
                    (Some(got.n_mutual), got.n_mutual_above_chance)
                };
                prop_assert_eq!((of, of_above), (Some(mutual), Some(above)));
                let chosen: Vec<f64> = latents(a).filter_map(|(p, i)| plain(p, i, b, by_chance)).map(|c| c.2).collect();
                let mean = (!chosen.is_empty()).then(|| chosen.iter().sum::<f64>() / chosen.len() as f64);
                prop_assert_eq!(if by_chance { got.mean_best_null[0] } else { got.mean_best[0] }, mean);
                let beyond = latents(a).filter(|&(p, i)| {
                    plain(p, i, b, by_chance).is_some_and(|c| point(p, i, b).is_some_and(|point| c.2 > point))
                }).count() as u64;
                prop_assert_eq!(if by_chance { got.n_above_chance_null[0] } else { got.n_above_chance[0] }, Some(beyond));
            }
        }
        // neither the order of pairs nor which side is the source matters
        let mut turned: Pairs = pairs.clone();
        turned.reverse();
        for ([a, b], r, null) in &mut turned {
            std::mem::swap(a, b);
            for grid in [r, null] {
                *grid = (0..grid[0].len()).map(|j| grid.iter().map(|row| row[j]).collect()).collect();
            }
        }
        prop_assert_eq!(found(&turned, &MODEL_OF, &n_active), over);
    }

    /// A grid of one pair of places gives what its matches give.
    #[test]
    fn one_pair_of_places_is_that_pair(
        r in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, -9i8..9), 7), 6),
        null in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, -9i8..9), 7), 6),
        busy in prop::collection::vec(1u64..60, 13),
    ) {
        let grid = |g: &Vec<Vec<Option<i8>>>| -> Grid {
            g.iter().map(|row| row.iter().map(|v| v.map(|v| f64::from(v) / 9.0)).collect()).collect()
        };
        let (r, null) = (grid(&r), grid(&null));
        let n_active = vec![busy[..6].to_vec(), busy[6..].to_vec()];
        let over = found(&vec![([0, 1], r.clone(), null.clone())], &[0, 1], &n_active);
        let values = |of: &[Option<Partner>]| of.iter().map(|p| p.map(|p| p.correlation.value())).collect::<Vec<_>>();
        let [here, by_chance] = [&r, &null].map(|g| [best(g, false), best(g, true)]);
        let mut points = Vec::new();
        for d in [0, 1] {
            let of = &over[&[d as u32, 1 - d as u32]];
            let want = significance(&values(&here[d]), &values(&by_chance[d]), &n_active[d]);
            prop_assert_eq!(&of.significance, &want);
            let latents = |of: &[Option<Partner>]| of.iter().map(|p| p.map(|p| p.latent)).collect::<Vec<_>>();
            prop_assert_eq!(of.best.iter().map(|c| c.map(|c| c.latent)).collect::<Vec<_>>(), latents(&here[d]));
            points.push(want.iter().map(|s| s.point).collect::<Vec<_>>());
        }
        let points = Some([&points[0][..], &points[1][..]]);
        let of = |sides: &[Vec<Option<Partner>>; 2]| super::super::count_matches([&sides[0], &sides[1]], points);
        let (want, want_null) = (of(&here), of(&by_chance));
        let got = count_over(&over, &[0, 1], [0, 1]);
        prop_assert_eq!((got.n_mutual, got.n_mutual_above_chance), (want.n_mutual, want.n_mutual_above_chance));
        prop_assert_eq!((got.n_mutual_null, got.n_mutual_above_chance_null), (Some(want_null.n_mutual), want_null.n_mutual_above_chance));
        prop_assert_eq!((got.mean_best, got.mean_best_null), (want.mean_best_correlation, want_null.mean_best_correlation));
    }
}

#[test]
fn a_place_without_a_chance_level_leaves_the_grid_without_one() {
    let partner = |latent, r| Some(Partner { latent, correlation: Correlation::new(r).unwrap() });
    let (forward, backward) = ([partner(0, 0.5)], [partner(0, 0.5)]);
    let (higher, back) = ([partner(0, 0.75)], [partner(0, 0.75)]);
    let chance = [partner(0, 0.25)];
    let pairs = [
        PlacePair { places: [0, 1], best: [&forward, &backward], null: Some([&chance, &chance]) },
        PlacePair { places: [0, 2], best: [&higher, &back], null: None },
    ];
    let over = best_over(&pairs, &[0, 1, 1], &[&[9], &[9], &[9]]);
    let of = &over[&[0, 1]];
    assert_eq!((of.n_places, of.best[0].unwrap().place, &of.null), (2, 2, &None));
    assert_eq!((of.significance[0].p_value, of.significance[0].margin), (None, Some(0.25)));
    assert!(over[&[1, 0]].null.is_some() && over[&[2, 0]].null.is_none());
    let counts = count_over(&over, &[0, 1, 1], [0, 1]);
    assert_eq!((counts.n_mutual, counts.n_mutual_null, counts.n_mutual_above_chance), (1, None, None));
}
