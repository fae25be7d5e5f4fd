//! The decision: what becomes of one connect. Pure, bounded and allocation-free, so that the kernel programs, the
//! tests and `shunt explain` all run this code and no other.

use crate::abi::{
    Action, Address, Cell, Config, Exemption, Extra, FrontendKey, FrontendWord, GroupHeader, ICMP,
    ICMPV6, NAME_PORT, Outbound, Port, Slot, TCP, UDP, UNCOUNTED,
};
use crate::pick;

/// What a decision reads. The kernel answers from the maps, everybody else from memory or from the mapped arena.
pub trait Tables {
    fn config(&self) -> Option<&Config>;
    /// The word of FRONTENDS under `key`, copied.
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord>;
    /// The id of the longest CIDR of PREFIXES that holds `address`.
    fn prefix(&self, address: Address) -> Option<u32>;
    /// What the longest CIDR of EXEMPT that holds `address` says. Asked for only where a connect would else be denied.
    fn exemption(&self, address: Address) -> Option<Exemption>;
    fn cell(&self, cell: u32) -> Option<&Cell>;
    /// Records that count as open at an endpoint or a service: an element of ENDPOINTS.
    fn open(&self, index: u32) -> u32;
    /// The listener that answers in the place of the name server that is asked; `None` where it is left to itself.
    fn name_server(&self, connect: &Connect) -> Option<(Address, Port)>;

    /// ARENA's cell as a header.
    #[inline(always)]
    fn header(&self, cell: u32) -> Option<&GroupHeader> {
        self.cell(cell).map(Cell::as_header)
    }

    /// ARENA's cell as a slot.
    #[inline(always)]
    fn slot(&self, cell: u32) -> Option<&Slot> {
        self.cell(cell).map(Cell::as_slot)
    }

    /// ARENA's cell as what few groups have.
    #[inline(always)]
    fn extra(&self, cell: u32) -> Option<&Extra> {
        self.cell(cell).map(Cell::as_extra)
    }
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
    /// 32 uniform bits: asked for once or twice, when there is more than one endpoint to draw from.
    fn random(&mut self) -> u32;

    /// Takes a turn of the service: numbers in sequence, one for each connect.
    fn turn(&mut self, service: u32) -> u32;

    /// A hash of who connects (see [`crate::source`]).
    fn source(&mut self) -> u32;

    /// Whether the socket is among the connections that are open at the service already, and needs no place of its own. Asked
    /// for when no place is left.
    fn is_open_at(&mut self, _service: u32) -> bool {
        false
    }

    /// Asked for when an address of the IPv6 family has IPv4 endpoints behind it.
    fn reach(&mut self) -> Reach {
        Reach::Any
    }

    /// Where the socket was sent the last time that it named this destination: kept while that is among the endpoints.
    fn kept(&mut self) -> Option<(Address, Port)> {
        None
    }
}

/// Any client.
impl<F: FnMut() -> u32> Client for F {
    fn random(&mut self) -> u32 {
        self()
    }

    fn turn(&mut self, _service: u32) -> u32 {
        self()
    }

    fn source(&mut self) -> u32 {
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
    /// Who asks: clients of one scope have the same frontends.
    pub scope: u32,
    /// Clients of the same number are told the same of names.
    pub names: u16,
    /// What becomes of it where nothing claims the destination.
    pub outbound: Outbound,
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
    /// The service has as many connections as it may: ECONNREFUSED.
    Overflow,
    /// The tables changed twice under the reader: EHOSTUNREACH, and the next try succeeds.
    Torn,
    /// Nothing claims the destination, and the client may reach only what is registered: EPERM.
    NotRegistered,
    /// Policies deny the service, or the endpoint that was picked: EPERM.
    Policy,
}

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours.
    Pass,
    /// Not ours, and told of: who may reach only what is registered would be denied it.
    PassUnregistered,
    /// Ours, and it keeps its address (resolution NONE).
    Original {
        service: u32,
        port: Option<Port>,
        extra: u32,
    },
    /// Sent to an endpoint. `slot` is the arena cell that named it; `extra` that of what the service wants of its TCP sockets
    /// beyond that, or 0.
    Rewrite {
        service: u32,
        endpoint: u32,
        address: Address,
        port: Port,
        slot: u32,
        extra: u32,
    },
    /// A query to a name server, which goes to a listener of the agent.
    Ask { address: Address, port: Port },
    /// Failed; `service` is `None` where no service claims the destination. `endpoint` is the one that policies deny, or
    /// [`UNCOUNTED`].
    Deny {
        service: Option<u32>,
        endpoint: u32,
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
        Found::Torn => deny(Reason::Torn),
        Found::Nothing if is_undeclared(tables, connect) => deny(Reason::PortNotDeclared),
        Found::Nothing => pass(tables, connect),
    }
}

