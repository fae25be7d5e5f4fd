//! A directory as a source, saved to in the ways of editors, deployment tools and Kubernetes.
//!
//! What a file says is told apart by the names of the objects in it, so these tests decode for real.

#![expect(
    clippy::unwrap_used,
    reason = "an arrangement that fails is a test that fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::model::{Fact, FileFact};
use agent::sources::{Directory, DirectoryStatus, directory};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far beyond any wait that a test counts on.
const PATIENCE: Duration = Duration::from_secs(20);

/// What has been told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Objects(BTreeSet<String>),
    Unreadable,
}

/// A watched directory, and what it has told so far. Everything told is recorded in `history`.
struct Bench {
    dir: tempfile::TempDir,
    source: Directory,
    facts: mpsc::Receiver<Fact>,
    files: BTreeMap<String, Told>,
    history: Vec<(String, Option<Told>)>,
    is_synced: bool,
}

impl Bench {
    /// Fills a directory, watches it, and waits for it to be in sync.
    async fn start(fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        let path = dir.path().to_owned();
        let mut bench = Self::watching(dir, path);
        bench.wait_until("in sync", |bench| bench.is_synced).await;
        bench.history.clear();
        bench
    }

    fn watching(dir: tempfile::TempDir, path: PathBuf) -> Self {
        let (sender, facts) = mpsc::channel(16);
        Self {
            dir,
            source: directory::watch(path, None, sender),
            facts,
            files: BTreeMap::new(),
            history: Vec::new(),
            is_synced: false,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn wait_until(&mut self, what: &str, is_reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_reached(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(fact) = timeout(left, self.facts.recv()).await else {
                panic!("not {what}; told: {:?}", self.history)
            };
            self.take(fact.expect("the source runs"));
        }
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Synced(source) => {
                assert_eq!(&source, self.source.id());
                self.is_synced = true;
            }
            Fact::File { path, fact, .. } => {
                let name = Path::new(&*path)
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                let told = match fact {
                    FileFact::Remembered { .. } => panic!("nothing is remembered"),
                    FileFact::Read(decoded) => Some(Told::Objects(
                        decoded
                            .objects
                            .into_iter()
                            .map(|object| object.meta.id.name)
                            .collect(),
                    )),
                    FileFact::Unreadable(_) => Some(Told::Unreadable),
                    FileFact::Gone => None,
                };
                match told.clone() {
                    Some(told) => self.files.insert(name.clone(), told),
                    None => self.files.remove(&name),
                };
                self.history.push((name, told));
            }
            Fact::Resolved { .. }
            | Fact::Vitals { .. }
            | Fact::Mesh(_)
            | Fact::Learned { .. }
            | Fact::Asked { .. }
            | Fact::Cgroups(_)
            | Fact::Surroundings(_) => {
                panic!("not a directory's to tell")
            }
        }
    }

    async fn wait_for(&mut self, name: &str, object: &str) {
        let wanted = objects(&[object]);
        self.wait_until(&format!("{object} in {name}"), |bench| {
            bench.files.get(name) == Some(&wanted)
        })
        .await;
    }

    async fn wait_for_removal(&mut self, name: &str) {
        self.wait_until(&format!("{name} gone"), |bench| {
            !bench.files.contains_key(name)
        })
        .await;
    }

    async fn wait_for_status(&mut self, is_wanted: impl Fn(&DirectoryStatus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_wanted(&self.source.status()) {
            assert!(Instant::now() < deadline, "{:?}", self.source.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until everything that was done before has been looked at, by means of another file.
    async fn settle(&mut self) {
        let name = format!("settle-{}.yaml", self.history.len());
        fs::write(self.path(&name), service("settled")).unwrap();
        self.wait_for(&name, "settled").await;
    }

    /// What was told of `name` since the start.
    fn history_of(&self, name: &str) -> Vec<Option<Told>> {
        self.history
            .iter()
            .filter(|(told_of, _)| told_of == name)
            .map(|(_, told)| told.clone())
            .collect()
    }
}

fn objects(names: &[&str]) -> Told {
    Told::Objects(names.iter().map(ToString::to_string).collect())
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           hosts: [{name}.test]\n  \
           ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
           resolution: STATIC\n  \
           endpoints: [{{address: 127.0.0.2}}]\n"
    )
}

fn one_file(dir: &Path) {
    fs::write(dir.join("a.yaml"), service("old")).unwrap();
}

#[tokio::test]
async fn everything_there_is_told_before_the_source_is_in_sync() {
    let bench = Bench::start(|dir| {
        for name in ["a.yaml", "b.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(dir.join(name), service("one")).unwrap();
        }
        fs::create_dir(dir.join("below")).unwrap();
        fs::write(dir.join("below/c.yaml"), service("two")).unwrap();
    })
    .await;
    let names: Vec<&String> = bench.files.keys().collect();
    assert_eq!(names, ["a.yaml", "b.yml"]);
}

#[tokio::test]
async fn a_file_written_in_place_is_read_again() {
    let mut bench = Bench::start(one_file).await;
    fs::write(bench.path("a.yaml"), service("new")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

#[tokio::test]
async fn a_file_replaced_by_rename_is_read_again_and_never_gone() {
    let mut bench = Bench::start(one_file).await;
    fs::write(bench.path(".a.yaml.tmp"), service("new")).unwrap();
    fs::rename(bench.path(".a.yaml.tmp"), bench.path("a.yaml")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

#[tokio::test]
async fn a_save_that_renames_the_old_file_away_first_is_no_removal() {
    let mut bench = Bench::start(one_file).await;
    // As vim does with 'backupcopy' off.
    fs::write(bench.path("4913"), "").unwrap();
    fs::remove_file(bench.path("4913")).unwrap();
    fs::rename(bench.path("a.yaml"), bench.path("a.yaml~")).unwrap();
    fs::write(bench.path("a.yaml"), service("new")).unwrap();
    fs::remove_file(bench.path("a.yaml~")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

#[tokio::test]
async fn a_file_deleted_and_created_again_is_no_removal() {
    let mut bench = Bench::start(one_file).await;
    fs::remove_file(bench.path("a.yaml")).unwrap();
    fs::write(bench.path("a.yaml"), service("new")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

#[tokio::test]
async fn a_slow_writer_is_waited_for() {
    let mut bench = Bench::start(one_file).await;
    let text = service("new");
    let (head, tail) = text.split_at(text.len() / 2);
    let mut file = File::create(bench.path("a.yaml")).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    // Longer than the quiet time, so that only the open file holds the reader back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    file.write_all(tail.as_bytes()).unwrap();
    drop(file);
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

#[tokio::test]
async fn deleting_a_file_removes_it_and_emptying_one_empties_it() {
    let mut bench = Bench::start(|dir| {
        one_file(dir);
        fs::write(dir.join("b.yaml"), service("other")).unwrap();
    })
    .await;
    fs::remove_file(bench.path("a.yaml")).unwrap();
    bench.wait_for_removal("a.yaml").await;
    fs::write(bench.path("b.yaml"), "").unwrap();
    bench
        .wait_until("empty", |bench| {
            bench.files.get("b.yaml") == Some(&objects(&[]))
        })
        .await;
}

#[tokio::test]
async fn a_new_file_is_read() {
    let mut bench = Bench::start(|_| ()).await;
    fs::write(bench.path("a.yaml"), service("new")).unwrap();
    bench.wait_for("a.yaml", "new").await;
}

#[tokio::test]
async fn a_mounted_config_map_follows_the_swap_of_its_data_link() {
    let mut bench = Bench::start(|dir| {
        write_version(dir, "..v1", &[("a.yaml", "old"), ("b.yaml", "kept")]);
        symlink("..v1", dir.join("..data")).unwrap();
        for name in ["a.yaml", "b.yaml"] {
            symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
    })
    .await;
    // As the kubelet does: write aside, swap the link, correct the names, remove the old version.
    write_version(
        bench.dir.path(),
        "..v2",
        &[("a.yaml", "new"), ("c.yaml", "more")],
    );
    symlink("..v2", bench.path("..data_tmp")).unwrap();
    fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
    symlink("..data/c.yaml", bench.path("c.yaml")).unwrap();
    fs::remove_file(bench.path("b.yaml")).unwrap();
    fs::remove_dir_all(bench.path("..v1")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    bench.wait_for("c.yaml", "more").await;
    bench.wait_for_removal("b.yaml").await;
    assert_eq!(bench.history_of("a.yaml"), [Some(objects(&["new"]))]);
}

fn write_version(dir: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir(dir.join(version)).unwrap();
    for (name, object) in files {
        fs::write(dir.join(version).join(name), service(object)).unwrap();
    }
}

#[tokio::test]
async fn a_storm_of_rewrites_ends_with_the_last_content() {
    const REWRITES: usize = 1_000;
    let mut bench = Bench::start(one_file).await;
    let path = bench.path("a.yaml");
    let writer = std::thread::spawn(move || {
        for n in 0..REWRITES {
            let text = service(&format!("n{n}"));
            if n % 2 == 0 {
                fs::write(&path, text).unwrap();
            } else {
                let aside = path.with_extension("new");
                fs::write(&aside, text).unwrap();
                fs::rename(&aside, &path).unwrap();
            }
        }
    });
    bench
        .wait_for("a.yaml", &format!("n{}", REWRITES - 1))
        .await;
    writer.join().unwrap();
    bench.settle().await;
    assert_eq!(
        bench.files["a.yaml"],
        objects(&[&format!("n{}", REWRITES - 1)])
    );
    for told in bench.history_of("a.yaml") {
        let Some(Told::Objects(names)) = told else {
            panic!("{told:?} was told of a file that always had one object")
        };
        assert_eq!(names.len(), 1, "a state in between was told: {names:?}");
    }
}

#[tokio::test]
async fn an_unreadable_file_keeps_its_place_and_recovers() {
    let mut bench = Bench::start(one_file).await;
    let path = bench.path("a.yaml");
    fs::remove_file(&path).unwrap();
    symlink("a.yaml", &path).unwrap();
    bench
        .wait_until("unreadable", |bench| {
            bench.files.get("a.yaml") == Some(&Told::Unreadable)
        })
        .await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, service("new")).unwrap();
    bench.wait_for("a.yaml", "new").await;
    assert_eq!(
        bench.history_of("a.yaml"),
        [Some(Told::Unreadable), Some(objects(&["new"]))]
    );
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_again() {
    let outer = tempfile::tempdir().unwrap();
    let (path, aside) = (outer.path().join("conf.d"), outer.path().join("aside"));
    let mut bench = Bench::watching(outer, path.clone());
    bench
        .wait_until("failing", |bench| {
            bench.files.get("conf.d") == Some(&Told::Unreadable)
        })
        .await;
    assert!(!bench.is_synced);

    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("one")).unwrap();
    bench.wait_until("in sync", |bench| bench.is_synced).await;
    bench.wait_for("a.yaml", "one").await;

    fs::rename(&path, &aside).unwrap();
    bench
        .wait_until("failing", |bench| {
            bench.files.get("conf.d") == Some(&Told::Unreadable)
        })
        .await;
    assert_eq!(bench.files["a.yaml"], objects(&["one"]), "its objects stay");
    // The status follows the facts.
    bench
        .wait_for_status(|status| status.failure.is_some())
        .await;

    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("two")).unwrap();
    bench.wait_for("a.yaml", "two").await;
    fs::write(path.join("a.yaml"), service("three")).unwrap();
    bench.wait_for("a.yaml", "three").await;
}

#[tokio::test]
async fn a_rescan_finds_what_no_notification_told() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target.yaml");
    fs::write(&target, service("old")).unwrap();
    let mut bench = Bench::start(|dir| symlink(&target, dir.join("a.yaml")).unwrap()).await;
    fs::write(&target, service("new")).unwrap();
    bench.source.rescan();
    bench.wait_for("a.yaml", "new").await;
}

#[tokio::test]
async fn a_change_is_told_without_delay() {
    let mut bench = Bench::start(one_file).await;
    let mut fastest = Duration::MAX;
    for n in 0..10 {
        let object = format!("n{n}");
        let start = Instant::now();
        fs::write(bench.path("a.yaml"), service(&object)).unwrap();
        bench.wait_for("a.yaml", &object).await;
        fastest = fastest.min(start.elapsed());
    }
    // The fastest of several, since the machine may be busy with other tests.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let mut bench = Bench::start(one_file).await;
    drop(bench.facts);
    timeout(PATIENCE, bench.source.ended())
        .await
        .expect("in time")
        .unwrap();
}
