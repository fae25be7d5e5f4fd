//! What a source tells when the agent starts again, and some of it is not as it should be.

use crate::sources::LastGood;

use super::*;

const GOOD: &str = "kind: Namespace\napiVersion: v1\nmetadata: {name: a}\n";
const BROKEN: &str = "kind: [\n";

/// A bench whose scanner remembers, and the state directory.
struct Remembering {
    bench: Bench,
    state: tempfile::TempDir,
}

impl Remembering {
    /// After a run that has read the two files `a.yaml` and `b.yaml`.
    fn new() -> Self {
        let bench = Bench::new();
        let mut new = Self {
            bench,
            state: tempfile::tempdir().unwrap(),
        };
        new.start();
        new.bench.write("a.yaml", GOOD);
        new.bench.write("b.yaml", GOOD);
        new.bench
            .expect(&["read a.yaml", "read b.yaml", "synced"], false);
        new.stop();
        new
    }

    fn scanner(&self, memory: Memory) -> Scanner {
        let root = self.bench.dir.path().to_owned();
        Scanner::new(root, SourceId("test".into()), memory)
    }

    /// The store is no one's any more.
    fn stop(&mut self) {
        self.bench.scanner = self.scanner(Memory::default());
    }

    fn start(&mut self) {
        self.stop();
        let store = LastGood::open(self.state.path()).unwrap();
        let memory = Memory::new(Arc::new(store), &SourceId("test".into()));
        self.bench.scanner = self.scanner(memory);
    }

    fn aside(&self) -> PathBuf {
        self.bench.dir.path().with_extension("aside")
    }
}

#[test]
fn a_file_that_broke_is_told_as_it_was_and_then_as_it_is() {
    let mut run = Remembering::new();
    run.bench.write("a.yaml", BROKEN);
    let told = ["remembered a.yaml", "read a.yaml", "read b.yaml", "synced"];
    for _ in 0..2 {
        run.start();
        run.bench.expect(&told, false);
    }
    run.bench.write("a.yaml", GOOD);
    run.bench.expect(&["read a.yaml"], false);
}

#[test]
fn a_file_that_cannot_be_read_is_told_as_it_was() {
    let mut run = Remembering::new();
    run.bench.remove("a.yaml");
    symlink("a.yaml", run.bench.dir.path().join("a.yaml")).unwrap();
    run.start();
    let told = [
        "remembered a.yaml",
        "unreadable a.yaml",
        "read b.yaml",
        "synced",
    ];
    run.bench.expect(&told, false);
    run.bench.expect(&[], false);
}

#[test]
fn a_file_that_is_empty_is_told_as_it_was_until_it_has_stayed_so() {
    let mut run = Remembering::new();
    run.bench.write("a.yaml", "");
    run.start();
    run.bench
        .expect(&["remembered a.yaml", "read b.yaml", "synced"], true);
    run.bench.wait_for_long();
    run.bench.expect(&["read a.yaml"], false);
    run.start();
    run.bench
        .expect(&["read a.yaml", "read b.yaml", "synced"], false);
}

#[test]
fn a_directory_that_is_away_is_told_as_it_was_and_is_complete() {
    let mut run = Remembering::new();
    fs::rename(run.bench.dir.path(), run.aside()).unwrap();
    run.start();
    let told = [
        "unreadable ",
        "remembered a.yaml",
        "remembered b.yaml",
        "synced",
    ];
    run.bench.expect(&told, false);
    run.bench.wait();
    run.bench.expect(&[], false);
    fs::rename(run.aside(), run.bench.dir.path()).unwrap();
    run.bench.remove("b.yaml");
    run.bench.expect(&["gone ", "read a.yaml"], true);
    run.bench.wait();
    run.bench.expect(&["gone b.yaml"], false);
    run.start();
    run.bench.expect(&["read a.yaml", "synced"], false);
}

#[test]
fn what_was_deleted_meanwhile_is_not_told_and_forgotten() {
    let mut run = Remembering::new();
    run.bench.remove("a.yaml");
    run.start();
    run.bench.expect(&["read b.yaml", "synced"], false);
    fs::rename(run.bench.dir.path(), run.aside()).unwrap();
    run.start();
    run.bench
        .expect(&["unreadable ", "remembered b.yaml", "synced"], false);
    fs::rename(run.aside(), run.bench.dir.path()).unwrap();
}

#[test]
fn a_directory_of_which_nothing_is_known_is_waited_for() {
    let mut run = Remembering::new();
    for name in ["a.yaml", "b.yaml"] {
        run.bench.remove(name);
    }
    run.start();
    run.bench.expect(&["synced"], false);
    fs::remove_dir(run.bench.dir.path()).unwrap();
    run.start();
    run.bench.expect(&["unreadable "], false);
    assert!(!run.bench.scanner.is_synced());
    fs::create_dir(run.bench.dir.path()).unwrap();
}
