//! How the datapath gets its sessions: before the peer may send in them, which is when a call is accepted, and not when it is established. What comes
//! for a session of the kernel while that is made is dropped there.

use std::sync::Arc;
use std::time::Duration;

use api::Role;
use config::{PppEngine, SessionParams};
use datapath::{
    Choice, DatapathError, Device, Encapsulation, Handle, Ids, Outer, Request, Sequencing,
    SessionSpec, Transport,
};
use ppp::Cause;
use serde::{Deserialize, Serialize};

use crate::policy::PppSetup;
use crate::sessions::{Pending, handle, place_of};
use crate::status::{role, session_profile};
use crate::{Engine, Output};

/// A session of the datapath whose call is not established.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) handle: Handle,
    /// As it was known so far.
    sequencing: Sequencing,
    /// What became of it, once the datapath has said.
    pub(crate) made: Option<Result<datapath::Engine, DatapathError>>,
    pub(crate) no_faster: Option<String>,
}

/// What a session is to be like, as its tunnel, its configuration and its call say.
pub(crate) struct Terms {
    pub(crate) role: Role,
    /// The number of the session that we were told to make and of which this is an attempt.
    pub(crate) created: Option<u64>,
    pub(crate) profile_name: Arc<str>,
    pub(crate) params: SessionParams,
    pub(crate) setup: Arc<PppSetup>,
    pub(crate) sequencing: Sequencing,
}

/// What of it the datapath must know.
struct Of<'a> {
    role: Role,
    params: &'a SessionParams,
    setup: &'a PppSetup,
    sequencing: Sequencing,
    reorder_timeout: Duration,
    peer_session_id: u16,
    dscp: Option<u8>,
    /// The name of its device, if it had one before.
    device: Option<&'a str>,
    lent: bool,
}

impl Engine {
    /// What the session of a call is to be like, after what was said of the call so far.
    /// `numbered`: that numbers were required.
    pub(crate) fn terms(&mut self, tunnel: u16, id: u16, numbered: bool) -> Option<Terms> {
        let attempt = self.created_session(tunnel, id);
        let created = attempt.map(|attempt| attempt.number);
        let config = attempt.map(|attempt| attempt.config.clone());
        let tunnel = self.tunnels.get(&tunnel)?;
        let role = role(tunnel.control.call(id)?.kind);
        let profile_name = session_profile(&tunnel.setup, config.as_ref());
        let profile_name = self.policy.shared(profile_name);
        let params = self
            .policy
            .session_params(&tunnel.setup, &config.unwrap_or_default());
        let sequencing = match role {
            _ if numbered || params.sequencing_required() => Sequencing::Required,
            Role::Lac => Sequencing::AsPeer,
            Role::Lns => Sequencing::Own(params.use_sequence_numbers()),
        };
        Some(Terms {
            role,
            created,
            profile_name,
            setup: self.policy.ppp(&tunnel.setup, &params, role),
            params,
            sequencing,
        })
    }

