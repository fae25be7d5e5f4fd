//! `shunt analyze` and `shunt compile` as others script against them: exit statuses, streams and JSON fields.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary::{Ended, shunt};

const GOOD: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: api
  namespace: shop
spec:
  hosts: [api.example.com]
  addresses: [10.7.0.1]
  ports:
  - {number: 80, name: http, protocol: HTTP}
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints:
  - {address: 192.0.2.1, weight: 1, locality: eu/a, labels: {app: api}}
  - {address: 192.0.2.2, weight: 3, locality: eu/b}
";

const NAMED: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  ports:
  - {number: 5432, name: tcp, protocol: TCP}
  resolution: DNS
";

/// A directory that holds `files`.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a file in it");
    }
    directory
}

fn on(command: &str, path: &Path, flags: &[&str]) -> Ended {
    let path = path.to_str().expect("temporary paths are UTF-8");
    shunt([&[command, path], flags].concat())
}

/// An object that Istio refuses: a port without a name.
fn bad() -> String {
    GOOD.replace("name: http, ", "")
}

#[test]
fn a_sound_file_gives_status_0_an_empty_stdout_and_a_closing_remark() {
    let directory = directory(&[("api.yaml", GOOD)]);
    let ended = on("analyze", directory.path(), &[]);
    assert_eq!(
        (ended.status, ended.stdout.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("1 valid object in 1 file"),
        "{ended:?}"
    );
}

#[test]
fn an_error_gives_status_79_and_a_line_as_istioctl_writes_it() {
    let directory = directory(&[("api.yaml", &bad())]);
    let ended = on("analyze", directory.path(), &[]);
    assert_eq!(ended.status, Some(79), "{ended:?}");
    let file = directory.path().join("api.yaml");
    let place = format!("(ServiceEntry shop/api {}:10)", file.display());
    let line = ended
        .stdout
        .lines()
        .find(|line| line.starts_with("Error [SH"));
    assert!(line.is_some_and(|line| line.contains(&place)), "{ended:?}");
    assert!(ended.stdout.contains("    hint: "), "{ended:?}");
}

#[test]
fn findings_in_json_have_the_documented_fields() {
    let directory = directory(&[("api.yaml", &bad())]);
    let ended = on("analyze", directory.path(), &["-o", "json"]);
    assert_eq!(ended.status, Some(79));
    let findings = ended.json();
    let first = findings[0].as_object().expect("an array of objects");
    let mut fields: Vec<&str> = first.keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "code",
        "field",
        "file",
        "hint",
        "kind",
        "line",
        "message",
        "name",
        "namespace",
        "severity",
    ];
    assert_eq!(fields, expected);
    assert_eq!(first["severity"], "error");
    assert_eq!(first["name"], "api");
}

#[test]
fn a_file_that_does_not_parse_gives_status_65() {
    let directory = directory(&[("api.yaml", GOOD), ("broken.yaml", "kind: [ServiceEntry")]);
    for command in ["analyze", "compile"] {
        let ended = on(command, directory.path(), &["-o", "json"]);
        assert_eq!(ended.status, Some(65), "{ended:?}");
    }
    let compiled = on("compile", directory.path(), &["-o", "json"]);
    assert_eq!(compiled.json()["services"][0]["host"], "api.example.com");
}

#[test]
fn a_path_that_is_missing_or_empty_is_named_with_status_64() {
    let directory = directory(&[]);
    let missing = directory.path().join("none.yaml");
    for path in [directory.path(), &missing] {
        let ended = on("analyze", path, &[]);
        assert_eq!(ended.status, Some(64), "{ended:?}");
        assert!(ended.stderr.contains(path.to_str().unwrap()), "{ended:?}");
    }
}

