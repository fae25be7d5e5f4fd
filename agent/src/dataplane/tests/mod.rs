//! The engine over tables in memory: plans, limits, and what decisions find at every moment of an update.

mod limits;
mod programs;
mod updates;
