//! The data plane of the running kernel.

mod btf;
mod capture;
mod closing;
mod counts;
mod denials;
mod detach;
mod earlier;
mod error;
mod events;
mod features;
mod figures;
mod held_pins;
mod links;
mod load;
mod loaded;
mod map_set;
mod mapping;
mod pins;
mod programs;
mod resync;
mod succession;
mod sweep;
mod tables;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use agent_common::abi::{ClientWord, Denial, Event};
use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::compile::{Frontend, Program, Service, ServiceKey};
use crate::dataplane::Limits;

use super::address;
use super::engine::{Applied, Engine};
use super::names::Names;
use super::own_cgroup::OwnCgroup;
use super::store::Store as _;

pub use capture::{Heart, LISTENERS, Listeners, Origins};
pub use denials::Denials;
pub use error::{AttachError, LoadError};
pub use events::Events;
pub(super) use features::Features;
pub use figures::{Counts, EndpointCounts, Fill, Outcomes, ProgramFigures, ServiceCounts};
pub use pins::Pinned;
pub(super) use pins::remove_stale as remove_stale_pins;
pub use resync::Pass;
pub use tables::KernelTables;

use earlier::Earlier;
use held_pins::HeldPins;
use links::Attachment;
use load::Hook;
use loaded::Loaded;
use map_set::MapSet;
use pins::PinDirectory;
use succession::Succession;

/// How to load.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of its own, as flags are"
)]
pub struct LoadOptions {
    pub limits: Limits,
    /// Where attachments are pinned, so that they outlive a killed agent. `None`: they end with the process.
    pub bpf_dir: Option<PathBuf>,
    /// Leave in effect what is pinned when the data plane ends, too, for another to go on from.
    pub keep: bool,
    /// Load the object that traces its decisions.
    pub trace: bool,
    /// Follow the states of redirected TCP connections, so that one counts as open until it ends, not until its socket is
    /// closed. Every TCP socket below the cgroups pays for it.
    pub sock_ops: bool,
    /// Store flow records at their sockets, as kernels before Linux 5.12 must.
    pub flows_at_sockets: bool,
}

/// Programs and maps in the kernel. Dropping it detaches and removes all of them, unless they are to be kept.
pub struct Dataplane {
    // Dropped in this order: first what redirects, last what keeps other agents away.
    attachments: Vec<Attachment>,
    /// Detached, but for a pin that could not be removed.
    ending: Vec<Attachment>,
    engine: Engine<KernelTables>,
    ebpf: Ebpf,
    traces: Option<Box<dyn FnMut() + Send>>,
    own_cgroup: Option<OwnCgroup>,
    pins: Option<(PinDirectory, MapSet)>,
    /// Once programs are attached.
    held_pins: Option<HeldPins>,
    goes_on: bool,
    /// What goes on of other maps than ours, until ours alone are in force.
    succession: Option<Succession>,
    /// Others' programs decide until ours do.
    has_predecessor: bool,
    keep: bool,
    hooks: Vec<Hook>,
    /// What the programs are attached to.
    cgroups: Vec<PathBuf>,
    limits: Limits,
}

