//! The real agent on the real kernel: workloads may connect where policies let them, and whoever is denied is told of, with the rule
//! that says so.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use agent::observe::control::ask;
use agent::observe::explain::{Explanation, Question};
use agent::observe::{DenialView, PolicyView, Request as Ask, Response};
use agent::settings::OnExit;
use anyhow::{Context, Result, bail};
use tests::cgroup::TemporaryCgroup;
use tests::clients::{authorization, workload};
use tests::node::{ADDRESSES, Node, PATIENCE, PORT};
use tests::sockets::Request;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// A host of namespace `pay` with two endpoints of location `MESH_INTERNAL`: `app: a` at the first address, `app: b` at the second.
const SERVICE: &str = "10.7.7.7:80";

/// A node with workload `s` of namespace `shop` and workload `o` of namespace `ops`, each at a cgroup of its own.
struct Shop {
    cgroups: [TemporaryCgroup; 2],
    node: Node,
}

impl Shop {
    fn new(policies: &str) -> Result<Option<Self>> {
        let Some(node) = Node::new(CLIENT)? else {
            return Ok(None);
        };
        let below = || TemporaryCgroup::below(node.cgroup.path());
        let shop = Self {
            cgroups: [below()?, below()?],
            node,
        };
        let [a, b] = [ADDRESSES[0], ADDRESSES[1]];
        let mut text = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a, namespace: pay}}\nspec:\n  \
             hosts: [a.test]\n  addresses: [10.7.7.7]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{number: 80, name: tcp, protocol: TCP, targetPort: {PORT}}}]\n  \
             endpoints: [{{address: {a}, labels: {{app: a}}}}, {{address: {b}, labels: {{app: b}}}}]\n"
        );
        let names = [("shop", "s"), ("ops", "o")];
        text.extend(
            shop.cgroups
                .iter()
                .zip(names)
                .map(|(cgroup, (namespace, name))| {
                    let spec = format!("cgroup: '{}'", cgroup.path().display());
                    workload(namespace, name, "", &spec)
                }),
        );
        fs::write(shop.node.config_dir().join("a.yaml"), text)?;
        shop.write(policies)?;
        Ok(Some(shop))
    }

    fn write(&self, policies: &str) -> Result<()> {
        Ok(fs::write(
            self.node.config_dir().join("policies.yaml"),
            policies,
        )?)
    }

    /// Moves the client into the cgroup of a workload, or out of all.
    fn enter(&mut self, workload: Option<usize>) -> Result<()> {
        let outside = self.node.cgroup.path();
        let cgroup = workload.map_or(outside, |number| self.cgroups[number].path());
        let request = Request::JoinCgroup(cgroup.to_owned());
        self.node.client.order(&request)
    }

    /// Who answers so many connects, and how many are denied.
    fn reached(&mut self, count: usize) -> Result<([usize; 2], usize)> {
        let to: SocketAddr = SERVICE.parse()?;
        let (mut answered, mut denied) = ([0; 2], 0);
        for _ in 0..count {
            match self.node.attempt(to)? {
                Ok(address) => {
                    let place = ADDRESSES
                        .iter()
                        .position(|text| text.parse::<IpAddr>() == Ok(address));
                    answered[place.context("an endpoint answers")?] += 1;
                }
                Err(libc::EPERM) => denied += 1,
                Err(errno) => bail!("connect: errno {errno}"),
            }
        }
        Ok((answered, denied))
    }

    fn policies(&self) -> Result<Vec<PolicyView>> {
        match ask(&self.node.socket(), &Ask::Policies)? {
            Response::Policies(views) => Ok(views),
            other => bail!("{other:?}"),
        }
    }

    /// Waits until so many denied connects are told of.
    fn denials(&self, count: u64) -> Result<Vec<DenialView>> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let Response::Denials(views) = ask(&self.node.socket(), &Ask::Denials)? else {
                bail!("an answer to something else");
            };
            if views.iter().map(|view| view.count).sum::<u64>() >= count {
                return Ok(views);
            }
            anyhow::ensure!(std::time::Instant::now() < deadline, "{views:?}");
        }
    }

    /// All that is said of a connect of `from`.
    fn explained(&self, from: &str) -> Result<Explanation> {
        let question = Question {
            target: SERVICE.parse()?,
            transport: None,
            from: Some(from.parse()?),
            count: 100,
        };
        match ask(&self.node.socket(), &Ask::Explain(question))? {
            Response::Explain(explanation) => Ok(*explanation),
            other => bail!("{other:?}"),
        }
    }
}

