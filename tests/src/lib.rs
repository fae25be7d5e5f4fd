//! The harness of the tests: temporary cgroups and network namespaces, servers and clients, scenario files.

pub mod agent_process;
pub mod askers;
pub mod binary;
pub mod both;
pub mod bpf;
pub mod bpffs;
pub mod cgroup;
pub mod client;
pub mod clients;
pub mod confined;
pub mod faults;
pub mod fuzz;
pub mod hang;
pub mod history;
pub mod interrupt;
pub mod lab;
pub mod memory;
pub mod names;
pub mod neighbour;
pub mod netns;
pub mod node;
pub mod pair;
pub mod pins;
pub mod programs;
pub mod restless;
pub mod scenario;
pub mod site;
pub mod sockets;

pub use agent::app::demo::dns_server;
