//! What the questions of clients taught: the addresses that names were seen to have, and the names that were asked for.
//! Knows no hosts; who covers a name is the compiler's to say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ends::Ends;
use super::time::UnixTime;

/// How much is kept; beyond, what was not told for the longest is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedLimits {
    /// Pairs of a name and an address.
    pub addresses: usize,
    /// Names that have automatic addresses of their own.
    pub names: usize,
}

impl Default for LearnedLimits {
    fn default() -> Self {
        Self {
            addresses: 65_536,
            names: 16_384,
        }
    }
}

/// An address is recognised for at least so long after a client was told of it: clients keep answers for longer than they
/// should.
const FLOOR: Duration = Duration::from_mins(1);
/// How long a name keeps its automatic addresses after it was asked for last.
const ASKED: Duration = Duration::from_mins(10);

/// What is kept of it from one run of the agent to the next: when each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnedEnds<E = UnixTime> {
    pub addresses: BTreeMap<(Arc<str>, IpAddr), E>,
    pub asked: BTreeMap<Arc<str>, E>,
}

/// By which what is kept differs from what is known; `None` for what has gone.
pub type LearnedChanges = LearnedEnds<Option<UnixTime>>;

#[derive(Clone, Debug)]
pub(super) struct Learned {
    addresses: Ends<(Arc<str>, IpAddr)>,
    asked: Ends<Arc<str>>,
}

impl Default for Learned {
    fn default() -> Self {
        Self::new(LearnedLimits::default())
    }
}

impl Learned {
    pub(super) fn new(limits: LearnedLimits) -> Self {
        Self {
            addresses: Ends::new(limits.addresses),
            asked: Ends::new(limits.names),
        }
    }

    /// Takes in what an earlier run has kept, also what has ended since.
    pub(super) fn recall(&mut self, kept: LearnedEnds) {
        self.addresses.recall(kept.addresses);
        self.asked.recall(kept.asked);
    }

    pub(super) fn take_changes(&mut self) -> LearnedChanges {
        LearnedEnds {
            addresses: self.addresses.take_changes(),
            asked: self.asked.take_changes(),
        }
    }

    /// `name` was seen to have these addresses.
    pub(super) fn learn(
        &mut self,
        name: &Arc<str>,
        addresses: &[IpAddr],
        ttl: Duration,
        now: UnixTime,
    ) -> Told {
        let until = now.after(ttl.max(FLOOR));
        let mut all = Told::default();
        for address in addresses {
            let pair = (Arc::clone(name), address.to_canonical());
            let told = self.addresses.tell(&pair, until);
            all.new |= told.new;
            all.evicted |= !told.evicted.is_empty();
        }
        all
    }

    /// `name` exists, and was asked for.
    pub(super) fn ask(&mut self, name: &Arc<str>, now: UnixTime) -> Told {
        let told = self.asked.tell(name, now.after(ASKED));
        Told {
            new: told.new,
            evicted: !told.evicted.is_empty(),
        }
    }

    /// Whether anything ends unless it is in use.
    pub(super) fn is_due(&self, now: UnixTime) -> bool {
        self.addresses.is_due(now) || self.asked.is_due(now)
    }

    /// Gives up what has ended and is not in use; `is_in_use` says so of a name's automatic addresses.
    pub(super) fn expire(
        &mut self,
        now: UnixTime,
        in_use: &HashSet<IpAddr>,
        is_in_use: impl Fn(&str) -> bool,
    ) -> Expired {
        // What is in use is looked at again later, not at every turn.
        let keep = |until: &mut UnixTime, is_in_use: &dyn Fn() -> bool| {
            if *until <= now && is_in_use() {
                *until = now.after(FLOOR);
            }
            *until > now
        };
        let addresses = self
            .addresses
            .retain(|(_, address), until| keep(until, &|| in_use.contains(address)));
        let asked = self
            .asked
            .retain(|name, until| keep(until, &|| is_in_use(name)));
        Expired { addresses, asked }
    }

    /// Keeps what a host is still there for.
    pub(super) fn retain(
        &mut self,
        is_learned: impl Fn(&str) -> bool,
        is_asked: impl Fn(&str) -> bool,
    ) -> Expired {
        // The pairs of a name follow each other.
        let mut last: Option<(Arc<str>, bool)> = None;
        let addresses = self.addresses.retain(|(name, _), _| match &last {
            Some((known, keep)) if known == name => *keep,
            _ => {
                let keep = is_learned(name);
                last = Some((Arc::clone(name), keep));
                keep
            }
        });
        let asked = self.asked.retain(|name, _| is_asked(name));
        Expired { addresses, asked }
    }