#[inline(always)]
const fn deny(reason: Reason) -> Verdict {
    Verdict::Deny {
        service: None,
        endpoint: UNCOUNTED,
        reason,
    }
}

/// Nothing claims the destination.
#[inline(always)]
fn pass(tables: &impl Tables, connect: &Connect) -> Verdict {
    if connect.port == NAME_PORT
        && matches!(connect.protocol, TCP | UDP)
        && let Some((address, port)) = tables.name_server(connect)
    {
        return Verdict::Ask { address, port };
    }
    if connect.outbound == Outbound::AllowAny || is_exempt(tables, connect) {
        return Verdict::Pass;
    }
    if connect.outbound == Outbound::Audited {
        Verdict::PassUnregistered
    } else {
        deny(Reason::NotRegistered)
    }
}

/// Whether the destination may be reached though nothing claims it: what stays on the link, what is no destination but a
/// question about routes, and what tells of errors on the way.
#[inline(always)]
fn is_exempt(tables: &impl Tables, connect: &Connect) -> bool {
    connect.address.is_of_link()
        || connect.port == Port::new(0)
        || matches!(connect.protocol, ICMP | ICMPV6)
        || match tables.exemption(connect.address) {
            Some(Exemption::Destination) => true,
            Some(Exemption::NameServer) => connect.port == NAME_PORT,
            None => false,
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
        endpoint: UNCOUNTED,
        reason,
    };
    let Some(action) = header.action() else {
        return deny(Reason::Torn);
    };
    let place = match action {
        Action::Balance => table(tables, connect, group, header, client),
        Action::Original => Place::Header(group, header),
        Action::Refuse => return deny(Reason::Unsupported),
        Action::Deny => return deny(Reason::Policy),
    };
    let (cell, header) = match place {
        Place::Header(cell, header) => (cell, header),
        Place::Nowhere => return deny(Reason::NoEndpoint),
        Place::Torn => return deny(Reason::Torn),
    };
    let extra = header.extra(cell).unwrap_or(0);
    let of_tcp = if connect.protocol == TCP { extra } else { 0 };
    if of_tcp != 0 && is_full(tables, of_tcp, service, client) {
        return deny(Reason::Overflow);
    }
    if action == Action::Original {
        return Verdict::Original {
            service,
            port: header.port_override(),
            extra: of_tcp,
        };
    }
    let table = header.table(cell);
    let kept = client
        .kept()
        .and_then(|at| pick::search(tables, &table, at));
    match kept.or_else(|| pick::pick(tables, cell, header, extra, client)) {
        Some((cell, slot)) if slot.is_served() => Verdict::Rewrite {
            service,
            endpoint: slot.endpoint(),
            address: slot.address(),
            port: slot.port(),
            slot: cell,
            extra: of_tcp,
        },
        Some((_, slot)) if slot.is_denied() => Verdict::Deny {
            service: Some(service),
            endpoint: slot.endpoint(),
            reason: Reason::Policy,
        },
        Some(_) => deny(Reason::NoEndpoint),
        None => deny(Reason::Torn),
    }
}

/// Where the endpoints stand that a client can be sent to.
enum Place<'a> {
    Header(u32, &'a GroupHeader),
    Nowhere,
    Torn,
}

#[inline(always)]
fn table<'a, T: Tables>(
    tables: &'a T,
    connect: &Connect,
    group: u32,
    header: &'a GroupHeader,
    client: &mut impl Client,
) -> Place<'a> {
    let v4 = header.v4(group);
    let reach = match connect.family {
        Family::V4 => Reach::V4,
        Family::V6 if v4.is_some() => client.reach(),
        Family::V6 => Reach::Any,
    };
    let cell = match reach {
        Reach::Any => Some(group),
        Reach::V4 => v4,
        Reach::V6 => header.v6(group),
    };
    let found = match cell {
        None => return Place::Nowhere,
        Some(cell) if cell == group => Some(header),
        Some(cell) => tables.header(cell).filter(|header| header.is_at(cell)),
    };
    match (cell, found) {
        (Some(cell), Some(header)) if header.table(cell).slots > 0 => Place::Header(cell, header),
        (_, Some(_)) => Place::Nowhere,
        (_, None) => Place::Torn,
    }
}

/// Whether the service has as many connections as it may. Of two that connect at once, both may be let in as the last.
#[inline(always)]
fn is_full(tables: &impl Tables, extra: u32, service: u32, client: &mut impl Client) -> bool {
    let most = tables.extra(extra).map_or(0, |extra| extra.max_connections);
    most != 0 && tables.open(service) >= most && !client.is_open_at(service)
}
