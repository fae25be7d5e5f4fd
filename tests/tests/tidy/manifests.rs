//! What the manifests do not ask for.

use crate::source::{read, text_files};

const LOCKS: [&str; 2] = ["Cargo.lock", "agent-ebpf/Cargo.lock"];

#[test]
fn no_dependency_comes_from_a_branch_of_a_repository() {
    for lock in LOCKS {
        assert!(!read(lock).contains("git+"), "{lock} names a repository");
    }
    for file in text_files() {
        if file.path.ends_with("Cargo.toml") {
            let dependency = file.text.lines().find(|line| line.contains("git ="));
            assert_eq!(dependency, None, "{}", file.path);
        }
    }
}

#[test]
fn no_dependency_has_known_holes() {
    for lock in LOCKS {
        // RUSTSEC-2025-0067 and RUSTSEC-2025-0068.
        assert!(!read(lock).contains("name = \"serde_yml\""), "{lock}");
    }
}

#[test]
fn no_release_of_aya_but_the_one_that_was_tested_is_taken() {
    let mut pinned = 0;
    for manifest in ["Cargo.toml", "agent-ebpf/Cargo.toml"] {
        let text = read(manifest);
        let versions = text
            .lines()
            .filter(|line| line.starts_with("aya"))
            .filter_map(|line| line.split('"').nth(1));
        for version in versions {
            assert!(
                version.starts_with('='),
                "{manifest} asks for aya {version}"
            );
            pinned += 1;
        }
    }
    assert!(
        pinned >= 3,
        "aya is asked for by the agent and the kernel programs"
    );
}

#[test]
fn no_package_escapes_the_lints_of_the_workspace() {
    for file in text_files() {
        if !file.path.ends_with("/Cargo.toml") || file.path.starts_with("agent-ebpf/") {
            continue;
        }
        assert!(
            file.text.contains("[lints]\nworkspace = true"),
            "{} has no lints",
            file.path
        );
    }
}
