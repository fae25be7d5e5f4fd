//! Host names: what is a valid one, and which matches which.
