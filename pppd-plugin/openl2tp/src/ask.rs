//! The way to openl2tpd: a connection for as long as pppd runs.

use std::ffi::{CStr, OsStr, c_int, c_ulong};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pppd_abi::{Level, log};

use crate::{SOCKET, pppol2tp_session_id, pppol2tp_tunnel_id};

/// How long openl2tpd may take for an answer, or for reading what it is told: it has one processor with hundreds of pppds at times. One that is gone is noticed at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer, octets.
const LONGEST: u64 = 4096;

/// Of `<linux/prctl.h>` and `<signal.h>`.
const PR_SET_PDEATHSIG: c_int = 1;
const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn prctl(option: c_int, argument: c_ulong) -> c_int;
    fn raise(signal: c_int) -> c_int;
}

/// The connection; none before the first message, and where there is nobody to be told.
static mut CONNECTION: Option<BufReader<UnixStream>> = None;

/// What openl2tpd answered; nothing where it did not.
pub(crate) struct Answer(String);

impl Answer {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let fields = self.0.lines().filter_map(|line| line.split_once('='));
        fields
            .filter(|(field, _)| *field == name)
            .map(|(_, value)| value)
            .next()
    }
}

/// Says something, if somebody is to hear it.
pub(crate) fn tell(event: &str, fields: &str) {
    say(event, fields, false);
}

/// Says something, and waits for the answer.
pub(crate) fn ask(event: &str, fields: &str) -> Answer {
    Answer(say(event, fields, true))
}

fn say(event: &str, fields: &str, asks: bool) -> String {
    // SAFETY: pppd's one thread; pppd ends the path with NUL.
    let (path, tunnel, session, connection) = unsafe {
        (
            CStr::from_ptr((&raw const SOCKET).cast()).to_bytes(),
            pppol2tp_tunnel_id,
            pppol2tp_session_id,
            &raw mut CONNECTION,
        )
    };
    if path.is_empty() {
        return String::new();
    }
    let text = format!("event={event}\ntunnel_id={tunnel}\nsession_id={session}\n{fields}\n");
    // SAFETY: pppd's one thread, and no second exchange within one.
    let connection = unsafe { &mut *connection };
    match exchange(connection, OsStr::from_bytes(path), &text, asks) {
        Ok(answer) => answer,
        Err(why) => {
            log(
                Level::Error,
                &format!("openl2tpd is not told of {event}: {why}"),
            );
            // Nobody wants the session any more. SAFETY: pppd takes the signal.
            unsafe { raise(SIGTERM) };
            String::new()
        }
    }
}

fn exchange(
    connection: &mut Option<BufReader<UnixStream>>,
    path: &OsStr,
    text: &str,
    asks: bool,
) -> io::Result<String> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(connect(path)?),
    };
    connection.get_mut().write_all(text.as_bytes())?;
    let mut answer = String::new();
    while asks && !answer.ends_with("\n\n") {
        let room = LONGEST.saturating_sub(answer.len() as u64);
        if connection.by_ref().take(room).read_line(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}

/// Connects, and has pppd end with the process that runs it.
fn connect(path: &OsStr) -> io::Result<BufReader<UnixStream>> {
    // SAFETY: it has one argument, a number. Before the connection: who is gone already does not answer.
    unsafe { prctl(PR_SET_PDEATHSIG, SIGTERM as c_ulong) };
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}
