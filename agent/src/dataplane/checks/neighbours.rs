//! Who else is attached at the same hooks, and can ours stand beside them?

use std::path::Path;

use crate::dataplane::neighbours::{self, Neighbour, Neighbours, SOCK_OPS};

use super::{Check, State};

pub(super) fn of(cgroup: &Path) -> Check {
    let place = cgroup.display();
    match neighbours::of(cgroup) {
        Ok(found) => judge(&place.to_string(), &found),
        Err(error) => Check::new(
            "neighbours",
            State::Warn,
            format!("{place}: {error}"),
            "run as root to see who else is attached",
        ),
    }
}

fn judge(place: &str, found: &Neighbours) -> Check {
    let needed = found.exclusive.iter().find(|n| n.hook != SOCK_OPS.name);
    if let Some(other) = needed.or(found.exclusive.first()) {
        let (state, without) = match needed {
            Some(_) => (State::Fail, ""),
            None => (State::Warn, ", so that --sock-ops cannot be used"),
        };
        let detail = format!("{place}: the {other} tolerates no other beside or below it{without}");
        return Check::new("neighbours", state, detail, other.remedy());
    }
    if let Some(other) = found.overridden.first() {
        let detail = format!(
            "{place}: the {other} allows to be overridden (BPF_F_ALLOW_OVERRIDE): it stops to run for this cgroup once \
             ours are attached"
        );
        return Check::new("neighbours", State::Warn, detail, other.remedy());
    }
    let (ours, others): (Vec<&Neighbour>, _) = found.beside.iter().partition(|n| n.is_ours());
    let others = match others.as_slice() {
        [] => "no other".to_owned(),
        others => {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            format!("beside them {}", others.join(", "))
        }
    };
    let detail = format!("{place}: {} programs of shunt, {others}", ours.len());
    Check::new("neighbours", State::Ok, detail, "")
}
