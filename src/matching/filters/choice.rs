//! The three forms in which a dataflow file writes a choice.

use serde::Deserialize;

/// A switch, a name or a list of names.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false, a name or a list of names")]
pub(super) enum SwitchOrNames {
    Switch(bool),
    Name(String),
    Names(Vec<String>),
}
