//! Finding the networks of a pair by path, and the values that belong together.

use std::collections::{BTreeSet, HashMap};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Shape, Tensor};

use super::{Entry, Kind, Pair, TwinError, within};
use crate::op::MAX_RANK;
use crate::traverse::Path;

/// A value of the module.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) id: ParamId,
    kind: Kind,
    pub(super) shape: Shape,
}

/// Every value of `module`, in the order in which it shows them, if the networks of `pairs` are there.
pub(super) fn find<M: Module>(module: &M, pairs: &[Pair]) -> Result<Vec<Found>, TwinError> {
    let mut explorer = Explorer::default();
    module.visit(&mut explorer);
    let Explorer { fields, found, .. } = explorer;
    for network in networks(pairs) {
        if !fields.contains(network) {
            return Err(unknown(network, &fields));
        }
        if !found
            .iter()
            .any(|value| within(&value.path, network).is_some())
        {
            return Err(TwinError::Empty {
                path: network.to_string(),
            });
        }
    }
    let mut paired = found.iter().filter(|value| belongs(value, pairs));
    match paired.find(|value| value.shape.num_dims() > MAX_RANK) {
        None => Ok(found),
        Some(value) => Err(TwinError::RankTooHigh {
            path: value.path.clone(),
            rank: value.shape.num_dims(),
            max: MAX_RANK,
        }),
    }
}

fn belongs(value: &Found, pairs: &[Pair]) -> bool {
    networks(pairs).any(|network| within(&value.path, network).is_some())
}

/// Joins the values of each pair.
pub(super) fn entries(pairs: &[Pair], found: &[Found]) -> Result<Vec<Entry>, TwinError> {
    let found: Vec<&Found> = found.iter().filter(|value| belongs(value, pairs)).collect();
    let mut entries: Vec<Entry> = found
        .iter()
        .map(|value| Entry {
            path: value.path.clone(),
            kind: value.kind,
            shape: value.shape.clone(),
            source: None,
        })
        .collect();
    for Pair { source, twin } in pairs {
        let mut sources: HashMap<(&str, usize), usize> = HashMap::new();
        for (index, value) in found.iter().enumerate() {
            if let Some(path) = within(&value.path, source) {
                let repetition = (0..).find(|n| !sources.contains_key(&(path, *n)));
                sources.insert((path, repetition.unwrap_or(0)), index);
            }
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, value) in found.iter().enumerate() {
            let Some(path) = within(&value.path, twin) else {
                continue;
            };
            let repetition = seen.entry(path).or_insert(0);
            let Some(of) = sources.remove(&(path, *repetition)) else {
                return Err(TwinError::Unpaired {
                    path: value.path.clone(),
                    network: source.clone(),
                });
            };
            *repetition += 1;
            check(found[of], value)?;
            entries[index].source = Some(of);
        }
        if let Some(left) = sources.into_values().min() {
            return Err(TwinError::Unpaired {
                path: found[left].path.clone(),
                network: twin.clone(),
            });
        }
    }
    Ok(entries)
}

fn check(source: &Found, twin: &Found) -> Result<(), TwinError> {
    if source.kind != twin.kind {
        return Err(TwinError::KindMismatch {
            path: twin.path.clone(),
            source_path: source.path.clone(),
        });
    }
    if source.shape != twin.shape {
        return Err(TwinError::ShapeMismatch {
            path: twin.path.clone(),
            source_path: source.path.clone(),
            expected: source.shape.to_vec(),
            found: twin.shape.to_vec(),
        });
    }
    Ok(())
}

fn networks(pairs: &[Pair]) -> impl Iterator<Item = &str> {
    pairs
        .iter()
        .flat_map(|pair| [pair.source.as_str(), pair.twin.as_str()])
}

/// Names what there is in the place of a path that leads nowhere.
fn unknown(path: &str, fields: &BTreeSet<String>) -> TwinError {
    let mut parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    while !parent.is_empty() && !fields.contains(parent) {
        parent = parent.rsplit_once('.').map_or("", |(parent, _)| parent);
    }
    let children = fields.iter().filter(|field| {
        let name = match parent {
            "" => Some(field.as_str()),
            parent => within(field, parent),
        };
        name.is_some_and(|name| !name.contains('.'))
    });
    let siblings: Vec<String> = children.map(|field| format!("`{field}`")).collect();
    TwinError::Unknown {
        path: path.to_string(),
        siblings: match siblings.is_empty() {
            true => "no fields".to_string(),
            false => siblings.join(", "),
        },
    }
}

/// Notes the paths of all fields, and all values.
#[derive(Default)]
struct Explorer {
    path: Path,
    fields: BTreeSet<String>,
    found: Vec<Found>,
}

impl Explorer {
    fn on_value(&mut self, id: ParamId, kind: Kind, shape: Shape) {
        self.found.push(Found {
            path: self.path.as_str().to_string(),
            id,
            kind,
            shape,
        });
    }
}

impl ModuleVisitor for Explorer {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
        self.fields.insert(self.path.as_str().to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        self.on_value(param.id, Kind::of_float(value.dtype()), value.shape());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.on_value(param.id, Kind::Int, param.base().shape());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.on_value(param.id, Kind::Bool, param.base().shape());
    }
}
