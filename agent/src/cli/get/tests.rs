use clap::Parser;
use expect_test::{Expect, expect};

use crate::cli::args::{Cli, Command};
use crate::observe::view::{EjectionView, OutcomesView, Place};

use super::*;

fn args(line: &str) -> GetArgs {
    let words = ["shunt", "get"].into_iter().chain(line.split(' '));
    match Cli::try_parse_from(words).unwrap().command {
        Command::Get(args) => args,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as expect_test is used")]
fn shows<R: Row>(line: &str, rows: Vec<R>, expected: Expect) {
    expected.assert_eq(&list(&args(line), rows).unwrap());
}

fn place() -> Place {
    Place {
        kind: "ServiceEntry".to_owned(),
        namespace: "default".to_owned(),
        name: "api".to_owned(),
        file: "api.yaml".to_owned(),
        line: 9,
    }
}

fn service(namespace: &str) -> ServiceView {
    ServiceView {
        namespace: namespace.to_owned(),
        host: "api.example.com".to_owned(),
        port: 80,
        route: None,
        clients: None,
        port_name: "http".to_owned(),
        protocol: "HTTP".to_owned(),
        transport: "TCP".to_owned(),
        resolution: "STATIC".to_owned(),
        vips: vec![
            "240.240.0.17".parse().unwrap(),
            "2001:2::11".parse().unwrap(),
        ],
        frontends: vec!["240.240.0.17:80".to_owned(), "[2001:2::11]:80".to_owned()],
        action: ActionView::Balance,
        load_balancer: "LEAST_REQUEST".to_owned(),
        endpoint_count: 2,
        ejected_count: 1,
        connects: 7,
        denied: 0,
        open: 3,
        max_connections: Some(10),
        object: place(),
    }
}

/// One with everything that can be shown.
pub(in crate::cli) fn endpoint() -> EndpointView {
    EndpointView {
        namespace: "default".to_owned(),
        host: "api.example.com".to_owned(),
        service_port: 80,
        clients: None,
        transport: "TCP".to_owned(),
        address: "fd00::1".parse().unwrap(),
        port: 8080,
        share: 1.0 / 3.0,
        part: 1,
        total: 3,
        priority: 0,
        locality: "r/z".to_owned(),
        healthy: true,
        health: "healthy".to_owned(),
        why: Some("was ejected 2 times before".to_owned()),
        ejection: Some(EjectionView {
            count: 2,
            seconds_left: None,
            failures: 5,
            failure: "refused".to_owned(),
        }),
        destination: "api.example.com".to_owned(),
        subset: Some("v1".to_owned()),
        labels: [("app".to_owned(), "api".to_owned())].into(),
        hostname: None,
        connects: 3,
        open: 1,
        outcomes: OutcomesView {
            succeeded: 2,
            refused: 10,
            timed_out: 1,
            failures_in_a_row: 0,
            latency_ms: Some(0.254),
        },
        object: place(),
    }
}

fn object(status: ObjectStatus) -> ObjectView {
    ObjectView {
        kind: "ServiceEntry".to_owned(),
        namespace: "default".to_owned(),
        name: "api".to_owned(),
        file: "api.yaml".to_owned(),
        line: 1,
        status,
        findings: Vec::new(),
    }
}

#[test]
fn services_are_a_table_that_awk_reads() {
    shows(
        "svc",
        vec![service("default"), service("payments")],
        expect![[r"
            NAMESPACE  HOST             PORT  PROTOCOL  RESOLUTION  VIP                      ENDPOINTS  ACTION   CONNECTS  DENIED
            default    api.example.com  80    HTTP      STATIC      240.240.0.17,2001:2::11  2          balance  7         0
            payments   api.example.com  80    HTTP      STATIC      240.240.0.17,2001:2::11  2          balance  7         0
        "]],
    );
}

#[test]
fn a_namespace_is_all_that_is_listed_without_header() {
    shows(
        "svc -n payments --no-headers",
        vec![service("default"), service("payments")],
        expect![[r"
            payments  api.example.com  80  HTTP  STATIC  240.240.0.17,2001:2::11  2  balance  7  0
        "]],
    );
}

fn policy() -> PolicyView {
    PolicyView {
        namespace: "pay".to_owned(),
        name: "only-shop".to_owned(),
        action: "ALLOW".to_owned(),
        dry_run: false,
        scope: "ServiceEntry/bank".to_owned(),
        rules: 1,
        hits: 40,
        unmatched: 2,
        object: place(),
    }
}

#[test]
fn policies_show_how_often_each_has_decided() {
    shows(
        "policies -o wide",
        vec![policy()],
        expect![[r"
            NAMESPACE  NAME       ACTION  SCOPE              RULES  HITS  UNMATCHED  DRY-RUN  ORIGIN
            pay        only-shop  ALLOW   ServiceEntry/bank  1      40    2          false    api.yaml:9
        "]],
    );
}

#[test]
fn endpoints_show_their_share_in_percent() {
    shows(
        "ep -o wide",
        vec![endpoint()],
        expect![[r"
            ENDPOINT        HEALTH   SHARE  PRIORITY  LOCALITY  CONNECTS  OPEN  NAMESPACE  HOST             PORT  EJECTIONS  SUCCEEDED  REFUSED  TIMED-OUT  LATENCY  CLIENTS  DESTINATION      SUBSET  RESOLVED-FROM  LABELS   OBJECT  ORIGIN      WHY
            [fd00::1]:8080  healthy  33.3%  0         r/z       3         1     default    api.example.com  80    2          2          10       1          0.25ms   -        api.example.com  v1      -              app=api  api     api.yaml:9  was ejected 2 times before
        "]],
    );
}

#[test]
fn an_object_that_is_not_in_effect_says_why() {
    let shadowed = object(ObjectStatus::Shadowed {
        by: "ServiceEntry default/api (a.yaml:1)".to_owned(),
    });
    shows(
        "se -o wide",
        vec![object(ObjectStatus::Programmed), shadowed],
        expect![[r"
            KIND          NAMESPACE  NAME  STATUS      FINDINGS  ORIGIN      REASON
            ServiceEntry  default    api   Programmed  0         api.yaml:1  -
            ServiceEntry  default    api   Shadowed    0         api.yaml:1  by ServiceEntry default/api (a.yaml:1)
        "]],
    );
}

#[test]
fn json_and_yaml_are_arrays() {
    let programmed = || vec![object(ObjectStatus::Programmed)];
    shows(
        "objects -o yaml",
        programmed(),
        expect![[r"
            - kind: ServiceEntry
              namespace: default
              name: api
              file: api.yaml
              line: 1
              status: Programmed
              findings: []
        "]],
    );
    let json = list(&args("objects -o json"), programmed()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value[0]["status"], "Programmed");
}

#[test]
fn every_column_has_a_cell() {
    fn check<R: Row>(row: &R) {
        assert_eq!(row.cells().len(), R::COLUMNS.len());
        assert_eq!(row.wide_cells().len(), R::WIDE_COLUMNS.len());
        let columns = R::COLUMNS.iter().chain(R::WIDE_COLUMNS);
        assert!(
            columns.clone().all(|column| !column.contains(' ')),
            "awk splits at spaces"
        );
    }
    check(&service("default"));
    check(&endpoint());
    check(&object(ObjectStatus::Programmed));
    check(&policy());
}
