//! The demo's servers: each answers a connection with its own name and closes.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The servers that run, by name. They end when this is dropped.
#[derive(Default)]
pub(crate) struct Servers {
    tasks: JoinSet<()>,
}

impl Servers {
    pub(crate) async fn start(&mut self, name: &str, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("starting the server {name} on {address}"))?;
        let line = format!("{name}\n");
        self.tasks.spawn(async move {
            loop {
                // A client that is gone already is no concern of the server's.
                if let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(line.as_bytes()).await;
                }
            }
        });
        Ok(())
    }
}
