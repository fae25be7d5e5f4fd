//! Do the tables hold what they should? They are compared with what is live, part by part, so that nobody waits long for it.
//!
//! What is found to be otherwise becomes what is live, as it is. So the next plan mends it as it changes anything else: in an
//! order in which every moment is valid. What no plan knows of is mended where it is found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;

use agent_common::abi::{FrontendKey, FrontendWord, UDP};
use ipnet::IpNet;

use crate::compile::{Destination, Frontend, Program};

use super::super::address;
use super::super::drift::{Deviation, Drift, Part, Survey};
use super::super::group::digest;
use super::super::inheritance;
use super::super::live::Group;
use super::super::plan::frontend_key;
use super::super::space::Run;
use super::super::store::{Map, MapFailure, Portion, PrefixKey, Store, all};
use super::super::wanted::Wanted;
use super::{Applied, Engine};

/// Elements that one look is at, at most: a few milliseconds.
const ELEMENTS: usize = 4_096;
/// The same for cells; one group may have more.
const CELLS: usize = 16_384;
/// The same for IDENTITIES, most of which are nobody's.
const IDENTITIES: u32 = 8_192;

/// How far the tables have been looked at, and what was found.
#[derive(Debug, Default)]
pub struct Pass {
    stage: Stage,
    found: Vec<(Option<Element>, Drift)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Config,
    /// From this cell on.
    Groups(u32),
    /// Those after this one.
    Frontends(Option<Frontend>),
    /// All that is in the table, from this place on.
    OtherFrontends(u32),
    Prefixes,
    Exempt,
    Clients,
    /// From this number on.
    Identities(u32),
    Done,
}

/// What a plan is to mend.
#[derive(Clone, Copy, Debug)]
enum Element {
    Config,
    Group(u32),
    Frontend(Frontend),
    Prefix(IpNet),
    Exempt(IpNet),
    Client(u64),
}

impl Pass {
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether anything was found that [`Engine::mend`] is to mend, or to tell of.
    pub fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    fn note(&mut self, part: Part, deviation: Deviation, what: String, element: Element) {
        let drift = Drift {
            part,
            deviation,
            what,
            failure: None,
        };
        self.found.push((Some(element), drift));
    }

    /// Of what no plan mends.
    fn note_outcome(
        &mut self,
        part: Part,
        deviation: Deviation,
        what: String,
        failure: Option<String>,
    ) {
        let drift = Drift {
            part,
            deviation,
            what,
            failure,
        };
        self.found.push((None, drift));
    }

    /// Notes what differs between what is found and what is live, which it is from now on.
    fn compare<K: Ord + Copy, V: PartialEq>(
        &mut self,
        part: Part,
        found: BTreeMap<K, V>,
        live: &mut BTreeMap<K, V>,
        describe: impl Fn(K) -> (String, Element),
    ) {
        for (key, deviation) in differences(&found, live) {
            let (what, element) = describe(key);
            self.note(part, deviation, what, element);
        }
        *live = found;
    }
}

impl Stage {
    const fn part(self) -> Part {
        match self {
            Self::Config | Self::Done => Part::Config,
            Self::Groups(_) => Part::Arena,
            Self::Frontends(_) | Self::OtherFrontends(_) => Part::Frontends,
            Self::Prefixes => Part::Prefixes,
            Self::Exempt => Part::Exempt,
            Self::Clients => Part::Scopes,
            Self::Identities(_) => Part::Identities,
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Config => Self::Groups(0),
            Self::Groups(_) => Self::Frontends(None),
            Self::Frontends(_) => Self::OtherFrontends(0),
            Self::OtherFrontends(_) => Self::Prefixes,
            Self::Prefixes => Self::Exempt,
            Self::Exempt => Self::Clients,
            Self::Clients => Self::Identities(0),
            Self::Identities(_) | Self::Done => Self::Done,
        }
    }
}

impl<S: Store> Engine<S> {
    /// Looks at a part of what the tables hold. Until [`Self::mend`], what is found is known to differ.
    pub fn look(&mut self, pass: &mut Pass) {
        // Before the first program there is nothing to compare with.
        if self.inheritance.is_some() {
            pass.stage = Stage::Done;
        }
        let stage = pass.stage;
        let on = match stage {
            Stage::Config => self.look_at_config(pass),
            Stage::Groups(from) => Ok(self.look_at_groups(from, pass)),
            Stage::Frontends(after) => Ok(self.look_at_frontends(after, pass)),
            Stage::OtherFrontends(from) => self.look_for_other_frontends(from, pass),
            Stage::Prefixes => self.look_at_prefixes(pass),
            Stage::Exempt => self.look_at_exempt(pass),
            Stage::Clients => self.look_at_clients(pass),
            Stage::Identities(from) => Ok(self.look_at_identities(from, pass)),
            Stage::Done => Ok(None),
        };
        let on = on.unwrap_or_else(|error| {
            let failure = Some(format!("it cannot be read: {error}"));
            let what = "the whole map".to_owned();
            pass.note_outcome(stage.part(), Deviation::Changed, what, failure);
            None
        });
        pass.stage = on.unwrap_or_else(|| stage.next());
    }

