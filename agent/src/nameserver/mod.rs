//! The name server: answers clients for the hosts that are known, and tells the core what clients are told.

mod lesson;

pub use lesson::Lesson;
