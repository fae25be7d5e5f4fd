//! Which cells a group is made of.
//!
//! All frontends of a service share one group. It starts with the section of all endpoints, for sockets of the IPv6 family,
//! which may be given any (IPv4 ones as v4-mapped). Where the endpoints are of both families, a section of the IPv4 ones
//! follows, for IPv4 sockets, and one of the IPv6 ones, for sockets that cannot be given the others. A section is a header,
//! its slots, and what few have: an extra cell and an index table.

use agent_common::abi::{Cell, Extra, GroupHeader, GroupShape, INDEXES};

use super::content::{Content, Member};
use super::section::Section;

/// A group without a place: its tables, but no cell numbers or ids.
#[derive(Clone, Debug)]
pub(in crate::dataplane) struct Layout<'a> {
    content: &'a Content,
    any: Section<'a>,
    families: Families<'a>,
}

/// The endpoints of one family, for those that can be sent to no others.
#[derive(Clone, Debug)]
enum Families<'a> {
    /// There is no endpoint.
    Neither,
    /// All endpoints are IPv4: their table is that of all.
    V4,
    V6,
    Both {
        v4: Box<Section<'a>>,
        v6: Box<Section<'a>>,
    },
}

impl<'a> Layout<'a> {
    pub(in crate::dataplane) fn new(content: &'a Content) -> Self {
        let is_v4 = |member: &Member| member.address.is_v4();
        let served = || content.members.iter().filter(|member| member.share > 0);
        let families = match (served().any(is_v4), served().all(is_v4)) {
            (true, true) => Families::V4,
            (true, false) => Families::Both {
                v4: Box::new(Section::new(content, is_v4)),
                v6: Box::new(Section::new(content, |member| !is_v4(member))),
            },
            (false, true) => Families::Neither,
            (false, false) => Families::V6,
        };
        Self {
            content,
            any: Section::new(content, |_| true),
            families,
        }
    }

    /// How many cells the group takes; `None` for a group that is larger than any can be.
    pub(in crate::dataplane) fn cells(&self) -> Option<u32> {
        let (after_any, at_v6) = self.places();
        let cells = match &self.families {
            Families::Both { v6, .. } => at_v6 + self.size(v6),
            _ => after_any,
        };
        self.any.fits().then_some(cells)
    }

    /// The group's cells, for a place that starts at cell `first`. `endpoints` are the ids of the members.
    pub(in crate::dataplane) fn encode(
        &self,
        first: u32,
        service: u32,
        endpoints: &[u32],
    ) -> Vec<Cell> {
        let (at_v4, at_v6) = self.places();
        let (v4, v6) = match &self.families {
            Families::Neither => (None, None),
            Families::V4 => (Some(0), None),
            Families::V6 => (None, Some(0)),
            Families::Both { .. } => (Some(at_v4), Some(at_v6)),
        };
        let mut cells = Vec::new();
        let mut add = |at: u32, section: &Section<'_>, v4, v6| {
            cells.resize(at as usize, Cell::default());
            let shape = self.shape(section, v4, v6);
            cells.push(Cell::from(GroupHeader::new(first + at, service, &shape)));
            cells.extend(section.encode(endpoints).map(Cell::from));
            cells.extend(self.extra(section).map(Cell::from));
            cells.extend(section.index.chunks(INDEXES as usize).map(|chunk| {
                let mut indexes = [0; INDEXES as usize];
                indexes[..chunk.len()].copy_from_slice(chunk);
                Cell::from(indexes)
            }));
        };
        add(0, &self.any, v4, v6);
        if let Families::Both { v4, v6 } = &self.families {
            add(at_v4, v4, Some(0), None);
            add(at_v6, v6, None, Some(0));
        }
        cells
    }

    fn shape(&self, section: &Section<'_>, v4: Option<u32>, v6: Option<u32>) -> GroupShape {
        let slots = count(section.slots());
        GroupShape {
            action: self.content.action,
            algorithm: section.algorithm,
            slots,
            total: section.total(),
            v4,
            v6,
            extra: self.extra(section).map(|_| 1 + slots),
            port: self.content.port,
        }
    }

    /// What stands behind the slots of a section, if anything does.
    fn extra(&self, section: &Section<'_>) -> Option<Extra> {
        let mut extra = self.content.extra;
        if !section.index.is_empty() {
            extra.index_first = count(section.slots()) + 2;
            extra.index_len = count(section.index.len());
        }
        (extra != Extra::default()).then_some(extra)
    }

    /// Where the sections of the IPv4 and the IPv6 endpoints start.
    fn places(&self) -> (u32, u32) {
        let at_v4 = self.size(&self.any);
        match &self.families {
            Families::Both { v4, .. } => (at_v4, at_v4 + self.size(v4)),
            _ => (at_v4, at_v4),
        }
    }

    /// An even number of cells, as every header is at an even one.
    fn size(&self, section: &Section<'_>) -> u32 {
        let extra = usize::from(self.extra(section).is_some());
        count((1 + section.slots() + extra + section.index_cells()).next_multiple_of(2))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a service has fewer than 2^32 endpoints")
}
