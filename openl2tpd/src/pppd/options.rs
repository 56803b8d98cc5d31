//! What a pppd is run with: the options of OpenL2TP 1.8, in its order (pppd(8)).

use std::net::Ipv4Addr;
use std::path::Path;

use api::Role;
use config::{Mppe, MppeBits, PppProfile, SyncMode};
use crypto::Secret;
use engine::PppdSetup;
use ppp::AuthProtocol;

/// What of a pppd's options is not its session's.
pub(crate) struct Places<'a> {
    /// The plugins: `pppol2tp.so` and `openl2tp.so`.
    pub(crate) plugins: [&'a Path; 2],
    /// Our socket for what it tells.
    pub(crate) socket: &'a Path,
    /// Its session's socket, a descriptor.
    pub(crate) session: i32,
    /// A descriptor of a file of options that are nobody else's to see, if there are any.
    pub(crate) secrets: Option<i32>,
}

/// The arguments of a pppd. Nothing secret is among them.
pub(crate) fn arguments(setup: &PppdSetup, places: &Places<'_>) -> Vec<String> {
    let mut options = Options(Vec::new());
    options.network(setup);
    if setup.debug {
        options.word("debug");
    }
    options.value("mtu", setup.mtu);
    options.value("mru", setup.mru);
    options.value("name", &setup.local_name);
    options.optional("remotename", setup.profile.remote_name());
    options.routes(setup);
    if setup.profile.sync_mode() != SyncMode::Async {
        options.word("sync");
    }
    options.authentication(setup);
    options.numbers(&setup.profile);
    // Neither a terminal nor compression that L2TP has a use for.
    options.words(
        "nodetach logfd 2 local noaccomp nopcomp nobsdcomp nodeflate nopredictor1 novj novjccomp",
    );
    options.encryption(&setup.profile);
    match setup.profile.multilink() {
        true => options.word("multilink"),
        false => options.words("noendpoint nomp"),
    }
    if setup.profile.proxy_arp() {
        options.word("proxyarp");
    }
    options.session(setup, places);
    options.0
}

struct Options(Vec<String>);

impl Options {
    fn word(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }

