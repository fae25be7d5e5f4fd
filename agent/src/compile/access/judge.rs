//! Which rules decide for one client. The program says it by policies alone, as it is the same for many clients.

use std::collections::HashMap;

use crate::api::ObjectId;
use crate::model::Snapshot;

use super::super::catalog::Catalog;
use super::super::client::Client;
use super::super::program::{Endpoint, Service};
use super::Access;
use super::identity::Identity;
use super::policies::AccessPolicies;

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

    /// What is said to the workload, or to clients that none claims, of the service as a whole, as it was compiled; `None` where
    /// nothing is.
    pub fn of_service(&self, workload: Option<&ObjectId>, service: &Service) -> Option<Access> {
        self.policies.of_service(&self.identify(workload), service)
    }

    /// The same of an endpoint.
    pub fn of_endpoint(&self, workload: Option<&ObjectId>, endpoint: &Endpoint) -> Option<Access> {
        let client = self.identify(workload);
        self.policies.of_endpoint(&client, endpoint)
    }

    fn identify(&self, workload: Option<&ObjectId>) -> Identity<'_> {
        let client = workload.and_then(|id| self.workloads.get(id));
        let client = client.copied().unwrap_or_else(Client::unclaimed);
        self.policies.trust.identify(client)
    }
}