    /// Mends what was found, as far as `program` still wants it. Returns what all of it came to, and what an update had to say,
    /// where one was needed.
    pub fn mend(&mut self, pass: Pass, program: &Program) -> (Survey, Option<Applied>) {
        let compared = self.compared();
        if pass.found.is_empty() {
            let found = Vec::new();
            return (Survey { compared, found }, None);
        }
        let applied = self.apply(program);
        let wanted = Wanted::new(program);
        let found = pass.found.into_iter().map(|(element, mut drift)| {
            if element.is_some_and(|element| !self.is_mended(element, &wanted)) {
                drift.failure = Some("the maps did not take it".to_owned());
            }
            if let Some(Element::Client(cgroup)) = element
                && let Some(scope) = program.clients.cgroups.get(&cgroup)
                && let Some(scope) = program.clients.scopes.get(scope)
            {
                let _ = write!(drift.what, ", of the scope {:?}", scope.name);
            }
            drift
        });
        let found = found.collect();
        (Survey { compared, found }, Some(applied))
    }

    fn compared(&self) -> BTreeMap<Part, usize> {
        let (live, names) = (&self.live, &self.names);
        [
            (Part::Config, 1),
            (Part::Arena, live.groups.len()),
            (Part::Frontends, live.frontends.len()),
            (Part::Prefixes, live.prefixes.len()),
            (Part::Exempt, live.exempt.len()),
            (Part::Scopes, live.clients.len()),
            (
                Part::Identities,
                names.services.count() + names.endpoints.count(),
            ),
        ]
        .into()
    }

    fn is_mended(&self, element: Element, wanted: &Wanted<'_>) -> bool {
        let live = &self.live;
        match element {
            Element::Config => live.config == wanted.config(&self.base),
            Element::Group(first) => {
                let group = live.groups.get(&first);
                group.is_none_or(|group| group.made_of.is_some() || group.references == 0)
            }
            Element::Frontend(frontend) => {
                let is_wanted = wanted.program.frontends.contains_key(&frontend);
                live.frontends.contains_key(&frontend) == is_wanted
            }
            Element::Prefix(net) => {
                live.prefixes.contains_key(&net) == wanted.prefixes.contains(&net)
            }
            Element::Exempt(net) => live.exempt.get(&net) == wanted.exempt.get(&net),
            Element::Client(cgroup) => live.clients.get(&cgroup) == wanted.clients.get(&cgroup),
        }
    }

    fn look_at_config(&mut self, pass: &mut Pass) -> io::Result<Option<Stage>> {
        let found = self.store.config().copied();
        let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if found != self.live.config {
            self.live.config = found;
            let what = "what the programs go by".to_owned();
            pass.note(Part::Config, Deviation::Changed, what, Element::Config);
        }
        Ok(None)
    }

    fn look_at_groups(&mut self, from: u32, pass: &mut Pass) -> Option<Stage> {
        let mut cells = 0;
        let mut damaged = Vec::new();
        let mut on = None;
        for (&first, group) in self.live.groups.range(from..) {
            if cells > CELLS {
                on = Some(Stage::Groups(first));
                break;
            }
            cells += group.run.cells as usize;
            let is_newest = self.live.services.get(&group.service) == Some(&first);
            // Others only wait until no reader can hold them.
            let is_due = is_newest || group.references > 0;
            if is_due && self.digest(group.run) != group.digest {
                damaged.push(first);
            }
        }
        for first in damaged {
            if let Some(group) = self.live.groups.get_mut(&first) {
                group.made_of = None;
                let what = format!("the endpoints of {}", group.service);
                pass.note(Part::Arena, Deviation::Changed, what, Element::Group(first));
            }
        }
        on
    }

    /// Of the cells, as they are.
    pub(super) fn digest(&self, run: Run) -> u64 {
        digest((run.first..run.first + run.cells).map(|cell| self.store.cell(cell)))
    }

