//! What the demo shows: the servers, the objects, and the changes with what must come of each.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

/// Port that every server listens on.
pub(super) const SERVER_PORT: u16 = 8080;
/// Where the demo's node says it is.
pub(super) const LOCALITY: &str = "region-a/zone-1";
/// TTL of the demo's DNS records, seconds.
pub(super) const TTL: u32 = 1;

const FEED: &str = "feed.servers.internal";
const MIRROR: &str = "mirror.servers.internal";

/// Every server: name and address.
pub(super) const SERVERS: [(&str, Ipv4Addr); 12] = [
    ("shop-a", Ipv4Addr::new(127, 20, 1, 1)),
    ("shop-b", Ipv4Addr::new(127, 20, 1, 2)),
    ("shop-c", Ipv4Addr::new(127, 20, 1, 3)),
    ("ledger-zone-1", Ipv4Addr::new(127, 20, 2, 1)),
    ("ledger-zone-2", Ipv4Addr::new(127, 20, 2, 2)),
    ("ledger-region-b", Ipv4Addr::new(127, 20, 2, 3)),
    ("feed-1", Ipv4Addr::new(127, 20, 3, 1)),
    ("feed-2", Ipv4Addr::new(127, 20, 3, 2)),
    ("feed-3", Ipv4Addr::new(127, 20, 3, 3)),
    ("mirror-1", Ipv4Addr::new(127, 20, 4, 1)),
    ("mirror-2", Ipv4Addr::new(127, 20, 4, 2)),
    ("direct", Ipv4Addr::new(127, 20, 5, 1)),
];

/// What a client connects to, as the board names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) host: &'static str,
    pub(super) port: u16,
    /// The resolution that it shows.
    pub(super) resolution: &'static str,
}

pub(super) const SHOP: Target = Target {
    host: "shop.demo.internal",
    port: 80,
    resolution: "STATIC",
};
pub(super) const LEDGER: Target = Target {
    host: "ledger.demo.internal",
    port: 80,
    resolution: "STATIC, locality",
};
pub(super) const NEWS: Target = Target {
    host: "news.demo.internal",
    port: 80,
    resolution: "DNS",
};
pub(super) const ASSETS: Target = Target {
    host: "assets.demo.internal",
    port: 80,
    resolution: "DNS_ROUND_ROBIN",
};
pub(super) const DIRECT: Target = Target {
    host: "direct.demo.internal",
    port: SERVER_PORT,
    resolution: "NONE",
};

/// Address that the client dials for [`DIRECT`], which keeps it.
pub(super) const DIRECT_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 20, 5, 1);

/// Target → server → its part of the connects.
pub(super) type Expectation = BTreeMap<Target, BTreeMap<&'static str, f64>>;

/// One change and what must come of it.
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) change: Change,
    /// Targets whose split is another now.
    pub(super) expect: Vec<(Target, &'static [(&'static str, f64)])>,
}

pub(super) enum Change {
    /// Files to write into the configuration directory.
    Files(Vec<(&'static str, String)>),
    /// Names to change in the DNS server.
    Records(Vec<(&'static str, Vec<&'static str>)>),
}

/// The story, in order. The first step writes everything.
pub(super) fn steps() -> Vec<Step> {
    vec![
        Step {
            title: "Five ServiceEntries, one of each kind; the client only knows their addresses",
            change: Change::Files(vec![
                ("shop.yaml", shop([70, 20, 10])),
                ("ledger.yaml", ledger(true)),
                ("names.yaml", NAMES.to_owned()),
                ("direct.yaml", DIRECT_YAML.to_owned()),
            ]),
            expect: vec![
                (SHOP, &[("shop-a", 0.7), ("shop-b", 0.2), ("shop-c", 0.1)]),
                (LEDGER, &[("ledger-zone-1", 1.0)]),
                (NEWS, &[("feed-1", 0.5), ("feed-2", 0.5)]),
                (ASSETS, &[("mirror-1", 1.0)]),
                (DIRECT, &[("direct", 1.0)]),
            ],
        },
        Step {
            title: "shop.yaml is saved with the weights 10, 20 and 70",
            change: Change::Files(vec![("shop.yaml", shop([10, 20, 70]))]),
            expect: vec![(SHOP, &[("shop-a", 0.1), ("shop-b", 0.2), ("shop-c", 0.7)])],
        },
        Step {
            title: "ledger.yaml loses its endpoint in zone-1: failover to zone-2",
            change: Change::Files(vec![("ledger.yaml", ledger(false))]),
            expect: vec![(LEDGER, &[("ledger-zone-2", 1.0)])],
        },
        Step {
            title: "The DNS server gives other addresses (TTL 1 s)",
            change: Change::Records(vec![
                (FEED, vec!["127.20.3.3"]),
                (MIRROR, vec!["127.20.4.2", "127.20.4.1"]),
            ]),
            expect: vec![(NEWS, &[("feed-3", 1.0)]), (ASSETS, &[("mirror-2", 1.0)])],
        },
    ]
}

/// What the DNS server answers at first.
pub(super) fn records() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (FEED, vec!["127.20.3.1", "127.20.3.2"]),
        (MIRROR, vec!["127.20.4.1", "127.20.4.2"]),
    ]
}

/// Writes a file as careful editors do: beside it, then over it.
pub(super) fn save(directory: &Path, name: &str, text: &str) -> Result<()> {
    let beside = directory.join(format!(".{name}.new"));
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, directory.join(name)))
        .with_context(|| format!("saving {name}"))
}

fn shop(weights: [u32; 3]) -> String {
    let [a, b, c] = weights;
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.demo.internal]
  ports: [{{name: http, number: 80, protocol: HTTP, targetPort: 8080}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.20.1.1, weight: {a}}}
  - {{address: 127.20.1.2, weight: {b}}}
  - {{address: 127.20.1.3, weight: {c}}}
"
    )
}

fn ledger(with_zone_1: bool) -> String {
    let zone_1 = if with_zone_1 {
        "  - {address: 127.20.2.1, locality: region-a/zone-1}\n"
    } else {
        ""
    };
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ledger}}
spec:
  hosts: [ledger.demo.internal]
  ports: [{{name: tcp, number: 80, protocol: TCP, targetPort: 8080}}]
  resolution: STATIC
  endpoints:
{zone_1}  - {{address: 127.20.2.2, locality: region-a/zone-2}}
  - {{address: 127.20.2.3, locality: region-b/zone-1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: ledger}}
spec:
  host: ledger.demo.internal
  trafficPolicy:
    outlierDetection: {{consecutiveGatewayErrors: 5}}
    loadBalancer:
      localityLbSetting:
        failover: [{{from: region-a, to: region-b}}]
"
    )
}

const NAMES: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: news}
spec:
  hosts: [news.demo.internal]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8080}]
  resolution: DNS
  endpoints: [{address: feed.servers.internal}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: assets}
spec:
  hosts: [assets.demo.internal]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8080}]
  resolution: DNS_ROUND_ROBIN
  endpoints: [{address: mirror.servers.internal}]
";

const DIRECT_YAML: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: direct}
spec:
  hosts: [direct.demo.internal]
  addresses: [127.20.5.0/24]
  ports: [{name: tcp, number: 8080, protocol: TCP}]
  resolution: NONE
";
