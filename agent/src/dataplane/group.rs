//! A group: what one service publishes, as the cells of ARENA. `content` says what is published, `layout` in which cells, and
//! the others fill the index tables of algorithms that have one.

mod content;
mod digest;
mod extent;
mod hash;
mod layout;
mod maglev;
mod ring;
mod schedule;
mod section;

pub(super) use content::{Content, Member};
pub(super) use digest::digest;
pub(super) use extent::Extent;
pub(super) use layout::Layout;
