//! What the status of the agent says.

use crate::dataplane::{Fill, ProgramFigures};
use crate::nameserver::Stats;

use super::*;

pub(super) fn input<'a>(state: &'a State, counts: &'a Counts, fill: &'a [Fill]) -> StatusInput<'a> {
    StatusInput {
        state,
        now: state.started + Duration::from_mins(1),
        sources: vec![SourceView {
            path: "/etc/shunt".into(),
            synced: true,
            files: 1,
            ..SourceView::default()
        }],
        names: Vec::new(),
        name_server: Stats::default(),
        closed: ClosedView::default(),
        counts,
        programs: &[],
        fill,
        drift: DriftView::default(),
    }
}

fn program() -> ProgramFigures {
    ProgramFigures {
        name: "connect4",
        cgroup: "/sys/fs/cgroup".into(),
        is_attached: true,
        runs: 4,
        nanoseconds: 600,
        verified_instructions: 1000,
    }
}

const FRONTENDS: Fill = Fill {
    map: "frontends",
    used: 2,
    capacity: 10,
};

fn healthy() -> StatusView {
    let state = state(&[weighted()]);
    let counts = counts(&state);
    status(StatusInput {
        programs: &[program()],
        ..input(&state, &counts, &[FRONTENDS])
    })
}

#[test]
fn a_healthy_agent_is_not_degraded() {
    let view = healthy();
    assert_round_trip(&view);
    expect![[r#"
        {
          "version": "0.1.0",
          "generation": 1,
          "ready": true,
          "degraded": false,
          "reasons": [],
          "started": 1000000,
          "uptimeSeconds": 60,
          "lastUpdate": 1000005,
          "tookMs": 2.0,
          "cgroups": [
            "/sys/fs/cgroup"
          ],
          "objects": 1,
          "services": 1,
          "sources": [
            {
              "path": "/etc/shunt",
              "synced": true,
              "files": 1,
              "lastRead": null,
              "failure": null,
              "watchFailure": null,
              "unreadable": []
            }
          ],
          "names": [],
          "nameServer": {
            "datagrams": 0,
            "streams": 0,
            "own": 0,
            "cached": 0,
            "stale": 0,
            "forwarded": 0,
            "failures": 0,
            "unanswered": 0,
            "refused": 0,
            "malformed": 0,
            "lessons": 0,
            "late": 0,
            "meanWait": 0,
            "longestWait": 0
          },
          "closed": {
            "udp": 0,
            "tcp": 0
          },
          "programs": [
            {
              "name": "connect4",
              "cgroup": "/sys/fs/cgroup",
              "attached": true,
              "runs": 4,
              "nsPerRun": 150.0,
              "verifiedInstructions": 1000
            }
          ],
          "maps": [
            {
              "name": "frontends",
              "used": 2,
              "capacity": 10
            }
          ],
          "drift": {
            "passes": 0,
            "lastPass": null,
            "repaired": 0,
            "standing": [],
            "repairs": []
          },
          "totals": {
            "portNotDeclared": 0,
            "flowsFull": 0,
            "flowsStored": 0,
            "torn": 0,
            "nameServersFull": 0,
            "overflows": 0,
            "notRegistered": 0,
            "notRegisteredAudited": 0,
            "denialsLost": 0,
            "eventsLost": 0
          },
          "health": {
            "healthy": 2,
            "warming": 0,
            "ejected": 0,
            "unhealthy": 0
          },
          "findings": {
            "errors": 0,
            "warnings": 0,
            "infos": 0,
            "list": []
          }
        }"#]]
    .assert_eq(&pretty(&view));
}

#[test]
fn whatever_is_not_in_effect_degrades_and_is_told() {
    let mut state = state(&[weighted()]);
    state.ready = false;
    let id = ObjectId::clone(&state.snapshot.objects[0].meta.id);
    let origin = Origin {
        file: "a.yaml".into(),
        line: 3,
    };
    let warning = Diagnostic::new(Severity::Warning, "SH3003", &id, &origin, "taken");
    let error = Diagnostic::new(Severity::Error, "SH4001", &id, &origin, "does not fit");
    state.dataplane_diagnostics = [warning, error].into();
    let counts = Counts::default();
    let fill = [Fill {
        map: "frontends",
        used: 10,
        capacity: 10,
    }];
    let mut input = input(&state, &counts, &fill);
    input.sources[0].failure = Some("permission denied".to_owned());
    input.names.push(NameView {
        host: "a.example.com".to_owned(),
        record: "A".to_owned(),
        addresses: Vec::new(),
        age_seconds: None,
        next_seconds: Some(1.5),
        failures: 2,
        reason: Some("timed out".to_owned()),
    });
    let view = status(input);
    assert_round_trip(&view);
    assert!(view.degraded);
    assert_eq!(view.findings.list[0].code, "SH4001");
    expect![[r#"
        the programs are not attached yet
        /etc/shunt cannot be read: permission denied
        1 finding(s) of severity error
        frontends is full (10)"#]]
    .assert_eq(&view.reasons.join("\n"));
}
