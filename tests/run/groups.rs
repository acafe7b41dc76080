//! The tables of groups against plain components of the table `matches`, and what identical models must give.

use crate::bench_rig::{WITHOUT_LAYER_1, latents, matches, run, small_demo, tables};
use cognate::matching::Direction;
use cognate::matching::groups::GroupKind;
use cognate::table::{CycleRow, GroupRow, GroupSizeRow, MatchRow, TableReader, TableRow};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Node = (String, u32);

fn rows<R: TableRow>(run: &Path) -> Vec<R> {
    TableReader::open(&run.join(format!("tables/{}.parquet", R::TABLE))).unwrap().read_all().unwrap()
}

fn edge(m: &MatchRow) -> Option<[Node; 2]> {
    let is_edge = m.direction == Direction::Forward && m.kept && m.mutual;
    let (source, target) = (m.source_latent?, m.target_latent?);
    is_edge.then(|| [(m.pair.source.to_string(), source), (m.pair.target.to_string(), target)])
}

/// Every node with everything that is connected to it, by walking.
fn components(edges: &[[Node; 2]]) -> BTreeMap<Node, BTreeSet<Node>> {
    let mut around: BTreeMap<&Node, Vec<&Node>> = BTreeMap::new();
    for [a, b] in edges {
        around.entry(a).or_default().push(b);
        around.entry(b).or_default().push(a);
    }
    let walk = |from: &Node| {
        let (mut seen, mut next) = (BTreeSet::from([from.clone()]), vec![from]);
        while let Some(node) = next.pop() {
            for other in &around[node] {
                if seen.insert((*other).clone()) {
                    next.push(other);
                }
            }
        }
        seen
    };
    around.keys().map(|node| ((*node).clone(), walk(node))).collect()
}

#[test]
fn groups_are_the_components_of_kept_mutual_matches_with_what_is_known_of_their_members() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // two places of each model, so that ways lead round
    let fourth = "[saes.\"small-b/resid_post.5\"]\npath = \"data/demo/saes/small-b/layers.5\"\n[compare]";
    run(&small_demo(folder.path(), &[("[compare]", fourth)]), &out, &["--quiet", "--workers", "2"]);
    let (groups, matches, latents) = (rows::<GroupRow>(&out), matches(&out), latents(&out));
    let edges: Vec<[Node; 2]> = matches.iter().filter_map(edge).collect();
    let r: BTreeMap<[Node; 2], f64> = matches.iter().filter_map(|m| Some((edge(m)?, m.correlation.unwrap()))).collect();
    let components = components(&edges);
    let mut of_group: BTreeMap<u32, Vec<&GroupRow>> = BTreeMap::new();
    groups.iter().for_each(|g| of_group.entry(g.group).or_default().push(g));
    assert_eq!(of_group.keys().copied().collect::<Vec<u32>>(), (1..=of_group.len() as u32).collect::<Vec<u32>>());
    let (mut whole, mut cut, mut with_within) = (0, 0, 0);
    for members in of_group.values() {
        let g = members[0];
        let nodes: BTreeSet<Node> = members.iter().map(|m| (m.site.to_string(), m.latent)).collect();
        let component = &components[nodes.first().unwrap()];
        let places = |nodes: &BTreeSet<Node>| nodes.iter().map(|n| n.0.clone()).collect::<BTreeSet<_>>().len();
        assert_eq!(g.kind == GroupKind::Conflict, places(component) < component.len(), "{component:?}");
        assert!(nodes.is_subset(component) && places(&nodes) == nodes.len() && nodes.len() == g.size as usize);
        if g.kind == GroupKind::Conflict {
            cut += 1;
        } else {
            assert_eq!(&nodes, component);
            whole += 1;
        }
        // both models of this run, so every group is complete, and its figure is that of its best edge
        let inside: Vec<f64> =
            r.iter().filter(|(ends, _)| ends.iter().all(|n| nodes.contains(n))).map(|(_, r)| *r).collect();
        let highest = inside.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!((g.models, g.edges, g.edges_possible), (2, 1, 1));
        assert_eq!((g.min_correlation, g.mean_correlation), (highest, highest));
        let [a, b] = r.iter().find(|(ends, r)| **r == highest && ends.iter().all(|n| nodes.contains(n))).unwrap().0;
        let is_it = |m: &&MatchRow| edge(m).is_some_and(|ends| ends == [a.clone(), b.clone()]);
        assert_eq!(g.min_within, matches.iter().find(is_it).unwrap().listed.within_correlation);
        with_within += u32::from(g.min_within.is_some());
        assert_eq!(members.iter().map(|m| m.degree).sum::<u32>() as usize, 2 * inside.len());
        assert_eq!(members.iter().filter(|m| m.best).count(), 2, "one of each model");
        for m in members {
            let latent = latents.iter().find(|l| *l.site == *m.site && l.latent == m.latent).unwrap();
            assert_eq!(m.frequency, latent.frequency);
            let first: Vec<&String> = latent.top.iter().map(|t| &t.token).take(1).collect();
            assert_eq!(m.top.first().into_iter().collect::<Vec<_>>(), first);
            assert!(m.missing.is_empty(), "both models are there");
        }
    }
    assert!(whole > 50 && cut > 0 && with_within > 50, "{whole} whole, {cut} cut, {with_within} given the token");
    // every component has its group
    let told: BTreeSet<Node> = groups.iter().map(|g| (g.site.to_string(), g.latent)).collect();
    assert_eq!(told.len(), groups.len());
    assert!(components.values().all(|c| c.iter().any(|n| told.contains(n))));
    let sizes = rows::<GroupSizeRow>(&out);
    assert_eq!(sizes.iter().map(|s| s.groups).sum::<u64>(), of_group.len() as u64);
    assert_eq!(sizes.iter().map(|s| s.groups * u64::from(s.places)).sum::<u64>(), groups.len() as u64);
    let by_chance: u64 = sizes.iter().map(|s| s.null_groups.unwrap()).sum();
    assert!(by_chance > 0 && by_chance < of_group.len() as u64 / 2, "{sizes:?}");
    // the larger, the better evidence
    assert!(sizes[0].places == 4 && 4 * sizes[0].null_groups.unwrap() < sizes[0].groups, "{sizes:?}");
    assert!(rows::<CycleRow>(&out).is_empty(), "no three places are all compared with each other");
}

