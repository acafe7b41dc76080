//! What differs between two tables, and where the most?

use super::*;

fn compared<R: TableRow>(shape: [R::Shape; 2], rows: [Vec<R>; 2]) -> TableDiff {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let ([shape_a, shape_b], [rows_a, rows_b]) = (shape, rows);
    write_table(&a, shape_a, &origin(), rows_a).unwrap();
    write_table(&b, shape_b, &BTreeMap::new(), rows_b).unwrap();
    compare(&a, &b).unwrap()
}

#[test]
fn the_same_rows_are_the_same_numbers_even_where_bytes_differ() {
    let diff = compared([(), ()], [matches(9000), matches(9000)]);
    assert!(!diff.identical_bytes && diff.same_numbers(), "{diff:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_table(&path, (), &origin(), matches(5)).unwrap();
    assert!(compare(&path, &path).unwrap().identical_bytes);
    let mut zeros = [similarities(), similarities()];
    zeros[0][0].value = Some(0.0);
    zeros[1][0].value = Some(-0.0);
    assert!(compared([(), ()], zeros).same_numbers());
}

#[test]
fn differences_are_counted_and_the_largest_is_named() {
    let mut rows = [latents(6000), latents(6000)];
    rows[1][10].mean += 0.5;
    rows[1][7000].mean += 2.0;
    rows[1][7000].alive = true;
    rows[1][7001].max = None;
    rows[1][7003].top[0].context.push('!');
    let diff = compared([labels(), labels()], rows.clone());
    assert!(!diff.same_numbers());
    assert_eq!((diff.n_rows, diff.n_rows_differ, diff.n_only), ([18_000, 18_000], 4, [0, 0]));
    let names: Vec<&str> = diff.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["mean", "max", "alive", "top"], "in the table's order");
    let mean = &diff.columns[0];
    let largest = mean.largest.clone().unwrap();
    assert_eq!((mean.n_differ, largest.key.as_str()), (2, "a resid_post.10 1000"));
    assert!((largest.difference - 2.0).abs() < 1e-12);
    assert_eq!(diff.columns[1].largest, None);
    assert_eq!(diff.columns[1].first.2, "null");

    // The law: rows of their own on either side shift the batches and change nothing else.
    rows[0].remove(3);
    rows[1].remove(9000);
    rows[1].remove(8999);
    let shifted = compared([labels(), labels()], rows);
    assert_eq!(
        (shifted.n_only, shifted.first_only),
        ([2, 1], [Some("a resid_post.10 2999".to_string()), Some("a resid_post.2 3".to_string())])
    );
    assert_eq!((shifted.n_rows_differ, shifted.columns), (diff.n_rows_differ, diff.columns));
}

#[test]
fn other_columns_are_named() {
    let rows =
        |n: usize| history(2).into_iter().map(|r| HistoryRow { measures: vec![Some(1.0); n], ..r }).collect::<Vec<_>>();
    let diff = compared([vec!["svcca".into(), "rsa".into()], vec!["svcca".into()]], [rows(2), rows(1)]);
    assert_eq!(diff.columns_only, [vec!["rsa".to_string()], vec![]]);
    assert!(diff.columns.is_empty() && !diff.same_numbers());
}
