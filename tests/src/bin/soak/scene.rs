//! What is connected to: services, what files say of them at a moment, and what may become of connects then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fastrand::Rng;
use tests::history::Outcome;
use tests::sockets::Transport;

/// Where the servers of all endpoints listen.
const PORT: u16 = 8080;
/// Services that come and go.
const PASSING: u8 = 4;
/// Most objects that nobody connects to, beside those that are too many.
const MOST_FILLERS: usize = 300;
/// So many of these that their frontends, two for each, find no room in the maps of any agent here.
const TOO_MANY_FILLERS: usize = 700;
/// The name that [`Service::Named`] resolves.
pub(crate) const NAME: &str = "pool.zone.test";

/// Each is a file, or may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// Says the same all the time.
    Steady,
    /// Endpoints come and go, with weights.
    Moving,
    /// A route divides it.
    Routed,
    /// A name has its endpoints.
    Named,
    /// One of its endpoints refuses from time to time, and is ejected.
    Flaky,
    /// A policy denies it all the time.
    Denied,
    /// A policy denies it from time to time.
    Judged,
    /// Comes and goes as a whole.
    Passing(u8),
    /// Many that nobody connects to.
    Fillers,
}

use Service::{Denied, Fillers, Flaky, Judged, Moving, Named, Passing, Routed, Steady};

impl Service {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let lasting = [
            Steady, Moving, Routed, Named, Flaky, Denied, Judged, Fillers,
        ];
        lasting.into_iter().chain((0..PASSING).map(Passing))
    }

    fn number(self) -> u8 {
        match self {
            Steady => 1,
            Moving => 2,
            Routed => 3,
            Named => 4,
            Flaky => 5,
            Denied => 6,
            Judged => 7,
            Fillers => 8,
            Passing(number) => 16 + number,
        }
    }

    pub(crate) fn host(self) -> String {
        match self {
            Passing(number) => format!("passing-{number}.test"),
            other => format!("{other:?}.test").to_lowercase(),
        }
    }

    /// All endpoints that it ever has, by number.
    fn pool(self) -> std::ops::RangeInclusive<u8> {
        match self {
            Steady | Flaky => 1..=3,
            Moving => 1..=6,
            Routed | Named => 1..=4,
            Judged => 1..=2,
            Denied | Fillers | Passing(_) => 1..=1,
        }
    }

    pub(crate) fn endpoint(self, number: u8) -> SocketAddr {
        SocketAddr::from(([10, 9, self.number(), number], PORT))
    }

    /// Where endpoints of all services listen.
    pub(crate) fn endpoints() -> impl Iterator<Item = (Self, SocketAddr)> {
        let numbered = |service: Self| service.pool().map(move |number| (service, number));
        let all = Self::all().flat_map(numbered);
        all.map(|(service, number)| (service, service.endpoint(number)))
    }
}

/// What clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: Service,
    pub(crate) transport: Transport,
}

impl Target {
    pub(crate) fn all() -> Vec<Self> {
        let of = |transport| move |service| Self { service, transport };
        let tcp = Service::all().filter(|service| *service != Fillers);
        let udp = [Steady, Moving].into_iter();
        tcp.map(of(Transport::Tcp))
            .chain(udp.map(of(Transport::Udp)))
            .collect()
    }

    /// Nothing has this address, and there is no route to it.
    pub(crate) fn vip(self) -> SocketAddr {
        let port = match self.transport {
            Transport::Udp => 81,
            Transport::Tcp | Transport::Mptcp => 80,
        };
        SocketAddr::from(([192, 0, 2, self.service.number()], port))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.service.host(), self.transport)
    }
}

