//! All objects together, and how they inherit from each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    DEFAULT_PROFILE, IpPool, Listener, Netmask, Parameters, PeerProfile, PppProfile, Session,
    SessionParams, SessionProfile, System, Tunnel, TunnelParams, TunnelProfile, User,
};

/// A whole configuration. The four profiles called "default" are always there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// The daemon as a whole.
    pub system: System,
    /// By profile_name.
    pub peer_profiles: BTreeMap<String, PeerProfile>,
    /// By profile_name.
    pub tunnel_profiles: BTreeMap<String, TunnelProfile>,
    /// By profile_name.
    pub session_profiles: BTreeMap<String, SessionProfile>,
    /// By profile_name.
    pub ppp_profiles: BTreeMap<String, PppProfile>,
    /// The tunnels that we open, in the order of their creation.
    pub tunnels: Vec<Tunnel>,
    /// The sessions that we open, in the order of their creation.
    pub sessions: Vec<Session>,
    /// By user_name.
    pub users: BTreeMap<String, User>,
    /// By pool_name.
    pub ip_pools: BTreeMap<String, IpPool>,
    /// By listener_name.
    pub listeners: BTreeMap<String, Listener>,
}

/// A map with the object called "default" in it.
macro_rules! with_default {
    ($profile:ident) => {{
        let name = Some(DEFAULT_PROFILE.to_owned());
        BTreeMap::from([(
            DEFAULT_PROFILE.to_owned(),
            $profile {
                profile_name: name,
                ..$profile::default()
            },
        )])
    }};
}

impl Default for Model {
    fn default() -> Self {
        Self {
            system: System::default(),
            peer_profiles: with_default!(PeerProfile),
            tunnel_profiles: with_default!(TunnelProfile),
            session_profiles: with_default!(SessionProfile),
            ppp_profiles: with_default!(PppProfile),
            tunnels: Vec::new(),
            sessions: Vec::new(),
            users: BTreeMap::new(),
            ip_pools: BTreeMap::new(),
            listeners: BTreeMap::new(),
        }
    }
}

impl Model {
    /// The profile of a peer that calls from this address and port: the one named like its Host Name, else the one whose peer_ipaddr is its
    /// address or has the longest netmask that contains it, and whose peer_port, if it has one, is its port; of two the one with a port.
    /// None: the profile "default" applies, but nothing matched.
    pub fn match_peer(&self, host_name: &str, peer: SocketAddr) -> Option<&PeerProfile> {
        let address = peer.ip();
        // A peer that calls itself "default" has matched nothing by that.
        named(Some(host_name))
            .and_then(|name| self.peer_profiles.get(name))
            .or_else(|| {
                let full = Netmask::full(address);
                self.peer_profiles
                    .values()
                    .filter_map(|profile| {
                        Some((
                            profile.netmask().unwrap_or(full),
                            profile.peer_ipaddr()?,
                            profile,
                        ))
                    })
                    .filter(|(mask, network, profile)| {
                        mask.matches(*network, address)
                            && [0, peer.port()].contains(&profile.peer_port())
                    })
                    .max_by_key(|(mask, _, profile)| (*mask, profile.peer_port() != 0))
                    .map(|(.., profile)| profile)
            })
    }

    /// The parameters of a tunnel that we open: its own, else its profile's, else those of the profile "default".
    ///
    /// In the result `peer_profile_name`, `session_profile_name` and `ppp_profile_name` are always set: where neither the
    /// tunnel nor its profile names one, or only "default", it is the peer profile's.
    pub fn tunnel_params(&self, tunnel: &Tunnel) -> TunnelParams {
        let profiles = &self.tunnel_profiles;
        let mut params = inherit(&tunnel.params, profiles, tunnel.profile_name(), |profile| {
            &profile.params
        });
        let peer_name = params
            .peer_profile_name()
            .unwrap_or(DEFAULT_PROFILE)
            .to_owned();
        let peer = self.peer_params(&peer_name);
        let session = named(params.session_profile_name())
            .unwrap_or(peer.session_profile_name())
            .to_owned();
        let ppp = named(params.ppp_profile_name())
            .unwrap_or(peer.ppp_profile_name())
            .to_owned();
        params.peer_profile_name = Some(peer_name);
        params.session_profile_name = Some(session);
        params.ppp_profile_name = Some(ppp);
        params
    }

    /// The parameters of a peer: those of the profile of this name, else those of the profile "default".
    pub fn peer_params(&self, profile_name: &str) -> PeerProfile {
        inherit(
            &PeerProfile::default(),
            &self.peer_profiles,
            profile_name,
            |profile| profile,
        )
    }

    /// The parameters of a tunnel that a peer opens, as [`Model::tunnel_params`]; `peer` is what
    /// [`Model::match_peer`] found.
    pub fn served_tunnel_params(&self, peer: Option<&PeerProfile>) -> TunnelParams {
        let name = peer
            .and_then(|peer| peer.profile_name())
            .unwrap_or(DEFAULT_PROFILE);
        let base = PeerProfile::default();
        let default_peer = self.peer_profiles.get(DEFAULT_PROFILE).unwrap_or(&base);
        let tunnel_profile = peer.and_then(|peer| peer.tunnel_profile_name.clone());
        self.tunnel_params(&Tunnel {
            profile_name: tunnel_profile.or_else(|| default_peer.tunnel_profile_name.clone()),
            params: TunnelParams {
                peer_profile_name: Some(name.to_owned()),
                ..TunnelParams::default()
            },
            ..Tunnel::default()
        })
    }

    /// The parameters of a session in a tunnel whose parameters are `tunnel`: its own, else those of its profile (or the
    /// tunnel's), else those of the profile "default". A session that a peer opens is `Session::default()`.
    ///
    /// In the result `ppp_profile_name` is always set: where neither the session nor its profile names one, or the
    /// profile only "default", it is the tunnel's.
    pub fn session_params(&self, session: &Session, tunnel: &TunnelParams) -> SessionParams {
        let profile = session
            .profile_name()
            .or(tunnel.session_profile_name())
            .unwrap_or(DEFAULT_PROFILE);
        let mut params = inherit(
            &session.params,
            &self.session_profiles,
            profile,
            |profile| &profile.params,
        );
        let own = session
            .params
            .ppp_profile_name()
            .or(named(params.ppp_profile_name()));
        let ppp = own
            .or(tunnel.ppp_profile_name())
            .unwrap_or(DEFAULT_PROFILE)
            .to_owned();
        params.ppp_profile_name = Some(ppp);
        params
    }

    /// How PPP runs in a session whose parameters are `session`: its PPP profile, else the profile "default".
    pub fn ppp_params(&self, session: &SessionParams) -> PppProfile {
        let name = session.ppp_profile_name().unwrap_or(DEFAULT_PROFILE);
        inherit(
            &PppProfile::default(),
            &self.ppp_profiles,
            name,
            |profile| profile,
        )
    }
}

/// A profile that was named, unless it is "default", which says nothing.
fn named(profile: Option<&str>) -> Option<&str> {
    profile.filter(|&name| name != DEFAULT_PROFILE)
}

/// `own` over the profile called `name` over the profile "default".
fn inherit<P: Parameters, T>(
    own: &P,
    profiles: &BTreeMap<String, T>,
    name: &str,
    params: fn(&T) -> &P,
) -> P {
    [name, DEFAULT_PROFILE]
        .iter()
        .filter_map(|&name| profiles.get(name))
        .fold(own.clone(), |own, profile| own.merged_over(params(profile)))
}
