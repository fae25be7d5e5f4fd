//! `RequestAuthentication`: which tokens of requests are valid. Only read, so that its mistakes and that it has no effect
//! here can be said: no connection shows a token.

mod jwks;
mod read;
mod schema;

use super::attachment::Attachment;

pub(super) use read::read;
pub(super) use schema::SCHEMA;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestAuthentication {
    pub attachment: Attachment,
    /// How many kinds of token it is about; without any, Istio has nothing to verify either.
    pub rules: usize,
}

#[cfg(test)]
mod tests;
