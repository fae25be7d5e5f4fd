//! What becomes of connects to what nobody registered, as the mesh and `Sidecar` say.

use super::schema::{Field, Message, Type, field};
use super::tree::Cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundPolicy {
    RegistryOnly,
    AllowAny,
}

const MODES: &[(&str, i32)] = &[
    ("REGISTRY_ONLY", 0),
    ("ALLOW_ANY", 1),
    (ALLOW_ANY_DYNAMIC_DNS, 3),
];

/// As `ALLOW_ANY` for what is no HTTP; `Sidecar` does not have it.
pub(super) const ALLOW_ANY_DYNAMIC_DNS: &str = "ALLOW_ANY_DYNAMIC_DNS";

pub(super) const MODE: Field = field("mode", Type::Enum(MODES));

pub(super) static OF_MESH: Message = Message { fields: &[MODE] };

/// What `outboundTrafficPolicy` of `parent` says; `None` where it is not written. One that says nothing is `REGISTRY_ONLY`, as
/// protobuf has it.
pub(super) fn read(parent: &Cursor<'_>) -> Option<OutboundPolicy> {
    let policy = parent.field("outboundTrafficPolicy")?;
    Some(match policy.text("mode") {
        "" | "REGISTRY_ONLY" => OutboundPolicy::RegistryOnly,
        _ => OutboundPolicy::AllowAny,
    })
}
