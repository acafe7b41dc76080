//! Is this run a control, and what is random in it? A sentence for the plan, the tables, the summary and the page.

use crate::plan::Outline;

impl Outline {
    /// What is drawn at random in this run, in words; `None` for a run of what was trained, on texts as they are.
    pub fn control(&self) -> Option<String> {
        let weights: Vec<String> =
            self.models().iter().filter_map(|m| Some(format!("{} {}", m.name, m.random_weights?))).collect();
        let random: Vec<(String, String)> =
            self.saes().filter_map(|(space, sae)| Some((space.site.to_string(), sae.random?.to_string()))).collect();
        let all_alike = random.len() == self.saes().count() && random.windows(2).all(|w| w[0].1 == w[1].1);
        let saes = match random.first() {
            Some((_, seed)) if all_alike && random.len() > 1 => format!("all SAEs drawn at random ({seed})"),
            Some(_) => {
                let each: Vec<String> = random.iter().map(|(site, seed)| format!("{site} {seed}")).collect();
                format!("SAEs drawn at random ({})", each.join(", "))
            }
            None => String::new(),
        };
        let parts = [
            if weights.is_empty() {
                String::new()
            } else {
                format!("weights drawn at random ({})", weights.join(", "))
            },
            saes,
            self.spec().corpus.shuffle.map_or(String::new(), |shuffle| shuffle.to_string()),
        ];
        let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}