impl Drop for Shop {
    /// The cgroups can go only when nobody is in them.
    fn drop(&mut self) {
        if let Err(error) = self.enter(None) {
            eprintln!("leaving the cgroup of a workload: {error:#}");
        }
    }
}

/// A policy that is about the service.
fn of_service(name: &str, spec: &str) -> String {
    let target = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]";
    authorization("pay", name, &format!("{target}, {spec}"))
}

fn from(namespace: &str) -> String {
    format!("rules: [{{from: [{{source: {{namespaces: [{namespace}]}}}}]}}]")
}

#[test]
fn whom_no_policy_allows_is_denied_and_told_of_with_the_policy() -> Result<()> {
    let Some(mut shop) = Shop::new(&of_service("only-shop", &from("shop")))? else {
        return Ok(());
    };
    shop.node.start()?;
    shop.enter(Some(0))?;
    let (answered, denied) = shop.reached(40)?;
    assert!(
        answered[0] > 0 && answered[1] > 0 && denied == 0,
        "{answered:?}"
    );
    for (workload, count) in [(Some(1), 3), (None, 2)] {
        shop.enter(workload)?;
        assert_eq!(shop.reached(count)?, ([0, 0], count));
    }
    let denials = shop.denials(5)?;
    for (workload, count) in [(Some("ops/o"), 3), (None, 2)] {
        let found = denials
            .iter()
            .find(|view| view.workload.as_deref() == workload);
        let found = found.context("it is told of")?;
        assert_eq!((found.count, found.outcome.as_str()), (count, "DENIED"));
        assert!(
            found
                .reason
                .contains("no rule of AuthorizationPolicy pay/only-shop"),
            "{found:?}"
        );
    }
    let policies = shop.policies()?;
    let [policy] = policies.as_slice() else {
        bail!("{policies:?}");
    };
    assert_eq!((policy.rules, policy.hits, policy.unmatched), (1, 40, 5));
    assert_eq!(
        (policy.action.as_str(), policy.scope.as_str()),
        ("ALLOW", "ServiceEntry/a")
    );
    let explained = format!("{:?}", shop.explained("ops/o")?);
    assert!(
        explained.contains("EPERM")
            && explained.contains("no rule of AuthorizationPolicy pay/only-shop"),
        "{explained}"
    );
    let explained = format!("{:?}", shop.explained("shop/s")?);
    assert!(
        explained.contains("rule 1 of AuthorizationPolicy pay/only-shop"),
        "{explained}"
    );
    Ok(())
}

#[test]
fn an_endpoint_that_is_denied_to_a_workload_fails_its_part_of_the_connects() -> Result<()> {
    let deny = format!(
        "selector: {{matchLabels: {{app: b}}}}, action: DENY, {}",
        from("shop")
    );
    let Some(mut shop) = Shop::new(&authorization("pay", "not-b", &deny))? else {
        return Ok(());
    };
    shop.node.start()?;
    shop.enter(Some(1))?;
    let (answered, denied) = shop.reached(40)?;
    assert!(
        answered[0] > 0 && answered[1] > 0 && denied == 0,
        "{answered:?}"
    );
    shop.enter(Some(0))?;
    let (answered, denied) = shop.reached(40)?;
    assert!(
        answered[0] > 0 && answered[1] == 0 && denied > 0,
        "{answered:?} {denied}"
    );
    let told = shop.denials(denied as u64)?;
    assert!(
        told[0]
            .reason
            .contains("rule 1 of AuthorizationPolicy pay/not-b"),
        "{told:?}"
    );
    assert_eq!(shop.policies()?[0].hits, denied as u64);
    let explained = shop.explained("shop/s")?;
    // A fair draw among two is off by so much with a probability below one in a million.
    let drawn = explained.connects[0].distribution.iter();
    let drawn: u64 = drawn.map(|draws| draws.connects).sum();
    assert!((25..75).contains(&drawn), "{drawn} of 100");
    let explained = format!("{explained:?}");
    assert!(
        explained.contains("connects to it fail: AuthorizationPolicy pay/not-b"),
        "{explained}"
    );
    Ok(())
}

