//! What each class of clients sees: the hosts, and what it is told of names. Classes that see the same share it.

use std::collections::{HashMap, HashSet, hash_map};
use std::sync::Arc;

use crate::model::Snapshot;

use super::classes::{Class, Classes};
use super::destinations::{Destinations, Vips};
use super::hosts::{self, Host};
use super::names::{Names, Saying};
use super::sidecars;
use super::visibility::{self, Ports, Seen};

pub(super) struct Views {
    pub(super) all: Vec<View>,
    /// The view of each class.
    pub(super) of_classes: Vec<usize>,
    /// Where clients find each host.
    pub(super) destinations: Vec<Destinations>,
    /// By the number that views have of them.
    pub(super) names: Vec<Arc<Names>>,
}

pub(super) struct View {
    /// By their places.
    pub(super) seen: Vec<Seen>,
    /// Into the names of [`Views`].
    pub(super) names: u16,
}

impl Views {
    /// Locates all hosts, and adds to them the names that were asked for and that a wildcard covers: each is a host of its own.
    pub(super) fn new(
        hosts: &mut Vec<Host<'_>>,
        classes: &Classes<'_>,
        snapshot: &Snapshot,
    ) -> Self {
        let mut distinct: HashMap<Vec<Seen>, usize> = HashMap::new();
        let mut seen = Vec::new();
        let mut of_vantages: HashMap<usize, usize> = HashMap::new();
        let mut of_classes = Vec::with_capacity(classes.all.len());
        for class in &classes.all {
            if let Some(known) = of_vantages.get(&class.vantage) {
                of_classes.push(*known);
                continue;
            }
            let of_class = look(hosts, class);
            let view = match distinct.entry(of_class) {
                hash_map::Entry::Occupied(known) => *known.get(),
                hash_map::Entry::Vacant(vacant) => {
                    seen.push(vacant.key().clone());
                    *vacant.insert(seen.len() - 1)
                }
            };
            of_vantages.insert(class.vantage, view);
            of_classes.push(view);
        }
        let mut found = Located::new(hosts, snapshot);
        let mut views = Self {
            all: Vec::with_capacity(seen.len()),
            of_classes,
            destinations: Vec::new(),
            names: Vec::new(),
        };
        for mut seen in seen {
            let names = found.name(hosts, &mut seen);
            let known = views.names.iter().position(|known| **known == names);
            let number = known.unwrap_or_else(|| {
                views.names.push(Arc::new(names));
                views.names.len() - 1
            });
            views.all.push(View {
                seen,
                // So many scopes do not fit into the maps.
                names: u16::try_from(number).unwrap_or(u16::MAX),
            });
        }
        views.destinations = found.destinations;
        views
    }

    /// Of the hosts that somebody sees.
    pub(super) fn places(&self) -> HashSet<usize> {
        let seen = self.all.iter().flat_map(|view| &view.seen);
        seen.map(|seen| seen.place).collect()
    }

    pub(super) fn of_class(&self, class: usize) -> &View {
        &self.all[self.of_classes[class]]
    }
}

fn look(hosts: &[Host<'_>], class: &Class<'_>) -> Vec<Seen> {
    visibility::seen(hosts, class.client, |host| {
        class
            .sidecar
            .map_or(Some(Ports::All), |sidecar| sidecars::import(sidecar, host))
    })
}

/// Where clients find hosts.
struct Located<'s> {
    destinations: Vec<Destinations>,
    vips: Vips<'s>,
    snapshot: &'s Snapshot,
    /// Names that were asked for as hosts of their own, by the wildcard that covers them.
    on_demand: HashMap<(usize, Arc<str>), usize>,
}

impl<'s> Located<'s> {
    fn new(hosts: &[Host<'_>], snapshot: &'s Snapshot) -> Self {
        let vips = Vips::new(snapshot);
        let mut destinations = Vec::with_capacity(hosts.len() + snapshot.asked.len());
        destinations.extend(
            hosts
                .iter()
                .map(|host| Destinations::of(host, &vips, snapshot)),
        );
        Self {
            destinations,
            vips,
            snapshot,
            on_demand: HashMap::new(),
        }
    }

    /// What is said of the hosts that are seen. Those that come of names which were asked for are seen from now on.
    fn name(&mut self, hosts: &mut Vec<Host<'_>>, seen: &mut Vec<Seen>) -> Names {
        let mut names = Names::default();
        for Seen { place, .. } in &*seen {
            if let Some(saying) = &self.destinations[*place].saying {
                let name = hosts::resolvable(&hosts[*place].name);
                names.say(&name, saying.clone(), *place);
            }
        }
        for name in &self.snapshot.asked {
            let Some((wildcard, Saying::OnDemand)) = names.owner(name) else {
                continue;
            };
            let ports = seen.iter().find(|seen| seen.place == wildcard);
            let ports = ports.map_or(Ports::All, |seen| seen.ports.clone());
            let place = self.host_of(hosts, wildcard, name);
            if let Some(saying) = self.destinations[place].saying.clone() {
                names.say_on_demand(name, saying, place);
            }
            seen.push(Seen { place, ports });
        }
        names
    }

    fn host_of(&mut self, hosts: &mut Vec<Host<'_>>, wildcard: usize, name: &Arc<str>) -> usize {
        let known = self.on_demand.entry((wildcard, Arc::clone(name)));
        *known.or_insert_with(|| {
            let host = hosts[wildcard].on_demand(name);
            let of_name = Destinations::of(&host, &self.vips, self.snapshot);
            self.destinations.push(of_name);
            hosts.push(host);
            hosts.len() - 1
        })
    }
}
