use proptest::prelude::*;

use crate::model::fixtures::{entry, ip};

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 24 * 60 * 60;

fn ranges(v4: &str) -> VipRanges {
    VipRanges {
        v4: v4.parse().unwrap(),
        ..VipRanges::default()
    }
}

fn allocated(objects: &[Object]) -> VipTable {
    let mut table = VipTable::default();
    let objects: Vec<_> = objects.iter().cloned().map(Arc::new).collect();
    let ranges = VipRanges::default();
    let none = BTreeSet::new();
    let found = allocate(&mut table, &ranges, &objects, &wanted(&objects, &none), NOW);
    assert_eq!(found, []);
    table
}

fn reallocate(table: &mut VipTable, ranges: &VipRanges, objects: &[Object]) -> Vec<Diagnostic> {
    reallocate_at(NOW, table, ranges, objects)
}

fn reallocate_at(
    now: UnixTime,
    table: &mut VipTable,
    ranges: &VipRanges,
    objects: &[Object],
) -> Vec<Diagnostic> {
    let objects: Vec<_> = objects.iter().cloned().map(Arc::new).collect();
    let none = BTreeSet::new();
    allocate(table, ranges, &objects, &wanted(&objects, &none), now)
}

fn hosts(table: &VipTable) -> Vec<&str> {
    table.iter().map(|(_, host, _)| host).collect()
}

#[test]
fn only_hosts_that_need_an_address_get_one() {
    let opted_out = |value: &str| {
        let mut object = entry("opted-out.example");
        let label = (AUTO_ALLOCATE_LABEL.to_owned(), value.to_owned());
        object.meta.labels.extend([label]);
        object
    };
    let table = allocated(&[
        entry("static.example"),
        entry("dns.example").resolving(Resolution::Dns),
        entry("none.example").resolving(Resolution::None),
        entry("addressed.example").at_addresses(&["10.0.0.1"]),
        entry("*.wildcard.example"),
        opted_out("FALSE"),
        entry("several").saying(|e| e.hosts = vec!["b.example".into(), "a.example".into()]),
    ]);
    assert_eq!(
        hosts(&table),
        ["a.example", "b.example", "dns.example", "static.example"]
    );
    assert_eq!(
        hosts(&allocated(&[opted_out("true")])),
        ["opted-out.example"]
    );
}

#[test]
fn the_same_host_has_one_vip_per_namespace() {
    let table = allocated(&[
        entry("a").saying(|e| e.hosts = vec!["x.example".into()]),
        entry("b").saying(|e| e.hosts = vec!["x.example".into()]),
        entry("x.example").in_namespace("other"),
    ]);
    assert_eq!(table.len(), 2);
    assert_ne!(
        table.get("default", "x.example"),
        table.get("other", "x.example")
    );
}

#[test]
fn a_new_vip_is_a_function_of_the_name_alone() {
    let alone = allocated(&[entry("a.example")]);
    let among_others = allocated(&[entry("z.example"), entry("a.example"), entry("m.example")]);
    assert_eq!(
        alone.get("default", "a.example"),
        among_others.get("default", "a.example")
    );
    // Written down once: a change of the hash would move every host of every node.
    let vips = alone.get("default", "a.example").unwrap();
    expect_test::expect![["(240.240.57.111, 2001:2::83e1:41:adbe:cc6f)"]]
        .assert_eq(&format!("({}, {})", vips.v4, vips.v6));
}

#[test]
fn a_host_keeps_its_vip_while_others_come_and_go_and_after_it_was_gone_itself() {
    let mut table = allocated(&[entry("a.example"), entry("b.example")]);
    let before = table.get("default", "b.example");
    let ranges = VipRanges::default();
    reallocate(&mut table, &ranges, &[entry("c.example")]);
    reallocate(
        &mut table,
        &ranges,
        &[entry("b.example"), entry("c.example")],
    );
    assert_eq!(table.get("default", "b.example"), before);
}

#[test]
fn an_address_that_a_user_declares_is_never_given_and_is_given_up() {
    let mut table = allocated(&[entry("a.example")]);
    let first = table.get("default", "a.example").unwrap();
    let range = VipRanges::default();
    let claim = entry("user").at_addresses(&[&first.v4.to_string()]);
    reallocate(&mut table, &range, &[entry("a.example"), claim]);
    let second = table.get("default", "a.example").unwrap();
    assert_ne!(second.v4, first.v4);
    let cidr = entry("user").at_addresses(&["240.240.0.0/17"]);
    reallocate(&mut table, &range, &[entry("a.example"), cidr]);
    let third = table.get("default", "a.example").unwrap();
    assert!(third.v4 >= Ipv4Addr::new(240, 240, 128, 0), "{}", third.v4);
}

