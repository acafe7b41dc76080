//! What do sketches cost at true widths, and how well do they find partners? Some minutes; up to 6 GB.

use crate::recall::{World, buckets, recall};
use cognate::matching::{Standardised, choose_candidates};
use cognate::moments::{Accumulator, ByLatent, CandidateSums, LatentSums, Sketch};
use std::time::Instant;

/// Recall and errors of two spaces of 32 768 latents, at four widths.
pub fn recall_at_32768_latents() {
    recall(32768, [16, 32], &[128, 256, 512, 1024]);
    // a run that goes on: its candidates are those of its beginning
    recall(32768, [16, 64], &[512]);
    recall(32768, [16, 128], &[512]);
    println!("peak memory {} MiB", peak_mib());
}

/// Seconds and memory of two spaces of a million latents: folding, and choosing candidates, beside all products for some.
pub fn a_million_latents() {
    let (d, width, rows, n) = (1 << 20, 512, 8192, 8);
    let world = World::new(d, 3);
    let mut sketches = [(); 2].map(|()| Sketch::new(d, width));
    let mut sums = [(); 2].map(|()| LatentSums::new(d));
    let (mut seconds, mut entries) = (0.0, 0);
    for t in 0..n {
        let batch = world.batch(t, rows, 64);
        let places = buckets(t, rows, width);
        let start = Instant::now();
        for side in 0..2 {
            let by = ByLatent::new(&batch[side]);
            sketches[side].fold((&by, &places)).unwrap();
        }
        seconds += start.elapsed().as_secs_f64();
        entries += batch[0].latents.len() + batch[1].latents.len();
        (0..2).for_each(|side| sums[side].fold(&batch[side]).unwrap());
    }
    let tokens = rows * n as usize;
    println!(
        "two spaces of {d} latents, width {width}: {:.1} µs per token ({:.0} M entries/s by the clock), peak memory {} MiB",
        seconds / tokens as f64 * 1e6,
        entries as f64 / seconds * 1e-6,
        peak_mib()
    );
    let of = [0, 1].map(|side| Standardised::new(&sums[side]));
    let none = CandidateSums::new(d, d);
    let start = Instant::now();
    let chosen = choose_candidates(&none, [(&sketches[0], &of[0]), (&sketches[1], &of[1])], KEEP);
    println!(
        "choosing for all of them: {:.0} s by the clock, {} candidates; peak memory {} MiB",
        start.elapsed().as_secs_f64(),
        chosen.sums().len(),
        peak_mib()
    );
    // those that fire once or twice have hundreds of partners with r = 1
    let some: Vec<usize> = (0..d).filter(|&i| sums[0].n_active[i] >= 30).take(512).collect();
    compare_with_all_products(&chosen, [&sketches[0], &sketches[1]], &of, &some);
}

/// Candidates of each latent, either way.
const KEEP: usize = 10;

/// Of some source latents, whose products are all computed: how many of their best are among the candidates?
fn compare_with_all_products(
    chosen: &CandidateSums,
    [a, b]: [&Sketch; 2],
    [of_a, of_b]: &[Standardised; 2],
    some: &[usize],
) {
    // so few that all products are computed
    let d = b.d_sae();
    // best of the list, whole list; of those with r > 0.3 the best
    let mut counts = [[0usize; 2]; 3];
    for strip in some.chunks(128) {
        let mut narrow = Sketch::new(strip.len(), a.width());
        assert!(narrow.add_ones(a.ones()));
        strip.iter().enumerate().for_each(|(k, &i)| assert!(narrow.add_latent(k, a.latent(i))));
        let of_strip = Standardised {
            sum: strip.iter().map(|&i| of_a.sum[i]).collect(),
            scale: strip.iter().map(|&i| of_a.scale[i]).collect(),
            ..of_a.clone()
        };
        let all = choose_candidates(&CandidateSums::new(strip.len(), d), [(&narrow, &of_strip), (b, of_b)], KEEP);
        for (i, &latent) in strip.iter().enumerate() {
            let row = all.candidates().row(i);
            let mut partners: Vec<(f64, u32)> = row
                .filter_map(|k| {
                    let j = all.candidates().targets[k];
                    Some((of_strip.correlate(i, of_b, j as usize, all.sums()[k])?, j))
                })
                .collect();
            partners.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            partners.truncate(KEEP);
            let is_chosen = |j: u32| chosen.candidates().find(latent as u32, j).is_some();
            let Some(&(r, best)) = partners.first() else { continue };
            let found = [usize::from(is_chosen(best)), partners.iter().filter(|(_, j)| is_chosen(*j)).count()];
            for (counts, (n, of)) in counts.iter_mut().zip([(found[0], 1), (found[1], partners.len())]) {
                counts[0] += n;
                counts[1] += of;
            }
            if r > 0.3 {
                counts[2][0] += found[0];
                counts[2][1] += 1;
            }
        }
    }
    let share = |[n, of]: [usize; 2]| format!("{n} of {of} ({:.4})", n as f64 / of.max(1) as f64);
    println!(
        "of {} latents, all products: the best is a candidate for {}, where its r > 0.3 for {}; of the best {KEEP} {}",
        some.len(),
        share(counts[0]),
        share(counts[2]),
        share(counts[1])
    );
}

fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) >> 10
}