impl Dataplane {
    /// Loads the programs: nothing is attached yet. What another agent left under the same `bpf_dir` stays in effect until
    /// [`Self::attach`] takes its place; its maps are gone on from where they fit, and are empty ones else. The process moves to
    /// a cgroup of its own where it shares one with others.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        if let Some(errno) = Features::get().untried {
            let error = io::Error::from_raw_os_error(errno);
            return Err(LoadError::Untried { error });
        }
        let directory = options.bpf_dir.as_deref();
        let directory = directory.map(PinDirectory::open).transpose()?;
        let Loaded {
            mut ebpf,
            mut engine,
            maps,
            goes_on,
            succession,
            limits,
        } = Loaded::get(options, directory.as_ref())?;
        let has_predecessor = directory.as_ref().is_some_and(PinDirectory::is_in_force);
        let traces = options.trace.then(|| start_traces(&mut ebpf)).transpose()?;
        let own_cgroup = OwnCgroup::enter()
            .inspect_err(|error| {
                tracing::warn!(%error, "no cgroup of our own: connects of the agent itself are not exempt");
            })
            .ok();
        // Where the cgroup of the agent before us had to be told of, ours must be as soon as we connect.
        if let Some(own) = own_cgroup.as_ref().filter(|_| engine.exempts()) {
            engine.exempt(own.id());
        }
        Ok(Self {
            attachments: Vec::new(),
            ending: Vec::new(),
            engine,
            ebpf,
            traces,
            own_cgroup,
            pins: directory.zip(maps),
            held_pins: None,
            goes_on,
            succession,
            has_predecessor,
            keep: options.keep,
            hooks: Hook::wanted(options)
                .filter(|hook| *hook != Hook::SockOps || options.sock_ops)
                .collect(),
            cgroups: Vec::new(),
            limits,
        })
    }

    /// Attaches every program to each of the cgroup v2 directories, in the place of what a killed agent left there. On failure
    /// nothing of this call stays attached, but what was there before.
    pub fn attach(&mut self, cgroups: &[PathBuf]) -> Result<(), AttachError> {
        // Asking for the cgroup of each connect costs more than the choice of an endpoint: only where it may be ours.
        let own = self.own_cgroup.as_ref();
        let own = own.filter(|own| own.is_below(cgroups));
        self.engine.exempt(own.map_or(0, OwnCgroup::id));
        if let Some(succession) = &mut self.succession {
            let ids: Vec<u32> = self.engine.names.counted().collect();
            succession.begin(&mut self.engine.store, &ids)?;
        }
        if let Some((pins, maps)) = &self.pins {
            let held = maps.hold_programs(&mut self.ebpf);
            held.map_err(|error| AttachError::pin("the programs", pins.path(), &*error))?;
        }
        let mut attachments = self.attach_in_steps(cgroups)?;
        self.attachments.append(&mut attachments);
        self.cgroups.extend_from_slice(cgroups);
        self.engine.rely_on_following(self.is_following());
        self.end_others();
        self.end_succession();
        self.merge_replies();
        self.hold_pins();
        Ok(())
    }

    /// What another agent has attached is exchanged in two halves, where ours go on from some of its maps.
    fn attach_in_steps(&mut self, cgroups: &[PathBuf]) -> Result<Vec<Attachment>, AttachError> {
        let hooks = self.due_hooks();
        let succession = self.succession.as_ref();
        let is_first = |hook: Hook| succession.is_some_and(|others| others.is_first(hook));
        let (first, rest): (Vec<Hook>, Vec<Hook>) = hooks.iter().partition(|hook| is_first(**hook));
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        let mut attached = links::attach(&self.ebpf, &first, cgroups, pins)?;
        if let Some(succession) = &mut self.succession
            && let Err(error) = succession.catch_up(&mut self.engine.store)
        {
            tracing::debug!(%error, "what others have counted is added when all is attached");
        }
        match links::attach(&self.ebpf, &rest, cgroups, pins) {
            Ok(others) => attached.extend(others),
            Err(error) => {
                attached.into_iter().for_each(Attachment::undo);
                return Err(error);
            }
        }
        attached.sort_by_key(|attachment| hooks.iter().position(|hook| *hook == attachment.hook));
        Ok(attached)
    }

    /// Counts where ours alone count from now on.
    fn end_succession(&mut self) {
        let Some((succession, (_, maps))) = self.succession.take().zip(self.pins.as_ref()) else {
            return;
        };
        match succession.end(&mut self.engine.store, maps) {
            Ok(()) => self.engine.stop_sharing(),
            Err(error) => {
                tracing::warn!(%error, "connections that began or ended just now are counted by the next start");
            }
        }
    }

    /// Once the programs of others have run for the last time, which remembered replies in other maps than ours.
    fn merge_replies(&mut self) {
        let Some((_, maps)) = &self.pins else {
            return;
        };
        let merged = Earlier::of(Some(maps)).and_then(|earlier| {
            if earlier.replies.is_none() {
                return Ok(());
            }
            self.engine.store.wait_for_readers()?;
            earlier::merge_replies(maps)
        });
        if let Err(error) = merged {
            tracing::warn!(%error, "replies of an earlier agent are looked up apart from ours");
        }
    }

    /// What is pinned of the maps from now on stays so.
    fn hold_pins(&mut self) {
        let maps = self.pins.as_ref().map(|(_, maps)| HeldPins::of(maps));
        match maps.transpose() {
            Ok(held) => self.held_pins = held,
            Err(error) => tracing::warn!(%error, "pins of maps are not looked after"),
        }
    }

    /// What is always attached, and what follows connections where another agent has left that attached: whether it is still
    /// wanted is for [`Self::follow`] to say.
    fn due_hooks(&self) -> Vec<Hook> {
        let mut hooks = self.hooks.clone();
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        let is_left = pins.is_some_and(|pins| pins.has_left(Hook::SockOps.program()));
        if is_left && self.can_follow() && !self.always_follows() {
            hooks.insert(0, Hook::SockOps);
        }
        hooks
    }

    fn is_following(&self) -> bool {
        self.attachments.iter().any(|a| a.hook == Hook::SockOps)
    }

    /// Ends what another agent has left where nothing of ours is. What it was good for is done by now.
    fn end_others(&self) {
        let Some((pins, maps)) = &self.pins else {
            return;
        };
        let ours = self.attachments.iter().filter_map(Attachment::pin);
        let ended = pins.end_others(&ours.collect(), maps);
        if let Err(error) = ended.and_then(|()| maps.release_programs(&self.ebpf)) {
            tracing::error!(%error, "attachments of another agent stay beside ours; run `shunt cleanup` once this one has ended");
        }
    }

    /// Whether the maps are those that another agent has filled, in which nothing has changed until the first
    /// [`Self::apply`].
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether another agent's programs decided on connects when this was loaded, be it by these maps or by others.
    pub fn has_predecessor(&self) -> bool {
        self.has_predecessor
    }

    /// Whether connections are followed whatever the program says.
    fn always_follows(&self) -> bool {
        self.hooks.contains(&Hook::SockOps)
    }

    /// Whether connects can be told to fail.
    pub fn can_follow(&self) -> bool {
        Hook::is_loaded(&self.ebpf, Hook::SockOps)
    }

    /// Follows connections, or no longer: what costs every TCP socket below the cgroups is attached only for that time.
    pub fn follow(&mut self, wanted: bool) -> Result<(), AttachError> {
        if wanted == self.is_following() || self.always_follows() || !self.can_follow() {
            return Ok(());
        }
        if !wanted {
            self.engine.rely_on_following(false);
            let follows = |attachment: &mut Attachment| attachment.hook == Hook::SockOps;
            self.ending.extend(self.attachments.extract_if(.., follows));
            if let Err(error) = self.finish_ending() {
                tracing::warn!(%error, "it is tried again");
            }
            return Ok(());
        }
        // Else its pin would be where the new one is to be.
        self.finish_ending()?;
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        let (ebpf, cgroups) = (&self.ebpf, &self.cgroups);
        // Before what remembers, as it is detached in this order.
        self.attachments
            .extend(links::attach(ebpf, &[Hook::SockOps], cgroups, pins)?);
        self.engine.rely_on_following(true);
        Ok(())
    }

    fn finish_ending(&mut self) -> Result<(), AttachError> {
        while let Some(attachment) = self.ending.last_mut() {
            attachment.end()?;
            self.ending.pop();
        }
        Ok(())
    }

    /// Where failed connects are told; once. Must be called within a Tokio runtime.
    pub fn events(&mut self) -> Result<Events, LoadError> {
        Events::take(&mut self.ebpf)
    }

    /// The endpoint that an event is of, unless it is gone.
    pub fn place(&self, event: &Event) -> Option<(ServiceKey, SocketAddr)> {
        events::place(self.engine.names(), event)
    }

    /// Where denied connects are told; once.
    pub fn denials(&mut self) -> Result<Denials, LoadError> {
        Denials::take(&mut self.ebpf)
    }

    /// The service and the endpoint that a denial is about, as far as they are still there.
    pub fn denied(&self, denial: &Denial) -> (Option<&ServiceKey>, Option<SocketAddr>) {
        denials::place(self.engine.names(), denial)
    }

    /// Takes over what another agent has left; see [`Engine::go_on`].
    pub fn go_on(&mut self, program: &Program) {
        self.engine.go_on(program);
    }

    /// Makes the maps hold what `program` says.
    pub fn apply(&mut self, program: &Program) -> Applied {
        self.engine.apply(program)
    }

    /// Points further addresses at services that are in the maps; see [`Engine::extend`].
    pub fn extend(&mut self, frontends: &[(Frontend, ServiceKey)]) -> bool {
        self.engine.extend(frontends)
    }

    /// Says who is in single cgroups; see [`Engine::place`].
    pub fn place_clients(&mut self, changes: &[(u64, Option<ClientWord>)]) -> bool {
        self.engine.place(changes)
    }

    /// Publishes one service anew; see [`Engine::replace`].
    pub fn replace(&mut self, key: &ServiceKey, service: &Arc<Service>) -> bool {
        self.engine.replace(key, service)
    }

    /// Waits for a grace period where anything was replaced; see [`Engine::release_replaced`].
    pub fn release_replaced(&mut self) {
        self.engine.release_replaced();
    }

    /// The destinations that sockets asked for and were redirected from, as far as their records are in FLOWS.
    pub fn originals(&self) -> impl Iterator<Item = IpAddr> {
        let flows = self.engine.tables().flows();
        flows.map(|flow| address::to_ip(flow.original))
    }

    /// The live maps, for decisions outside the kernel.
    pub fn tables(&self) -> &KernelTables {
        self.engine.tables()
    }

    pub fn names(&self) -> &Names {
        self.engine.names()
    }

    /// Whether the kernel has what flow records in lines and `sock_ops` need (Linux 5.12).
    pub fn has_compare_and_swap() -> bool {
        Features::get().compare_and_swap
    }

    /// Whether a refused connect says why (Linux 6.1); else it says EPERM.
    pub fn can_set_errno() -> bool {
        Features::get().errno
    }

    /// Id of the cgroup whose connects are exempt.
    pub fn own_cgroup(&self) -> Option<u64> {
        self.own_cgroup.as_ref().map(OwnCgroup::id)
    }

    /// Passes what the programs have traced since the last call to the log. Nothing unless loaded with `trace`.
    pub fn flush_traces(&mut self) {
        if let Some(flush) = &mut self.traces {
            flush();
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if self.keep {
            // What is promised is what goes on without us: connects are decided as they are now, but nobody answers for names.
            self.stop_capture();
            self.engine.exempt(0);
            self.attachments.drain(..).for_each(Attachment::leave);
        }
    }
}

fn start_traces(ebpf: &mut Ebpf) -> Result<Box<dyn FnMut() + Send>, LoadError> {
    let mut logger = EbpfLogger::init(ebpf).map_err(|error| LoadError::Trace(error.to_string()))?;
    Ok(Box::new(move || logger.flush()))
}
