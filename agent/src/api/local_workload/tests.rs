//! Which cgroups patterns mean, and what is no pattern.

use super::super::decode::decode;
use super::super::object::{Object, Spec};
use super::CgroupPattern;

fn read(spec: &str) -> Result<Object, Vec<String>> {
    let text = format!(
        "apiVersion: shunt.internal/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: w, labels: {{app: a}}}}\nspec: {spec}\n"
    );
    let mut decoded = decode("w.yaml", &text);
    let found = decoded.diagnostics.iter();
    let found: Vec<String> = found
        .map(|d| format!("{} {}:{}", d.code, d.field, d.line))
        .collect();
    decoded.objects.pop().ok_or(found)
}

#[test]
fn a_workload_has_a_cgroup_and_who_it_is() {
    let object = read("{cgroup: /a.slice/b.service, serviceAccount: shop, addresses: [10.0.0.1]}");
    let object = object.unwrap();
    let Spec::LocalWorkload(workload) = &object.spec else {
        panic!("{object:?}");
    };
    assert_eq!(workload.cgroup.as_str(), "/a.slice/b.service");
    assert_eq!(workload.service_account, "shop");
    assert_eq!(
        workload.addresses,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(object.meta.labels["app"], "a");
    let Spec::LocalWorkload(bare) = read("{cgroup: b.service}").unwrap().spec else {
        panic!("no workload");
    };
    assert_eq!(bare.service_account, "default");
}

#[test]
fn what_is_no_cgroup_of_a_workload_is_refused_at_its_line() {
    for cgroup in [
        "''",
        "/",
        "/*",
        "'/**'",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified/",
        "a/b",
        "a",
        "/a//b",
        "/a/../b",
        "'/a/['",
    ] {
        let found = read(&format!("\n  cgroup: {cgroup}")).unwrap_err();
        assert_eq!(found, ["SH2011 spec.cgroup:5"], "{cgroup}");
    }
    assert_eq!(read("{}").unwrap_err().len(), 1);
    let wrong = read("{cgroup: /a, serviceAccount: 'a b', addresses: [10.0.0.0/8]}").unwrap_err();
    assert_eq!(
        wrong,
        ["SH2013 spec.serviceAccount:4", "SH2012 spec.addresses[0]:4"]
    );
}

#[test]
fn a_path_is_one_cgroup_and_a_unit_is_one_anywhere() {
    let matches = |pattern: &str, path| pattern.parse::<CgroupPattern>().unwrap().matches(path);
    for (pattern, path, expected) in [
        ("/a/b", "/a/b", true),
        ("/a/b/", "/a/b", true),
        ("/sys/fs/cgroup/a/b", "/a/b", true),
        ("/sys/fs/cgroup/unified/a/b", "/a/b", true),
        ("/a/b", "/a/b/c", false),
        ("/a/b", "/a", false),
        ("b.service", "/system.slice/b.service", true),
        ("b.service", "/b.service/c", false),
        ("b.service", "/ab.service", false),
        ("app@*.service", "/system.slice/app@7.service", true),
        ("/pods/*/main", "/pods/x/main", true),
        ("/pods/*/main", "/pods/x/y/main", false),
        ("/pods/**/main", "/pods/x/y/main", true),
        ("/pods/pod[0-9]", "/pods/pod7", true),
        ("/pods/pod?", "/pods/pod", false),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
    }
}
