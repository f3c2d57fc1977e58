//! Which tensor of a module follows which, where EMA copies of submodules are in the same module.

use std::collections::HashMap;

use crate::burn_facts::rank::MAX_RANK;
use crate::error::EmaError;
use crate::walk::path::{is_at_or_within, within};
use crate::walk::read::{First, Shown};

/// Module paths of a submodule and of its EMA copy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SubmodulePair {
    /// The submodule that is trained, e.g. `generator`.
    pub source: String,
    /// Its EMA copy, e.g. `generator_ema`.
    pub ema: String,
}

/// A tensor of an EMA copy and the one that it follows, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ema: usize,
    pub(crate) source: usize,
}

/// Links the tensors of each pair.
///
/// # Errors
///
/// If a path leads to no submodule, two submodules cannot be a pair, or they differ in structure.
pub(crate) fn links(pairs: &[SubmodulePair], first: &First) -> Result<Vec<Link>, EmaError> {
    for path in submodules(pairs) {
        check_submodule(path, first)?;
    }
    check_roles(pairs)?;
    check_ranks(pairs, first)?;
    let mut links = Vec::new();
    for pair in pairs {
        link(pair, first, &mut links)?;
    }
    links.sort_by_key(|link| link.ema);
    Ok(links)
}

fn submodules(pairs: &[SubmodulePair]) -> impl Iterator<Item = &str> {
    pairs
        .iter()
        .flat_map(|pair| [pair.source.as_str(), pair.ema.as_str()])
}

fn check_submodule(path: &str, first: &First) -> Result<(), EmaError> {
    if !first.fields.iter().any(|field| field == path) {
        return Err(EmaError::UnknownSubmodule {
            path: path.to_string(),
            siblings: siblings(path, &first.fields),
        });
    }
    let mut paths = first.places.paths.iter();
    match paths.any(|place| within(place, path).is_some()) {
        true => Ok(()),
        false => Err(EmaError::NotASubmodule {
            path: path.to_string(),
        }),
    }
}

fn check_roles(pairs: &[SubmodulePair]) -> Result<(), EmaError> {
    for (index, pair) in pairs.iter().enumerate() {
        let invalid = |problem| {
            Err(EmaError::InvalidPair {
                source_path: pair.source.clone(),
                ema_path: pair.ema.clone(),
                problem,
            })
        };
        if is_at_or_within(&pair.source, &pair.ema) || is_at_or_within(&pair.ema, &pair.source) {
            return invalid("one is, or contains, the other: name two separate submodules");
        }
        for other in pairs.iter().take(index) {
            if is_at_or_within(&pair.ema, &other.ema) || is_at_or_within(&other.ema, &pair.ema) {
                return invalid("the EMA copy is in another pair too: name each EMA copy once");
            }
        }
        for other in pairs {
            let overlaps =
                |path: &str| is_at_or_within(path, &other.ema) || is_at_or_within(&other.ema, path);
            if overlaps(&pair.source) {
                return invalid(
                    "the first is an EMA copy, or contains one: follow a submodule that is trained",
                );
            }
        }
    }
    Ok(())
}

fn check_ranks(pairs: &[SubmodulePair], first: &First) -> Result<(), EmaError> {
    for (shown, path) in first.shown.iter().zip(&first.places.paths) {
        let is_paired = submodules(pairs).any(|submodule| within(path, submodule).is_some());
        if is_paired && !(1..=MAX_RANK).contains(&shown.rank) {
            return Err(EmaError::UnsupportedRank {
                path: path.clone(),
                rank: shown.rank,
                max: MAX_RANK,
            });
        }
    }
    Ok(())
}

fn link(pair: &SubmodulePair, first: &First, links: &mut Vec<Link>) -> Result<(), EmaError> {
    let paths = &first.places.paths;
    // A path can be there several times: the n-th follows the n-th.
    let mut sources: HashMap<(&str, usize), usize> = HashMap::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (place, path) in paths.iter().enumerate() {
        if let Some(path) = within(path, &pair.source) {
            let repetition = seen.entry(path).or_insert(0);
            sources.insert((path, *repetition), place);
            *repetition += 1;
        }
    }
    seen.clear();
    for (place, path) in paths.iter().enumerate() {
        let Some(inner) = within(path, &pair.ema) else {
            continue;
        };
        let repetition = seen.entry(inner).or_insert(0);
        let Some(source) = sources.remove(&(inner, *repetition)) else {
            return Err(EmaError::Unpaired {
                path: path.clone(),
                other: pair.source.clone(),
            });
        };
        *repetition += 1;
        check(
            (&paths[source], &first.shown[source]),
            (path, &first.shown[place]),
        )?;
        links.push(Link { ema: place, source });
    }
    match sources.into_values().min() {
        None => Ok(()),
        Some(left) => Err(EmaError::Unpaired {
            path: paths[left].clone(),
            other: pair.ema.clone(),
        }),
    }
}

fn check(source: (&String, &Shown), ema: (&String, &Shown)) -> Result<(), EmaError> {
    let (path, source_path) = (ema.0.clone(), source.0.clone());
    if source.1.kind() != ema.1.kind() {
        return Err(EmaError::PairKind { path, source_path });
    }
    let (expected, found) = (source.1.tensor.shape(), ema.1.tensor.shape());
    match expected == found {
        true => Ok(()),
        false => Err(EmaError::PairShape {
            path,
            source_path,
            expected: expected.into(),
            found: found.into(),
        }),
    }
}

/// The fields at the last part of a path that leads somewhere.
fn siblings(path: &str, fields: &[String]) -> Vec<String> {
    let parent_of = |path: &str| {
        path.rsplit_once('.')
            .map_or("", |(parent, _)| parent)
            .to_string()
    };
    let mut parent = parent_of(path);
    while !parent.is_empty() && !fields.contains(&parent) {
        parent = parent_of(&parent);
    }
    let is_child = |field: &&String| {
        let name = match parent.as_str() {
            "" => Some(field.as_str()),
            parent => within(field, parent),
        };
        name.is_some_and(|name| !name.contains('.'))
    };
    let mut siblings: Vec<String> = fields.iter().filter(is_child).cloned().collect();
    siblings.sort();
    siblings.dedup();
    siblings
}
