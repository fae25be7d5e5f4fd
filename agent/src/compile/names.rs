//! What the name server says of each host: the addresses that it answers, or how it comes by them.
//!
//! Names are lower case and without a trailing dot, in here and in questions.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What is said of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// These, of either family: declared, automatic, or those that Istio allocated.
    Addresses(Arc<[IpAddr]>),
    /// What the upstream servers say, which is then recognised where clients connect to it: hosts that have no address of
    /// their own (resolution NONE, wildcards).
    Learned,
    /// An automatic address of its own for each name that exists (`DYNAMIC_DNS`).
    OnDemand,
}

/// What is said of a host, and whose word that is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    saying: Saying,
    /// The place of the host among all.
    owner: usize,
}

/// Every host that is known, by what a question may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    exact: HashMap<Arc<str>, Said>,
    /// By what follows the asterisk: `.example.com`, or `-eu.example.com` of a partial wildcard.
    wildcards: HashMap<Arc<str>, Said>,
    /// Bytes of the longest suffix in `wildcards`.
    longest: usize,
    /// Names of `exact` that are there because they were asked for.
    asked: HashSet<Arc<str>>,
}

impl Names {
    /// Says it of `host`, a name or a wildcard, unless something is said of it already: the oldest host comes first.
    /// `owner` is its place among all.
    pub(super) fn say(&mut self, host: &str, saying: Saying, owner: usize) {
        let said = Said { saying, owner };
        match host.strip_prefix('*') {
            Some(suffix) => {
                self.longest = self.longest.max(suffix.len());
                self.wildcards.entry(suffix.into()).or_insert(said);
            }
            None => {
                self.exact.entry(host.into()).or_insert(said);
            }
        }
    }

    /// Says it of a name that was asked for and is covered by the wildcard of a host.
    pub(super) fn say_on_demand(&mut self, name: &Arc<str>, saying: Saying, owner: usize) {
        self.say(name, saying, owner);
        self.asked.insert(Arc::clone(name));
    }

    /// What is said of `name`: by its own host, or else by the longest wildcard that covers it.
    pub fn find(&self, name: &str) -> Option<&Saying> {
        self.said(name).map(|said| &said.saying)
    }

    /// What is said of the very host, whatever wildcards cover it.
    pub fn exact(&self, name: &str) -> Option<&Saying> {
        self.exact.get(name).map(|said| &said.saying)
    }

    /// Whether `name` has its addresses only for as long as it is asked for.
    pub fn is_on_demand(&self, name: &str) -> bool {
        self.asked.contains(name) || matches!(self.find(name), Some(Saying::OnDemand))
    }

    /// The place of the host whose word counts for `name`, and what it says.
    pub(super) fn owner(&self, name: &str) -> Option<(usize, &Saying)> {
        self.said(name).map(|said| (said.owner, &said.saying))
    }

    fn said(&self, name: &str) -> Option<&Said> {
        self.exact.get(name).or_else(|| self.find_wildcard(name))
    }

    /// `*foo.com` covers `foo.com`, and `*.foo.com` does not, as Istio has it.
    fn find_wildcard(&self, name: &str) -> Option<&Said> {
        let first = name.len().saturating_sub(self.longest);
        let mut suffixes = (first..name.len()).filter_map(|start| name.get(start..));
        suffixes.find_map(|suffix| self.wildcards.get(suffix))
    }

    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Hosts with what is said of them, the oldest first.
impl<'a> FromIterator<(&'a str, Saying)> for Names {
    fn from_iter<I: IntoIterator<Item = (&'a str, Saying)>>(hosts: I) -> Self {
        let mut names = Self::default();
        for (owner, (host, saying)) in hosts.into_iter().enumerate() {
            names.say(host, saying, owner);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[(&str, u8)]) -> Names {
        let mut names = Names::default();
        for (host, last) in hosts {
            names.say(host, addresses(*last), 0);
        }
        names
    }

    fn addresses(last: u8) -> Saying {
        Saying::Addresses([IpAddr::from([10, 0, 0, last])].into())
    }

    #[test]
    fn the_name_itself_comes_first_then_the_longest_wildcard() {
        let names = names(&[
            ("*.com", 1),
            ("*.b.example.com", 2),
            ("*.example.com", 3),
            ("a.example.com", 4),
            ("*-eu.example.com", 5),
        ]);
        let find = |name| names.find(name).cloned();
        assert_eq!(find("a.example.com"), Some(addresses(4)));
        assert_eq!(find("c.example.com"), Some(addresses(3)));
        assert_eq!(find("x.y.example.com"), Some(addresses(3)));
        assert_eq!(find("x.b.example.com"), Some(addresses(2)));
        assert_eq!(find("shop-eu.example.com"), Some(addresses(5)));
        assert_eq!(find("example.com"), Some(addresses(1)));
        assert_eq!(find("com"), None);
        assert_eq!(find("example.org"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn a_wildcard_covers_what_ends_with_all_that_follows_the_asterisk() {
        let names = names(&[("*.example.com", 1), ("*foo.com", 2)]);
        assert_eq!(names.find("example.com"), None);
        assert_eq!(names.find("foo.com"), Some(&addresses(2)));
        assert_eq!(names.find("a.foo.com"), Some(&addresses(2)));
    }

    #[test]
    fn of_two_that_say_something_of_a_host_the_first_is_heard() {
        let names = names(&[("a.com", 1), ("a.com", 2), ("*.com", 3), ("*.com", 4)]);
        assert_eq!(names.find("a.com"), Some(&addresses(1)));
        assert_eq!(names.find("b.com"), Some(&addresses(3)));
        assert_eq!(names.len(), 2);
    }
}
