//! How much the maps hold.

/// Capacities of the maps. Kernel memory is allocated for them in full at load, but for the frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Captured destinations; about 100 bytes each, allocated as used.
    pub frontends: u32,
    /// CIDR addresses; about 60 bytes each, allocated as used.
    pub prefixes: u32,
    /// Arena cells of 32 bytes: two for a service with one endpoint, one more for each further endpoint, one for limits and
    /// options of sockets, one for each 16 places of the table of an algorithm that has one (4097 for Maglev's usual), and room
    /// for the old and the new group of whatever changes at once.
    pub cells: u32,
    /// 16 bytes per CPU each, and 32.
    pub services: u32,
    /// 16 bytes per CPU each, and 32.
    pub endpoints: u32,
    /// Redirected sockets that are remembered at once; 64 bytes each. A power of two.
    pub flows: u32,
    /// Further destinations of unconnected sockets that talk to many; two for each, of about 110 bytes.
    pub replies: u32,
    /// Cgroups whose clients are told apart; about 70 bytes each, allocated as used.
    pub cgroups: u32,
    /// CIDRs that may be reached though nothing claims them; about 60 bytes each, allocated as used.
    pub exempt: u32,
}

impl Limits {
    /// For an agent that serves one command or the demo: a few thousand services, in about 4 MB of kernel memory (on 8
    /// CPUs).
    pub const fn small() -> Self {
        Self {
            frontends: 16_384,
            prefixes: 1_024,
            cells: 32_768,
            services: 4_096,
            endpoints: 16_384,
            flows: 4_096,
            replies: 1_024,
            cgroups: 1_024,
            exempt: 256,
        }
    }
}

impl Limits {
    /// Elements of COUNTERS and ENDPOINTS: one for each service and each endpoint.
    pub(super) const fn counters(&self) -> u32 {
        self.services.saturating_add(self.endpoints)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frontends: 262_144,
            prefixes: 16_384,
            cells: 524_288,
            services: 131_072,
            endpoints: 262_144,
            flows: 65_536,
            replies: 16_384,
            cgroups: 65_536,
            exempt: 4_096,
        }
    }
}
