//! Which place does a name mean in a family, and what is a place called elsewhere?

use super::Hookpoint;
use super::family::FAMILIES;
use super::hookpoint::block_number;
use super::place::{Family, Module, ModuleSide, NoPlace, PlaceOf};
use super::transformer_lens::{self, Name};
use crate::error::{Error, Result};
use serde::Serialize;
use std::str::FromStr;

/// What a name means in one family.
enum Meaning {
    /// One place.
    Place(Hookpoint),
    /// A name that the family's library has, but no place here.
    Missing(NoPlace),
    /// A name whose meaning changed; the hookpoint after the norm's weight, where there is one.
    Changed(Option<Hookpoint>),
    /// Not a name of the family.
    Unknown,
}

/// The place that `text` means in a model of `family`: its plain name (`resid_post.3`), a name of TransformerLens or
/// SAELens (`blocks.3.hook_resid_post`), or a module path of transformers (`model.layers.3`). `family` is the
/// configuration's `model_type`, with the block's arrangement behind it where that is not the usual one, as
/// [`ModelShape::names`](crate::model::ModelShape::names) gives it.
///
/// A plain name is read whatever the family; whether a model has the hookpoint depends on its shape.
///
/// # Errors
/// `Request` for a name that the family does not know, that means no place here, or whose meaning changed between
/// versions of its library; it names the plain hookpoints to choose from.
pub fn resolve(text: &str, family: &str) -> Result<Hookpoint> {
    if let Some(place) = Hookpoint::plain(text) {
        return Ok(place);
    }
    let known = known_family(family);
    let family = known.map_or(family, |known| known.name);
    match known.map_or(Meaning::Unknown, |known| meaning(text, known)) {
        Meaning::Place(place) => Ok(place),
        Meaning::Missing(reason) => Err(missing(text, family, reason)),
        Meaning::Changed(after) => Err(changed(text, after)),
        Meaning::Unknown => Err(unknown(text, Some(family))),
    }
}

impl FromStr for Hookpoint {
    type Err = Error;

    /// Reads the written form, and other libraries' names where all families that have them mean one place.
    fn from_str(text: &str) -> Result<Self> {
        agreed(text)
    }
}

/// The place that `text` means in every family that has the name.
///
/// # Errors
/// As [`resolve`], and `Request` where families differ.
pub(super) fn agreed(text: &str) -> Result<Hookpoint> {
    if let Some(place) = Hookpoint::plain(text) {
        return Ok(place);
    }
    let meanings = || FAMILIES.iter().map(|family| (family, meaning(text, family)));
    let mut places =
        meanings().filter_map(|(family, m)| if let Meaning::Place(p) = m { Some((family, p)) } else { None });
    if let Some((family, place)) = places.next() {
        return match places.find(|(_, other)| *other != place) {
            None => Ok(place),
            Some((other, elsewhere)) => Err(Error::request(format!(
                "hookpoint {text:?} means {place} in {} and {elsewhere} in {}; write the plain name",
                family.name, other.name
            ))),
        };
    }
    let refused = meanings().find_map(|(family, m)| match m {
        Meaning::Missing(reason) => Some(missing(text, family.name, reason)),
        Meaning::Changed(after) => Some(changed(text, after)),
        Meaning::Place(_) | Meaning::Unknown => None,
    });
    Err(refused.unwrap_or_else(|| unknown(text, None)))
}

/// Whether some family has the name.
///
/// # Errors
/// `Request` where none has.
pub(super) fn check_known(text: &str) -> Result<()> {
    let known = |family| matches!(meaning(text, family), Meaning::Place(_));
    if Hookpoint::plain(text).is_some() || FAMILIES.iter().any(known) {
        return Ok(());
    }
    agreed(text).map(|_| ())
}

/// Every family whose names are known, as [`resolve`] takes them.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// What other libraries call a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LibraryNames {
    /// Name in TransformerLens 3 (HookedTransformer).
    pub transformer_lens_3: Option<String>,
    /// Name in TransformerLens 4 (its bridge).
    pub transformer_lens_4: Option<String>,
    /// Module of transformers, with `.input` or `.output` behind it.
    pub hugging_face: Option<String>,
}