/// What holds at a moment.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The weights of endpoints of [`Moving`].
    moving: BTreeMap<u8, u32>,
    /// The weights of both sides of [`Routed`].
    routed: [u32; 2],
    /// The endpoints of [`Named`].
    named: BTreeSet<u8>,
    is_judged: bool,
    passing: BTreeSet<u8>,
    pub(crate) fillers: usize,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            moving: Moving.pool().map(|number| (number, 1)).collect(),
            routed: [1, 1],
            named: Named.pool().collect(),
            is_judged: false,
            passing: BTreeSet::new(),
            fillers: 50,
        }
    }

    /// Makes something different, or the same once more. Returns of which service.
    pub(crate) fn change(&mut self, random: &mut Rng) -> Service {
        match random.u8(0..12) {
            0..4 => {
                let count = random.usize(1..=Moving.pool().count());
                let members = random.choose_multiple(Moving.pool(), count);
                self.moving = members
                    .into_iter()
                    .map(|number| (number, random.u32(1..=5)))
                    .collect();
                Moving
            }
            4..6 => {
                self.routed = match random.u8(0..4) {
                    0 => [1, 0],
                    1 => [0, 1],
                    _ => [random.u32(1..=9), random.u32(1..=9)],
                };
                Routed
            }
            6 => {
                let count = random.usize(1..=Named.pool().count());
                self.named = random
                    .choose_multiple(Named.pool(), count)
                    .into_iter()
                    .collect();
                Named
            }
            7 => {
                self.is_judged = !self.is_judged;
                Judged
            }
            8 => {
                self.fillers = random.usize(0..=MOST_FILLERS);
                Fillers
            }
            _ => {
                let number = random.u8(0..PASSING);
                if !self.passing.remove(&number) {
                    self.passing.insert(number);
                }
                Passing(number)
            }
        }
    }

    /// More than any agent here has room for.
    pub(crate) fn overfill(&mut self) {
        self.fillers = TOO_MANY_FILLERS;
    }

    /// The addresses of [`NAME`].
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let named = self.named.iter();
        named.map(|number| Named.endpoint(*number).ip()).collect()
    }

    /// What may become of connects.
    pub(crate) fn valid(&self, target: Target) -> BTreeSet<Outcome> {
        let service = target.service;
        let ends = |numbers: &mut dyn Iterator<Item = u8>| -> BTreeSet<Outcome> {
            numbers
                .map(|number| Ok(service.endpoint(number).ip()))
                .collect()
        };
        match service {
            Moving => ends(&mut self.moving.keys().copied()),
            Routed => ends(
                &mut Routed
                    .pool()
                    .filter(|number| self.routed[side(*number)] > 0),
            ),
            Named => ends(&mut self.named.iter().copied()),
            Denied => [Err(libc::EPERM)].into(),
            Judged if self.is_judged => [Err(libc::EPERM)].into(),
            Passing(number) if !self.passing.contains(&number) => [Err(libc::ENETUNREACH)].into(),
            Steady | Flaky | Judged | Fillers | Passing(_) => ends(&mut service.pool()),
        }
    }

    /// What the file of a service holds; `None` where there is to be none.
    pub(crate) fn text(&self, service: Service) -> Option<String> {
        let plain = |numbers: &mut dyn Iterator<Item = u8>| {
            let ends = numbers.map(|number| format!("address: {}", service.endpoint(number).ip()));
            entry(service, "STATIC", ends)
        };
        match service {
            Moving => {
                let ends = self.moving.iter().map(|(number, weight)| {
                    let address = service.endpoint(*number).ip();
                    format!("address: {address}, weight: {weight}")
                });
                Some(entry(service, "STATIC", ends))
            }
            Routed => Some(self.routes()),
            Named => Some(entry(service, "DNS", [format!("address: {NAME}")])),
            Flaky => Some(plain(&mut service.pool()) + &outlier_detection(service)),
            Denied => Some(plain(&mut service.pool()) + &denial(service)),
            Judged if self.is_judged => Some(plain(&mut service.pool()) + &denial(service)),
            Steady | Judged => Some(plain(&mut service.pool())),
            Passing(number) => {
                let is_here = self.passing.contains(&number);
                is_here.then(|| plain(&mut service.pool()))
            }
            Fillers => (self.fillers > 0).then(|| fillers(self.fillers)),
        }
    }

    fn routes(&self) -> String {
        const SIDES: [&str; 2] = ["left", "right"];
        let ends = Routed.pool().map(|number| {
            let address = Routed.endpoint(number).ip();
            format!(
                "address: {address}, labels: {{side: {}}}",
                SIDES[side(number)]
            )
        });
        let mut text = entry(Routed, "STATIC", ends);
        let (host, [left, right]) = (Routed.host(), self.routed);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec:\n  host: {host}\n  \
             subsets: [{{name: left, labels: {{side: left}}}}, {{name: right, labels: {{side: right}}}}]\n\
             ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
             tcp:\n  - route:\n    - {{destination: {{host: {host}, subset: left}}, weight: {left}}}\n    \
             - {{destination: {{host: {host}, subset: right}}, weight: {right}}}\n"
        );
        text
    }

    /// How many objects all files hold.
    pub(crate) fn objects(&self) -> usize {
        let texts = Service::all().filter_map(|service| self.text(service));
        let count = |text: String| {
            text.lines()
                .filter(|line| line.starts_with("kind:"))
                .count()
        };
        texts.map(count).sum()
    }
}

/// Of an endpoint of [`Routed`], by its number.
fn side(number: u8) -> usize {
    usize::from(number > 2)
}

/// Each end is what stands in the braces of an endpoint.
fn entry(service: Service, resolution: &str, ends: impl IntoIterator<Item = String>) -> String {
    let host = service.host();
    let vip = Ipv4Addr::from([192, 0, 2, service.number()]);
    let lines = ends.into_iter().map(|end| format!("  - {{{end}}}\n"));
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
         addresses: [{vip}]\n  ports:\n  - {{number: 80, name: tcp, protocol: TCP, targetPort: {PORT}}}\n  \
         - {{number: 81, name: udp, protocol: UDP, targetPort: {PORT}}}\n  resolution: {resolution}\n  endpoints:\n{}",
        lines.collect::<String>()
    )
}

fn outlier_detection(service: Service) -> String {
    let host = service.host();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec:\n  host: {host}\n  \
         trafficPolicy:\n    loadBalancer: {{simple: ROUND_ROBIN}}\n    \
         outlierDetection: {{consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 2s}}\n"
    )
}

fn denial(service: Service) -> String {
    let host = service.host();
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {host}}}\nspec:\n  \
         targetRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: {host}}}]\n  action: DENY\n  rules: [{{}}]\n"
    )
}

/// At automatic addresses.
fn fillers(count: usize) -> String {
    let address = Fillers.endpoint(1).ip();
    let of = |number| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: filler-{number}}}\nspec:\n  \
             hosts: [filler-{number}.test]\n  ports: [{{number: 80, name: tcp, protocol: TCP}}]\n  resolution: STATIC\n  \
             endpoints: [{{address: {address}}}]\n"
        )
    };
    (0..count).map(of).collect()
}
