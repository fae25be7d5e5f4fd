use crate::api::{Broken, Decoded};
use crate::model::fixtures::{answer, entry, file, read, resolved, source};

use super::*;

fn names(registry: &mut Registry) -> Vec<String> {
    let snapshot = registry.snapshot();
    let names = snapshot.objects.iter().map(|o| o.meta.id.name.clone());
    names.collect()
}

fn codes(registry: &Registry) -> Vec<(String, String)> {
    let found = registry.diagnostics();
    found.into_iter().map(|d| (d.file, d.code)).collect()
}

fn breaks(path: &str, objects: &[Object], id: Option<ObjectId>) -> Fact {
    let decoded = Decoded {
        objects: objects.to_vec(),
        broken: vec![Broken { id }],
        ..Decoded::default()
    };
    file(path, FileFact::Read(decoded))
}

#[test]
fn a_fact_that_says_the_same_changes_nothing() {
    let mut registry = Registry::default();
    let facts = [
        read("a.yaml", &[entry("a")]),
        resolved("a", &["10.0.0.1"]),
        Fact::Synced(source()),
        file("b.yaml", FileFact::Unreadable("permission denied".into())),
    ];
    for fact in &facts {
        assert!(registry.apply(fact.clone()));
    }
    for fact in &facts {
        assert!(!registry.apply(fact.clone()));
    }
    assert!(!registry.apply(Fact::Mesh(Box::default())));
    assert!(!registry.apply(file("never-seen.yaml", FileFact::Gone)));
}

#[test]
fn reading_a_file_replaces_what_it_held_and_a_file_that_is_gone_holds_nothing() {
    let mut registry = Registry::default();
    registry.apply(read("a.yaml", &[entry("a"), entry("b")]));
    registry.apply(read("a.yaml", &[entry("b"), entry("c")]));
    assert_eq!(names(&mut registry), ["b", "c"]);
    assert!(registry.apply(file("a.yaml", FileFact::Gone)));
    assert_eq!(names(&mut registry), Vec::<String>::new());
}

#[test]
fn an_object_whose_document_breaks_stays_as_it_was() {
    let mut registry = Registry::default();
    registry.apply(read("a.yaml", &[entry("a"), entry("b"), entry("c")]));
    registry.apply(breaks("a.yaml", &[entry("b")], Some(entry("a").meta.id)));
    assert_eq!(names(&mut registry), ["a", "b"], "c was deleted");
    assert_eq!(
        codes(&registry),
        [("a.yaml".into(), codes::LAST_GOOD_IN_FORCE.into())]
    );
    registry.apply(read("a.yaml", &[entry("b")]));
    assert_eq!(names(&mut registry), ["b"]);
    assert_eq!(codes(&registry), []);
}

#[test]
fn a_document_that_cannot_be_told_apart_keeps_all_that_the_file_held() {
    let mut registry = Registry::default();
    registry.apply(read("a.yaml", &[entry("a"), entry("b")]));
    registry.apply(breaks("a.yaml", &[entry("b").at_line(40)], None));
    let snapshot = registry.snapshot();
    let lines: Vec<u32> = snapshot
        .objects
        .iter()
        .map(|o| o.meta.origin.line)
        .collect();
    assert_eq!(
        lines,
        [1, 40],
        "the good document is read anew, the other is kept"
    );
}

#[test]
fn an_unreadable_file_keeps_its_objects_and_says_so() {
    let mut registry = Registry::default();
    registry.apply(read("a.yaml", &[entry("a")]));
    registry.apply(file(
        "a.yaml",
        FileFact::Unreadable("permission denied".into()),
    ));
    assert_eq!(names(&mut registry), ["a"]);
    let found = registry.diagnostics();
    assert_eq!(found[0].code, codes::FILE_UNREADABLE);
    assert!(
        found[0].message.contains("permission denied"),
        "{}",
        found[0].message
    );
    registry.apply(read("a.yaml", &[entry("a")]));
    assert_eq!(registry.diagnostics(), []);
}

