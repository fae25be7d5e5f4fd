//! Which sockets have been connected, or idle, for longer than their service allows?

use std::collections::BTreeMap;
use std::time::Duration;

use agent_common::abi::{Flow, TCP};

use super::{Target, Ticks};

/// How long a connection to a service may last. `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRule {
    /// As flow records name it.
    pub service: u32,
    /// Since its connect.
    pub max_age: Option<Duration>,
    /// Without data in either direction. Of TCP alone: the kernel does not tell it of other sockets.
    pub max_idle: Option<Duration>,
}

/// The sockets among `flows` that are beyond one of `rules`, or may be: those that have been there for longer than they may
/// be idle.
pub(in crate::dataplane) fn expired(
    flows: impl Iterator<Item = Flow>,
    ticks: &Ticks,
    rules: &[CloseRule],
) -> Vec<Target> {
    let rules: BTreeMap<u32, &CloseRule> = rules.iter().map(|rule| (rule.service, rule)).collect();
    let connected = flows.filter(Flow::is_connected);
    let targets = connected.filter_map(|flow| {
        let rule = rules.get(&flow.service)?;
        let age = ticks.since(flow.sent);
        let is_reached = |limit: Option<Duration>| limit.filter(|&limit| age >= limit);
        let target = Target::of(&flow);
        if is_reached(rule.max_age).is_some() {
            return Some(target);
        }
        let idle = is_reached(rule.max_idle).filter(|_| flow.protocol == TCP);
        idle.is_some().then_some(Target { idle, ..target })
    });
    targets.collect()
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{CONNECTED, UDP};

    use super::*;

    const RULE: CloseRule = CloseRule {
        service: 3,
        max_age: Some(Duration::from_mins(1)),
        max_idle: Some(Duration::from_secs(10)),
    };

    /// What is to be done `seconds` after such a socket was connected to service 3.
    fn after(seconds: u64, protocol: u8) -> &'static str {
        let flow = Flow {
            cookie: 1,
            sent: 1000,
            ..of(protocol)
        };
        let ticks = Ticks {
            now: 1000 + seconds * 250,
            length: Duration::from_millis(4),
        };
        match expired([flow].into_iter(), &ticks, &[RULE])[..] {
            [] => "nothing",
            [target] if target.idle.is_none() => "close",
            [target] if target.idle == RULE.max_idle => "close if idle",
            ref other => panic!("{other:?}"),
        }
    }

    /// A connected socket of service 3.
    fn of(protocol: u8) -> Flow {
        Flow {
            service: 3,
            protocol,
            flags: CONNECTED,
            ..Flow::default()
        }
    }

    #[test]
    fn a_connection_ends_at_its_age_and_may_be_idle_from_the_limit_of_that_on() {
        assert_eq!(after(9, TCP), "nothing");
        assert_eq!(after(10, TCP), "close if idle");
        assert_eq!(after(60, TCP), "close");
    }

    #[test]
    fn of_a_udp_socket_no_idleness_is_known() {
        assert_eq!(after(59, UDP), "nothing");
        assert_eq!(after(60, UDP), "close");
    }

    #[test]
    fn services_without_a_rule_have_no_limit() {
        let other = CloseRule { service: 4, ..RULE };
        let ticks = Ticks {
            now: 1 << 32,
            length: Duration::from_millis(4),
        };
        assert_eq!(expired([of(TCP)].into_iter(), &ticks, &[other]), []);
    }
}