/// One model under three names: every latent that is its own best partner is in a clique of three, nothing is missing.
#[test]
fn one_model_under_three_names_makes_cliques_of_three() {
    let folder = tempfile::tempdir().unwrap();
    let third = "[models.small-c]\npath = \"data/demo/models/small-a\"\n[saes.\"small-c/resid_post.2\"]\npath = \"data/demo/saes/small-a/layers.2\"\n[compare]";
    let flow = small_demo(
        folder.path(),
        &[
            WITHOUT_LAYER_1,
            ("data/demo/models/small-b", "data/demo/models/small-a"),
            (
                "[saes.\"small-b/resid_post.3\"]\npath = \"data/demo/saes/small-b/layers.3\"",
                "[saes.\"small-b/resid_post.2\"]\npath = \"data/demo/saes/small-a/layers.2\"",
            ),
            ("[compare]", third),
            ("max_tokens = 12_000", "max_tokens = 6_000"),
        ],
    );
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let groups = rows::<GroupRow>(&out);
    let own: BTreeSet<u32> =
        matches(&out).iter().filter_map(edge).filter(|[a, b]| a.1 == b.1).map(|[a, _]| a.1).collect();
    assert!(own.len() > 100, "{own:?}");
    let cliques: BTreeMap<u32, BTreeSet<(String, u32)>> = groups.iter().fold(BTreeMap::new(), |mut all, g| {
        assert_eq!((g.kind, g.size, g.models, g.edges, g.edges_possible), (GroupKind::Clique, 3, 3, 3, 3), "{g:?}");
        assert!(g.min_correlation > 1.0 - 1e-12 && g.degree == 2 && g.best && g.missing.is_empty(), "{g:?}");
        all.entry(g.group).or_insert_with(BTreeSet::new).insert((g.site.model.clone(), g.latent));
        all
    });
    let expected: BTreeSet<BTreeSet<(String, u32)>> =
        own.iter().map(|l| ["small-a", "small-b", "small-c"].map(|m| (m.to_string(), *l)).into()).collect();
    assert_eq!(cliques.into_values().collect::<BTreeSet<_>>(), expected);
    let sizes = rows::<GroupSizeRow>(&out);
    let triples = sizes.iter().find(|s| s.models == 3).unwrap();
    assert_eq!((triples.groups, triples.complete), (own.len() as u64, own.len() as u64));
    assert!(triples.null_complete.unwrap() < 20, "{sizes:?}");
    let cycles = rows::<CycleRow>(&out);
    assert_eq!(cycles.len(), 2, "both ways round");
    for c in cycles {
        // a latent that fires where another does, and nowhere else, picks the lower of the two
        assert!(c.share().unwrap() > 0.9 && c.null_share().unwrap() < 0.1, "{c:?}");
    }
}

#[test]
fn a_run_of_two_places_has_no_groups() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let less = [WITHOUT_LAYER_1, ("max_tokens = 12_000", "max_tokens = 3_000")];
    run(&small_demo(folder.path(), &less), &out, &["--quiet"]);
    let names: Vec<String> = tables(&out).into_keys().collect();
    assert_eq!(
        names,
        ["best_over", "best_over_counts", "best_over_scores", "history", "latents", "matches", "pairs", "similarities"]
            .map(|t| format!("{t}.parquet"))
    );
}
