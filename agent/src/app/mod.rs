//! The running agent: wires sources, registry, compiler, dataplane and control socket together.