    /// Has the datapath carry the session of a call that is being established.
    pub(crate) fn prepare(&mut self, tunnel_id: u16, id: u16) {
        let Some(spec) = self.prepared_spec(tunnel_id, id) else {
            return;
        };
        let handle = handle(self.next_number(), tunnel_id, id);
        let Encapsulation::V2 { sequencing, .. } = spec.encapsulation else {
            return;
        };
        let prepared = Prepared {
            handle,
            sequencing,
            made: None,
            no_faster: None,
        };
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel_id) {
            tunnel.prepared.insert(id, prepared);
        }
        self.create(tunnel_id, id, handle, spec);
    }

    /// The same for a datapath that has none.
    pub(crate) fn prepare_again(&mut self) {
        let all = self.tunnels.iter_mut().flat_map(|(&tunnel, t)| {
            t.prepared.iter_mut().map(move |(&id, prepared)| {
                (prepared.made, prepared.no_faster) = (None, None);
                (tunnel, id, prepared.handle)
            })
        });
        for (tunnel, id, handle) in all.collect::<Vec<_>>() {
            if let Some(spec) = self.prepared_spec(tunnel, id) {
                self.create(tunnel, id, handle, spec);
            }
        }
    }

    /// What the datapath must know of the session of a call that is being established, if it is to have it.
    fn prepared_spec(&mut self, tunnel_id: u16, id: u16) -> Option<SessionSpec> {
        let call = self.tunnels.get(&tunnel_id)?.control.call(id)?;
        let info = call.info.as_ref()?;
        let (peer_session_id, dscp) = (call.peer_session_id, info.dscp);
        let numbered = info.params.sequencing_required;
        let terms = self.terms(tunnel_id, id, numbered)?;
        if terms.params.no_ppp() {
            return None;
        }
        let of = Of {
            role: terms.role,
            params: &terms.params,
            setup: &terms.setup,
            sequencing: terms.sequencing,
            reorder_timeout: reorder_timeout(&terms.params),
            peer_session_id,
            dscp,
            device: None,
            lent: terms.setup.profile.ppp_engine() == PppEngine::Pppd,
        };
        self.spec(tunnel_id, id, &of)
    }

    /// Lets an established call have what was prepared for it, or has the datapath carry it now.
    pub(crate) fn take_prepared(&mut self, tunnel: u16, id: u16) {
        let Some(holder) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let Some(prepared) = holder.prepared.remove(&id) else {
            return self.create_in_datapath(tunnel, id);
        };
        let Some(session) = holder.sessions.get_mut(&id) else {
            return;
        };
        session.no_faster = prepared.no_faster.map(Into::into);
        let (handle, sequencing) = (session.handle, session.sequencing);
        if sequencing != prepared.sequencing {
            self.set_sequencing(handle, sequencing);
        }
        if let Some(made) = prepared.made {
            self.made_in_datapath(tunnel, id, made);
        }
    }

    /// Has the datapath number a session's messages as this says.
    pub(crate) fn set_sequencing(&mut self, handle: Handle, sequencing: Sequencing) {
        let request = Request::SetSequencing { handle, sequencing };
        self.outputs.push_back(Output::Datapath(request));
    }

    /// Forgets what was prepared for a call that is over.
    pub(crate) fn abandon_prepared(&mut self, tunnel: u16, id: u16) {
        let holder = self.tunnels.get_mut(&tunnel);
        let Some(prepared) = holder.and_then(|tunnel| tunnel.prepared.remove(&id)) else {
            return;
        };
        // Nobody waits for its counters.
        let token = datapath::Token(self.next_number());
        let handle = prepared.handle;
        self.outputs
            .push_back(Output::Datapath(Request::Remove { token, handle }));
    }

    /// What is prepared under a handle.
    pub(crate) fn prepared(&mut self, handle: Handle) -> Option<&mut Prepared> {
        let (tunnel, id) = place_of(handle);
        let prepared = self.tunnels.get_mut(&tunnel)?.prepared.get_mut(&id)?;
        (prepared.handle == handle).then_some(prepared)
    }

    /// The datapath has a session, or will not.
    pub(crate) fn made_in_datapath(
        &mut self,
        tunnel: u16,
        id: u16,
        made: Result<datapath::Engine, DatapathError>,
    ) {
        match made {
            Ok(engine) => {
                if let Some(session) = self.session_mut(tunnel, id) {
                    session.engine = Some(engine);
                }
                self.start_pppd(tunnel, id);
            }
            Err(error) => {
                self.counters.refused.datapath += 1;
                // Nothing that PPP says would reach the peer.
                self.link_closed(tunnel, id, &Cause::NoResources(error.to_string()));
            }
        }
    }

    /// Has the datapath carry a session.
    pub(crate) fn create_in_datapath(&mut self, tunnel: u16, id: u16) {
        if let Some((handle, spec)) = self.session_spec(tunnel, id) {
            self.create(tunnel, id, handle, spec);
        }
    }

    fn create(&mut self, tunnel: u16, id: u16, handle: Handle, spec: SessionSpec) {
        let token = self.expect(Pending::Create(handle, tunnel, id));
        self.outputs.push_back(Output::Datapath(Request::Create {
            token,
            handle,
            spec,
        }));
    }

    /// What the datapath must know of a session.
    pub(crate) fn session_spec(&self, tunnel: u16, id: u16) -> Option<(Handle, SessionSpec)> {
        let holder = self.tunnels.get(&tunnel)?;
        let session = holder.sessions.get(&id)?;
        if session.no_ppp {
            return None;
        }
        let created = self.created_session(tunnel, id);
        let config = created.map(|created| created.config.clone());
        let params = self
            .policy
            .session_params(&holder.setup, &config.unwrap_or_default());
        let of = Of {
            role: session.role,
            params: &params,
            setup: &session.setup,
            sequencing: session.sequencing,
            reorder_timeout: session.reorder_timeout,
            peer_session_id: session.call.peer_session_id,
            dscp: session.call.dscp,
            device: session.device.as_deref(),
            lent: session.pppd.is_some(),
        };
        Some((session.handle, self.spec(tunnel, id, &of)?))
    }

    fn spec(&self, tunnel_id: u16, id: u16, of: &Of<'_>) -> Option<SessionSpec> {
        let tunnel = self.tunnels.get(&tunnel_id)?;
        // A name once given stays, whatever a datapath would choose now.
        let own = of.device.or(of.params.interface_name());
        let name = own.map(str::to_owned).or_else(|| {
            let of_tunnel = self.clients.get(&tunnel.client()?)?.config.interface_name();
            Some(format!("{}%d", of_tunnel?))
        });
        Some(SessionSpec {
            transport: Transport {
                listener: tunnel.listener.clone(),
                local: tunnel.local,
                remote: tunnel.remote,
            },
            encapsulation: Encapsulation::V2 {
                local: Ids {
                    tunnel: tunnel_id,
                    session: id,
                },
                peer: Ids {
                    tunnel: tunnel.control.peer_id(),
                    session: of.peer_session_id,
                },
                sequencing: of.sequencing,
                reorder_timeout: of.reorder_timeout,
            },
            outer: Outer {
                dscp: of.dscp.unwrap_or_default(),
                ecn: tunnel.control.ecn(),
                dont_fragment: tunnel.setup.params.do_pmtu_discovery(),
                no_checksum: !tunnel.setup.params.use_udp_checksums(),
            },
            device: match of.role {
                Role::Lns => Device::Shared,
                Role::Lac => Device::Own { name },
            },
            choice: choice(of.params.datapath()),
            mppe: of.setup.key_lengths(),
            lent: of.lent,
        })
    }
}

/// How long a message waits for those before it.
pub(crate) fn reorder_timeout(params: &SessionParams) -> Duration {
    Duration::from_millis(params.reorder_timeout().into())
}

const fn choice(datapath: config::Datapath) -> Choice {
    match datapath {
        config::Datapath::Auto => Choice::Auto,
        config::Datapath::Kernel => Choice::Kernel,
        config::Datapath::Ebpf => Choice::Ebpf,
        config::Datapath::Tun => Choice::Tun,
        config::Datapath::Null => Choice::Null,
    }
}
