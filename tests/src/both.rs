//! A service with a port of each transport, for tests of what becomes of its sockets when its endpoint changes.

use std::ffi::OsStr;
use std::fs;

use anyhow::Result;

use crate::node::{Node, PORT};
use crate::programs::at;
use crate::sockets::{Request, Server, Transport};

pub const TCP_VIP: &str = "240.0.0.1:80";
pub const UDP_VIP: &str = "240.0.0.1:53000";
/// The endpoint at first.
pub const FIRST: &str = "10.9.0.1";
/// Another, which serves as well.
pub const SECOND: &str = "10.9.0.2";

/// A node with the service, but for the agent. `None` where kernel tests cannot run.
pub fn node(client: impl AsRef<OsStr>) -> Result<Option<Node>> {
    let Some(mut node) = Node::new(client)? else {
        return Ok(None);
    };
    for address in [FIRST, SECOND] {
        node.client.order(&Request::Serve {
            at: at(&format!("{address}:{PORT}")),
            server: Server::Tell(Transport::Udp),
        })?;
    }
    write(&node, FIRST)?;
    Ok(Some(node))
}

/// Has the service lead to `endpoint`.
pub fn write(node: &Node, endpoint: &str) -> Result<()> {
    let object = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: both}}\nspec:\n  hosts: [both.test]\n  \
         addresses: [240.0.0.1]\n  ports:\n  - {{number: 80, name: tcp, protocol: TCP, targetPort: {PORT}}}\n  \
         - {{number: 53000, name: udp, protocol: UDP, targetPort: {PORT}}}\n  resolution: STATIC\n  endpoints:\n  \
         - {{address: {endpoint}}}\n"
    );
    Ok(fs::write(node.config_dir().join("a.yaml"), object)?)
}
