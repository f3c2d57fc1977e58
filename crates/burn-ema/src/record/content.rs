//! What is in a record: which EMAs, and where.

use burn::module::{ModuleVisitor, Param, ParamGroup, ParamId};
use burn::store::ModuleRecord;
use burn::tensor::{Bool, Int, Tensor};

use crate::burn_facts::records;
use crate::error::EmaError;
use crate::record::ids::{exchanged, of_compensation};
use crate::record::progress::{PROGRESS, TRAINED};
use crate::record::traverse::Traverse;
use crate::record::walk::{COMPENSATIONS, WEIGHTS};
use crate::walk::path::Path;

/// The EMAs of a record, by path.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::record::Content;
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let ema = EmaConfig::new().init(&model);
/// assert_eq!(Content::of(&ema.into_record()).emas(), [""]);
/// assert!(Content::of(&model.into_record()).emas().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    emas: Vec<String>,
    /// The paths of all compensations.
    compensations: Vec<String>,
}

impl Content {
    /// Looks into a record. Tensors of a record that is in memory are copied for a while.
    pub fn of(record: &ModuleRecord) -> Self {
        let paths = records::paths(record);
        let ema = |path: &String| match path.strip_suffix(PROGRESS)? {
            "" => Some(String::new()),
            parent => parent.strip_suffix('.').map(str::to_string),
        };
        let emas = paths.iter().filter_map(ema).collect();
        let is_compensation = |path: &String| path.split('.').any(|part| part == COMPENSATIONS);
        Self {
            emas,
            compensations: paths.into_iter().filter(is_compensation).collect(),
        }
    }

    /// The paths of the EMAs, sorted. Empty for an EMA that is the record itself.
    pub fn emas(&self) -> &[String] {
        &self.emas
    }

    /// The module paths of the tensors of the EMA at `path` that have compensations.
    pub(crate) fn compensations(&self, path: &str) -> Vec<String> {
        let start = match path {
            "" => format!("{COMPENSATIONS}."),
            path => format!("{path}.{COMPENSATIONS}."),
        };
        let compensations = self.compensations.iter();
        compensations
            .filter_map(|compensation| compensation.strip_prefix(&start))
            .map(str::to_string)
            .collect()
    }

    /// Whether an EMA is at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.emas.iter().any(|ema| ema == path)
    }

    /// Where a single EMA is: at the top, or wherever there is just one.
    ///
    /// # Errors
    ///
    /// If there are several, none of them at the top.
    pub(crate) fn single(&self) -> Result<Option<&str>, EmaError> {
        match self.emas.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ if self.has("") => Ok(Some("")),
            several => Err(EmaError::SeveralEmas {
                known: several.to_vec(),
            }),
        }
    }
}

/// The group of what `group` means in a record of `traverse`, which may hold EMAs.
///
/// A tensor of an EMA belongs to a group if the group names it, or the tensor of the model that it follows, by path or id.
/// Progress belongs to every group: without it the record could not be loaded.
pub fn group_in<T: Traverse>(traverse: &T, group: &ParamGroup) -> ParamGroup {
    let mut members = Members {
        path: Path::default(),
        group,
        found: Vec::new(),
    };
    traverse.visit(&mut members);
    ParamGroup::from_paths(members.found)
}

struct Members<'a> {
    path: Path,
    group: &'a ParamGroup,
    found: Vec<String>,
}

impl Members<'_> {
    fn on_tensor(&mut self, id: ParamId) {
        let path = self.path.as_str();
        let name = path.rsplit('.').next().unwrap_or_default();
        let in_model = |kind: &str, exchange: fn(ParamId) -> ParamId| {
            let in_model = path.split_once(&format!("{kind}."));
            in_model.is_some_and(|(_, path)| self.group.matches(&exchange(id), Some(path)))
        };
        let is_member = self.group.matches(&id, Some(path))
            || in_model(WEIGHTS, exchanged)
            || in_model(COMPENSATIONS, of_compensation)
            || [PROGRESS, TRAINED].contains(&name);
        if is_member {
            self.found.push(path.to_string());
        }
    }
}

impl ModuleVisitor for Members<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.on_tensor(param.id);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.on_tensor(param.id);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.on_tensor(param.id);
    }
}
