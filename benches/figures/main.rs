//! How long do the heavy parts take at full size, and how good are sketches there? Minutes and gigabytes, so none runs unless it is
//! named: `cargo bench --bench figures -- NAME [PART]`.
//!
//! `sketch`: recall at 32 768 latents, then a million of them (`million`: these alone). `scores`: a layer pair of the paper's size. `hungarian`:
//! whole dictionaries over candidates; of `scores` and `hungarian` only the parts with PART in their name.
//! `dictionaries`: kinds of candidates, and dense methods. `store`: state files and tables. `groups`: components of six
//! places, maintained and recomputed.

mod assignment;
mod groups;
#[path = "../../tests/common/matches.rs"]
mod matches;
mod recall;
mod scores;
mod sketch;
mod store;

fn main() {
    // `cargo bench` adds --bench, and runs every target without a word of what to do.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["sketch"] => {
            sketch::recall_at_32768_latents();
            sketch::a_million_latents();
        }
        ["million"] => sketch::a_million_latents(),
        ["scores", ref part @ ..] => scores::scores(part.first().unwrap_or(&"")),
        ["hungarian", ref part @ ..] => assignment::hungarian_beside_scipy(part.first().unwrap_or(&"")),
        ["dictionaries"] => assignment::whole_dictionaries(),
        ["groups"] => groups::groups_at_full_size(),
        ["store"] => store::state_and_tables(),
        _ => println!(
            "figures: name one of sketch, million, scores, hungarian, dictionaries, store, groups; see the head of benches/figures/main.rs"
        ),
    }
}