    fn words(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(str::to_owned));
    }

    fn value(&mut self, name: &str, value: impl ToString) {
        self.word(name);
        self.0.push(value.to_string());
    }

    fn optional(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// Which network layers, their addresses and the servers that the peer is told of.
    fn network(&mut self, setup: &PppdSetup) {
        let profile = &setup.profile;
        let client = setup.role == Role::Lac;
        let text = |address: Option<Ipv4Addr>| address.map_or_else(String::new, |a| a.to_string());
        let peer = profile.remote_ipaddr().filter(|_| client);
        if setup.local.is_some() || peer.is_some() {
            self.0.push(format!("{}:{}", text(setup.local), text(peer)));
        }
        if !profile.use_ipv4() {
            self.word("noip");
        }
        self.word(if profile.use_ipv6() {
            "+ipv6"
        } else {
            "noipv6"
        });
        if client {
            return;
        }
        self.optional("ms-dns", profile.dns_ipaddr_pri());
        self.optional("ms-dns", profile.dns_ipaddr_sec());
        self.optional("ms-wins", profile.wins_ipaddr_pri());
        self.optional("ms-wins", profile.wins_ipaddr_sec());
    }

    fn routes(&mut self, setup: &PppdSetup) {
        match setup.profile.default_route {
            Some(true) if setup.role == Role::Lac => self.word("defaultroute"),
            Some(_) => self.word("nodefaultroute"),
            None => {}
        }
        if setup.role == Role::Lac && setup.local.is_none() {
            self.word("noipdefault");
        }
    }

    fn authentication(&mut self, setup: &PppdSetup) {
        let known = [
            ("pap", Some(AuthProtocol::Pap)),
            ("chap", Some(AuthProtocol::ChapMd5)),
            ("mschap", Some(AuthProtocol::MsChapV1)),
            ("mschap-v2", Some(AuthProtocol::MsChapV2)),
            ("eap", None),
        ];
        for (name, protocol) in known {
            let allowed = protocol.is_some_and(|protocol| setup.allowed_auth.contains(&protocol));
            if !allowed {
                self.0.push(format!("refuse-{name}"));
            } else if setup.demands_auth {
                // Of a peer that has to prove itself EAP would be asked, too, if nothing were named.
                self.0.push(format!("require-{name}"));
            }
        }
        self.word(if setup.demands_auth { "auth" } else { "noauth" });
    }

    /// pppd asks for MPPE or does without: an optional one it does not know.
    fn encryption(&mut self, profile: &PppProfile) {
        match (profile.mppe(), profile.mppe_bits()) {
            (Mppe::No | Mppe::Optional, _) => return self.word("noccp"),
            (Mppe::Required, MppeBits::Bits40) => self.word("require-mppe-40"),
            (Mppe::Required, MppeBits::Bits128) => self.word("require-mppe-128"),
            // Those of 56 bits it refuses itself, as it has none.
            (Mppe::Required, MppeBits::Bits56) => self.words("require-mppe nomppe-40 nomppe-128"),
            (Mppe::Required, MppeBits::Any) => self.word("require-mppe"),
        }
        if profile.mppe_stateful() {
            self.word("mppe-stateful");
        }
    }

    fn numbers(&mut self, profile: &PppProfile) {
        match profile.asyncmap() {
            Some(map) => self.value("asyncmap", format!("{map:x}")),
            None => self.word("default-asyncmap"),
        }
        let numbers = [
            ("chap-interval", profile.chap_interval()),
            ("chap-max-challenge", profile.chap_max_challenge().into()),
            ("chap-restart", profile.chap_restart()),
            ("pap-max-authreq", profile.pap_max_auth_requests().into()),
            ("pap-restart", profile.pap_restart_interval()),
            ("pap-timeout", profile.pap_timeout()),
            ("idle", profile.idle_timeout()),
            ("maxconnect", profile.max_connect_time()),
            (
                "ipcp-max-configure",
                profile.ipcp_max_config_requests().into(),
            ),
            ("ipcp-max-failure", profile.ipcp_max_config_naks().into()),
            (
                "ipcp-max-terminate",
                profile.ipcp_max_terminate_requests().into(),
            ),
            ("ipcp-restart", profile.ipcp_retransmit_interval()),
            ("lcp-echo-failure", profile.lcp_echo_failure_count()),
            ("lcp-echo-interval", profile.lcp_echo_interval()),
            (
                "lcp-max-configure",
                profile.lcp_max_config_requests().into(),
            ),
            ("lcp-max-failure", profile.lcp_max_config_naks().into()),
            (
                "lcp-max-terminate",
                profile.lcp_max_terminate_requests().into(),
            ),
            ("lcp-restart", profile.lcp_retransmit_interval()),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            self.value(name, number);
        }
    }

    /// The plugins and what they are to know, as they bring their options with them.
    fn session(&mut self, setup: &PppdSetup, places: &Places<'_>) {
        for plugin in places.plugins {
            self.value("plugin", plugin.display());
        }
        self.value("pppol2tp", places.session);
        self.value("pppol2tp_tunnel_id", setup.ids.tunnel);
        self.value("pppol2tp_session_id", setup.ids.session);
        if setup.numbers {
            self.word("pppol2tp_send_seq");
        }
        self.optional("pppol2tp_ifname", setup.interface.as_ref());
        self.value("openl2tp_socket", places.socket.display());
        if setup.demands_auth {
            self.word("openl2tp_authenticate");
        }
        if setup.role == Role::Lns {
            self.word("openl2tp_address");
            // What a client's kernel hears before its own pppd runs is lost there, and sent again only after seconds.
            self.value("pppol2tp_listen", 1000);
        }
        if let Some(file) = places.secrets {
            self.0
                .extend(["file".to_owned(), format!("/proc/self/fd/{file}")]);
        }
    }
}

/// The text of a file of options that says who we are; none where we have no name.
pub(crate) fn secrets(setup: &PppdSetup) -> Option<Vec<u8>> {
    let known = setup.credentials.as_ref()?;
    let mut text = Vec::new();
    quoted("user", known.user_name.as_bytes(), &mut text);
    let password = password(setup, &known.password);
    quoted("password", password.as_bytes(), &mut text);
    Some(text)
}

/// Our password as pppd is to have it. For MS-CHAP it makes a character of each octet, so that where nothing else may be asked for it gets an octet for each
/// character, if they are all of those.
fn password(setup: &PppdSetup, password: &Secret) -> Secret {
    let ms_chap =
        |protocol: &_| matches!(protocol, AuthProtocol::MsChapV1 | AuthProtocol::MsChapV2);
    let text = std::str::from_utf8(password.as_bytes()).ok();
    let text = text.filter(|_| setup.allowed_auth.iter().all(ms_chap));
    let octets = text.and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
    octets.map_or_else(|| password.clone(), |octets: Vec<u8>| octets.into())
}

