use super::*;
use crate::matching::TokenClass;
use proptest::prelude::*;

fn partner(latent: u32, r: f64) -> Partner {
    Partner { latent, correlation: Correlation::new(r).unwrap() }
}

fn live(n: usize) -> Vec<LatentFacts> {
    vec![LatentFacts { n_active: 100, top: vec![1], ..Default::default() }; n]
}

fn first_outcomes(
    filters: &Filters,
    pickers: &[LatentFacts],
    others: &[LatentFacts],
    partners: &[Vec<Partner>],
) -> Vec<Outcome> {
    let first_of_other = vec![None; others.len()];
    let side = Side { pickers, others, partners, first_of_other: &first_of_other, points: [&[], &[]], within: None };
    apply_filters(filters, side).unwrap().iter().map(|v| v[0]).collect()
}

/// What the keyword filter passes, the published walk, then r > 0.1.
#[test]
fn check_vector_v3() {
    let best = [3, 3, 0, 0, 5, 7, 7, 7, 2];
    let r = [0.9, 0.8, 0.05, 0.7, 0.3, 0.2, 0.6, 0.4, 0.1];
    let partners: Vec<Vec<Partner>> = best.iter().zip(r).map(|(&a, r)| vec![partner(a, r)]).collect();
    let mut pickers = live(9);
    pickers[4].top = vec![2];
    pickers[5].top = vec![2];
    let published = Filters { non_concept: vec![], ..Filters::as_published() };
    let found = first_outcomes(&published, &pickers, &live(8), &partners);
    assert_eq!(
        found,
        [
            Outcome::Kept,
            Outcome::Dropped(Reason::OneToOne),
            Outcome::Dropped(Reason::MinCorrelation),
            Outcome::Dropped(Reason::OneToOne),
            Outcome::Dropped(Reason::SharedToken),
            Outcome::Dropped(Reason::SharedToken),
            Outcome::Kept,
            Outcome::Dropped(Reason::OneToOne),
            Outcome::Dropped(Reason::MinCorrelation)
        ]
    );
    // before the last step (3,0), (0,2), (7,6), (2,8)
    let walk = Filters { min_correlation: -2.0, ..published.clone() };
    let kept: Vec<usize> =
        (0..9).filter(|&b| first_outcomes(&walk, &pickers, &live(8), &partners)[b] == Outcome::Kept).collect();
    assert_eq!(kept, [0, 2, 6, 8]);
    // what was meant keeps (0, 3), whose correlation is 0.7
    let meant = Filters { one_to_one: OneToOne::Best, ..published };
    let found = first_outcomes(&meant, &pickers, &live(8), &partners);
    assert_eq!((found[2], found[3]), (Outcome::Dropped(Reason::MinCorrelation), Outcome::Kept));
}

