use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

const SOURCE: &str = "/etc/objects";
const FILE: &str = "/etc/objects/a.yaml";

/// A state directory, and the store in it.
struct Bench {
    dir: TempDir,
    store: LastGood,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LastGood::open(dir.path()).unwrap();
        Self { dir, store }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("last-good.redb")
    }

    fn read(&self, text: &str) {
        let decoded = decode(FILE, text);
        self.store.remember(SOURCE, FILE, text, &decoded);
    }

    /// As an agent that ends and another that starts.
    fn restart(self) -> Self {
        let Self { dir, store } = self;
        store.save();
        drop(store);
        let store = LastGood::open(dir.path()).unwrap();
        Self { dir, store }
    }

    /// `name=host` of what is recalled.
    fn recalled(&self) -> Vec<String> {
        let Some((decoded, _)) = self.store.recall(SOURCE, FILE) else {
            return Vec::new();
        };
        let objects = decoded.objects.into_iter();
        objects
            .map(|object| {
                let crate::api::Spec::ServiceEntry(entry) = &object.spec else {
                    panic!("{object:?}")
                };
                format!("{}={}", object.meta.id.name, entry.hosts[0])
            })
            .collect()
    }
}

fn entry(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{host}]\n  \
         ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  endpoints: [{{address: 10.0.0.1}}]\n---\n"
    )
}

/// An entry that is not valid, and says whose it is.
fn broken(name: &str) -> String {
    entry(name, "x.test").replace("number: 80", "number: 80000")
}

#[test]
fn the_last_good_text_is_recalled_after_a_restart() {
    let bench = Bench::new();
    bench.read(&entry("a", "old.test"));
    bench.read(&entry("a", "new.test"));
    let bench = bench.restart();
    assert_eq!(bench.recalled(), ["a=new.test"]);
    assert_eq!(bench.store.files(SOURCE), [FILE.to_owned()].into());
    assert!(bench.store.files("/etc/object").is_empty());
}

#[test]
fn each_object_is_recalled_as_it_was_last_good() {
    let bench = Bench::new();
    bench.read(&(entry("a", "a1.test") + &entry("b", "b1.test") + &entry("c", "c1.test")));
    bench.read(&(entry("a", "a2.test") + &broken("b")));
    let bench = bench.restart();
    assert_eq!(
        bench.recalled(),
        ["b=b1.test", "a=a2.test"],
        "c was deleted"
    );
    bench.read(&(broken("a") + &entry("b", "b3.test")));
    assert_eq!(bench.recalled(), ["a=a2.test", "b=b3.test"]);
    bench.read("kind: [\n");
    assert_eq!(bench.recalled(), ["a=a2.test", "b=b3.test"]);
    bench.read(&entry("a", "a4.test"));
    assert_eq!(bench.recalled(), ["a=a4.test"]);
}

#[test]
fn a_file_that_is_gone_or_never_was_good_is_not_recalled() {
    let bench = Bench::new();
    bench.read(&broken("a"));
    assert_eq!(bench.recalled(), [""; 0]);
    bench.read(&entry("a", "a.test"));
    bench.store.forget(SOURCE, FILE);
    let bench = bench.restart();
    assert_eq!(bench.recalled(), [""; 0]);
    assert!(bench.store.files(SOURCE).is_empty());
}

#[test]
fn only_what_is_new_is_written() {
    let bench = Bench::new();
    let text = entry("a", "a.test");
    let decoded = decode(FILE, &text);
    assert!(bench.store.remember(SOURCE, FILE, &text, &decoded));
    assert!(!bench.store.remember(SOURCE, FILE, &text, &decoded));
}

#[test]
fn the_store_is_for_its_owner_alone() {
    let bench = Bench::new();
    let mode = fs::metadata(bench.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_agents_do_not_share_a_store() {
    let bench = Bench::new();
    bench.read(&entry("a", "a.test"));
    let error = LastGood::open(bench.dir.path()).unwrap_err().to_string();
    assert!(error.contains("last-good.redb"), "{error}");
    assert_eq!(bench.recalled(), ["a=a.test"]);
}

#[test]
fn whatever_is_in_place_of_the_store_does_not_stop_the_agent() {
    let bench = Bench::new();
    for n in 0..50 {
        let file = format!("{FILE}{n}");
        let text = entry("a", "a.test");
        bench
            .store
            .remember(SOURCE, &file, &text, &decode(&file, &text));
    }
    let bench = bench.restart();
    let path = bench.path();
    let Bench { dir, store } = bench;
    drop(store);
    let good = fs::read(&path).unwrap();
    let mut texts = vec![b"no store".to_vec(), vec![0; 4096], vec![0xff; 100_000]];
    texts.extend([1, 100, 4096, 8192, good.len() - 1].map(|length| good[..length].to_vec()));
    for at in (0..good.len()).step_by(good.len() / 50) {
        let mut flipped = good.clone();
        flipped[at] ^= 0xff;
        texts.push(flipped);
    }
    for text in texts {
        fs::write(&path, &text).unwrap();
        let store = LastGood::open(dir.path()).unwrap();
        for file in store.files(SOURCE) {
            let text = "kind: [\n";
            store.remember(SOURCE, &file, text, &decode(&file, text));
            assert!(store.recall(SOURCE, &file).is_some());
        }
        store.save();
    }
}