#[test]
fn what_comes_counts_from_there_on_and_what_changes_keeps_its_count() -> Result<()> {
    let Some(mut shop) = Shop::new("")? else {
        return Ok(());
    };
    shop.node.start()?;
    shop.enter(Some(1))?;
    assert_eq!(shop.reached(7)?.1, 0);
    // The service stays what it is, with its counters.
    let audit = |name: &str| of_service(name, "action: AUDIT, rules: [{}]");
    let has = |shop: &mut Shop, name: &'static str| {
        shop.node.wait_until("the policy is there", |state| {
            let services = state.compiled.program.services.values();
            let mut noted =
                services.flat_map(|service| service.access.iter().flat_map(|a| &a.noted));
            noted.any(|rule| rule.policy.name == name)
        })
    };
    let hits = |shop: &Shop| -> Result<Vec<(String, u64)>> {
        let views = shop.policies()?.into_iter();
        Ok(views.map(|view| (view.name, view.hits)).collect())
    };
    shop.write(&audit("x"))?;
    has(&mut shop, "x")?;
    assert_eq!(
        hits(&shop)?,
        [("x".to_owned(), 0)],
        "what was before it is not its"
    );
    assert_eq!(shop.reached(4)?.1, 0);
    // What was before the change is counted by what was in effect then, though nobody looked.
    shop.write(&(audit("x") + &audit("y")))?;
    has(&mut shop, "y")?;
    assert_eq!(shop.reached(2)?.1, 0);
    assert_eq!(hits(&shop)?, [("x".to_owned(), 6), ("y".to_owned(), 2)]);
    Ok(())
}

#[test]
fn what_an_agent_counted_before_it_ended_is_no_hit_of_the_next() -> Result<()> {
    let Some(mut shop) = Shop::new(&of_service("x", "action: AUDIT, rules: [{}]"))? else {
        return Ok(());
    };
    shop.node.on_exit = OnExit::Keep;
    shop.node.start()?;
    shop.enter(Some(1))?;
    assert_eq!(shop.reached(7)?.1, 0);
    shop.node.stop()?;
    // The counters of the maps go on.
    shop.node.on_exit = OnExit::Detach;
    shop.node.start()?;
    assert_eq!(shop.policies()?[0].hits, 0);
    assert_eq!(shop.reached(3)?.1, 0);
    assert_eq!(shop.policies()?[0].hits, 3);
    Ok(())
}

