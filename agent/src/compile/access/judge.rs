//! Which rules decide for one client. The program says it by policies alone, as it is the same for many clients.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::api::ObjectId;
use crate::model::Snapshot;

use super::super::catalog::Catalog;
use super::super::client::Client;
use super::super::program::{Destination as Captured, Program, ServiceKey};
use super::Access;
use super::policies::AccessPolicies;
use super::rule::Destination;

/// The policies of a snapshot, and its workloads.
#[derive(Debug)]
pub struct Judge<'a> {
    policies: AccessPolicies<'a>,
    workloads: HashMap<&'a ObjectId, Client<'a>>,
}

impl<'a> Judge<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let catalog = Catalog::new(snapshot);
        let locals = catalog.locals.iter();
        Self {
            policies: AccessPolicies::new(&catalog, snapshot),
            workloads: locals
                .map(|(meta, local)| (&meta.id, Client::of_workload(meta, local)))
                .collect(),
        }
    }

    /// What is said to the workload, or to clients that none claims, of a service of the program, or of one of its endpoints;
    /// `None` where nothing is.
    pub fn access(
        &self,
        workload: Option<&ObjectId>,
        program: &Program,
        key: &ServiceKey,
        endpoint: Option<SocketAddr>,
    ) -> Option<Access> {
        let service = program.services.get(key)?;
        let client = workload.and_then(|id| self.workloads.get(id));
        let client = client.copied().unwrap_or_else(Client::unclaimed);
        let client = self.policies.trust.identify(client);
        if let Some(at) = endpoint {
            let endpoint = service
                .endpoint(at)
                .filter(|endpoint| endpoint.is_in_mesh)?;
            return self.policies.of_endpoint(&client, endpoint);
        }
        let frontends = program.frontends.iter().filter(|(_, of)| *of == key);
        let addresses = frontends.map(|(frontend, _)| match frontend.destination {
            Captured::Address(address) => IpNet::from(address),
            Captured::Prefix(net) => net,
        });
        let destination = Destination {
            addresses: &addresses.collect::<Vec<_>>(),
            port: key.port,
        };
        let named = self.policies.of_entry(&service.object).iter().copied();
        self.policies.decide(&client, named, &destination)
    }
}
