//! Scenario files: objects in YAML, and what must become of connects once they are in effect.
//!
//! A file is a sequence of YAML documents. Objects stand as a user writes them; after some of them comes a document that
//! says what must hold now: a step. The steps after the first change what is there: an object replaces the one of the
//! same kind and name. How expectations are held against tables is `outcome`'s business, what is known after each step
//! `world`'s.

pub mod dump;
pub mod faults;
mod outcome;
mod servers;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_yaml::Value;

pub use outcome::{Expected, Fate, Target, check};
pub use servers::Servers;
pub use world::{Moment, World};

/// One file.
#[derive(Debug)]
pub struct Scenario {
    /// The name of the file: what must hold.
    pub name: String,
    pub steps: Vec<Step>,
}

/// Objects that are new or replaced, and what must hold then.
#[derive(Debug, Default)]
pub struct Step {
    /// By `Kind/name`, the text of each.
    pub objects: BTreeMap<String, String>,
    pub script: Script,
}

/// The document that ends a step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Script {
    /// Where the node is from now on.
    pub locality: Option<String>,
    pub network: Option<String>,
    /// The `MeshConfig` from now on.
    pub mesh: Option<Value>,
    /// What names resolve to from now on.
    #[serde(default)]
    pub answers: BTreeMap<String, Vec<IpAddr>>,
    /// How much time passes first.
    #[serde(default)]
    pub seconds: u64,
    /// What addresses clients are told of names.
    #[serde(default)]
    pub learned: BTreeMap<String, Vec<IpAddr>>,
    /// Names that clients ask for and that are to have addresses of their own, with what they resolve to.
    #[serde(default)]
    pub asked: BTreeMap<String, Vec<IpAddr>>,
    /// `Kind/name` of objects that are gone.
    #[serde(default)]
    pub deleted: Vec<String>,
    /// `CODE name-of-the-object` of every finding there must be, but for warnings about what one object says.
    #[serde(default)]
    pub findings: Vec<String>,
    /// By what a client asks for.
    pub connects: BTreeMap<Target, Expected>,
    /// What the tables must hold for addresses outside of the ranges of automatic VIPs.
    pub tables: Option<String>,
}

/// Every scenario there is, by name.
pub fn all() -> Result<Vec<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Scenario> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let text = fs::read_to_string(path)?;
    Ok(Scenario {
        steps: parse(&text).with_context(|| path.display().to_string())?,
        name: name.into_owned(),
    })
}

fn parse(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut objects = BTreeMap::new();
    for document in text.split("\n---\n") {
        let value: Value = serde_yaml::from_str(document)?;
        if value.get("kind").is_none() {
            let script = serde_yaml::from_value(value)?;
            let objects = std::mem::take(&mut objects);
            steps.push(Step { objects, script });
        } else {
            objects.insert(id(&value)?, document.to_owned());
        }
    }
    if !objects.is_empty() {
        bail!("objects at the end of the file are in no step");
    }
    Ok(steps)
}

/// `Kind/name`, with the namespace before the name unless it is the default one.
fn id(object: &Value) -> Result<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let metadata = object.get("metadata").context("an object has metadata")?;
    let kind = text(object.get("kind")).context("an object has a kind")?;
    let name = text(metadata.get("name")).context("an object has a name")?;
    Ok(match text(metadata.get("namespace")) {
        Some(namespace) => format!("{kind}/{namespace}/{name}"),
        None => format!("{kind}/{name}"),
    })
}
