//! Which cgroups a `LocalWorkload` means.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

/// Where cgroup v2 is mounted, in a hybrid set-up or alone: paths may be written with it.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
/// What systemd makes cgroups for.
const UNITS: [&str; 4] = [".service", ".slice", ".scope", ".socket"];

/// A pattern of cgroups: all that it matches, and what is below them.
#[derive(Clone, Debug)]
pub struct CgroupPattern {
    /// As written, but for the mount point.
    text: String,
    /// Where it is no plain name.
    glob: Option<GlobMatcher>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("it is empty")]
    Empty,
    #[error("the root is everybody's")]
    Root,
    #[error("a path starts with /")]
    Relative,
    #[error("it has empty parts, or `.` or `..`")]
    Parts,
    #[error("a unit's name ends with .service, .slice, .scope or .socket")]
    Unit,
    #[error("the glob is not valid: {0}")]
    Glob(String),
}

impl FromStr for CgroupPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let text = without_mount(text);
        if text.starts_with('/') {
            check_path(text)?;
        } else if text.contains('/') {
            return Err(PatternError::Relative);
        } else if !UNITS.iter().any(|suffix| text.ends_with(suffix)) {
            return Err(PatternError::Unit);
        }
        let text = text.trim_end_matches('/').to_owned();
        let glob = if text.contains(['*', '?', '[', '{', '\\']) {
            let mut builder = GlobBuilder::new(&text);
            let glob = builder.literal_separator(true).build();
            let glob = glob.map_err(|error| PatternError::Glob(error.kind().to_string()))?;
            Some(glob.compile_matcher())
        } else {
            None
        };
        Ok(Self { text, glob })
    }
}

/// The path of a cgroup as the hierarchy has it, whether or not it was written with the mount point.
pub fn without_mount(text: &str) -> &str {
    let rests = MOUNTS.iter().filter_map(|mount| text.strip_prefix(mount));
    let mut rests = rests.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match rests.next() {
        Some("") => "/",
        Some(rest) => rest,
        None => text,
    }
}

fn check_path(path: &str) -> Result<(), PatternError> {
    let inner = path.trim_end_matches('/');
    if inner.is_empty() {
        return Err(PatternError::Root);
    }
    if inner == "/*" || inner == "/**" {
        return Err(PatternError::Root);
    }
    let mut parts = inner.split('/').skip(1);
    if parts.any(|part| matches!(part, "" | "." | "..")) {
        return Err(PatternError::Parts);
    }
    Ok(())
}

impl CgroupPattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the name of a unit, wherever in the hierarchy that is.
    pub fn is_unit(&self) -> bool {
        !self.text.starts_with('/')
    }

    pub fn is_glob(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether it means the cgroup at this very path, which starts with `/` at the root of the hierarchy.
    pub fn matches(&self, path: &str) -> bool {
        let compared = if self.is_unit() {
            path.rsplit('/').next().unwrap_or_default()
        } else {
            path
        };
        match &self.glob {
            Some(glob) => glob.is_match(compared),
            None => self.text == compared,
        }
    }
}

impl PartialEq for CgroupPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CgroupPattern {}

impl fmt::Display for CgroupPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