    fn look_at_frontends(&mut self, after: Option<Frontend>, pass: &mut Pass) -> Option<Stage> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.live.frontends.range((start, Bound::Unbounded));
        let some: Vec<(Frontend, u32)> = rest.take(ELEMENTS).map(|(f, g)| (*f, *g)).collect();
        for &(frontend, group) in &some {
            let Some(key) = self.key_of(&frontend) else {
                continue;
            };
            let found = self.store.frontend(&key);
            if found == Some(FrontendWord::new(&key, group)) {
                continue;
            }
            let what = describe(&frontend, self.live.groups.get(&group));
            let leads = found
                .filter(|word| word.is_for(&key))
                .map(FrontendWord::group);
            match leads.filter(|group| self.live.groups.contains_key(group)) {
                Some(other) => self.live.point(frontend, other),
                None => self.live.unpoint(&frontend),
            }
            let deviation = deviation(found.is_some());
            pass.note(
                Part::Frontends,
                deviation,
                what,
                Element::Frontend(frontend),
            );
        }
        let last = some.last().filter(|_| some.len() == ELEMENTS);
        last.map(|(frontend, _)| Stage::Frontends(Some(*frontend)))
    }

    fn look_for_other_frontends(
        &mut self,
        from: u32,
        pass: &mut Pass,
    ) -> io::Result<Option<Stage>> {
        let Portion { elements, next } = self.store.frontends().portion(from)?;
        for (key, _) in elements {
            let frontend = inheritance::frontend(&key, |id| self.names.prefixes.key(id).copied());
            let is_ours = frontend.is_some_and(|frontend| {
                let is_live = self.live.frontends.contains_key(&frontend);
                is_live && self.key_of(&frontend) == Some(key)
            });
            if is_ours {
                continue;
            }
            let what = match frontend {
                Some(frontend) => describe(&frontend, None),
                None => format!("port {} of a CIDR that there is not", key.port().get()),
            };
            let removed = self.store.frontends().remove(&key);
            let failure = removed.err().map(|error: MapFailure| error.to_string());
            pass.note_outcome(Part::Frontends, Deviation::Foreign, what, failure);
        }
        Ok(next.map(Stage::OtherFrontends))
    }

    fn key_of(&self, frontend: &Frontend) -> Option<FrontendKey> {
        frontend_key(frontend, |net| self.names.prefixes.get(&net))
    }

    fn look_at_prefixes(&mut self, pass: &mut Pass) -> io::Result<Option<Stage>> {
        let found = networks(self.store.prefixes())?;
        pass.compare(Part::Prefixes, found, &mut self.live.prefixes, |net| {
            (format!("the CIDR {net}"), Element::Prefix(net))
        });
        Ok(None)
    }

    fn look_at_exempt(&mut self, pass: &mut Pass) -> io::Result<Option<Stage>> {
        let found = networks(self.store.exempt())?;
        pass.compare(Part::Exempt, found, &mut self.live.exempt, |net| {
            (format!("what is exempt in {net}"), Element::Exempt(net))
        });
        Ok(None)
    }

    fn look_at_clients(&mut self, pass: &mut Pass) -> io::Result<Option<Stage>> {
        let found = all(self.store.scopes())?.into_iter().collect();
        pass.compare(Part::Scopes, found, &mut self.live.clients, |cgroup| {
            let what = format!("the clients in cgroup {cgroup}");
            (what, Element::Client(cgroup))
        });
        Ok(None)
    }

    fn look_at_identities(&mut self, from: u32, pass: &mut Pass) -> Option<Stage> {
        let end = from.saturating_add(IDENTITIES).min(self.limits.counters());
        // Nobody keeps any where there is no next agent to know them.
        let found = self.store.identities(from, end - from)?;
        for (id, found) in (from..end).zip(found) {
            let expected = self.identity_of(id);
            if found == expected {
                continue;
            }
            let deviation = match (found.get(), expected.get()) {
                (None, _) => Deviation::Missing,
                (_, None) => Deviation::Foreign,
                _ => Deviation::Changed,
            };
            self.store.set_identity(id, &expected);
            let failure =
                (self.store.identity(id) != expected).then(|| "it was not taken".to_owned());
            let what = match self.named(id) {
                Some(service) => format!("who is counted as {id}, for {service}"),
                None => format!("who is counted as {id}"),
            };
            pass.note_outcome(Part::Identities, deviation, what, failure);
        }
        (end < self.limits.counters()).then_some(Stage::Identities(end))
    }
}

fn deviation(is_there: bool) -> Deviation {
    if is_there {
        Deviation::Changed
    } else {
        Deviation::Missing
    }
}

/// What differs between what is found and what is live.
fn differences<K: Ord + Copy, V: PartialEq>(
    found: &BTreeMap<K, V>,
    live: &BTreeMap<K, V>,
) -> Vec<(K, Deviation)> {
    let of_live = live.iter().filter_map(|(&key, value)| {
        let other = found.get(&key);
        (other != Some(value)).then(|| (key, deviation(other.is_some())))
    });
    let foreign = found.keys().filter(|key| !live.contains_key(key));
    let foreign = foreign.map(|&key| (key, Deviation::Foreign));
    of_live.chain(foreign).collect()
}

fn networks(map: &impl Map<PrefixKey, u32>) -> io::Result<BTreeMap<IpNet, u32>> {
    let elements = all(map)?.into_iter();
    let networks =
        elements.filter_map(|(key, value)| Some((address::to_net(key.base, key.bits)?, value)));
    Ok(networks.collect())
}

fn describe(frontend: &Frontend, group: Option<&Group>) -> String {
    let Frontend {
        destination,
        port,
        transport,
        ..
    } = frontend;
    let at = match destination {
        Destination::Address(ip) => SocketAddr::new(*ip, *port).to_string(),
        Destination::Prefix(net) => format!("{net} port {port}"),
    };
    let by = if *transport == UDP { "/udp" } else { "" };
    match group {
        Some(group) => format!("{at}{by} of {}", group.service),
        None => format!("{at}{by}"),
    }
}