#[test]
fn of_two_places_that_declare_one_object_the_first_path_wins_in_any_order_of_facts() {
    let facts = [
        read("a.yaml", &[entry("x").at_line(3)]),
        read("b.yaml", &[entry("x").at_line(5), entry("x").at_line(9)]),
    ];
    for order in [[0, 1], [1, 0]] {
        let mut registry = Registry::default();
        for i in order {
            registry.apply(facts[i].clone());
        }
        assert_eq!(registry.snapshot().objects[0].meta.origin.line, 3);
        let lines: Vec<u32> = registry.diagnostics().iter().map(|d| d.line).collect();
        assert_eq!(lines, [5, 9]);
        assert_eq!(registry.diagnostics()[0].code, codes::DUPLICATE_OBJECT);
    }
}

#[test]
fn the_second_declaration_takes_over_when_the_first_is_gone() {
    let mut registry = Registry::default();
    registry.apply(read("a.yaml", &[entry("x").at_line(3)]));
    registry.apply(read("b.yaml", &[entry("x").at_line(5)]));
    registry.snapshot();
    registry.apply(file("a.yaml", FileFact::Gone));
    assert_eq!(registry.snapshot().objects[0].meta.origin.line, 5);
    assert_eq!(registry.diagnostics(), []);
}

#[test]
fn objects_stand_oldest_first() {
    let mut registry = Registry::default();
    registry.apply(read(
        "a.yaml",
        &[
            entry("new").created("2026-02-01T00:00:00Z"),
            entry("old").created("2025-02-01T00:00:00Z"),
            entry("from-a-file"),
        ],
    ));
    assert_eq!(names(&mut registry), ["from-a-file", "old", "new"]);
}

#[test]
fn a_registry_is_synced_once_every_source_has_told_its_start() {
    let mut registry = Registry::default();
    let other = SourceId("other".into());
    registry.apply(Fact::Synced(source()));
    assert!(registry.is_synced(&[source()]));
    assert!(!registry.is_synced(&[source(), other.clone()]));
    registry.apply(Fact::Synced(other.clone()));
    assert!(registry.is_synced(&[source(), other]));
}

#[test]
fn answers_are_kept_by_name_and_forgotten_when_nobody_asks() {
    let mut registry = Registry::default();
    registry.apply(resolved("a", &["10.0.0.1"]));
    registry.apply(resolved("b", &["10.0.0.2"]));
    assert!(registry.apply(resolved("a", &["10.0.0.3"])));
    assert_eq!(registry.snapshot().answers["a"], answer(&["10.0.0.3"]));
    registry.retain_answers(&BTreeSet::from(["b".into()]));
    assert_eq!(
        registry
            .snapshot()
            .answers
            .keys()
            .map(|k| &**k)
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn what_an_earlier_run_knew_stands_until_the_file_is_read() {
    let remembered = || {
        let decoded = Decoded {
            objects: vec![entry("a"), entry("b")],
            ..Decoded::default()
        };
        let since = UnixTime(1_000_000_000);
        file("a.yaml", FileFact::Remembered { decoded, since })
    };
    let told = |registry: &Registry| -> Vec<String> {
        let found = registry.diagnostics().into_iter();
        found.map(|finding| finding.message).collect()
    };
    let mut registry = Registry::default();
    assert!(registry.apply(remembered()));
    assert_eq!(names(&mut registry), ["a", "b"]);
    assert!(told(&registry)[0].contains("of 2001-09-09T01:46:40Z"));

    registry.apply(breaks("a.yaml", &[entry("b")], Some(entry("a").meta.id)));
    assert_eq!(names(&mut registry), ["a", "b"]);
    let of_a =
        "the last good version of ServiceEntry default/a of 2001-09-09T01:46:40Z is still in force";
    for id in [Some(entry("a").meta.id), None] {
        registry.apply(breaks("a.yaml", &[entry("b")], id));
        assert_eq!(told(&registry), [of_a]);
    }
    assert!(!registry.apply(remembered()), "it is known better now");

    registry.apply(read("a.yaml", &[entry("b")]));
    assert_eq!(names(&mut registry), ["b"]);
    assert_eq!(told(&registry), [""; 0]);
}
