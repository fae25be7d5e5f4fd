mod remembered;

use std::os::unix::fs::symlink;

use super::*;

/// A temporary directory, its scanner, and a clock that stands still until told.
struct Bench {
    dir: tempfile::TempDir,
    scanner: Scanner,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(
            dir.path().to_owned(),
            SourceId("test".into()),
            Memory::default(),
        );
        Self {
            dir,
            scanner,
            now: Instant::now(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    /// What a scan tells, one word for each fact, and whether it wants to look again.
    fn scan(&mut self) -> (Vec<String>, bool) {
        let mut told = Vec::new();
        let root = self.dir.path().to_owned();
        let again = self.scanner.scan(Extent::Changed, self.now, &mut |fact| {
            told.push(match fact {
                Fact::File { path, fact, .. } => {
                    let path = Path::new(&*path);
                    let name = path.strip_prefix(&root).unwrap().display();
                    match fact {
                        FileFact::Remembered { .. } => format!("remembered {name}"),
                        FileFact::Read(_) => format!("read {name}"),
                        FileFact::Unreadable(_) => format!("unreadable {name}"),
                        FileFact::Gone => format!("gone {name}"),
                    }
                }
                Fact::Synced(_) => "synced".to_owned(),
                other => panic!("{other:?}"),
            });
        });
        (told, again)
    }

    fn expect(&mut self, told: &[&str], again: bool) {
        assert_eq!(
            self.scan(),
            (told.iter().map(ToString::to_string).collect(), again)
        );
    }

    fn wait(&mut self) {
        self.now += CONFIRMATION;
    }

    fn wait_for_long(&mut self) {
        self.now += EMPTINESS;
    }
}

#[test]
fn the_first_scan_tells_every_file_and_then_that_it_is_complete() {
    let mut bench = Bench::new();
    bench.write("b.yaml", "b");
    bench.write("a.yaml", "a");
    bench.expect(&["read a.yaml", "read b.yaml", "synced"], false);
    bench.expect(&[], false);
}

#[test]
fn only_another_content_is_told_again() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.write("a.yaml", "one");
    bench.expect(&[], false);
    bench.write("a.yaml", "two");
    bench.expect(&["read a.yaml"], false);
}

#[test]
fn an_emptied_file_is_told_only_when_it_stays_empty() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.write("a.yaml", "");
    bench.expect(&[], true);
    bench.write("a.yaml", "two");
    bench.expect(&["read a.yaml"], false);
    bench.write("a.yaml", "");
    bench.expect(&[], true);
    bench.wait();
    bench.expect(&[], true);
    bench.wait_for_long();
    bench.expect(&["read a.yaml"], false);
}

#[test]
fn a_deleted_file_is_told_only_when_it_stays_away() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.remove("a.yaml");
    bench.expect(&[], true);
    bench.write("a.yaml", "one");
    bench.expect(&[], false);
    bench.remove("a.yaml");
    bench.expect(&[], true);
    bench.wait();
    bench.expect(&["gone a.yaml"], false);
    bench.expect(&[], false);
}

#[test]
fn a_doubt_does_not_outlive_the_return_of_the_file() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.remove("a.yaml");
    bench.expect(&[], true);
    bench.write("a.yaml", "one");
    bench.expect(&[], false);
    bench.wait();
    bench.remove("a.yaml");
    bench.expect(&[], true);
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_again_when_it_can() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.remove("a.yaml");
    symlink("a.yaml", bench.dir.path().join("a.yaml")).unwrap();
    bench.expect(&["unreadable a.yaml"], false);
    bench.expect(&[], false);
    assert_eq!(bench.scanner.unreadable().len(), 1);
    bench.remove("a.yaml");
    bench.write("a.yaml", "one");
    bench.expect(&["read a.yaml"], false);
}