#[test]
fn each_filter_gives_its_reason_and_the_first_that_fails_is_named() {
    let fact = |change: fn(&mut LatentFacts)| {
        let mut facts = live(1).remove(0);
        change(&mut facts);
        facts
    };
    let filters = Filters {
        min_active: 10,
        min_correlation: 0.1,
        non_concept: vec![TokenClass::Digits],
        shared_token: true,
        mutual: true,
        ..Filters::default()
    };
    let pickers = [
        fact(|f| f.dead = true),
        fact(|f| f.constant = true),
        fact(|_| ()),
        fact(|f| f.n_active = 9),
        fact(|_| ()),
        fact(|f| f.non_concept = true),
        fact(|f| f.top = vec![0, 7]),
        fact(|_| ()),
        fact(|_| ()),
    ];
    let mut partners = vec![vec![]; 3];
    partners.extend([0.9, 0.1, 0.9, 0.9, 0.9, 0.9].map(|r| vec![partner(0, r), partner(1, 0.05)]));
    let others = live(2);
    let side = Side {
        pickers: &pickers,
        others: &others,
        partners: &partners,
        first_of_other: &[Some(8), None],
        points: [&[], &[]],
        within: None,
    };
    let found = apply_filters(&filters, side).unwrap();
    let first: Vec<Outcome> = found.iter().map(|v| v[0]).collect();
    let names: Vec<Option<&str>> = first.iter().map(|v| v.dropped_by()).collect();
    let expected = "dead constant no_partner min_active min_correlation non_concept shared_token mutual";
    assert_eq!(names[..8].iter().flatten().copied().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(first[8], Outcome::Kept);
    assert!(found[3..].iter().all(|v| v[1..] == [Outcome::Dropped(Reason::Rank)]));
    assert_eq!(kept(&found[8], &partners[8]).map(|k| (k.0, k.1.latent)), Some((0, 0)));
    assert_eq!(kept(&found[7], &partners[7]), None);
}

#[test]
fn a_second_choice_is_kept_where_that_gives_more_in_all() {
    // both want 0; the loser's second choice is nearly as good
    let partners = vec![vec![partner(0, 0.9), partner(1, 0.85)], vec![partner(0, 0.8)]];
    let facts = (live(2), live(3));
    for one_to_one in [OneToOne::Hungarian, OneToOne::Transport] {
        let filters = Filters { one_to_one, ..Filters::default() };
        let side = Side {
            pickers: &facts.0,
            others: &facts.1,
            partners: &partners,
            first_of_other: &[None; 3],
            points: [&[], &[]],
            within: None,
        };
        let found = apply_filters(&filters, side).unwrap();
        let expected = [vec![Outcome::Dropped(Reason::OneToOne), Outcome::Kept], vec![Outcome::Kept]];
        assert_eq!(found, expected, "{one_to_one:?}");
    }
}

proptest! {
    /// Each one-to-one rule against its definition, over all pairs of claims.
    #[test]
    fn one_to_one_rules_are_what_they_say(
        picks in prop::collection::vec((0u32..6, -2i8..6, any::<bool>()), 1..14), bar in 0i8..3,
    ) {
        let r = |v: i8| f64::from(v) / 10.0;
        let mut pickers = live(picks.len());
        for (facts, pick) in pickers.iter_mut().zip(&picks) {
            facts.n_active = if pick.2 { 100 } else { 1 };
        }
        let partners: Vec<Vec<Partner>> = picks.iter().map(|p| vec![partner(p.0, r(p.1))]).collect();
        let filters = |one_to_one| Filters { min_active: 2, min_correlation: r(bar), one_to_one, ..Filters::default() };
        let passes = |p: &(u32, i8, bool)| p.2 && p.1 > bar;
        let best = first_outcomes(&filters(OneToOne::Best), &pickers, &live(6), &partners);
        let first = first_outcomes(&filters(OneToOne::AsPublished), &pickers, &live(6), &partners);
        let hungarian = first_outcomes(&filters(OneToOne::Hungarian), &pickers, &live(6), &partners);
        for (i, p) in picks.iter().enumerate() {
            let beaten = picks.iter().enumerate().any(|(k, o)| passes(o) && o.0 == p.0 && (-o.1, k) < (-p.1, i));
            prop_assert_eq!(best[i] == Outcome::Kept, passes(p) && !beaten);
            let earlier = picks[..i].iter().any(|o| o.2 && o.0 == p.0);
            prop_assert_eq!(first[i] == Outcome::Kept, passes(p) && !earlier);
        }
        // with one listed partner each the optimum is the best claim of each partner
        let sum = |v: &[Outcome]| (0..picks.len()).filter(|&i| v[i] == Outcome::Kept).map(|i| picks[i].1 as i32).sum::<i32>();
        prop_assert_eq!(sum(&hungarian), sum(&best));
    }
}

#[test]
fn beyond_chance_asks_for_both_points_and_an_unknown_one_is_not_passed() {
    let partners: Vec<Vec<Partner>> = [0.3, 0.3, 0.3, 0.3].map(|r| vec![partner(0, r)]).into();
    let facts = (live(4), live(1));
    let of_pickers = [Some(0.2), Some(0.3), Some(0.4), None];
    let outcomes = |of_other: Option<f64>| -> Vec<bool> {
        let points: [&[Option<f64>]; 2] = [&of_pickers, &[of_other]];
        let side = Side {
            pickers: &facts.0,
            others: &facts.1,
            partners: &partners,
            first_of_other: &[None],
            points,
            within: None,
        };
        let filters = Filters { beyond_chance: true, ..Filters::default() };
        apply_filters(&filters, side).unwrap().iter().map(|v| v[0].is_kept()).collect()
    };
    assert_eq!(outcomes(Some(0.1)), [true, false, false, false]);
    assert_eq!(outcomes(Some(0.3)), [false; 4]);
    assert_eq!(outcomes(None), [false; 4]);
}

#[test]
fn min_within_asks_each_listed_partner_and_an_unknown_one_is_not_passed() {
    let partners: Vec<Vec<Partner>> = [0.9, 0.9, 0.9].map(|r| vec![partner(0, r), partner(1, 0.8)]).into();
    let facts = (live(3), live(2));
    let within = [vec![Some(0.3), None], vec![Some(0.25), Some(0.5)], vec![None, Some(0.5)]];
    let names = |filters: &Filters, within: Option<&[Vec<Option<f64>>]>| -> Vec<String> {
        let side = Side {
            pickers: &facts.0,
            others: &facts.1,
            partners: &partners,
            first_of_other: &[Some(0), None],
            points: [&[], &[]],
            within,
        };
        let of = |v: Vec<Outcome>| v.iter().map(|o| o.dropped_by().unwrap_or("kept")).collect::<Vec<_>>().join(" ");
        apply_filters(filters, side).unwrap().into_iter().map(of).collect()
    };
    let filters = Filters { min_within: Some(0.3), ..Filters::default() };
    assert_eq!(names(&filters, Some(&within)), ["kept rank", "min_within rank", "min_within rank"]);
    assert_eq!(names(&filters, None), ["min_within rank"; 3]);
    assert_eq!(names(&Filters::default(), None), ["kept rank"; 3]);
    // before `mutual`, and a second choice is asked too
    let mutual = Filters { mutual: true, ..filters.clone() };
    assert_eq!(names(&mutual, Some(&within)), ["kept rank", "min_within rank", "min_within rank"]);
    let given = Filters { one_to_one: OneToOne::Hungarian, ..filters };
    assert_eq!(names(&given, Some(&within)), ["kept rank", "min_within kept", "min_within rank"]);
}
