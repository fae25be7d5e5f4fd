//! What was found to differ from what the agent put into the kernel, as views show it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::dataplane::{Deviation, Drift, Part, Survey};

use super::status::unix_seconds;

/// What was found since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// Looks at all maps.
    pub passes: u64,
    pub last_pass: Option<u64>,
    pub repaired: u64,
    /// What is not repaired, in sentences.
    pub standing: Vec<String>,
    /// The last repairs, the newest first.
    pub repairs: Vec<RepairView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairView {
    pub time: u64,
    #[serde(flatten)]
    pub found: FoundView,
}

impl RepairView {
    pub fn new(at: SystemTime, drift: &Drift) -> Self {
        Self {
            time: unix_seconds(at),
            found: drift.into(),
        }
    }
}

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundView {
    /// The name of the map, `programs` or `pins`.
    pub part: String,
    /// `missing`, `changed` or `foreign`.
    pub deviation: String,
    pub what: String,
    /// What was done.
    pub remedy: String,
    /// Why it is not repaired, if it is not.
    pub failure: Option<String>,
}

impl From<&Drift> for FoundView {
    fn from(drift: &Drift) -> Self {
        Self {
            part: drift.part.to_string(),
            deviation: drift.deviation.to_string(),
            what: drift.what.clone(),
            remedy: drift.remedy().to_owned(),
            failure: drift.failure.clone(),
        }
    }
}

/// What a look at everything came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyView {
    pub parts: Vec<PartView>,
    pub found: Vec<FoundView>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartView {
    /// The name of the map, `programs` or `pins`.
    pub name: String,
    /// How many elements there should be.
    pub compared: usize,
    pub missing: usize,
    pub changed: usize,
    pub foreign: usize,
    pub repaired: usize,
    pub failed: usize,
}

pub fn survey(survey: &Survey) -> SurveyView {
    SurveyView {
        parts: Part::ALL.map(|part| row(part, survey)).into(),
        found: survey.found.iter().map(FoundView::from).collect(),
    }
}

fn row(part: Part, survey: &Survey) -> PartView {
    let count = |is: &dyn Fn(&Drift) -> bool| {
        let found = survey.found.iter().filter(|drift| drift.part == part);
        found.filter(|drift| is(drift)).count()
    };
    let deviating = |deviation| count(&|drift| drift.deviation == deviation);
    PartView {
        name: part.to_string(),
        compared: survey.compared.get(&part).copied().unwrap_or(0),
        missing: deviating(Deviation::Missing),
        changed: deviating(Deviation::Changed),
        foreign: deviating(Deviation::Foreign),
        repaired: count(&|drift| drift.failure.is_none()),
        failed: count(&|drift| drift.failure.is_some()),
    }
}
