//! `serviceEntryVisibility`: how far the mesh lets `ServiceEntry` objects be seen, by the labels of their namespaces.

use std::collections::BTreeMap;

use super::super::codes;
use super::super::findings::Findings;
use super::super::schema::{Message, Type, field};
use super::super::tree::Cursor;

/// The label that Kubernetes gives every namespace: its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

type Labels = BTreeMap<String, String>;

/// How far an entry may be seen, whatever it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// As far as it says.
    #[default]
    Public,
    /// In its own namespace.
    Namespace,
    /// Nowhere.
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntryVisibility {
    default: Visibility,
    /// The first that matches decides.
    policies: Vec<Policy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    visibility: Visibility,
    /// All must match.
    rules: Vec<Rule>,
}

/// What is asked of a namespace's labels, all of it; `None` is a rule that asks for what is not known, and never matches.
type Rule = Option<Vec<Requirement>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl ServiceEntryVisibility {
    /// Of the entries of a namespace with these labels, beside the one that Kubernetes gives every namespace.
    pub fn of(&self, namespace: &str, labels: &Labels) -> Visibility {
        let value = |label: &str| match label {
            NAMESPACE_NAME => Some(namespace),
            label => labels.get(label).map(String::as_str),
        };
        let mut policies = self.policies.iter();
        let found = policies.find(|policy| policy.matches(value));
        found.map_or(self.default, |policy| policy.visibility)
    }
}

impl Policy {
    fn matches<'l>(&self, value: impl Fn(&str) -> Option<&'l str>) -> bool {
        let mut rules = self.rules.iter();
        rules.all(|rule| {
            let requirements = rule.as_ref();
            requirements.is_some_and(|all| all.iter().all(|one| one.is_met(value(&one.label))))
        })
    }
}

impl Requirement {
    /// By the value of its label, where that is there.
    fn is_met(&self, value: Option<&str>) -> bool {
        let is_listed = value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

const VISIBILITIES: &[(&str, i32)] = &[
    ("VISIBILITY_UNSPECIFIED", 0),
    ("PUBLIC", 1),
    ("NAMESPACE", 2),
    ("NONE", 3),
];

pub(super) static SCHEMA: Message = Message {
    fields: &[
        field("defaultVisibility", Type::Enum(VISIBILITIES)),
        // Whether Istio's sidecars go by it; here all do, as Istio's ambient mode does.
        field("applyToSidecars", Type::Bool),
        field("policies", Type::List(&Type::Message(&POLICY))),
    ],
};

static POLICY: Message = Message {
    fields: &[
        field("visibility", Type::Enum(VISIBILITIES)),
        field("matchingRules", Type::List(&Type::Message(&RULE))),
    ],
};

static RULE: Message = Message {
    fields: &[field("namespaceSelector", Type::Message(&SELECTOR))],
};

static SELECTOR: Message = Message {
    fields: &[
        field("matchLabels", Type::Map(&Type::Text)),
        field("matchExpressions", Type::List(&Type::Message(&EXPRESSION))),
    ],
};

static EXPRESSION: Message = Message {
    fields: &[
        field("key", Type::Text),
        field("operator", Type::Text),
        field("values", Type::List(&Type::Text)),
    ],
};

pub(super) fn read(setting: &Cursor<'_>, findings: &mut Findings) -> ServiceEntryVisibility {
    let policies = setting.items("policies");
    ServiceEntryVisibility {
        default: visibility(setting.text("defaultVisibility")),
        policies: policies
            .map(|policy| Policy {
                visibility: visibility(policy.text("visibility")),
                rules: policy
                    .items("matchingRules")
                    .map(|rule| Some(read_selector(&rule.field("namespaceSelector")?, findings)))
                    .collect(),
            })
            .collect(),
    }
}

fn visibility(text: &str) -> Visibility {
    match text {
        "NAMESPACE" => Visibility::Namespace,
        "NONE" => Visibility::None,
        _ => Visibility::Public,
    }
}

fn read_selector(selector: &Cursor<'_>, findings: &mut Findings) -> Vec<Requirement> {
    let labels: Labels = selector.text_map("matchLabels");
    let labels = labels.into_iter().map(|(label, value)| Requirement {
        label,
        operator: Operator::In,
        values: vec![value],
    });
    let mut requirements: Vec<Requirement> = labels.collect();
    for expression in selector.items("matchExpressions") {
        requirements.extend(read_expression(&expression, findings));
    }
    requirements
}

/// `None` after an error.
fn read_expression(expression: &Cursor<'_>, findings: &mut Findings) -> Option<Requirement> {
    let text = expression.text("operator");
    let operator = match text {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        _ => None,
    };
    let Some(operator) = operator else {
        let message = format!("`{text}` is not an operator of a label selector");
        let hint = "write In, NotIn, Exists or DoesNotExist";
        let spot = expression.spot_of("operator");
        findings.error(codes::SELECTOR, spot, message, hint);
        return None;
    };
    let values = expression.texts("values");
    if values.is_empty() == matches!(operator, Operator::In | Operator::NotIn) {
        let (message, hint) = if values.is_empty() {
            (
                format!("{text} has no values"),
                "list values, or write Exists or DoesNotExist",
            )
        } else {
            (
                format!("{text} has values"),
                "remove values, or write In or NotIn",
            )
        };
        let spot = expression.spot_of("values");
        findings.error(codes::SELECTOR, spot, message, hint);
    }
    Some(Requirement {
        label: expression.text("key").to_owned(),
        operator,
        values,
    })
}