#[test]
fn an_endpoint_that_is_denied_is_denied_at_its_own_address_too() -> Result<()> {
    let deny = format!(
        "selector: {{matchLabels: {{app: b}}}}, action: DENY, {}",
        from("shop")
    );
    let Some(mut shop) = Shop::new(&authorization("pay", "not-b", &deny))? else {
        return Ok(());
    };
    shop.node.start()?;
    let to = |place: usize| -> Result<SocketAddr> {
        Ok(SocketAddr::new(ADDRESSES[place].parse()?, PORT))
    };
    for (workload, expected) in [
        (Some(0), Err(libc::EPERM)),
        (Some(1), Ok(())),
        (None, Ok(())),
    ] {
        shop.enter(workload)?;
        assert_eq!(shop.node.attempt(to(0)?)?.map(|_| ()), Ok(()));
        assert_eq!(shop.node.attempt(to(1)?)?.map(|_| ()), expected);
    }
    let told = shop.denials(1)?;
    let reason = &told[0].reason;
    assert!(
        reason.contains("rule 1 of AuthorizationPolicy pay/not-b"),
        "{reason}"
    );
    assert_eq!(told[0].destination, to(1)?);
    assert_eq!(shop.policies()?[0].hits, 1);
    let question = Question {
        target: to(1)?.to_string().parse()?,
        transport: None,
        from: Some("shop/s".parse()?),
        count: 1,
    };
    let Response::Explain(explained) = ask(&shop.node.socket(), &Ask::Explain(question))? else {
        bail!("an answer to something else");
    };
    let explained = format!("{explained:?}");
    assert!(
        explained.contains("EPERM")
            && explained.contains("rule 1 of AuthorizationPolicy pay/not-b"),
        "{explained}"
    );
    Ok(())
}

#[test]
fn a_policy_that_breaks_stays_in_force() -> Result<()> {
    let Some(mut shop) = Shop::new("")? else {
        return Ok(());
    };
    shop.node.start()?;
    shop.enter(Some(1))?;
    assert_eq!(shop.reached(7)?.1, 0);
    let denies = |state: &agent::observe::State| {
        let mut services = state.compiled.program.services.values();
        services.any(|service| service.action != agent::compile::Action::Balance)
    };
    let deny = of_service("x", &format!("action: DENY, {}", from("ops")));
    shop.write(&deny)?;
    shop.node.wait_until("it is denied", denies)?;
    assert_eq!(shop.reached(4)?, ([0, 0], 4));
    assert_eq!(shop.policies()?[0].hits, 4);
    // What does not parse keeps what it said.
    shop.write(&deny.replace("action: DENY", "action: DENIED"))?;
    shop.node.wait_until("it is broken", |state| {
        state
            .diagnostics()
            .any(|found| found.name == "x" && found.code == "SH2003")
    })?;
    assert_eq!(shop.reached(2)?, ([0, 0], 2));
    assert_eq!(shop.policies()?[0].hits, 6);
    shop.write("")?;
    shop.node.wait_until("it is gone", |state| !denies(state))?;
    assert_eq!(shop.reached(5)?.1, 0);
    Ok(())
}

#[test]
fn an_audit_lets_pass_and_counts_what_policies_would_deny() -> Result<()> {
    let Some(mut shop) = Shop::new(&of_service("x", &format!("action: DENY, {}", from("ops"))))?
    else {
        return Ok(());
    };
    shop.node.place.is_audited = true;
    shop.node.start()?;
    shop.enter(Some(1))?;
    assert_eq!(shop.reached(6)?.1, 0);
    assert_eq!(shop.policies()?[0].hits, 6);
    assert!(format!("{:?}", shop.explained("ops/o")?).contains("--policy-mode=audit lets pass"));
    Ok(())
}

#[test]
fn an_endpoint_that_a_route_leads_to_twice_is_counted_once() -> Result<()> {
    let deny = format!("action: DENY, {}", from("shop"));
    let to =
        |subset: &str| format!("{{destination: {{host: a.test, subset: {subset}}}, weight: 50}}");
    let routes = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: pay}}\nspec: {{host: a.test, subsets: [{{name: v1, labels: {{app: b}}}}, {{name: v2, labels: {{app: b}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: pay}}\nspec: {{hosts: [a.test], tcp: [{{route: [{}, {}]}}]}}\n",
        to("v1"),
        to("v2")
    );
    let Some(mut shop) = Shop::new(&(authorization("pay", "x", &deny) + &routes))? else {
        return Ok(());
    };
    shop.node.start()?;
    shop.enter(Some(0))?;
    assert_eq!(shop.reached(5)?, ([0, 0], 5));
    assert_eq!(shop.policies()?[0].hits, 5);
    Ok(())
}
