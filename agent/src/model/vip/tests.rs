use proptest::prelude::*;

use crate::model::fixtures::{entry, ip};

use super::*;

fn ranges(v4: &str) -> VipRanges {
    VipRanges {
        v4: v4.parse().unwrap(),
        ..VipRanges::default()
    }
}

fn allocated(objects: &[Object]) -> VipTable {
    let mut table = VipTable::default();
    let objects: Vec<_> = objects.iter().cloned().map(Arc::new).collect();
    let found = allocate(&mut table, &VipRanges::default(), &objects);
    assert_eq!(found, []);
    table
}

fn reallocate(table: &mut VipTable, ranges: &VipRanges, objects: &[Object]) -> Vec<Diagnostic> {
    let objects: Vec<_> = objects.iter().cloned().map(Arc::new).collect();
    allocate(table, ranges, &objects)
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
    let kept: Vec<_> = hosts(&table).into_iter().map(str::to_owned).collect();
    // Hosts of the past make room only when it is needed.
    let found = reallocate(&mut table, &range, &objects[15..]);
    assert_eq!(found, []);
    assert!(
        objects[15..]
            .iter()
            .all(|o| table.get("default", &o.meta.id.name).is_some())
    );
    assert!(!kept.iter().all(|host| table.get("default", host).is_some()));
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
