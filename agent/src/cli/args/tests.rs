use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_of_run_is_an_environment_variable() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    for argument in run.get_arguments().filter(|a| a.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let expected = format!("SHUNT_{}", flag.replace('-', "_").to_uppercase());
        let variable = argument.get_env().and_then(|name| name.to_str());
        assert_eq!(variable, Some(expected.as_str()), "--{flag}");
    }
}

#[test]
fn exec_takes_every_flag_of_run() {
    let command = Cli::command();
    let flags = |name: &str| -> Vec<String> {
        let found = command.find_subcommand(name).unwrap();
        let flags = found.get_arguments().filter_map(clap::Arg::get_long);
        flags.map(str::to_owned).collect()
    };
    assert_eq!(flags("exec"), flags("run"));
}

#[test]
fn every_command_and_flag_has_help() {
    let command = Cli::command();
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        assert!(sub.get_about().is_some(), "{}", sub.get_name());
        for argument in sub.get_arguments() {
            let (flag, help) = (argument.get_id(), argument.get_help());
            let speaks_for_itself = ["output", "what", "shell"].contains(&flag.as_str());
            assert!(
                help.is_some() || speaks_for_itself,
                "{} {flag}",
                sub.get_name()
            );
        }
    }
}

#[test]
fn lists_have_short_names() {
    for (alias, expected) in [
        ("svc", Listing::Services),
        ("ep", Listing::Endpoints),
        ("se", Listing::ServiceEntries),
    ] {
        let Command::Get(get) = parse(&format!("shunt get {alias}")).unwrap().command else {
            panic!("not get");
        };
        assert_eq!(get.what, expected);
    }
}

#[test]
fn wait_takes_its_seconds_after_an_equals_sign_only() {
    let wait = |line: &str| match parse(line).unwrap().command {
        Command::Status(status) => status.wait,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("shunt status"), None);
    assert_eq!(wait("shunt status --wait"), Some(Duration::from_mins(1)));
    assert_eq!(wait("shunt status --wait=5"), Some(Duration::from_secs(5)));
    assert!(parse("shunt status --wait 5").is_err());
}

#[test]
fn the_command_of_exec_stands_after_two_hyphens() {
    let Command::Exec(exec) = parse("shunt exec --config-dir d -- curl --head host")
        .unwrap()
        .command
    else {
        panic!("not exec");
    };
    assert_eq!(exec.command, ["curl", "--head", "host"]);
    assert!(parse("shunt exec --config-dir d").is_err());
}
