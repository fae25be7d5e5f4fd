//! Which workload each cgroup is of: a cgroup that a workload names, and all below it but for what another one names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;

use crate::api::{CgroupPattern, Diagnostic, LocalWorkload, Meta, Severity};

use super::codes;

/// All workloads, found by what they name.
pub(super) struct LocalWorkloads<'a> {
    /// Oldest first.
    all: Vec<(&'a Meta, &'a LocalWorkload)>,
    /// Those that name one path, or a unit; the oldest first.
    exact: HashMap<&'a str, Vec<usize>>,
    /// Those that say most exactly which first.
    globs: Vec<usize>,
}

/// What is known of cgroups.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// By id of the cgroup; those that no workload claims are among them.
    pub(super) workloads: Vec<(u64, Option<usize>)>,
    /// How deep the cgroups are that workloads name, the deepest first.
    pub(super) levels: Vec<u8>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> LocalWorkloads<'a> {
    /// `all` are the oldest first.
    pub(super) fn new(all: Vec<(&'a Meta, &'a LocalWorkload)>) -> Self {
        let mut exact: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut globs = Vec::new();
        for (place, (_, workload)) in all.iter().enumerate() {
            if workload.cgroup.is_glob() {
                globs.push(place);
            } else {
                let of_text = exact.entry(workload.cgroup.as_str()).or_default();
                of_text.push(place);
            }
        }
        globs.sort_by_key(|place| rank(&all[*place].1.cgroup));
        Self { all, exact, globs }
    }

    /// The workloads that name the cgroup at this very path: first the one that says most exactly which, of equal ones the oldest.
    fn naming<'s>(&'s self, path: &'s str) -> impl Iterator<Item = usize> + use<'s, 'a> {
        let unit = path.rsplit('/').next().unwrap_or_default();
        let exact = [path, unit]
            .into_iter()
            .filter_map(|text| self.exact.get(text));
        let globs = self.globs.iter();
        let globs = globs.filter(|place| self.all[**place].1.cgroup.matches(path));
        exact.flatten().chain(globs).copied()
    }

    /// Whose each of the cgroups is. Paths start with `/`.
    pub(super) fn place(&self, cgroups: &OrdMap<Arc<str>, u64>) -> Placement {
        let mut placement = Placement::default();
        let mut levels = BTreeSet::new();
        let mut met = vec![false; self.all.len()];
        let mut lost: Vec<(usize, usize, &str)> = Vec::new();
        // A path comes after those that it is below of, but not always right after: `/a-b` is between `/a` and `/a/b`.
        let mut owners: HashMap<&str, Option<usize>> = HashMap::with_capacity(cgroups.len());
        for (path, id) in cgroups {
            let mut naming = self.naming(path);
            let named = naming.next();
            if let Some(winner) = named {
                met[winner] = true;
                levels.insert(depth(path));
                lost.extend(naming.map(|loser| (loser, winner, &**path)));
            }
            let owner = named.or_else(|| inherited(&owners, path));
            owners.insert(path, owner);
            placement.workloads.push((*id, owner));
        }
        placement.levels = levels.into_iter().rev().collect();
        lost.sort_unstable();
        // Each is told once, of the first cgroup.
        lost.dedup_by_key(|(loser, ..)| *loser);
        for (loser, winner, path) in lost {
            met[loser] = true;
            placement.diagnostics.push(self.lost(loser, winner, path));
        }
        let unmet = (0..self.all.len()).filter(|place| !met[*place]);
        placement
            .diagnostics
            .extend(unmet.map(|place| self.unmet(place)));
        placement
    }

    fn lost(&self, loser: usize, winner: usize, path: &str) -> Diagnostic {
        let (meta, workload) = self.all[loser];
        let (other, by) = self.all[winner];
        let message = format!(
            "{} claims the cgroup {path} with `{}`, which goes before `{}`",
            other.id, by.cgroup, workload.cgroup
        );
        Diagnostic::about(Severity::Warning, codes::CGROUP_TAKEN, meta, message)
            .at("spec.cgroup", 0)
            .hint("name each cgroup in one LocalWorkload")
    }

    fn unmet(&self, place: usize) -> Diagnostic {
        let (meta, workload) = self.all[place];
        let message = format!(
            "no cgroup that shunt is attached to matches `{}` now",
            workload.cgroup
        );
        Diagnostic::about(Severity::Info, codes::NO_CGROUP, meta, message)
            .at("spec.cgroup", 0)
            .hint("nothing to do, if the workload is not running: it is known as soon as it starts")
    }
}

/// The least goes before the others: what is not a glob, a path before a unit, the longer text.
fn rank(pattern: &CgroupPattern) -> (bool, bool, std::cmp::Reverse<usize>) {
    let length = std::cmp::Reverse(pattern.as_str().len());
    (pattern.is_glob(), pattern.is_unit(), length)
}

