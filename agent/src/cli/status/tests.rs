use expect_test::expect;

use crate::nameserver::Stats;
use crate::observe::view::{
    ClosedView, DriftView, FindingsView, FoundView, HealthView, MapView, NameView, ProgramView,
    RepairView, SourceView, TotalsView,
};

use super::*;

fn view() -> StatusView {
    StatusView {
        version: "1.2.3".to_owned(),
        generation: 4,
        ready: true,
        degraded: false,
        reasons: Vec::new(),
        started: 0,
        uptime_seconds: 3_725,
        last_update: 0,
        took_ms: 1.25,
        cgroups: vec!["/sys/fs/cgroup".into()],
        objects: 3,
        services: 2,
        sources: vec![SourceView {
            path: "/etc/shunt".into(),
            synced: true,
            files: 2,
            ..SourceView::default()
        }],
        names: Vec::new(),
        name_server: Stats::default(),
        closed: ClosedView::default(),
        programs: Vec::new(),
        maps: Vec::new(),
        drift: DriftView::default(),
        totals: TotalsView::default(),
        health: HealthView::default(),
        findings: FindingsView::default(),
    }
}

#[test]
fn a_healthy_agent_takes_one_screen() {
    expect![[r"
        shunt 1.2.3: ready, up 1h 2m 5s

        directory        /etc/shunt: 2 files
        cgroup           /sys/fs/cgroup
        objects          3
        services         2
        endpoints        0 healthy, 0 warming, 0 ejected, 0 unhealthy
        findings         0 errors, 0 warnings, 0 notes
        updates          4, the last took 1.2 ms
        undeclared port  0 connects refused
        flows full       0 connects whose peer name is the endpoint
        flows stored     0 connects remembered at their sockets
        events lost      0 failed connects not heard of
        overflow         0 connects refused
        registry         0 connects denied, 0 audited, 0 not listed
        torn             0 connects failed
        drift            0 repaired, 0 not, in 0 looks at all maps
        closed           0 UDP sockets, 0 TCP connections
        queries          0 by datagram, 0 by connection, 0 malformed
        answered         0 from hosts of ours, 0 from the cache, 0 stale, 0 refused, 0 not at all
        other servers    0 questions, 0 failed, 0.0 ms on average, 0.0 ms at most, 0 not captured
        learned          0 answers, 0 of them late
    "]]
    .assert_eq(&render(&view(), Palette::PLAIN));
}

#[test]
fn what_is_wrong_comes_first() {
    let degraded = StatusView {
        degraded: true,
        reasons: vec!["1 finding(s) of severity error".to_owned()],
        ..view()
    };
    let text = render(&degraded, Palette::PLAIN);
    let first: Vec<&str> = text.lines().take(2).collect();
    let expected = [
        "shunt 1.2.3: ready, degraded, up 1h 2m 5s",
        "  ‼ 1 finding(s) of severity error",
    ];
    assert_eq!(first, expected);
}

#[test]
fn names_programs_maps_and_repairs_have_a_table_each() {
    let full = StatusView {
        names: vec![NameView {
            host: "api.example.com".to_owned(),
            record: "A".to_owned(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            age_seconds: Some(3.4),
            next_seconds: None,
            failures: 0,
            reason: None,
        }],
        programs: vec![ProgramView {
            name: "connect4".to_owned(),
            cgroup: "/sys/fs/cgroup".into(),
            attached: true,
            runs: 0,
            ns_per_run: None,
            verified_instructions: 900,
        }],
        maps: vec![MapView {
            name: "FRONTENDS".to_owned(),
            used: 4,
            capacity: 16,
        }],
        drift: DriftView {
            repairs: vec![RepairView {
                time: 0,
                found: FoundView {
                    part: "FRONTENDS".to_owned(),
                    deviation: "missing".to_owned(),
                    what: "10.1.0.1:80 of default/a.test:80".to_owned(),
                    remedy: "put back".to_owned(),
                    failure: None,
                },
            }],
            ..DriftView::default()
        },
        ..view()
    };
    let text = render(&full, Palette::PLAIN);
    let (_, tables) = text.split_once("\n\nNames\n").unwrap();
    expect![[r"
        NAME             RECORD  ADDRESSES  AGE  NEXT  FAILURES  REASON
        api.example.com  A       192.0.2.1  3s   -     0         -

        Programs
        PROGRAM   CGROUP          RUNS  NS/RUN
        connect4  /sys/fs/cgroup  0     -

        Maps
        MAP        USED  CAPACITY
        FRONTENDS  4     16

        Repairs
        TIME                  PART       FOUND    WHAT                              DONE
        1970-01-01T00:00:00Z  FRONTENDS  missing  10.1.0.1:80 of default/a.test:80  put back
    "]]
    .assert_eq(tables);
}

#[test]
fn waiting_for_an_agent_that_never_comes_ends() {
    let dir = tempfile::tempdir().unwrap();
    let error = wait_until_ready(&dir.path().join("none"), Duration::ZERO).unwrap_err();
    assert_eq!(Exit::of_failure(&error), Exit::Unreachable);
}
