//! What is going on, for people and scripts: views of the program and the live maps, and the control socket.

pub mod state;

pub use state::State;
