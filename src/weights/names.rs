//! What is a tensor called without its wrappers? Training code wraps modules, and saves the wrappers' names too.
//!
//! `torch.compile` puts `_orig_mod` where it wrapped, FSDP and activation checkpointing `_fsdp_wrapped_module` and
//! `_checkpoint_wrapped_module`, at the root or around any module; DataParallel and DDP put `module` before every name.
//! These wrappers do not change the meaning of the weights.

use super::tensors::Entry;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors under their names without wrappers.
#[derive(Default)]
pub(super) struct Plain {
    /// As meant: the name as written, the tensor.
    tensors: BTreeMap<String, (String, Entry)>,
}

impl Plain {
    /// One more, under the name that the file at `path` writes.
    ///
    /// # Errors
    /// `Input` when another tensor has the same name without wrappers.
    pub fn add(&mut self, path: &Path, written: String, entry: Entry) -> Result<()> {
        let meant = plain(&written).into_owned();
        if let Some((before, _)) = self.tensors.get(&meant) {
            return Err(Error::input(format!(
                "{}: tensors {before:?} and {written:?} are both {meant:?}; save it again from the module without its wrapper",
                path.display()
            )));
        }
        self.tensors.insert(meant, (written, entry));
        Ok(())
    }

    /// The tensors by their names.
    pub fn into_map(self) -> BTreeMap<String, Entry> {
        self.tensors.into_iter().map(|(meant, (_, entry))| (meant, entry)).collect()
    }
}

/// Parts that a wrapper puts into a name, at any position.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// The name without what wrappers put into it; as it is where that would leave nothing.
pub fn plain(name: &str) -> Cow<'_, str> {
    let leading = name.starts_with("module.");
    if !leading && !WRAPPERS.iter().any(|wrapper| name.contains(wrapper)) {
        return Cow::Borrowed(name);
    }
    let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
    let kept: Vec<&str> = parts.skip_while(|part| *part == "module").collect();
    if kept.iter().all(|part| part.is_empty()) { Cow::Borrowed(name) } else { Cow::Owned(kept.join(".")) }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn wrappers_leave_a_name_and_nothing_else_does() {
        for (written, meant) in [
            ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("module.model.norm.weight", "model.norm.weight"),
            ("_orig_mod.encoder.weight", "encoder.weight"),
            ("module._orig_mod.encoder.weight", "encoder.weight"),
            ("_orig_mod.module.encoder.weight", "encoder.weight"),
            ("model.layers.3._orig_mod.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
            ("model._fsdp_wrapped_module.layers.0._checkpoint_wrapped_module.b", "model.layers.0.b"),
            // no wrappers: a module of that name further in, a part that only begins like one
            ("layers.0.module.weight", "layers.0.module.weight"),
            ("_orig_module.weight", "_orig_module.weight"),
            ("module.", "module."),
            ("module", "module"),
            ("_orig_mod", "_orig_mod"),
        ] {
            assert_eq!(plain(written), meant, "{written}");
        }
    }
}
