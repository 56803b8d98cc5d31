//! The configuration as a file: what is declared, and the tunnels and sessions that were created here, as they are now.

use std::collections::{BTreeMap, BTreeSet};

use api::{CommandError, Opened, Response};
use config::Model;
use engine::Command;

use crate::backend::Daemon;

impl Daemon {
    /// The commands that make a daemon as this one is. A tunnel that was deleted, or that ended and does not persist, is not among them, whether or not
    /// the configuration file has it. Of a tunnel whose profiles no longer serve all that it was made of is said.
    pub(crate) async fn saved(&self) -> Result<Response, CommandError> {
        let mut opened = Vec::new();
        let mut after = None;
        while let Response::Opened(page) = self.ask(Command::OpenedList(after)).await? {
            opened.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let model = with_opened(&self.present(), opened);
        Ok(Response::Text(model.mended().to_commands()))
    }
}

/// The model with these tunnels and sessions instead of its own.
fn with_opened(model: &Model, opened: Vec<Opened>) -> Model {
    let mut model = model.clone();
    model.tunnels.clear();
    model.sessions.clear();
    let is_tunnel = |opened: &Opened| match opened {
        Opened::Tunnel(tunnel) => tunnel.tunnel_name.clone(),
        Opened::Session(_) => None,
    };
    let mut names: BTreeSet<String> = opened.iter().filter_map(is_tunnel).collect();
    let mut numbers: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for opened in opened {
        match opened {
            Opened::Tunnel(mut tunnel) => {
                let params = model.tunnel_params(&tunnel);
                let taken = numbers
                    .entry(params.dest_ipaddr().unwrap_or_default().to_owned())
                    .or_default();
                // The number that it gets anyway is not said.
                let free = (1..=u16::MAX).find(|number| !taken.contains(number));
                taken.extend(tunnel.config_id);
                tunnel.config_id.take_if(|id| Some(*id) == free);
                model.tunnels.push(*tunnel);
            }
            Opened::Session(mut session) => {
                let Some(tunnel) = model.tunnels.last_mut() else {
                    continue;
                };
                // A session of a file names its tunnel.
                let name = tunnel.tunnel_name.get_or_insert_with(|| {
                    let name = (1_u64..).map(|number| format!("tunnel-{number}"));
                    let mut free = name.filter(|name| !names.contains(name));
                    free.next().unwrap_or_default()
                });
                names.insert(name.clone());
                session.tunnel_name = Some(name.clone());
                (session.tunnel_id, session.session_id) = (None, None);
                model.sessions.push(*session);
            }
        }
    }
    model
}