    pub(super) fn addresses(&self) -> BTreeSet<(Arc<str>, IpAddr)> {
        self.addresses.keys().cloned().collect()
    }

    pub(super) fn asked(&self) -> BTreeSet<Arc<str>> {
        self.asked.keys().cloned().collect()
    }
}

/// What telling something came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// It was not known.
    pub(super) new: bool,
    /// Something else was given up for it.
    pub(super) evicted: bool,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) addresses: bool,
    pub(super) asked: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::fixtures::ip;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn listed(learned: &Learned) -> Vec<String> {
        let pairs = learned.addresses();
        pairs
            .iter()
            .map(|(name, ip)| format!("{name} {ip}"))
            .collect()
    }

    #[test]
    fn an_address_stays_for_its_ttl_and_for_a_minute_at_least() {
        let mut learned = Learned::default();
        learned.learn(&"a".into(), &[ip("10.0.0.1")], SECOND, UnixTime(100));
        learned.learn(&"b".into(), &[ip("10.0.0.2")], 300 * SECOND, UnixTime(100));
        let none = HashSet::new();
        learned.expire(UnixTime(159), &none, |_| false);
        assert_eq!(listed(&learned), ["a 10.0.0.1", "b 10.0.0.2"]);
        assert!(learned.is_due(UnixTime(160)));
        learned.expire(UnixTime(160), &none, |_| false);
        assert_eq!(listed(&learned), ["b 10.0.0.2"]);
        learned.expire(UnixTime(400), &none, |_| false);
        assert_eq!(listed(&learned), [""; 0]);
    }

    #[test]
    fn what_is_in_use_stays_until_it_is_not() {
        let mut learned = Learned::default();
        learned.learn(&"a".into(), &[ip("::ffff:10.0.0.1")], SECOND, UnixTime(0));
        learned.ask(&"b".into(), UnixTime(0));
        let in_use = HashSet::from([ip("10.0.0.1")]);
        let late = UnixTime(100_000);
        assert_eq!(
            learned.expire(late, &in_use, |name| name == "b"),
            Expired::default()
        );
        assert!(!learned.is_due(late));
        let later = late.after(FLOOR);
        let expired = learned.expire(later, &HashSet::new(), |_| false);
        assert!(expired.addresses && expired.asked);
        assert!(learned.asked().is_empty());
    }

    #[test]
    fn a_name_stays_while_it_is_asked_for() {
        let mut learned = Learned::default();
        let none = HashSet::new();
        assert!(learned.ask(&"a".into(), UnixTime(0)).new);
        assert!(!learned.ask(&"a".into(), UnixTime(500)).new);
        learned.expire(UnixTime(1099), &none, |_| false);
        assert_eq!(learned.asked().len(), 1);
        learned.expire(UnixTime(1100), &none, |_| false);
        assert_eq!(learned.asked().len(), 0);
    }

    #[test]
    fn names_without_a_host_are_given_up() {
        let mut learned = Learned::default();
        for name in ["a", "b"] {
            learned.learn(
                &name.into(),
                &[ip("10.0.0.1"), ip("10.0.0.2")],
                SECOND,
                UnixTime(0),
            );
            learned.ask(&name.into(), UnixTime(0));
        }
        learned.retain(|name| name == "a", |name| name == "b");
        assert_eq!(listed(&learned), ["a 10.0.0.1", "a 10.0.0.2"]);
        assert_eq!(learned.asked(), BTreeSet::from(["b".into()]));
    }

    proptest! {
        /// Whatever is told when, an address is there exactly until the latest end that was told of it.
        #[test]
        fn an_address_is_there_until_the_latest_end(
            told in proptest::collection::vec((0u8..3, 0u8..4, 0u64..500, 0u64..200), 1..60),
            now in 0u64..800,
        ) {
            let mut learned = Learned::default();
            let name = |n: u8| Arc::<str>::from(format!("n{n}"));
            let address = |a: u8| IpAddr::from([10, 0, 0, a]);
            let mut expected = BTreeSet::new();
            for (n, a, at, ttl) in &told {
                learned.learn(&name(*n), &[address(*a)], Duration::from_secs(*ttl), UnixTime(*at));
                if at + ttl.max(&60) > now {
                    expected.insert((name(*n), address(*a)));
                }
            }
            learned.expire(UnixTime(now), &HashSet::new(), |_| false);
            prop_assert_eq!(learned.addresses(), expected);
        }
    }
}
