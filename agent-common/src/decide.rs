//! The decision: what becomes of one connect. Pure, bounded and allocation-free, so that the kernel programs, the
//! tests and `shunt explain` all run this code and no other.

use core::cmp::Ordering;

use crate::abi::{
    Action, Address, Config, FrontendKey, FrontendWord, GroupHeader, NAME_PORT, Port, Slot, TCP,
    Table, UDP,
};

/// What a decision reads. The kernel answers from the maps, everybody else from memory or from the mapped arena.
pub trait Tables {
    fn config(&self) -> Option<&Config>;
    /// The word of FRONTENDS under `key`, copied.
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord>;
    /// The id of the longest CIDR of PREFIXES that holds `address`.
    fn prefix(&self, address: Address) -> Option<u32>;
    /// ARENA's cell as a header.
    fn header(&self, cell: u32) -> Option<&GroupHeader>;
    /// ARENA's cell as a slot.
    fn slot(&self, cell: u32) -> Option<&Slot>;
    /// The listener that answers in the place of the name server that is asked; `None` where it is left to itself.
    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)>;
}

/// Which family an address is given in: a socket that names IPv4 addresses cannot be given an IPv6 endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The endpoints that a socket of the IPv6 family can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Any,
    /// It is bound to a v4-mapped address.
    V4,
    /// It is `IPV6_V6ONLY`, bound to an IPv6 address, or sends where the kernel takes no v4-mapped address.
    V6,
}

/// What a decision asks of the client, and only where the outcome depends on it.
pub trait Client {
    /// 32 uniform bits: asked for once, when there is more than one endpoint to draw from.
    fn random(&mut self) -> u32;

    /// Asked for when an address of the IPv6 family has IPv4 endpoints behind it.
    fn reach(&mut self) -> Reach {
        Reach::Any
    }

    /// Where the socket was sent the last time that it named this destination: kept while that is among the endpoints.
    fn kept(&mut self) -> Option<(Address, Port)> {
        None
    }
}

/// A client that does not care.
impl<F: FnMut() -> u32> Client for F {
    fn random(&mut self) -> u32 {
        self()
    }
}

/// One connect, or one datagram of an unconnected socket, as the client asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    pub family: Family,
    pub address: Address,
    pub port: Port,
    /// [`crate::abi::TCP`] or [`crate::abi::UDP`].
    pub protocol: u8,
    pub scope: u32,
}

/// Why a connect is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An address of a VIP range with a port that no service declares: ECONNREFUSED.
    PortNotDeclared,
    /// No endpoint can take it: EHOSTUNREACH.
    NoEndpoint,
    /// What the service asks for cannot be done at this layer (TLS origination, Unix sockets): EHOSTUNREACH.
    Unsupported,
    /// The tables changed twice under the reader: EHOSTUNREACH, and the next try succeeds.
    Torn,
}

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours.
    Pass,
    /// Ours, and it keeps its address (resolution NONE).
    Original { service: u32, port: Option<Port> },
    /// Sent to an endpoint. `slot` is the arena cell that named it.
    Rewrite {
        service: u32,
        endpoint: u32,
        address: Address,
        port: Port,
        slot: u32,
    },
    /// A query to a name server, which goes to a listener of the agent.
    Ask { address: Address, port: Port },
    /// Failed; `service` is `None` where no service claims the destination.
    Deny {
        service: Option<u32>,
        reason: Reason,
    },
}

/// Decides one connect.
#[inline(always)]
pub fn decide(tables: &impl Tables, connect: &Connect, client: &mut impl Client) -> Verdict {
    let exact = FrontendKey::address(
        connect.address,
        connect.port,
        connect.protocol,
        connect.scope,
    );
    let found = match find(tables, &exact) {
        Found::Nothing => find_by_prefix(tables, connect),
        found => found,
    };
    match found {
        Found::Group(group, header) => balance(tables, connect, group, header, client),
        Found::Torn => Verdict::Deny {
            service: None,
            reason: Reason::Torn,
        },
        Found::Nothing if is_undeclared(tables, connect) => Verdict::Deny {
            service: None,
            reason: Reason::PortNotDeclared,
        },
        Found::Nothing if connect.port == NAME_PORT && matches!(connect.protocol, TCP | UDP) => {
            match tables.name_server(connect) {
                Some((address, port)) => Verdict::Ask { address, port },
                None => Verdict::Pass,
            }
        }
        Found::Nothing => Verdict::Pass,
    }
}

/// The destination is no exact frontend, but a CIDR may hold it. It does not hold what stands for no single host.
#[inline(always)]
fn find_by_prefix<'a, T: Tables>(tables: &'a T, connect: &Connect) -> Found<'a> {
    if tables
        .config()
        .is_none_or(|config| config.has_prefixes == 0)
    {
        return Found::Nothing;
    }
    if connect.address.is_relative() {
        return Found::Nothing;
    }
    let Some(id) = tables.prefix(connect.address) else {
        return Found::Nothing;
    };
    let key = FrontendKey::prefix(id, connect.port, connect.protocol, connect.scope);
    find(tables, &key)
}