#[test]
fn addresses_of_the_status_stand_in_place_of_automatic_ones_and_are_given_to_no_other() {
    let plain = allocated(&[entry("a.example")]);
    let wanted = plain.get("default", "a.example").unwrap().v4;
    let given = entry("b.example").saying(|e| {
        e.status_addresses = vec![(wanted.into(), "b.example".to_owned())];
    });
    let table = allocated(&[entry("a.example"), given]);
    assert_eq!(hosts(&table), ["a.example"]);
    assert_ne!(table.get("default", "a.example").unwrap().v4, wanted);
}

#[test]
fn assignments_outside_a_new_range_are_replaced() {
    let mut table = allocated(&[entry("a.example")]);
    reallocate(&mut table, &ranges("10.9.0.0/24"), &[entry("a.example")]);
    let vips = table.get("default", "a.example").unwrap();
    assert!(
        ranges("10.9.0.0/24").contains(vips.v4.into()),
        "{}",
        vips.v4
    );
}

#[test]
fn a_full_range_serves_what_fits_and_names_the_rest() {
    let range = ranges("10.9.0.0/28");
    let objects: Vec<Object> = (0..20)
        .map(|i| entry(&format!("h{i:02}.example")))
        .collect();
    let mut table = VipTable::default();
    let found = reallocate(&mut table, &range, &objects);
    // 16 addresses without the first four and the broadcast address.
    assert_eq!(table.len(), 11);
    assert_eq!(found.len(), 9);
    assert_eq!(found[0].code, codes::VIPS_EXHAUSTED);
    assert!(
        table
            .iter()
            .all(|(_, _, vips)| range.contains(vips.v4.into()))
    );
}

/// 11 addresses, all of which these hosts have.
fn full() -> (VipRanges, VipTable, Vec<Object>) {
    let range = ranges("10.9.0.0/28");
    let objects: Vec<Object> = (0..22)
        .map(|i| entry(&format!("h{i:02}.example")))
        .collect();
    let mut table = VipTable::default();
    assert_eq!(reallocate(&mut table, &range, &objects[..11]), []);
    assert_eq!(table.len(), 11);
    (range, table, objects)
}

#[test]
fn no_address_is_given_to_another_host_within_a_day_after_its_own_is_gone() {
    let (range, mut table, objects) = full();
    reallocate(&mut table, &range, &objects[..10]);
    let more = [&objects[..10], &objects[20..21]].concat();
    let at = |seconds| UnixTime(NOW.0 + seconds);
    let gone = table.get("default", "h10.example");
    let found = reallocate_at(at(DAY - 1), &mut table, &range, &more);
    assert_eq!(found[0].code, codes::VIPS_EXHAUSTED);
    assert_eq!(table.get("default", "h10.example"), gone);
    assert_eq!(reallocate_at(at(DAY), &mut table, &range, &more), []);
    let given = table.get("default", "h20.example").map(|vips| vips.v4);
    assert_eq!(given, gone.map(|vips| vips.v4));
}

#[test]
fn the_longest_gone_gives_its_address_back_first_and_only_where_it_is_needed() {
    let (range, mut table, objects) = full();
    let at = |seconds| UnixTime(NOW.0 + seconds);
    reallocate_at(at(0), &mut table, &range, &objects[1..11]);
    reallocate_at(at(10), &mut table, &range, &objects[2..11]);
    let more = [&objects[2..11], &objects[20..21]].concat();
    assert_eq!(reallocate_at(at(2 * DAY), &mut table, &range, &more), []);
    assert_eq!(table.get("default", "h00.example"), None);
    assert!(table.get("default", "h01.example").is_some());
}

#[test]
fn a_clock_that_jumps_backwards_shortens_nothing() {
    let (range, mut table, objects) = full();
    let at = |seconds| UnixTime(NOW.0 + seconds);
    reallocate_at(at(5 * DAY), &mut table, &range, &objects[..10]);
    let more = [&objects[..10], &objects[20..21]].concat();
    for late in [0, DAY - 1] {
        let found = reallocate_at(at(late), &mut table, &range, &more);
        assert_eq!(found.len(), 1, "{late}");
    }
    assert_eq!(reallocate_at(at(DAY), &mut table, &range, &more), []);
}

