//! How `shunt` answers to a wrong command line, a missing agent and a closed pipe.

use std::io::Read;
use std::process::Stdio;

use tests::binary::{command, shunt};

#[test]
fn a_wrong_flag_or_argument_gives_status_64_and_names_it() {
    for (line, named) in [
        (&["analyze"][..], "<PATH>"),
        (&["frobnicate"], "frobnicate"),
        (&["run"], "--config-dir"),
        (
            &["run", "--config-dir", "/", "--resolver", "dns"],
            "--resolver",
        ),
        (
            &[
                "run",
                "--config-dir",
                "/",
                "--cgroup",
                "/",
                "--max-flows",
                "3000",
            ],
            "--max-flows 3000",
        ),
        (
            &["run", "--config-dir", "/", "--log-level", "a=b=c"],
            "--log-level",
        ),
        (&["compile", "/", "--resolve", "host"], "--resolve"),
        (&["explain", "10.0.0.1"], "10.0.0.1:443"),
    ] {
        let ended = shunt(line);
        assert_eq!(ended.status, Some(64), "{line:?}: {ended:?}");
        assert!(ended.stderr.contains(named), "{line:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{line:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_with_status_0() {
    for line in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["version"],
    ] {
        let ended = shunt(line);
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(0), ""),
            "{line:?}"
        );
        assert!(!ended.stdout.is_empty(), "{line:?}");
    }
    let version = shunt(["version", "-o", "json"]).json();
    assert!(version["version"].is_string() && version["abiVersion"].is_u64());
}

#[test]
fn every_question_to_an_absent_agent_gives_status_69() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let socket = socket.to_str().unwrap();
    for line in [
        &["get", "services"][..],
        &["get", "ep"],
        &["get", "objects"],
        &["status"],
        &["status", "--wait=0"],
        &["verify"],
        &["explain", "api.example.com"],
    ] {
        let ended = shunt([line, &["--socket", socket]].concat());
        assert_eq!(ended.status, Some(69), "{line:?}: {ended:?}");
        assert!(ended.stderr.contains(socket), "{line:?}: {ended:?}");
    }
}

#[test]
fn a_variable_takes_the_place_of_its_flag() {
    let ended = command(["get", "services"])
        .env("SHUNT_SOCKET", "/no/such/socket")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("/no/such/socket"), "{stderr}");
}

#[test]
fn a_mesh_config_that_does_not_parse_is_shown_with_status_65() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "dnsRefreshRate: [").unwrap();
    let path = file.path().to_str().unwrap();
    let ended = shunt(["analyze", path, "--mesh-config", path]);
    assert_eq!(ended.status, Some(65), "{ended:?}");
    assert!(ended.stderr.contains("Error [SH"), "{ended:?}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let mut child = command(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn checks_are_listed_with_marks_and_as_json() {
    let json = shunt(["check", "-o", "json"]).json();
    let checks = json.as_array().expect("an array");
    let has_failed = checks.iter().any(|check| check["state"] == "failure");
    let text = shunt(["check"]);
    assert_eq!(text.status, Some(i32::from(has_failed)), "{text:?}");
    assert_eq!(text.stdout.contains('×'), has_failed, "{text:?}");
    assert!(checks.iter().any(|check| check["name"] == "kernel"));
}
