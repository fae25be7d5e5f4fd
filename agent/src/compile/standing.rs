//! Why an endpoint gets the part of the connects that it gets, in words.

use crate::model::Vital;

use super::program::Endpoint;

impl Endpoint {
    /// Why its share is what it is; `None` where its weight says it all. `ejection`: what more is known of it, where it is
    /// ejected.
    pub fn why(&self, ejection: Option<String>) -> Option<String> {
        if self.is_denied() {
            let access = self.access.as_ref();
            return access.map(|access| format!("connects to it fail: {}", access.sentence()));
        }
        let reason = match self.vital {
            Vital::Failing => "its object says that it is unhealthy".to_owned(),
            Vital::Ejected => ejection.unwrap_or_else(|| "taken to be ejected".to_owned()),
            Vital::Warming(part) => {
                let percent = f64::from(part) / 10.0;
                format!("warms up: counts {percent}% of its weight")
            }
            Vital::Healthy if self.weight == 0 => "drains: gets no new connects".to_owned(),
            Vital::Healthy if self.share == 0 && self.priority > 0 => {
                format!("in reserve: priorities below {} take all", self.priority)
            }
            Vital::Healthy if self.share == 0 => "its locality gets no part".to_owned(),
            Vital::Healthy => return None,
        };
        let is_in_panic = !self.vital.is_healthy() && self.share > 0;
        let more = "; takes its part all the same, as fewer than minHealthPercent are healthy";
        Some(if is_in_panic { reason + more } else { reason })
    }
}

#[cfg(test)]
mod tests {
    use crate::compile::compile;
    use crate::model::fixtures::{endpoint, entry, snapshot};

    use super::*;

    /// What is said of an endpoint that takes all, changed so.
    fn said(change: impl FnOnce(&mut Endpoint)) -> Option<String> {
        let object = entry("a.example").with_endpoints(vec![endpoint("192.0.2.1")]);
        let compiled = compile(&snapshot(&[object]));
        let service = compiled.program.services.values().next().unwrap();
        let mut endpoint = service.endpoints[0].clone();
        change(&mut endpoint);
        endpoint.why(None)
    }

    #[test]
    fn an_endpoint_that_gets_what_its_weight_says_needs_no_reason() {
        assert_eq!(said(|_| ()), None);
    }

    #[test]
    fn a_part_that_differs_from_the_weight_is_explained() {
        let out =
            |vital| move |endpoint: &mut Endpoint| (endpoint.vital, endpoint.share) = (vital, 0);
        let warming = |endpoint: &mut Endpoint| endpoint.vital = Vital::Warming(125);
        let draining = |endpoint: &mut Endpoint| endpoint.weight = 0;
        let later = |endpoint: &mut Endpoint| (endpoint.share, endpoint.priority) = (0, 2);
        for (found, expected) in [
            (said(out(Vital::Ejected)), "taken to be ejected"),
            (
                said(out(Vital::Failing)),
                "its object says that it is unhealthy",
            ),
            (said(warming), "warms up: counts 12.5% of its weight"),
            (said(draining), "drains: gets no new connects"),
            (said(later), "in reserve: priorities below 2 take all"),
            (said(out(Vital::Healthy)), "its locality gets no part"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_out_but_gets_connects_says_that_too() {
        assert_eq!(
            said(|endpoint| endpoint.vital = Vital::Failing).unwrap(),
            "its object says that it is unhealthy; takes its part all the same, as fewer than minHealthPercent are healthy"
        );
    }
}
