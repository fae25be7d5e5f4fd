//! A second opinion on shares, for tests: Envoy's rules written down once more, in floating point, host by host. It shares
//! nothing with the code that it is held against but the type of its input.
//!
//! Sources: Envoy's pages "Priority levels", "Panic threshold" and "Locality weighted load balancing".

#![expect(
    clippy::cast_precision_loss,
    reason = "the exact shares are held against this, not the other way round"
)]

use super::Part;

/// Which part of the whole each host gets: 1 in sum, or 0 where nobody takes any.
pub(super) fn fractions(hosts: &[Part], localities: Option<&[u64]>, panic: u32) -> Vec<f64> {
    let loads = loads(hosts, localities, panic);
    let of_host = |host: &Part| {
        let priority = Priority::new(hosts, localities, host.priority);
        let load = f64::from(loads[host.priority as usize]) / 100.0;
        load * priority.fraction(host, is_in_panic(hosts, localities, panic, host.priority))
    };
    hosts.iter().map(of_host).collect()
}

/// The hosts of one priority that count.
struct Priority<'h> {
    hosts: Vec<&'h Part>,
    localities: Option<&'h [u64]>,
}

impl<'h> Priority<'h> {
    fn new(hosts: &'h [Part], localities: Option<&'h [u64]>, number: u32) -> Self {
        let counts = |host: &&Part| {
            let has_locality = localities.is_none_or(|of| of[host.group as usize] != 0);
            host.priority == number && host.weight != 0 && has_locality
        };
        Self {
            hosts: hosts.iter().filter(counts).collect(),
            localities,
        }
    }

    fn healthy(&self) -> usize {
        self.hosts.iter().filter(|h| h.vital.is_healthy()).count()
    }

    /// How much of the whole load it could carry, in whole percent.
    fn health(&self) -> u32 {
        match self.hosts.len() {
            0 => 0,
            all => u32::try_from((140 * self.healthy() / all).min(100)).unwrap(),
        }
    }

    /// The part of the priority's load that one host takes.
    fn fraction(&self, host: &Part, in_panic: bool) -> f64 {
        if !self.hosts.iter().any(|other| std::ptr::eq(*other, host)) {
            return 0.0;
        }
        let takes = |host: &Part| in_panic || host.vital.is_healthy();
        let Some(weights) = self.localities.filter(|_| !in_panic) else {
            return part_of(
                host,
                self.hosts.iter().copied().filter(|h| takes(h)),
                takes(host),
            );
        };
        let near = |group: u32| self.hosts.iter().copied().filter(move |h| h.group == group);
        let effective = |group: u32| {
            let (all, well) = (
                near(group).count(),
                near(group).filter(|h| takes(h)).count(),
            );
            if all == 0 {
                return 0.0;
            }
            weights[group as usize] as f64 * (1.4 * well as f64 / all as f64).min(1.0)
        };
        let groups = 0..u32::try_from(weights.len()).unwrap();
        let whole: f64 = groups.map(effective).sum();
        if whole == 0.0 {
            return 0.0;
        }
        let locality = effective(host.group) / whole;
        locality * part_of(host, near(host.group).filter(|h| takes(h)), takes(host))
    }
}

/// By weight among these.
fn part_of<'h>(host: &Part, among: impl Iterator<Item = &'h Part>, takes: bool) -> f64 {
    let weigh = |host: &Part| f64::from(host.weight) * f64::from(host.vital.thousandths());
    let whole: f64 = among.map(weigh).sum();
    if takes { weigh(host) / whole } else { 0.0 }
}

fn priorities<'h>(hosts: &'h [Part], localities: Option<&'h [u64]>) -> Vec<Priority<'h>> {
    let last = hosts.iter().map(|host| host.priority).max().unwrap_or(0);
    let numbers = 0..=last;
    numbers
        .map(|number| Priority::new(hosts, localities, number))
        .collect()
}

fn is_in_panic(hosts: &[Part], localities: Option<&[u64]>, panic: u32, number: u32) -> bool {
    let all = priorities(hosts, localities);
    let carried: u32 = all.iter().map(Priority::health).sum();
    let one = &all[number as usize];
    let percent = 100.0 * one.healthy() as f64 / one.hosts.len().max(1) as f64;
    carried < 100 && !one.hosts.is_empty() && percent < f64::from(panic)
}

/// The load of each priority in whole percent.
fn loads(hosts: &[Part], localities: Option<&[u64]>, panic: u32) -> Vec<u32> {
    let all = priorities(hosts, localities);
    let size: usize = all.iter().map(|priority| priority.hosts.len()).sum();
    let mut loads = vec![0; all.len()];
    if size == 0 {
        return loads;
    }
    let is_filled = |number: &usize| !all[*number].hosts.is_empty();
    let filled: Vec<usize> = (0..all.len()).filter(is_filled).collect();
    let panics =
        |number: &usize| is_in_panic(hosts, localities, panic, u32::try_from(*number).unwrap());
    if filled.iter().all(panics) {
        for number in &filled {
            loads[*number] = u32::try_from(100 * all[*number].hosts.len() / size).unwrap();
        }
        loads[filled[0]] += 100 - loads.iter().sum::<u32>();
        return loads;
    }
    let carried: u32 = all.iter().map(Priority::health).sum::<u32>().min(100);
    if carried == 0 {
        // So few are healthy that they round to nothing: shunt's own rule.
        if let Some(first) = filled.into_iter().find(|number| all[*number].healthy() > 0) {
            loads[first] = 100;
        }
        return loads;
    }
    for (number, priority) in all.iter().enumerate() {
        let left = 100 - loads.iter().sum::<u32>();
        loads[number] = (priority.health() * 100 / carried).min(left);
    }
    let able = all.iter().position(|priority| priority.health() > 0);
    let left = 100 - loads.iter().sum::<u32>();
    loads[able.unwrap()] += left;
    loads
}