/// What other libraries call `place` in a model of `family` (see [`resolve`]); `None` for each that has no name for it.
pub fn library_names(place: Hookpoint, family: &str) -> LibraryNames {
    let Some(family) = known_family(family) else { return LibraryNames::default() };
    let l = place.layer();
    let means = |named: PlaceOf| named(family, l.unwrap_or(0)) == Ok(place);
    let (names, before) = match l {
        Some(l) => (transformer_lens::IN_BLOCK, format!("blocks.{l}.")),
        None => (transformer_lens::ALONE, String::new()),
    };
    let named = |wanted: fn(&Name) -> bool| {
        names.iter().find(|n| wanted(n) && means(n.place)).map(|n| format!("{before}{}", n.text))
    };
    let modules = family.modules;
    let root = modules.roots.first().copied().unwrap_or_default();
    let of_block: Vec<&Module> = match l {
        Some(_) => modules.in_block.iter().copied().flatten().collect(),
        None => modules.alone.iter().collect(),
    };
    let module = [(ModuleSide::Output, "output"), (ModuleSide::Input, "input")].into_iter().find_map(|(side, word)| {
        let module = of_block.iter().find(|m| means(m.at(side)))?;
        let path = match l {
            Some(l) => format!("{root}{}.{l}.{}", modules.blocks, module.path),
            None => format!("{root}{}", module.path),
        };
        Some(format!("{}.{word}", path.trim_end_matches('.')))
    });
    LibraryNames {
        transformer_lens_3: named(|n| n.in_3),
        transformer_lens_4: named(|n| n.in_4 && !n.in_3).or_else(|| named(|n| n.in_4)),
        hugging_face: module,
    }
}

fn known_family(name: &str) -> Option<&'static Family> {
    let exact = FAMILIES.iter().find(|family| family.name == name);
    // a layout without names of its own uses the names of the family
    exact.or_else(|| FAMILIES.iter().find(|family| Some(family.name) == name.split('/').next()))
}

fn meaning(text: &str, family: &Family) -> Meaning {
    match of_transformer_lens(text, family) {
        Meaning::Unknown => of_hugging_face(text, family),
        known => known,
    }
}

fn at(place: PlaceOf, family: &Family, l: usize) -> Meaning {
    match place(family, l) {
        Ok(place) => Meaning::Place(place),
        Err(reason) => Meaning::Missing(reason),
    }
}

fn of_transformer_lens(text: &str, family: &Family) -> Meaning {
    if text == transformer_lens::CHANGED_ALONE {
        return Meaning::Changed(Some(Hookpoint::FinalNorm));
    }
    if let Some(name) = transformer_lens::ALONE.iter().find(|name| name.text == text) {
        return at(name.place, family, 0);
    }
    let Some((l, rest)) = transformer_lens::in_block(text) else { return Meaning::Unknown };
    if let Some((_, after)) = transformer_lens::CHANGED.iter().find(|(name, _)| *name == rest) {
        return Meaning::Changed(after(family, l).ok());
    }
    match transformer_lens::IN_BLOCK.iter().find(|name| name.text == rest) {
        Some(name) => at(name.place, family, l),
        None => Meaning::Unknown,
    }
}

fn of_hugging_face(text: &str, family: &Family) -> Meaning {
    let (path, side) = match text.rsplit_once('.') {
        Some((path, "input")) => (path, ModuleSide::Input),
        Some((path, "output")) => (path, ModuleSide::Output),
        _ => (text, ModuleSide::Output),
    };
    let path = path.strip_prefix("base_model.").unwrap_or(path);
    let modules = family.modules;
    for rest in modules.roots.iter().filter_map(|root| path.strip_prefix(root)) {
        if let Some(module) = modules.alone.iter().find(|m| m.path == rest) {
            return at(module.at(side), family, 0);
        }
        let Some(rest) = rest.strip_prefix(modules.blocks).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let (l, inside) = rest.split_once('.').unwrap_or((rest, ""));
        let Some(l) = block_number(l) else { continue };
        if let Some(module) = modules.in_block.iter().copied().flatten().find(|m| m.path == inside) {
            return at(module.at(side), family, l);
        }
    }
    Meaning::Unknown
}

fn missing(text: &str, family: &str, reason: NoPlace) -> Error {
    Error::request(format!(
        "hookpoint {text:?} is no place of family {family}: {reason}; write one of {}",
        Hookpoint::written_forms()
    ))
}

fn changed(text: &str, after: Option<Hookpoint>) -> Error {
    let choice = match after {
        Some(after) => format!("write {after} for what comes after its weight and bias"),
        None => format!("write one of {}", Hookpoint::written_forms()),
    };
    Error::request(format!(
        "hookpoint {text:?} has two meanings: some versions of TransformerLens read it before the norm's weight, others and \
         SAELens after it; {choice} (before it there is no hookpoint)"
    ))
}

fn unknown(text: &str, family: Option<&str>) -> Error {
    let elsewhere = FAMILIES.iter().find(|family| !matches!(meaning(text, family), Meaning::Unknown));
    let place = match (family, elsewhere) {
        (Some(family), Some(other)) => format!(" in family {family} (it is a name of {})", other.name),
        (Some(family), None) => format!(" in family {family}"),
        (None, _) => String::new(),
    };
    Error::request(format!(
        "hookpoint {text:?} is not known{place}; write one of {}, a name of TransformerLens or a module path of transformers \
         (dataflows/README.md lists them)",
        Hookpoint::written_forms()
    ))
}