#[test]
fn a_directory_that_vanishes_keeps_its_files_until_it_is_back() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "a");
    bench.write("b.yaml", "b");
    bench.scan();
    let aside = bench.dir.path().with_extension("aside");
    fs::rename(bench.dir.path(), &aside).unwrap();
    bench.expect(&["unreadable "], false);
    bench.wait();
    bench.expect(&[], false);
    fs::remove_file(aside.join("b.yaml")).unwrap();
    fs::rename(&aside, bench.dir.path()).unwrap();
    bench.expect(&["gone "], true);
    bench.wait();
    bench.expect(&["gone b.yaml"], false);
}

#[test]
fn a_directory_that_does_not_exist_yet_is_not_in_sync() {
    let mut bench = Bench::new();
    fs::remove_dir(bench.dir.path()).unwrap();
    bench.expect(&["unreadable "], false);
    assert!(!bench.scanner.is_synced());
    fs::create_dir(bench.dir.path()).unwrap();
    bench.expect(&["gone ", "synced"], false);
}

#[test]
fn a_mounted_config_map_changes_as_a_whole_when_its_data_link_is_swapped() {
    let mut bench = Bench::new();
    let root = bench.dir.path().to_owned();
    for (version, text) in [("..v1", "one"), ("..v2", "two")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), text).unwrap();
    }
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    bench.expect(&["read a.yaml", "synced"], false);
    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    bench.expect(&["read a.yaml"], false);
}

#[test]
fn a_source_may_be_a_single_file() {
    let mut bench = Bench::new();
    let path = bench.dir.path().join("only.conf");
    fs::write(&path, "one").unwrap();
    bench.scanner = Scanner::new(path, SourceId("test".into()), Memory::default());
    bench.expect(&["read only.conf", "synced"], false);
}

#[test]
fn a_file_that_is_emptied_again_and_again_is_in_doubt_each_time_anew() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    bench.write("a.yaml", "");
    bench.expect(&[], true);
    bench.wait_for_long();
    // Filled and emptied between two looks; another file, so that the stamp differs whatever the clock's grain.
    bench.write(".aside", "");
    fs::rename(
        bench.dir.path().join(".aside"),
        bench.dir.path().join("a.yaml"),
    )
    .unwrap();
    bench.expect(&[], true);
    bench.wait_for_long();
    bench.expect(&["read a.yaml"], false);
}

#[test]
fn a_directory_that_a_file_takes_the_place_of_keeps_its_files() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "a");
    bench.scan();
    let aside = bench.dir.path().with_extension("aside");
    fs::rename(bench.dir.path(), &aside).unwrap();
    fs::write(bench.dir.path(), "b").unwrap();
    bench.expect(&["unreadable "], false);
    bench.wait();
    bench.expect(&[], false);
    fs::remove_file(bench.dir.path()).unwrap();
    fs::rename(&aside, bench.dir.path()).unwrap();
    bench.expect(&["gone "], false);
}

#[test]
fn a_doubt_does_not_outlive_a_failure_of_the_source() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "a");
    bench.scan();
    bench.remove("a.yaml");
    bench.expect(&[], true);
    let aside = bench.dir.path().with_extension("aside");
    fs::rename(bench.dir.path(), &aside).unwrap();
    bench.expect(&["unreadable "], false);
    bench.wait();
    fs::rename(&aside, bench.dir.path()).unwrap();
    bench.expect(&["gone "], true);
    bench.write("a.yaml", "a");
    bench.expect(&[], false);
}

#[test]
fn a_change_is_found_though_size_and_modification_time_stay() {
    let mut bench = Bench::new();
    bench.write("a.yaml", "one");
    bench.scan();
    let path = bench.dir.path().join("a.yaml");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    for text in ["two", "six"] {
        bench.write("a.yaml", text);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        bench.expect(&["read a.yaml"], false);
    }
}

#[test]
fn of_ten_thousand_files_one_that_changes_is_the_only_one_told() {
    let mut bench = Bench::new();
    for number in 0..10_000 {
        bench.write(&format!("{number:04}.yaml"), "a");
    }
    assert_eq!(bench.scan().0.len(), 10_001);
    bench.write("7000.yaml", "b");
    bench.expect(&["read 7000.yaml"], false);
    bench.remove("7000.yaml");
    bench.expect(&[], true);
    bench.wait();
    bench.expect(&["gone 7000.yaml"], false);
}
