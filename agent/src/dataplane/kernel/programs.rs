//! Are our programs still where we attached them? What somebody else has detached, exchanged or unpinned is put back, in the order
//! of attaching; then the pins of maps.

use std::collections::BTreeMap;
use std::io;

use crate::dataplane::drift::{Deviation, Drift, Part, Survey};

use super::Dataplane;
use super::links::{Attachment, Fault};
use super::load::Hook;

/// Faults that one attachment may have at once.
const FAULTS: usize = 3;

impl Dataplane {
    /// Looks at every attachment, and puts back what is missing. Of a cgroup that is gone it is said once.
    pub fn look_after_programs(&mut self) -> Survey {
        if let Err(error) = self.finish_ending() {
            tracing::debug!(%error, "it is tried again");
        }
        let mut found = Vec::new();
        for at in 0..self.attachments.len() {
            for _ in 0..FAULTS {
                let Some(drift) = self.look_after(at) else {
                    break;
                };
                let is_over = drift.failure.is_some();
                found.push(drift);
                if is_over {
                    break;
                }
            }
        }
        let attached = self.attachments.iter().filter(|a| a.is_attached());
        let mut compared = BTreeMap::from([(Part::Programs, attached.count())]);
        if let Some(pins) = &self.held_pins {
            compared.insert(Part::Pins, pins.count());
            found.append(&mut pins.look_after());
        }
        Survey { compared, found }
    }

    fn look_after(&mut self, at: usize) -> Option<Drift> {
        let attachment = &self.attachments[at];
        let (hook, was_attached) = (attachment.hook, attachment.is_attached());
        let name = format!("{} on {}", hook.program(), attachment.cgroup.display());
        let drift = |deviation, what, failure| Drift {
            part: Part::Programs,
            deviation,
            what,
            failure,
        };
        let fault = self.program_id(hook).and_then(|id| attachment.fault(id));
        let fault = match fault {
            Ok(fault) => fault?,
            Err(error) => return Some(drift(Deviation::Changed, name, Some(error.to_string()))),
        };
        if fault == Fault::Detached && !attachment.cgroup.exists() {
            return was_attached.then(|| {
                let forgotten = self.attachments[at].forget();
                let more = forgotten
                    .err()
                    .map(|error| format!("; its pin stays: {error}"));
                let failure = format!("the cgroup is gone{}", more.unwrap_or_default());
                drift(Deviation::Missing, name, Some(failure))
            });
        }
        let (deviation, how) = match fault {
            Fault::Detached if was_attached => (Deviation::Missing, "was detached".to_owned()),
            Fault::Detached => (Deviation::Missing, "had gone with its cgroup".to_owned()),
            Fault::Exchanged(id) => (Deviation::Changed, format!("program {id} ran in its place")),
            Fault::Unpinned => (Deviation::Missing, "its pin was removed".to_owned()),
        };
        let failure = self
            .put_back(at, fault)
            .err()
            .map(|error| error.to_string());
        Some(drift(deviation, format!("{name}: {how}"), failure))
    }

    fn put_back(&mut self, at: usize, fault: Fault) -> anyhow::Result<()> {
        let mut pins = self.pins.as_mut().map(|(pins, _)| pins);
        if let Some(pins) = &mut pins {
            pins.restore()?;
        }
        let attachment: &mut Attachment = &mut self.attachments[at];
        Ok(attachment.mend(fault, &self.ebpf, pins.as_deref())?)
    }

    fn program_id(&self, hook: Hook) -> io::Result<u32> {
        let program = self.ebpf.program(hook.program());
        let program = program.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let info = program.info().map_err(io::Error::other)?;
        Ok(info.id())
    }
}
