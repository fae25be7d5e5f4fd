//! The engine over tables in memory: plans, limits, and what decisions find at every moment of an update.

mod adopted;
mod algorithms;
mod clients;
mod denied;
mod learned;
mod limits;
mod name_servers;
mod programs;
mod replaced;
mod resync;
mod simulation;
mod updates;