/// An option whose value may have any octet but NUL, which C can't hold.
fn quoted(name: &str, value: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b" \"");
    for &octet in value {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' => text.push(octet),
            _ => text.extend_from_slice(format!("\\{octet:03o}").as_bytes()),
        }
    }
    text.extend_from_slice(b"\"\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::Model;
    use datapath::Ids;
    use ppp::Credentials;

    use super::*;

    /// How the pppd of a profile's session is set up.
    fn setup(role: Role, profile: &str) -> PppdSetup {
        let text = format!("ppp profile modify profile_name=default {profile}");
        let model = Model::load("test", &text).unwrap().model;
        let credentials = Credentials {
            user_name: "al \"ice\"".to_owned(),
            password: "won\\derland\u{fc}".into(),
        };
        PppdSetup {
            ids: Ids {
                tunnel: 1,
                session: 2,
            },
            role,
            profile: model.ppp_profiles["default"].clone(),
            mtu: 1400,
            mru: 1400,
            local_name: "us".to_owned(),
            local: (role == Role::Lns).then_some(Ipv4Addr::new(10, 0, 0, 1)),
            demands_auth: role == Role::Lns,
            allowed_auth: vec![AuthProtocol::MsChapV2, AuthProtocol::ChapMd5],
            credentials: (role == Role::Lac).then(|| Arc::new(credentials)),
            numbers: false,
            interface: None,
            debug: false,
        }
    }

    fn line(setup: &PppdSetup) -> String {
        let places = Places {
            plugins: [Path::new("/a.so"), Path::new("/b.so")],
            socket: Path::new("/s"),
            session: 7,
            secrets: setup.credentials.as_ref().map(|_| 8),
        };
        arguments(setup, &places).join(" ")
    }

    #[test]
    fn a_server_names_its_address_and_demands_what_it_allows_and_nothing_else() {
        let line = line(&setup(
            Role::Lns,
            "dns_ipaddr_pri=10.0.0.53 asyncmap=0xa0000",
        ));
        for part in [
            "10.0.0.1: ",
            "ms-dns 10.0.0.53",
            "require-mschap-v2",
            "require-chap",
            "refuse-pap",
            "refuse-eap",
            " auth ",
            "asyncmap a0000",
            "mtu 1400 mru 1400",
            "plugin /a.so plugin /b.so pppol2tp 7",
            "openl2tp_authenticate openl2tp_address",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn a_client_has_its_secrets_in_a_file_and_takes_the_address_that_it_gets() {
        let setup = setup(Role::Lac, "default_route=yes");
        let line = line(&setup);
        for part in [
            "noauth",
            "noipdefault",
            "defaultroute",
            "file /proc/self/fd/8",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        for secret in [
            "ice",
            "derland",
            "openl2tp_authenticate",
            "ms-dns",
            "require-",
        ] {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
        let text = String::from_utf8(secrets(&setup).unwrap()).unwrap();
        let expected = "user \"al\\040\\042ice\\042\"\npassword \"won\\134derland\\303\\274\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_password_for_ms_chap_alone_has_an_octet_for_a_character() {
        let mut setup = setup(Role::Lac, "");
        setup.allowed_auth = vec![AuthProtocol::MsChapV2];
        let text = String::from_utf8(secrets(&setup).unwrap()).unwrap();
        let expected = "password \"won\\134derland\\374\"\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn numbers_that_mean_never_are_left_out() {
        let zero = line(&setup(
            Role::Lns,
            "lcp_echo_interval=0 lcp_echo_failure_count=0",
        ));
        assert!(!zero.contains("lcp-echo"), "{zero}");
        let some = line(&setup(Role::Lns, "lcp_echo_interval=9 idle_timeout=60"));
        assert!(
            some.contains("lcp-echo-interval 9") && some.contains("idle 60"),
            "{some}"
        );
    }

    #[test]
    fn mppe_is_asked_for_where_it_is_required() {
        for (profile, option) in [
            ("mppe=no", "noccp"),
            ("mppe=optional", "noccp"),
            ("mppe=required mppe_bits=128", "require-mppe-128"),
            (
                "mppe=required mppe_bits=40 mppe_stateful=yes",
                "require-mppe-40 mppe-stateful",
            ),
        ] {
            let line = line(&setup(Role::Lns, profile));
            assert!(line.contains(option), "{profile}: {line}");
        }
    }
}