#[test]
fn compiled_services_have_the_documented_form_and_shares_that_sum_to_1() {
    let directory = directory(&[("api.yaml", GOOD)]);
    let ended = on("compile", directory.path(), &["-o", "json"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let expected = json!({
        "namespace": "shop",
        "host": "api.example.com",
        "port": 80,
        "protocol": "HTTP",
        "resolution": "STATIC",
        "loadBalancer": "LEAST_REQUEST",
        "frontends": ["10.7.0.1:80"],
        "endpoints": [
            {
                "address": "192.0.2.1", "port": 80, "share": 0.25, "priority": 0,
                "locality": "eu/a", "healthy": true, "health": "healthy",
                "labels": {"app": "api"},
            },
            {
                "address": "192.0.2.2", "port": 80, "share": 0.75, "priority": 0,
                "locality": "eu/b", "healthy": true, "health": "healthy",
                "labels": {},
            },
        ],
    });
    let mut report = ended.json();
    let service = report["services"][0].as_object_mut().expect("a service");
    let reasons = service.remove("reasons").expect("why it is so");
    assert_eq!(reasons[0], "no DestinationRule applies");
    assert_eq!(*service, *expected.as_object().unwrap());
    assert_eq!(report["diagnostics"], json!([]));
}

#[test]
fn answers_on_the_command_line_stand_for_dns() {
    let directory = directory(&[("db.yaml", NAMED)]);
    let flags = [
        "-o",
        "json",
        "--resolve",
        "DB.example.com=192.0.2.7,2001:db8::7",
    ];
    let report = on("compile", directory.path(), &flags).json();
    let addresses: Vec<&Value> = report["services"][0]["endpoints"]
        .as_array()
        .expect("endpoints")
        .iter()
        .map(|endpoint| &endpoint["address"])
        .collect();
    assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
}

#[test]
fn an_endpoint_that_is_down_on_the_command_line_gets_nothing() {
    let directory = directory(&[("api.yaml", GOOD)]);
    let flags = [
        "-o",
        "json",
        "--health",
        "api.example.com=192.0.2.2:80=down",
    ];
    let report = on("compile", directory.path(), &flags).json();
    let endpoints = report["services"][0]["endpoints"].as_array().unwrap();
    let seen: Vec<_> = endpoints
        .iter()
        .map(|e| (&e["healthy"], &e["health"], &e["share"]))
        .collect();
    assert_eq!(
        seen,
        [
            (&json!(true), &json!("healthy"), &json!(1.0)),
            (&json!(false), &json!("ejected"), &json!(0.0)),
        ]
    );
    let flags = ["--health", "api.example.com=192.0.2.9:80=down"];
    let ended = on("compile", directory.path(), &flags);
    assert_ne!(ended.status, Some(0));
    assert!(
        ended
            .stderr
            .contains("api.example.com has no endpoint 192.0.2.9:80"),
        "{ended:?}"
    );
}

#[test]
fn the_node_of_the_command_line_decides_by_locality() {
    let outlier = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api.example.com
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 5}
";
    let directory = directory(&[("api.yaml", GOOD), ("rule.yaml", outlier)]);
    let flags = ["-o", "json", "--locality", "eu/a"];
    let report = on("compile", directory.path(), &flags).json();
    let endpoints = &report["services"][0]["endpoints"];
    assert_eq!(endpoints[0]["address"], "192.0.2.1");
    assert_eq!(
        (&endpoints[0]["share"], &endpoints[1]["share"]),
        (&json!(1.0), &json!(0.0))
    );
}

#[test]
fn the_text_of_compile_shows_shares_in_percent() {
    let directory = directory(&[("api.yaml", GOOD)]);
    let ended = on("compile", directory.path(), &[]);
    assert!(
        ended
            .stdout
            .starts_with("shop/api.example.com:80  HTTP  STATIC  LEAST_REQUEST\n"),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("192.0.2.2:80  75.0%  "), "{ended:?}");
}

#[test]
fn a_connect_is_explained_from_files_alone() {
    let directory = directory(&[("api.yaml", GOOD)]);
    let path = directory.path().to_str().unwrap();
    let ended = shunt([
        "explain",
        "10.7.0.1:80",
        "--config-dir",
        path,
        "--count",
        "400",
        "-o",
        "json",
    ]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let connect = &ended.json()["connects"][0];
    assert_eq!(connect["verdict"], "rewrite");
    assert_eq!(connect["object"]["name"], "api");
    let drawn = connect["distribution"].as_array().expect("a distribution");
    let sum: u64 = drawn
        .iter()
        .filter_map(|draws| draws["connects"].as_u64())
        .sum();
    assert_eq!((drawn.len(), sum), (2, 400));
}
