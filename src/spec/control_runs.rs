//! Which runs does `[controls]` ask for? Each control as a dataflow file of its own.

use super::DataflowSpec;
use super::controls::ControlSpec;
use crate::corpus::RowUnit;
use crate::model::RandomWeights;
use std::collections::BTreeMap;
use std::path::Path;

impl DataflowSpec {
    /// The runs that `[controls]` asks for, by name, each as a dataflow file of its own.
    pub fn control_runs(&self) -> BTreeMap<String, DataflowSpec> {
        self.controls.iter().map(|(name, control)| (name.clone(), self.control_run(name, *control))).collect()
    }

    fn control_run(&self, name: &str, control: ControlSpec) -> DataflowSpec {
        let mut run = self.clone();
        run.controls.clear();
        run.name = format!("{}.{name}", self.name);
        if let Some(random) = control.random_weights {
            for (k, model) in run.models.values_mut().enumerate() {
                model.random_weights = Some(RandomWeights { seed: random.seed.wrapping_add(k as u64), ..random });
            }
            // drawn weights have no logits of their own
            run.estimate.logits = false;
        }
        if let Some(random) = control.random_saes {
            for sae in run.saes.values_mut() {
                // a random SAE has neither
                (sae.random, sae.scale, sae.subtract_b_dec) = (Some(random), None, None);
            }
        }
        run.corpus.shuffle = control.shuffle.or(run.corpus.shuffle);
        run.models.values_mut().for_each(|model| model.settle_command());
        // the file is kept elsewhere, and its paths are no longer relative to where it was
        let paths = (run.models.values_mut().flat_map(|m| m.paths()))
            .chain(run.saes.values_mut().flat_map(|s| s.paths()))
            .chain(&mut run.corpus.files)
            .chain(&mut run.estimate.categories);
        paths.for_each(|path| *path = settled(path));
        run
    }

    /// What `[controls]` can have wrong.
    pub(super) fn check_controls(&self) -> Result<(), String> {
        for (name, control) in &self.controls {
            let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                return Err(format!(
                    "controls holds {name:?}; use letters, digits, '-', '_' and '.', for it names a folder"
                ));
            }
            if name == "real" {
                return Err(
                    "controls holds \"real\", which the table of controls calls the run itself; choose another name"
                        .into(),
                );
            }
            if *control == ControlSpec::default() {
                return Err(format!(
                    "[controls.{name}] changes nothing here; write random_weights, random_saes or shuffle, or take it out"
                ));
            }
            let elsewhere = self.models.iter().find(|(_, model)| model.is_elsewhere());
            if let (Some(_), Some((model, _))) = (control.random_weights, elsewhere) {
                return Err(format!(
                    "controls.{name}.random_weights: models.{model} does not run here, and its weights cannot be drawn; take it out, \
                     or make a dataflow file of its own with the activations of a random model"
                ));
            }
            let stored = self.saes.iter().find(|(_, sae)| sae.taken().is_some());
            if let (Some(_), Some((site, _))) = (control.random_saes, stored) {
                return Err(format!(
                    "controls.{name}.random_saes: the latents of saes.\"{site}\" are not computed here, and cannot be drawn here; take it out"
                ));
            }
            if control.shuffle.is_some() && self.compare.unit == Some(RowUnit::Document) {
                return Err(format!(
                    "controls.{name}.shuffle changes nothing here: it permutes the rows of a document, and with compare.unit = \
                     \"document\" there is one; take it out"
                ));
            }
            if control.random_saes.is_some() && self.saes.is_empty() {
                return Err(format!("controls.{name}.random_saes changes nothing here: there is no SAE; take it out"));
            }
        }
        Ok(())
    }
}

/// A path that means the same wherever the file lies.
fn settled(path: &str) -> String {
    if let Some(rest) = path.strip_prefix("./") {
        return settled(rest);
    }
    if !path.starts_with("../") {
        return path.to_string();
    }
    std::path::absolute(Path::new(path)).map_or_else(|_| path.to_string(), |p| p.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Shuffle;
    use crate::sae::RandomSae;

    const FLOW: &str = r#"
format = 1
name = "real"
seed = 3
[corpus]
files = ["./texts.jsonl"]
context_length = 8
[models.a]
path = "a"
[models.b]
path = "../b"
[saes."a/resid_post.0"]
path = "a"
scale = 2.0
[saes."b/resid_post.0"]
path = "b"
[compare]
pairs = "all"
[controls.weights]
random_weights = { seed = 5, embeddings = true }
[controls.saes]
random_saes = 7
[controls.text]
shuffle = 4
"#;

    fn read(text: &str) -> crate::error::Result<DataflowSpec> {
        DataflowSpec::parse(text, Path::new("../flows/f.toml"))
    }

    #[test]
    fn no_control_is_called_as_the_run_itself_is() {
        let refused = read(&FLOW.replace("[controls.text]", "[controls.real]")).unwrap_err().to_string();
        assert!(refused.contains("controls holds \"real\""), "{refused}");
    }

    #[test]
    fn each_control_is_a_dataflow_file_of_its_own_that_reads_back() {
        let real = read(FLOW).unwrap();
        let runs = real.control_runs();
        assert_eq!(runs.keys().collect::<Vec<_>>(), ["saes", "text", "weights"]);
        let [saes, text, weights] = ["saes", "text", "weights"].map(|name| &runs[name]);
        let seeds: Vec<_> = weights.models.values().map(|m| m.random_weights.unwrap()).collect();
        assert_eq!(seeds, [5, 6].map(|seed| RandomWeights { seed, embeddings: true }), "no two models share a seed");
        assert!(saes.saes.values().all(|s| s.random == Some(RandomSae { seed: 7, k: None }) && s.scale.is_none()));
        assert_eq!((text.corpus.shuffle, text.corpus.seed), (Some(Shuffle { block: 4 }), 3));
        assert!(real.corpus.shuffle.is_none() && real.models["a"].random_weights.is_none());
        for (name, run) in &runs {
            assert_eq!(run.name, format!("real.{name}"));
            let again = read(&run.to_toml()).unwrap();
            assert_eq!(again, *run, "{name}: paths mean the same where the file is kept");
        }
    }

    #[test]
    fn a_control_that_changes_nothing_is_refused() {
        let refused = |text: String| read(&text).unwrap_err().to_string();
        assert!(refused(format!("{FLOW}[controls.none]\n")).contains("changes nothing"));
        assert!(refused(format!("{FLOW}[controls.\"a/b\"]\nshuffle = 2\n")).contains("names a folder"));
        assert!(refused(format!("{FLOW}[controls.x]\nrandom = 2\n")).contains("random"));
    }
}
