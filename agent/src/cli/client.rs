//! Asks the running agent, one typed question each.

use std::path::Path;

use anyhow::{Result, bail};

use crate::nameserver::{Cached, RecordKind};
use crate::observe::{
    DenialView, EndpointView, Explanation, LookupView, ObjectView, PolicyView, Question, Request,
    Response, ServiceView, StatusView, SurveyView, WorkloadView, ask,
};

pub(super) fn services(socket: &Path) -> Result<Vec<ServiceView>> {
    match ask(socket, &Request::Services)? {
        Response::Services(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn endpoints(socket: &Path) -> Result<Vec<EndpointView>> {
    match ask(socket, &Request::Endpoints)? {
        Response::Endpoints(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn objects(socket: &Path) -> Result<Vec<ObjectView>> {
    match ask(socket, &Request::Objects)? {
        Response::Objects(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn workloads(socket: &Path) -> Result<Vec<WorkloadView>> {
    match ask(socket, &Request::Workloads)? {
        Response::Workloads(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn policies(socket: &Path) -> Result<Vec<PolicyView>> {
    match ask(socket, &Request::Policies)? {
        Response::Policies(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn denials(socket: &Path) -> Result<Vec<DenialView>> {
    match ask(socket, &Request::Denials)? {
        Response::Denials(views) => Ok(views),
        other => mismatch(&other),
    }
}

pub(super) fn status(socket: &Path) -> Result<StatusView> {
    match ask(socket, &Request::Status)? {
        Response::Status(view) => Ok(*view),
        other => mismatch(&other),
    }
}

pub(super) fn verify(socket: &Path) -> Result<SurveyView> {
    match ask(socket, &Request::Verify)? {
        Response::Verify(view) => Ok(view),
        other => mismatch(&other),
    }
}

pub(super) fn explain(socket: &Path, question: Question) -> Result<Explanation> {
    match ask(socket, &Request::Explain(question))? {
        Response::Explain(explanation) => Ok(*explanation),
        other => mismatch(&other),
    }
}

pub(super) fn lookup(socket: &Path, name: &str, kind: RecordKind) -> Result<LookupView> {
    let name = name.to_owned();
    match ask(socket, &Request::Lookup { name, kind })? {
        Response::Lookup(view) => Ok(view),
        Response::Error(why) => bail!(why),
        other => mismatch(&other),
    }
}

pub(super) fn name_cache(socket: &Path) -> Result<Vec<Cached>> {
    match ask(socket, &Request::NameCache)? {
        Response::NameCache(cached) => Ok(cached),
        other => mismatch(&other),
    }
}

fn mismatch<T>(response: &Response) -> Result<T> {
    bail!(
        "the agent answered another question ({response:?}): are it and this command of the same version?"
    )
}
