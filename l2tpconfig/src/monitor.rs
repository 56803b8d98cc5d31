//! `monitor`: what happens, as it happens.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use api::{Client, ClientError, EventFilter, EventRecord};

use crate::{Failure, Flags, show};

/// How long to wait before a daemon that went away is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows events until it is interrupted; a daemon that starts again is followed on.
pub(crate) fn run(flags: &Flags, types: Option<&str>) -> Result<(), Failure> {
    let client = Client::new(&flags.socket)?;
    let split = |types: &str| types.split(',').map(str::to_owned).collect();
    let filter = EventFilter {
        types: types.map(split).unwrap_or_default(),
        ..EventFilter::default()
    };
    let mut last = None;
    let (mut failed, mut is_known, mut is_lost) = (None, false, false);
    loop {
        let after = last.clone();
        let ended = client.events(&filter, after.as_deref(), |event| {
            (is_known, is_lost) = (true, false);
            let said = line(flags, &event);
            last = Some(event.id);
            match said {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        match ended {
            Ok(false) => return Ok(()),
            Ok(true) => is_known = true,
            Err(error @ ClientError::Refused(_)) => return Err(error.into()),
            Err(error) if !is_known => return Err(error.into()),
            Err(_) => (),
        }
        if !std::mem::replace(&mut is_lost, true) {
            eprintln!("l2tpconfig: the daemon is gone; events go on when it is back");
        }
        if !client.pause(PAUSE)? {
            return Ok(());
        }
    }
}

fn line(flags: &Flags, event: &EventRecord) -> io::Result<()> {
    let text = if flags.json {
        serde_json::to_string(event)? + "\n"
    } else {
        show::event(&serde_json::to_value(event)?)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
