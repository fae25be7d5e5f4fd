//! What the engine does about clients: who is in which cgroup, and what is exempt.

use agent_common::abi::{ClientWord, LEVELS};

use super::super::plan::{ClientStep, Limit};
use super::super::store::{Map, MapFailure, Store};
use super::{Cause, Engine, Halt};

impl<S: Store> Engine<S> {
    /// Says who is in single cgroups, or that this is not known, without a look at anything else. Returns whether it is in
    /// effect: if not, [`Self::apply`] must see to the rest.
    pub fn place(&mut self, changes: &[(u64, Option<ClientWord>)]) -> bool {
        // Who they are may be different in what another agent has left.
        self.inheritance.is_none()
            && changes.iter().all(|&(cgroup, client)| match client {
                // Where the kernel does not look, the planner must say where.
                Some(_) if self.live.config.levels == [0; LEVELS] => false,
                Some(client) => self
                    .execute_client(ClientStep::Set { cgroup, client })
                    .is_ok(),
                None => self.execute_client(ClientStep::Remove(cgroup)).is_ok(),
            })
    }

    pub(super) fn execute_client(&mut self, step: ClientStep) -> Result<(), Halt> {
        let (store, live) = (&mut self.store, &mut self.live);
        match step {
            ClientStep::SetExempt { net, key, value } => {
                store.exempt().set(&key, value).map_err(failed_exempt)?;
                live.exempt.insert(net, value);
            }
            ClientStep::RemoveExempt { net, key } => {
                store.exempt().remove(&key).map_err(failed_exempt)?;
                live.exempt.remove(&net);
            }
            ClientStep::Set { cgroup, client } => {
                store.scopes().set(&cgroup, client).map_err(failed_client)?;
                live.clients.insert(cgroup, client);
                live.is_settling = true;
            }
            ClientStep::Remove(cgroup) => {
                store.scopes().remove(&cgroup).map_err(failed_client)?;
                live.clients.remove(&cgroup);
                live.is_settling = true;
            }
        }
        Ok(())
    }
}

/// A cgroup that finds no room is one that is not known. But one that was to be another client is who it was, and what that has
/// must stay.
fn failed_client(failure: MapFailure) -> Halt {
    match failure {
        MapFailure::Full => Halt::Skip(vec![(None, Cause::Limit(Limit::Cgroups))]),
        MapFailure::Io(error) => Halt::Stop(vec![(None, Cause::Refused(error.to_string()))]),
    }
}

fn failed_exempt(failure: MapFailure) -> Halt {
    let cause = match failure {
        MapFailure::Full => Cause::Limit(Limit::Exempt),
        MapFailure::Io(error) => Cause::Refused(error.to_string()),
    };
    Halt::Skip(vec![(None, cause)])
}