#[test]
fn a_table_is_the_same_while_the_same_hosts_are_wanted_and_unwanted() {
    let (range, mut table, objects) = full();
    reallocate(&mut table, &range, &objects[..5]);
    let before = table.clone();
    let later = UnixTime(NOW.0 + 1000);
    reallocate_at(later, &mut table, &range, &objects[..5]);
    assert!(Arc::ptr_eq(&table.0, &before.0));
    assert_eq!(VipTable::from_json(&table.to_json()).unwrap(), table);
}

#[test]
fn a_name_that_was_asked_for_has_vips_in_the_namespace_of_the_longest_wildcard() {
    let dynamic = |host: &str| entry(host).resolving(Resolution::DynamicDns);
    let objects = [
        dynamic("*.example"),
        dynamic("*.B.Example").in_namespace("b"),
        dynamic("*.b.example").in_namespace("c"),
        entry("*.static.test"),
    ];
    let objects: Vec<_> = objects.into_iter().map(Arc::new).collect();
    let asked = ["a.example", "x.b.example", "x.static.test", "example"];
    let asked = asked.into_iter().map(Into::into).collect();
    let wanted = wanted(&objects, &asked);
    let keys: Vec<_> = wanted.into_keys().collect();
    assert_eq!(keys, [("b", "x.b.example"), ("default", "a.example")]);
}

#[test]
fn a_table_of_the_first_layout_is_read() {
    let line = r#"{"namespace": "n", "host": "a", "v4": "10.0.0.1", "v6": "::1"}"#;
    let table = VipTable::from_json(&format!(r#"{{"layout": 1, "vips": [{line}]}}"#)).unwrap();
    assert_eq!(
        table.get("n", "a").map(|vips| vips.v4),
        Some([10, 0, 0, 1].into())
    );
}

#[test]
fn a_table_survives_its_json_form() {
    let table = allocated(&[entry("a.example"), entry("b.example").in_namespace("other")]);
    assert_eq!(VipTable::from_json(&table.to_json()).unwrap(), table);
}

#[test]
fn a_damaged_table_is_an_error_that_says_why() {
    let error = |text: &str| VipTable::from_json(text).unwrap_err().to_string();
    assert!(
        error("{").starts_with("not a table of VIPs"),
        "{}",
        error("{")
    );
    assert!(error(r#"{"layout": 9, "vips": []}"#).contains("layout 9"));
    let line = |host: &str| {
        format!(r#"{{"namespace": "n", "host": "{host}", "v4": "10.0.0.1", "v6": "::1"}}"#)
    };
    let twice = format!(r#"{{"layout": 1, "vips": [{}, {}]}}"#, line("a"), line("b"));
    assert_eq!(error(&twice), "n/b and another host have the same VIP");
}

proptest! {
    #[test]
    fn vips_are_distinct_free_and_the_same_in_any_order(
        names in proptest::collection::btree_set("[a-z]{1,4}", 1..60),
        bits in 21u8..28,
        declared in 0u8..=255,
    ) {
        let range = ranges(&format!("10.9.0.0/{bits}"));
        let user = format!("10.9.0.{declared}");
        let mut objects: Vec<Object> = names.iter().map(|name| entry(name)).collect();
        objects.push(entry("declaring").at_addresses(&[&user]));
        let mut table = VipTable::default();
        let found = reallocate(&mut table, &range, &objects);
        prop_assert_eq!(table.len() + found.len(), names.len());
        let given: BTreeSet<_> = table.iter().map(|(_, _, vips)| vips.v4).collect();
        prop_assert_eq!(given.len(), table.len());
        let first = IpAddr::from(range.v4.network());
        prop_assert!(given.iter().all(|v4| range.v4.contains(v4) && IpAddr::from(*v4) != first && IpAddr::from(*v4) != ip(&user)));
        objects.reverse();
        let mut again = VipTable::default();
        reallocate(&mut again, &range, &objects);
        prop_assert_eq!(&again, &table);
        prop_assert_eq!(reallocate(&mut again, &range, &objects).len(), found.len());
        prop_assert_eq!(again, table);
    }
}
