//! What somebody else has changed of what the agent put into the kernel, and whether it is as it should be again.

use std::collections::BTreeMap;
use std::fmt;

/// A part of what the agent puts into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Config,
    Arena,
    Frontends,
    Prefixes,
    Exempt,
    Scopes,
    Identities,
    Capture,
    /// Records of sockets.
    Flows,
    Programs,
    Pins,
}

impl Part {
    pub const ALL: [Self; 11] = [
        Self::Config,
        Self::Arena,
        Self::Frontends,
        Self::Prefixes,
        Self::Exempt,
        Self::Scopes,
        Self::Identities,
        Self::Capture,
        Self::Flows,
        Self::Programs,
        Self::Pins,
    ];
}

/// As the map is called.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "CONFIG",
            Self::Arena => "ARENA",
            Self::Frontends => "FRONTENDS",
            Self::Prefixes => "PREFIXES",
            Self::Exempt => "EXEMPT",
            Self::Scopes => "SCOPES",
            Self::Identities => "IDENTITIES",
            Self::Capture => "CAPTURE",
            Self::Flows => "FLOWS",
            Self::Programs => "programs",
            Self::Pins => "pins",
        })
    }
}

/// How something differs from what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    Missing,
    Changed,
    /// Nobody of ours has put it there.
    Foreign,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Foreign => "foreign",
        })
    }
}

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub part: Part,
    pub deviation: Deviation,
    /// In the terms of those who wrote the objects.
    pub what: String,
    /// Why it still is not; `None` where it is.
    pub failure: Option<String>,
}

impl Drift {
    /// What was done about it.
    pub fn remedy(&self) -> &'static str {
        match (&self.failure, self.deviation) {
            (Some(_), _) => "not mended, and tried again",
            (None, Deviation::Missing) => "put back",
            (None, Deviation::Changed) => "set right",
            (None, Deviation::Foreign) => "removed",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            part,
            deviation,
            what,
            failure,
        } = self;
        write!(f, "{part}: {what} ({deviation}): {}", self.remedy())?;
        match failure {
            Some(failure) => write!(f, ": {failure}"),
            None => Ok(()),
        }
    }
}

/// What a look at some parts, or at all, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many elements, groups or programs there should be.
    pub compared: BTreeMap<Part, usize>,
    pub found: Vec<Drift>,
}

impl Survey {
    /// Adds what a look at other parts came to.
    pub fn extend(&mut self, other: Self) {
        self.compared.extend(other.compared);
        self.found.extend(other.found);
    }
}
