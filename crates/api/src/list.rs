use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Origin, Selector, SessionState, TunnelState};

/// The most items that a page has, and that are looked at for one: a list stalls nobody, however long it is.
pub const LARGEST_PAGE: u16 = 256;

/// A place in a list, as a page names the one after it. It stays good while objects come and go. Opaque: whoever asked hands it back as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// The most items wanted, 1 to 256. Absent: as many as there can be.
    #[schemars(range(min = 1, max = LARGEST_PAGE))]
    pub limit: Option<u16>,
    /// Where to go on; absent: the beginning.
    pub after: Option<Cursor>,
}

impl Range {
    /// The most items that the page may have.
    pub fn limit(&self) -> usize {
        usize::from(self.limit.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE))
    }
}

/// A part of a list. It may be short, even empty, and not the last one: only where there is no `next` does the list end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where the next one begins.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A list that is all there.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Which tunnels to list: those for which all that is given holds.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TunnelFilter {
    /// The peer's address.
    pub peer: Option<IpAddr>,
    /// Where it is.
    pub state: Option<TunnelState>,
    /// The name given at creation.
    pub name: Option<String>,
    /// Who made it.
    pub created_by: Option<Origin>,
}

/// Which sessions to list: those for which all that is given holds.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionFilter {
    /// The tunnel that they are on.
    pub tunnel: Option<Selector>,
    /// The name that authenticated.
    pub user: Option<String>,
    /// Where it is.
    pub state: Option<SessionState>,
    /// The network device.
    pub interface: Option<String>,
    /// Who made it.
    pub created_by: Option<Origin>,
}

impl SessionFilter {
    /// All sessions of one tunnel.
    pub fn of_tunnel(tunnel: Selector) -> Self {
        Self {
            tunnel: Some(tunnel),
            ..Self::default()
        }
    }
}

/// Which of those who are logged in to list.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserFilter {
    /// The name that was proved.
    pub name: Option<String>,
}

fn wanted<T: PartialEq + ?Sized>(filter: Option<&T>, is: Option<&T>) -> bool {
    filter.is_none() || filter == is
}

impl TunnelFilter {
    /// Whether it lets a tunnel through.
    pub fn admits(&self, tunnel: &crate::TunnelStatus) -> bool {
        let remote = tunnel.remote.map(|remote| remote.ip());
        wanted(self.peer.as_ref(), remote.as_ref())
            && wanted(self.state.as_ref(), Some(&tunnel.state))
            && wanted(self.name.as_ref(), tunnel.tunnel_name.as_ref())
            && wanted(self.created_by.as_ref(), Some(&tunnel.created_by))
    }
}

impl SessionFilter {
    /// Whether it lets a session of the right tunnel through.
    pub fn admits(&self, session: &crate::SessionStatus) -> bool {
        wanted(self.user.as_ref(), session.user_name.as_ref())
            && wanted(self.state.as_ref(), Some(&session.state))
            && wanted(self.interface.as_ref(), session.interface_name.as_ref())
            && wanted(self.created_by.as_ref(), Some(&session.created_by))
    }
}

impl UserFilter {
    /// Whether it lets somebody through.
    pub fn admits(&self, user: &crate::UserStatus) -> bool {
        wanted(self.name.as_ref(), Some(&user.user_name))
    }
}