/// Of the nearest cgroup above that is known.
fn inherited(owners: &HashMap<&str, Option<usize>>, path: &str) -> Option<usize> {
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/') {
        if let Some(owner) = owners.get(parent) {
            return *owner;
        }
        above = parent;
    }
    None
}

fn depth(path: &str) -> u8 {
    u8::try_from(path.matches('/').count()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::api::{Object, Spec, decode};

    use super::*;

    fn workloads(patterns: &[String]) -> Vec<Object> {
        let text = |(place, pattern): (usize, &String)| {
            format!(
                "---\napiVersion: shunt.internal/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: w{place}}}\nspec: {{cgroup: '{pattern}'}}\n"
            )
        };
        let texts: Vec<String> = patterns.iter().enumerate().map(text).collect();
        decode("w.yaml", &texts.concat()).objects
    }

    fn place(patterns: &[String], paths: &[String]) -> (Vec<Option<usize>>, Placement) {
        let objects = workloads(patterns);
        let of = |object| match object {
            &Object {
                ref meta,
                spec: Spec::LocalWorkload(ref workload),
            } => (meta, workload),
            other => panic!("{other:?}"),
        };
        let all = LocalWorkloads::new(objects.iter().map(of).collect());
        let cgroups = paths
            .iter()
            .zip(0u64..)
            .map(|(path, id)| (Arc::from(path.as_str()), id));
        let cgroups: OrdMap<Arc<str>, u64> = cgroups.collect();
        let placement = all.place(&cgroups);
        let mut found: Vec<_> = placement.workloads.clone();
        found.sort_unstable();
        (
            found.into_iter().map(|(_, owner)| owner).collect(),
            placement,
        )
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cgroup_is_of_the_nearest_workload_above_it() {
        let patterns = strings(&["/a", "/a/b/c", "x.service", "/g/*"]);
        let paths = strings(&[
            "",
            "/a",
            "/a-z",
            "/a/b",
            "/a/b/c",
            "/a/b/c/d",
            "/s/x.service",
            "/s/x.service/y",
            "/g/1/2",
        ]);
        let (owners, placement) = place(&patterns, &paths);
        let expected = [
            None,
            Some(0),
            None,
            Some(0),
            Some(1),
            Some(1),
            Some(2),
            Some(2),
        ];
        assert_eq!(owners[..8], expected);
        // The directory /g/1 is not known yet.
        assert_eq!(owners[8], None);
        assert_eq!(placement.levels, [3, 2, 1]);
        let unmet: Vec<_> = placement
            .diagnostics
            .iter()
            .map(|d| (d.code.as_str(), d.name.as_str()))
            .collect();
        assert_eq!(unmet, [(codes::NO_CGROUP, "w3")]);
    }

    #[test]
    fn of_several_workloads_the_one_that_says_most_exactly_which_cgroup_it_is_wins() {
        let patterns = strings(&[
            "/s/*",
            "*.service",
            "x.service",
            "/s/x.service",
            "/s/x.service",
        ]);
        let (owners, placement) = place(
            &patterns,
            &strings(&["/s/x.service", "/s/y.service", "/t/y.service"]),
        );
        assert_eq!(owners, [Some(3), Some(0), Some(1)]);
        let lost: Vec<_> = placement
            .diagnostics
            .iter()
            .map(|d| (d.code.as_str(), d.name.as_str()))
            .collect();
        let expected = ["w0", "w1", "w2", "w4"].map(|name| (codes::CGROUP_TAKEN, name));
        assert_eq!(lost, expected);
    }

    /// Walks up from the cgroup, and asks every workload about each on the way.
    fn naive(patterns: &[CgroupPattern], path: &str, known: &[String]) -> Option<usize> {
        let mut above = path.to_owned();
        loop {
            let naming = (0..patterns.len()).filter(|place| patterns[*place].matches(&above));
            if known.contains(&above)
                && let Some(best) = naming.min_by_key(|place| (rank(&patterns[*place]), *place))
            {
                return Some(best);
            }
            let (parent, _) = above.rsplit_once('/')?;
            above = parent.to_owned();
        }
    }

    proptest! {
        #[test]
        fn cgroups_are_of_whom_asking_everybody_says(
            patterns in proptest::collection::vec("(/[ab*]){1,3}|[ab*].slice", 0..6),
            paths in proptest::collection::btree_set("(/(a|b|a.slice|b.slice)){1,4}", 0..12),
        ) {
            let patterns: Vec<String> = patterns.into_iter().filter(|p| p.parse::<CgroupPattern>().is_ok()).collect();
            let paths: Vec<String> = paths.into_iter().collect();
            let (owners, _) = place(&patterns, &paths);
            let parsed: Vec<CgroupPattern> = patterns.iter().map(|p| p.parse().unwrap()).collect();
            for (path, owner) in paths.iter().zip(owners) {
                prop_assert_eq!(owner, naive(&parsed, path, &paths), "{}", path);
            }
        }
    }
}
