//! What has to be true of a model as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::change::not_found;
use crate::diagnostic::{Caution, Fault};
use crate::value::{Kind, Mppe, MppeBits};
use crate::{
    AuthMode, Command, ConfigError, DEFAULT_PROFILE, Listener, Model, Object, Parameters, Session,
    SessionParams, Span, Tunnel, TunnelParams, Verb,
};

/// What is wrong with one object of a model.
pub(crate) struct Breach {
    pub(crate) object: Object,
    /// The object's name; of tunnels and sessions, which may have none, the place in the model.
    pub(crate) which: Which,
    /// The parameter that is to blame, if it is one alone.
    parameter: Option<&'static str>,
    pub(crate) error: ConfigError,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Name(String),
    Place(usize),
}

/// What is wrong with parameters, and the one of them that is to blame, if it is one alone.
type Blame = (Option<&'static str>, ConfigError);

impl Model {
    /// Whether a tunnel can be made here: what it names is there, and its parameters fit together.
    ///
    /// # Errors
    ///
    /// What is not there, or does not fit.
    pub fn check_tunnel(&self, tunnel: &Tunnel) -> Result<(), ConfigError> {
        for (parameter, text) in tunnel.iter() {
            if let Kind::Name(class) = parameter.kind {
                self.find(class, &text)?;
            }
        }
        self.check_tunnel_params(&self.tunnel_params(tunnel))
    }

    /// Whether the parameters of a tunnel, its profiles' included, fit together and have a peer that there can be.
    ///
    /// # Errors
    ///
    /// What does not fit, or is missing.
    pub fn check_tunnel_params(&self, params: &TunnelParams) -> Result<(), ConfigError> {
        self.consistent(params).map_err(|(_, error)| error)
    }

    /// This model, of whose tunnels and sessions some may be others' by now, such as [`Model::load`] takes it: for a profile that is no longer there
    /// `default` is named, as that is in its place anyway, and all else that is wrong is left out.
    pub fn mended(mut self) -> Self {
        loop {
            let (mut is_whole, mut gone) = (true, BTreeSet::new());
            for breach in self.breaches() {
                let Breach {
                    object,
                    which: Which::Place(place),
                    parameter,
                    ..
                } = breach
                else {
                    continue;
                };
                let can_stay = match object {
                    Object::Tunnel => mend(&mut self.tunnels[place], parameter),
                    Object::Session => mend(&mut self.sessions[place], parameter),
                    _ => continue,
                };
                is_whole = false;
                if !can_stay {
                    gone.insert((object, place));
                }
            }
            if is_whole {
                return self;
            }
            let mut places = 0..;
            self.tunnels.retain(|_| {
                places
                    .next()
                    .is_some_and(|place| !gone.contains(&(Object::Tunnel, place)))
            });
            let mut places = 0..;
            self.sessions.retain(|_| {
                places
                    .next()
                    .is_some_and(|place| !gone.contains(&(Object::Session, place)))
            });
        }
    }

    /// What is consistent in the model that `commands` made, and yet can't work.
    pub(crate) fn doubts(&self, commands: &[&Command]) -> Vec<Caution> {
        let is_vain = |name: &&String| {
            let profile = self.ppp_params(&SessionParams {
                ppp_profile_name: Some((*name).clone()),
                ..SessionParams::default()
            });
            let is_long = matches!(profile.mppe_bits(), MppeBits::Any | MppeBits::Bits128);
            let has_keys = profile.auth_mschapv2() || profile.auth_mschapv1() && is_long;
            profile.mppe() == Mppe::Required && !has_keys
        };
        let doubt = |name: &String| {
            let breach = Breach {
                object: Object::PppProfile,
                which: Which::Name(name.clone()),
                parameter: Some("mppe"),
                error: ConfigError::NotHere {
                    name: "mppe",
                    why: "is required, and no MS-CHAP is on that gives it keys: no session will come up",
                },
            };
            let Fault { span, error } = breach.locate(commands);
            let message = error.to_string();
            Caution { span, message }
        };
        let names = self.ppp_profiles.keys();
        names.filter(is_vain).map(doubt).collect()
    }

    /// Everything that is wrong with the model.
    pub(crate) fn breaches(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        self.each(|object, which, set| {
            for (parameter, text) in set {
                if let Kind::Name(class) = parameter.kind
                    && let Err(error) = self.find(class, &text)
                {
                    breaches.push(Breach {
                        object,
                        which: which.clone(),
                        parameter: Some(parameter.name),
                        error,
                    });
                }
            }
        });
        self.profile_breaches(&mut breaches);
        self.listener_breaches(&mut breaches);
        self.tunnel_breaches(&mut breaches);
        self.session_breaches(&mut breaches);
        breaches
    }

    fn profile_breaches(&self, breaches: &mut Vec<Breach>) {
        for (name, profile) in &self.tunnel_profiles {
            let probe = Tunnel {
                profile_name: Some(name.clone()),
                ..Tunnel::default()
            };
            let own = &profile.params;
            if (own.hide_avps.is_some() || own.auth_mode.is_some())
                && let Err((parameter, error)) = has_its_secret(&self.tunnel_params(&probe))
            {
                breaches.push(Breach {
                    object: Object::TunnelProfile,
                    which: Which::Name(name.clone()),
                    parameter,
                    error,
                });
            }
        }
    }

    /// Listeners of which the kernel would let only the first have its port.
    fn listener_breaches(&self, breaches: &mut Vec<Breach>) {
        let mut of_port: BTreeMap<_, Vec<(&str, &Listener)>> = BTreeMap::new();
        for (name, listener) in &self.listeners {
            let others = of_port
                .entry((listener.netns(), listener.udp_port()))
                .or_default();
            if let Some((other, _)) = others.iter().find(|(_, other)| overlap(listener, other)) {
                let error = ConfigError::Conflict(format!(
                    "the listener `{other}` has this address and port, too"
                ));
                breaches.push(Breach {
                    object: Object::Listener,
                    which: Which::Name(name.clone()),
                    parameter: None,
                    error,
                });
            }
            others.push((name, listener));
        }
    }

    fn tunnel_breaches(&self, breaches: &mut Vec<Breach>) {
        let mut numbers = BTreeSet::new();
        for (place, tunnel) in self.tunnels.iter().enumerate() {
            let params = self.tunnel_params(tunnel);
            let mut breach = |(parameter, error)| {
                breaches.push(Breach {
                    object: Object::Tunnel,
                    which: Which::Place(place),
                    parameter,
                    error,
                });
            };
            if let Err(blame) = self.consistent(&params) {
                breach(blame);
            }
            if let (Some(peer), Some(id)) = (params.dest_ipaddr(), tunnel.config_id())
                && !numbers.insert((peer.to_owned(), id))
            {
                let text = format!("another tunnel to {peer} has the config_id {id}");
                breach((Some("config_id"), ConfigError::Conflict(text)));
            }
        }
    }

    fn session_breaches(&self, breaches: &mut Vec<Breach>) {
        let mut devices = BTreeSet::new();
        for (place, session) in self.sessions.iter().enumerate() {
            let mut breach = |parameter, text: String| {
                let error = ConfigError::Conflict(text);
                breaches.push(Breach {
                    object: Object::Session,
                    which: Which::Place(place),
                    parameter: Some(parameter),
                    error,
                });
            };
            if session.tunnel_name().is_none() {
                breach(
                    "tunnel_id",
                    "a session of the configuration names its tunnel by tunnel_name".to_owned(),
                );
            }
            if let Some(device) = session.params.interface_name()
                && !devices.insert(device)
            {
                breach(
                    "interface_name",
                    format!("the device `{device}` is another session's"),
                );
            }
        }
    }

    /// Whether the parameters of a tunnel fit together.
    fn consistent(&self, params: &TunnelParams) -> Result<(), Blame> {
        let Some(peer) = params.dest_ipaddr() else {
            let error = ConfigError::Missing {
                object: Object::Tunnel,
                verb: Verb::Create,
                name: "dest_ipaddr".to_owned(),
            };
            return Err((None, error));
        };
        let conflict = |parameter, text| Err((Some(parameter), ConfigError::Conflict(text)));
        // What a name stands for is seen when it is used.
        if let Ok(address) = peer.parse() {
            if let Some(whose) = nobody_alone(address) {
                return conflict(
                    "dest_ipaddr",
                    format!("{peer} is {whose}, not that of a peer"),
                );
            }
            let its = || self.listeners.get(params.listener_name()?)?.ipaddr();
            let own = params.src_ipaddr().map(|own| ("src_ipaddr", own));
            let own = own.or_else(|| Some(("listener_name", its()?)));
            if let Some((parameter, own)) =
                own.filter(|(_, own)| own.is_ipv4() != address.is_ipv4())
            {
                return conflict(
                    parameter,
                    format!("from {own} there is no way to {peer}: one is of IPv4, one of IPv6"),
                );
            }
        }
        has_its_secret(params)
    }

    /// Whether there is an object of this class and name.
    fn find(&self, class: Object, name: &str) -> Result<(), ConfigError> {
        let names: Vec<&str> = match class {
            Object::PeerProfile => self.peer_profiles.keys().map(String::as_str).collect(),
            Object::TunnelProfile => self.tunnel_profiles.keys().map(String::as_str).collect(),
            Object::SessionProfile => self.session_profiles.keys().map(String::as_str).collect(),
            Object::PppProfile => self.ppp_profiles.keys().map(String::as_str).collect(),
            Object::User => self.users.keys().map(String::as_str).collect(),
            Object::IpPool => self.ip_pools.keys().map(String::as_str).collect(),
            Object::Listener => self.listeners.keys().map(String::as_str).collect(),
            Object::Tunnel => self
                .tunnels
                .iter()
                .filter_map(Tunnel::tunnel_name)
                .collect(),
            Object::Session => self
                .sessions
                .iter()
                .filter_map(Session::session_name)
                .collect(),
            Object::System => Vec::new(),
        };
        if names.contains(&name) {
            Ok(())
        } else {
            Err(not_found(class, name, names.into_iter()))
        }
    }
}

impl Breach {
    /// Where in the text of `commands` it is.
    pub(crate) fn locate(self, commands: &[&Command]) -> Fault {
        let Self {
            object,
            which,
            parameter,
            error,
        } = self;
        let mut of_class = commands.iter().filter(|command| command.object == object);
        let command = match which {
            Which::Place(place) => of_class
                .filter(|command| command.verb != Verb::Modify)
                .nth(place),
            Which::Name(name) => {
                let key = object.key().map_or("", |key| key.name);
                let is_it = |command: &&&Command| command.value(key) == Some(name.as_str());
                let gives = |command: &&&Command| {
                    parameter.is_none_or(|parameter| command.value(parameter).is_some())
                };
                let last = of_class.clone().filter(is_it).rfind(gives);
                last.or_else(|| of_class.find(is_it))
            }
        };
        let span = command.map_or(Span::default(), |command| {
            let argument = command
                .arguments
                .iter()
                .rev()
                .find(|argument| Some(argument.name) == parameter);
            argument.map_or(command.span, |argument| argument.value_span)
        });
        Fault { span, error }
    }

    /// The object, for people.
    pub(crate) fn label(&self, model: &Model) -> String {
        let name = match (&self.which, self.object) {
            (Which::Name(name), _) => Some(name.as_str()),
            (Which::Place(place), Object::Tunnel) => {
                model.tunnels.get(*place).and_then(Tunnel::tunnel_name)
            }
            (Which::Place(place), _) => model.sessions.get(*place).and_then(Session::session_name),
        };
        name.map_or_else(
            || format!("a {}", self.object),
            |name| format!("the {} `{name}`", self.object),
        )
    }
}

/// Whether a tunnel has the secret that its parameters ask for.
fn has_its_secret(params: &TunnelParams) -> Result<(), Blame> {
    let needs_secret = |parameter, what| {
        let text = format!("{what} needs a secret");
        Err((Some(parameter), ConfigError::Conflict(text)))
    };
    match (params.secret(), params.auth_mode()) {
        (None, AuthMode::Challenge) => needs_secret("auth_mode", "auth_mode=challenge"),
        (None, _) if params.hide_avps() => needs_secret("hide_avps", "hide_avps=yes"),
        _ => Ok(()),
    }
}

/// Whose address it is, if not that of one host.
fn nobody_alone(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    if address.is_unspecified() {
        Some("no host's address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == Ipv4Addr::BROADCAST {
        Some("the broadcast address")
    } else {
        None
    }
}

/// Whether two listeners of one port have an address and a device in common.
fn overlap(one: &Listener, other: &Listener) -> bool {
    let devices = (one.interface_name(), other.interface_name());
    let any = |listener: &Listener| -> Vec<IpAddr> {
        let every = || vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        listener.ipaddr().map_or_else(every, |one| vec![one])
    };
    let meet = |a: &IpAddr, b: &IpAddr| {
        a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
    };
    (devices.0.is_none() || devices.1.is_none() || devices.0 == devices.1)
        && any(one)
            .iter()
            .any(|a| any(other).iter().any(|b| meet(a, b)))
}

/// Has an object do without what is wrong with it; whether that is so.
fn mend<T: Parameters>(object: &mut T, parameter: Option<&str>) -> bool {
    let Some(name) = parameter else {
        return false;
    };
    let before = object.get(name);
    let mut its = T::parameters()
        .iter()
        .filter(|parameter| parameter.name == name);
    let is_profile =
        its.any(|parameter| matches!(parameter.kind, Kind::Name(class) if class.is_profile()));
    let done = match is_profile {
        true => object.set(name, DEFAULT_PROFILE),
        false => object.unset(name),
    };
    done.is_ok() && object.get(name) != before
}
