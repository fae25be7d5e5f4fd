//! Finds the kernel objects that `cargo xtask build` makes, so that they are embedded in the binary.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Takes the place of the workspace's `target` folder.
const OVERRIDE: &str = "SHUNT_KERNEL_OBJECTS";

fn main() {
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    for (variable, build) in [
        ("SHUNT_BPF_OBJECT", "bpf"),
        ("SHUNT_BPF_5_10_OBJECT", "bpf-5.10"),
        ("SHUNT_BPF_TRACE_OBJECT", "bpf-trace"),
    ] {
        let object = target()
            .join(build)
            .join("bpfel-unknown-none/release/shunt-ebpf");
        println!("cargo:rerun-if-changed={}", object.display());
        assert!(
            is_object(&object),
            "{} is missing: run `cargo xtask build`, which builds the kernel programs first",
            object.display()
        );
        println!("cargo:rustc-env={variable}={}", object.display());
    }
}

fn target() -> PathBuf {
    if let Some(folder) = env::var_os(OVERRIDE) {
        return PathBuf::from(folder);
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    Path::new(&manifest)
        .parent()
        .expect("the crate stands in the workspace's folder")
        .join("target")
}

fn is_object(path: &Path) -> bool {
    fs::read(path).is_ok_and(|content| content.starts_with(b"\x7fELF"))
}
