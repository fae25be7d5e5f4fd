//! What `compile` and `explain` are told of the world that files do not say.

use clap::Args;

use super::parse::{self, HostAnswer, HostHealth};

#[derive(Args, Clone, Debug, Default)]
pub struct AssumedArgs {
    /// Answer for a name, in place of DNS; repeatable
    #[arg(long, value_name = "HOST=ADDR[,ADDR]", value_parser = parse::host_answer)]
    pub resolve: Vec<HostAnswer>,
    /// Endpoint of a host that counts as ejected; repeatable
    #[arg(long, value_name = "HOST=ADDR:PORT=down", value_parser = parse::host_health)]
    pub health: Vec<HostHealth>,
}
