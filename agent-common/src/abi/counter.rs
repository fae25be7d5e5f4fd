//! COUNTERS and TOTALS: what has been.

/// One element of COUNTERS, per CPU. Services and endpoints share the numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Connects sent on: to this endpoint, or past this service to their original address. An unconnected socket counts
    /// once for each endpoint that it is given, and with each datagram where the service keeps addresses.
    pub connects: u64,
    /// Connects that were failed on purpose. Of an endpoint: because policies deny it.
    pub denied: u64,
}

/// What belongs to no service: index into TOTALS, an array of per-CPU `u64`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Connects to an address in a VIP range with a port that nothing declares.
    PortNotDeclared = 0,
    /// Rewritten connects of which no record could be kept: they work, getpeername shows the endpoint. Also queries to name
    /// servers that were not redirected for that reason.
    FlowsFull = 1,
    /// Words or headers that changed twice under a reader.
    Torn = 2,
    /// Records that found no free line in FLOWS and are stored at their socket.
    FlowsStored = 3,
    /// Queries to a name server for which no listener is left: they go there.
    NameServersFull = 4,
    /// Connects to services that had as many connections as they may.
    Overflow = 5,
    /// Events that found no room: what they tell of is in ENDPOINTS.
    EventsLost = 6,
    /// Connects to what nothing claims, of clients that may reach only what is registered.
    NotRegistered = 7,
    /// The same of clients that are let pass.
    NotRegisteredAudited = 8,
    /// Denials that found no room in DENIALS; all the same they are counted.
    DenialsLost = 9,
}

/// Elements of TOTALS.
pub const TOTALS: u32 = 10;
