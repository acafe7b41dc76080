//! Do sketches find the partners that exact sums find? Figures at true widths: `cargo bench --bench figures -- sketch`.

#[path = "../benches/figures/recall.rs"]
mod recall;

#[test]
fn partners_are_found_among_near_duplicates() {
    for (width, at_10, counted) in recall::recall(2048, [4, 8], &[256, 512]) {
        assert!(at_10 > 0.97 && counted > 0.85, "{width}: {at_10} {counted}");
    }
}