/// Whether the destination is a port of a VIP that no service declares. Port 0 is no destination: name resolution connects
/// to it to learn whether there is a route (RFC 6724).
#[inline(always)]
fn is_undeclared(tables: &impl Tables, connect: &Connect) -> bool {
    let Some(config) = tables.config() else {
        return false;
    };
    let is_vip = config.vip_v4.contains(connect.address) || config.vip_v6.contains(connect.address);
    is_vip && connect.port != Port::new(0) && matches!(connect.protocol, TCP | UDP)
}

enum Found<'a> {
    Nothing,
    Group(u32, &'a GroupHeader),
    Torn,
}

/// Looks a frontend up, and once more if what it found belongs to another key or another group by now.
#[inline(always)]
fn find<'a, T: Tables>(tables: &'a T, key: &FrontendKey) -> Found<'a> {
    for _ in 0..2 {
        let Some(word) = tables.frontend(key) else {
            return Found::Nothing;
        };
        let group = word.group();
        if word.is_for(key)
            && let Some(header) = tables.header(group)
            && header.is_at(group)
        {
            return Found::Group(group, header);
        }
    }
    Found::Torn
}

#[inline(always)]
fn balance(
    tables: &impl Tables,
    connect: &Connect,
    group: u32,
    header: &GroupHeader,
    client: &mut impl Client,
) -> Verdict {
    let service = header.service();
    let deny = |reason| Verdict::Deny {
        service: Some(service),
        reason,
    };
    match header.action() {
        Some(Action::Balance) => {}
        Some(Action::Original) => {
            return Verdict::Original {
                service,
                port: header.port_override(),
            };
        }
        Some(Action::Refuse) => return deny(Reason::Unsupported),
        None => return deny(Reason::Torn),
    }
    let Some(table) = table(tables, connect, group, header, client) else {
        return deny(Reason::Torn);
    };
    if table.slots == 0 {
        return deny(Reason::NoEndpoint);
    }
    let kept = client.kept().and_then(|at| search(tables, &table, at));
    let drawn = kept.or_else(|| {
        let random = if table.slots == 1 { 0 } else { client.random() };
        draw(tables, &table, random)
    });
    match drawn {
        Some((cell, slot)) => Verdict::Rewrite {
            service,
            endpoint: slot.endpoint(),
            address: slot.address(),
            port: slot.port(),
            slot: cell,
        },
        None => deny(Reason::Torn),
    }
}

/// The alias table of those endpoints of a group that the client can be sent to.
#[inline(always)]
fn table(
    tables: &impl Tables,
    connect: &Connect,
    group: u32,
    header: &GroupHeader,
    client: &mut impl Client,
) -> Option<Table> {
    let reach = match connect.family {
        Family::V4 => Reach::V4,
        Family::V6 if header.has_v4() => client.reach(),
        Family::V6 => Reach::Any,
    };
    match reach {
        Reach::Any => Some(header.any(group)),
        Reach::V4 => Some(header.v4(group)),
        Reach::V6 => match header.v6(group) {
            None => Some(Table::default()),
            Some(cell) => {
                let header = tables.header(cell).filter(|header| header.is_at(cell))?;
                Some(header.any(cell))
            }
        },
    }
}

/// Draws from an alias table. The high half of `random` × slots picks the column (Lemire's multiplication), and the low
/// half, which is where `random` lies within the column, decides between the column's own endpoint and its alias. Each
/// endpoint's probability is off by less than slots / 2³¹.
#[inline(always)]
fn draw<'a, T: Tables>(tables: &'a T, table: &Table, random: u32) -> Option<(u32, &'a Slot)> {
    let product = u64::from(random) * u64::from(table.slots);
    let own = table.first.wrapping_add((product >> 32) as u32);
    let slot = tables.slot(own)?;
    let within = (u64::from(product as u32) * u64::from(table.total)) >> 32;
    if (within as u32) < slot.threshold() {
        return Some((own, slot));
    }
    let alias = table.first.wrapping_add(slot.alias());
    Some((alias, tables.slot(alias)?))
}

/// Halvings, which leave nothing of a table of a million slots; verifiers look at each. In a larger one, what is not found is
/// drawn anew.
const HALVINGS: u32 = 20;

/// The slot of the endpoint at that place. Slots are in the order of address and port.
#[inline(always)]
fn search<'a, T: Tables>(
    tables: &'a T,
    table: &Table,
    (address, port): (Address, Port),
) -> Option<(u32, &'a Slot)> {
    let (mut low, mut high) = (0, table.slots);
    for _ in 0..HALVINGS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        let cell = table.first.wrapping_add(middle);
        let slot = tables.slot(cell)?;
        match (slot.address(), slot.port()).cmp(&(address, port)) {
            Ordering::Equal => return Some((cell, slot)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}
