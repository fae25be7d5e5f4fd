//! What the name server tells the core before a client has its answer, so that the client's connect is recognised.

use tokio::sync::oneshot;

use crate::model::Fact;

/// A fact, and who waits until the maps know of it.
#[derive(Debug)]
pub struct Lesson {
    /// `Fact::Learned` or `Fact::Asked`.
    pub fact: Fact,
    /// Told once the maps hold what follows from the fact, or cannot. Dropped where the core ends.
    pub done: oneshot::Sender<()>,
}
