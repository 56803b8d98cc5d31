//! The program against a daemon that says what it was asked, over a real Unix socket.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod fake;

use std::io::Write;
use std::process::{Command, Stdio};

use api::{Collection, Range, Request, Selector, SessionFilter, TunnelFilter, UserFilter};
use fake::{Daemon, SAVED, parameters, stderr};
use serde_json::{Value, json};

#[test]
fn each_command_asks_for_what_it_says() {
    let daemon = Daemon::start();
    let name = |name: &str| Selector::Name(name.to_owned());
    let text = |of: &[(&str, &str)]| {
        parameters(&of.iter().map(|(n, v)| (*n, json!(v))).collect::<Vec<_>>())
    };
    for (line, request) in [
        (
            "tunnel list",
            Request::TunnelList(TunnelFilter::default(), Range::default()),
        ),
        (
            "tunnel show tunnel_id=17",
            Request::TunnelShow(Selector::Id(17)),
        ),
        (
            "tunnel delete tunnel_name=17",
            Request::TunnelDelete(name("17")),
        ),
        (
            "tun cre dest=192.0.2.1 persist=on",
            Request::TunnelCreate(text(&[("dest_ipaddr", "192.0.2.1"), ("persist", "on")])),
        ),
        (
            "tunnel modify tunnel_id=17 mtu=1400",
            Request::TunnelModify(Selector::Id(17), text(&[("mtu", "1400")])),
        ),
        (
            "session list",
            Request::SessionList(SessionFilter::default(), Range::default()),
        ),
        (
            "session list tunnel_name=a/b",
            Request::SessionList(SessionFilter::of_tunnel(name("a/b")), Range::default()),
        ),
        (
            "session delete tunnel_name=a session_id=5",
            Request::SessionDelete(name("a"), Selector::Id(5)),
        ),
        (
            "user list",
            Request::UserList(UserFilter::default(), Range::default()),
        ),
        (
            "user create user_name=bob password=pw",
            Request::ObjectCreate(
                Collection::Users,
                text(&[("user_name", "bob"), ("password", "pw")]),
            ),
        ),
        (
            "user delete user_name=bob",
            Request::ObjectDelete(Collection::Users, "bob".to_owned()),
        ),
        (
            "ip_pool list",
            Request::ObjectList(Collection::IpPools, Range::default()),
        ),
        (
            "ppp profile show profile_name=x",
            Request::ObjectShow(Collection::PppProfiles, "x".to_owned()),
        ),
        (
            "peer profile modify profile_name=x netmask=24",
            Request::ObjectModify(
                Collection::PeerProfiles,
                "x".to_owned(),
                text(&[("netmask", "24")]),
            ),
        ),
        (
            "ppp profile unset profile_name=x mtu",
            Request::ObjectModify(
                Collection::PppProfiles,
                "x".to_owned(),
                parameters(&[("mtu", Value::Null)]),
            ),
        ),
        ("system show statistics", Request::SystemStatistics),
        ("system show datapath", Request::SystemDatapath),
        (
            "system modify max_tunnels=9",
            Request::SystemModify(text(&[("max_tunnels", "9")])),
        ),
    ] {
        assert_eq!(daemon.asked(line), request, "{line}");
    }
}

#[test]
fn a_value_keeps_what_the_shell_left_of_its_quotes() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "user",
        "create",
        "user_name=bob",
        r#"password=two words, a " and a \"#,
    ]);
    let Some(Request::ObjectCreate(_, parameters)) = daemon.fake.0.lock().unwrap().pop() else {
        panic!()
    };
    assert_eq!(parameters["password"], json!(r#"two words, a " and a \"#));
}

#[test]
fn answers_are_tables_for_people_and_json_for_programs() {
    let daemon = Daemon::start();
    let list = daemon.ok(&["tunnel", "list"]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("ID  NAME    STATE"), "{list}");
    for part in [
        "17",
        "office",
        "established",
        "192.0.2.1:1701",
        "1d 02:03:04",
    ] {
        assert!(lines[1].contains(part), "{part}: {list}");
    }
    assert!(
        !list.contains('\u{1b}'),
        "what a peer says must not command the terminal: {list:?}"
    );

    let json: Value = serde_json::from_str(&daemon.ok(&["--json", "tunnel", "list"])).unwrap();
    assert_eq!(json[1]["tunnel_id"], 17);
    let json: Value =
        serde_json::from_str(&daemon.ok(&["tunnel", "delete", "tunnel_id=1", "--json"])).unwrap();
    assert_eq!(json, Value::Null);
    assert_eq!(
        daemon.ok(&["ip_pool", "list"]),
        "POOL NAME  RANGE\np          a-b\n"
    );
    assert!(
        daemon
            .ok(&["tunnel", "profile", "show", "profile_name=x"])
            .contains("mtu           1400 octets\n")
    );
    assert_eq!(
        daemon.ok(&["system", "show", "statistics"]),
        "received.sccrq  7\n"
    );
    assert_eq!(
        daemon.ok(&["system", "show", "datapath"]),
        "datapath              auto\nshared device         tun\ndevices of their own  kernel\nkernel                6.1\n\n\
         ENGINE  PART              THERE  DETAIL\n\
         ebpf    -                 no     needs self-test\n\
         ebpf    programs          yes    taken\n\
         ebpf    self-test         no     the kernel makes 2\n\
         ebpf    speed (optional)  no     none\n"
    );
}

#[test]
fn changes_are_said_unless_quiet() {
    let daemon = Daemon::start();
    let created = daemon.run(&["tunnel", "create", "dest_ipaddr=192.0.2.1"]);
    assert_eq!(
        stderr(&created),
        "Created tunnel office 17\n",
        "as ever in OpenL2TP"
    );
    assert!(created.status.success() && created.stdout.is_empty());
    assert_eq!(
        daemon.ok(&["user", "delete", "user_name=bob"]),
        "Deleted user bob\n"
    );
    assert_eq!(
        daemon.ok(&["system", "modify", "max_tunnels=1"]),
        "Modified system\n"
    );
    let quiet = daemon.run(&["-q", "-t", "tunnel", "create", "dest_ipaddr=192.0.2.1"]);
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
}

#[test]
fn several_commands_are_one_line_or_many() {
    let daemon = Daemon::start();
    let both = daemon.ok(&["server", "show", ";", "ip_pool", "list"]);
    assert!(both.starts_with("Connected to server: ") && both.ends_with("a-b\n"));
    assert_eq!(
        daemon.ok(&["# nothing; ip_pool list"]),
        "",
        "a comment goes on to the end of the line"
    );
    let script = "user delete user_name=bob # him\n\ntunnel delete tunnel_id=404\nuser \\\n delete user_name=al\ntunnel x\nexit\nbad\n";
    let output = daemon.piped(script);
    assert_eq!(output.status.code(), Some(3), "that of the first failure");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Deleted user bob\nDeleted user al\n"
    );
    let said = stderr(&output);
    assert!(
        said.contains("line 3: there is no tunnel 404")
            && said.contains("line 6: error at or near `x`"),
        "{said}"
    );
    assert!(!said.contains("bad"), "{said}");
}

#[test]
fn a_restore_stops_at_the_first_error_and_says_its_line() {
    let daemon = Daemon::start();
    let file = daemon.socket.with_extension("conf");
    std::fs::write(
        &file,
        "# saved\nuser delete user_name=a\nuser \\\n  delete user_name=\"b c\"; user delete user_name=c\n\ntunnel delete tunnel_id=409\nuser delete user_name=d\n",
    )
    .unwrap();
    let output = daemon.run(&["config", "restore", &format!("file={}", file.display())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("conf:6: no\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Deleted user a\nDeleted user b c\nDeleted user c\n"
    );
    let missing = daemon.run(&["config", "restore", "file=/nonexistent"]);
    assert_eq!(missing.status.code(), Some(3));
}

#[test]
fn a_file_of_objects_is_restored_as_a_whole() {
    let daemon = Daemon::start();
    let file = daemon.socket.with_extension("conf");
    let restore = |text: &str| {
        daemon.fake.0.lock().unwrap().clear();
        std::fs::write(&file, text).unwrap();
        let output = daemon.run(&["config", "restore", &format!("file={}", file.display())]);
        (output, daemon.fake.0.lock().unwrap().clone())
    };
    let conf = include_str!("../../README.md")
        .split_once("`lns.conf`:\n\n")
        .unwrap()
        .1;
    let conf: String = conf
        .lines()
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let (output, asked) = restore(&conf);
    assert!(output.status.success(), "{}", stderr(&output));
    let place = |is_it: fn(&Request) -> bool| asked.iter().position(is_it).unwrap();
    let pool = place(|r| matches!(r, Request::ObjectCreate(Collection::IpPools, _)));
    let ppp = place(|r| matches!(r, Request::ObjectModify(Collection::PppProfiles, ..)));
    assert!(pool < ppp, "{asked:?}");
    assert_eq!(asked.len(), 5, "{asked:?}");

    // Where the last line is wrong, the first is not carried out.
    for (last, status) in [
        (
            "peer profile create profile_name=x tunnel_profile_name=none",
            1,
        ),
        ("user create user_name=a", 2),
        ("user nonsense", 2),
    ] {
        let (output, asked) = restore(&format!("{conf}{last}\n"));
        assert_eq!(output.status.code(), Some(status), "{last}");
        assert!(stderr(&output).contains("conf:6:"), "{}", stderr(&output));
        assert!(asked.iter().all(|r| *r == Request::ConfigFile), "{asked:?}");
        assert!(!stderr(&output).contains("wonderland"));
    }
}

#[test]
fn a_save_follows_links_and_replaces_no_device() {
    let daemon = Daemon::start();
    let folder = daemon.socket.parent().unwrap();
    let file = |name: &str| folder.join(name);
    let save = |to: &str| daemon.ok(&["config", "save", &format!("file={to}")]);
    let save_to = |name: &str| save(file(name).to_str().unwrap());
    std::fs::create_dir(file("deep")).unwrap();
    for (link, target) in [("a", "deep/b"), ("deep/b", "c"), ("loop", "loop")] {
        std::os::unix::fs::symlink(target, file(link)).unwrap();
    }
    // First it is made, then replaced.
    for _ in 0..2 {
        save_to("a");
        assert!(file("a").is_symlink() && file("deep/b").is_symlink());
        assert_eq!(std::fs::read_to_string(file("deep/c")).unwrap(), SAVED);
    }
    assert_eq!(std::fs::read_dir(file("deep")).unwrap().count(), 2);
    let looped = format!("file={}", file("loop").display());
    assert_eq!(
        daemon.run(&["config", "save", &looped]).status.code(),
        Some(1)
    );
    assert!(file("loop").is_symlink());
    // Written to, and there as before.
    assert_eq!(save("/dev/stdout"), SAVED);
    save("/dev/null");
    let fifo = file("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read_to_string(fifo).unwrap()
    });
    save_to("fifo");
    use std::os::unix::fs::FileTypeExt;
    let of = |path: &std::path::Path| std::fs::metadata(path).unwrap().file_type();
    assert!(of(&fifo).is_fifo() && of("/dev/null".as_ref()).is_char_device());
    assert_eq!(reader.join().unwrap(), SAVED);
}

#[test]
fn yaml_says_what_json_says() {
    let daemon = Daemon::start();
    let yaml = daemon.ok(&["--yaml", "tunnel", "show", "tunnel_id=17"]);
    assert!(
        yaml.contains("tunnel_id: 17\n") && yaml.contains("tunnel_name: office\n"),
        "{yaml}"
    );
    assert!(!yaml.contains('\u{1b}'), "{yaml:?}");
    assert_eq!(
        daemon
            .run(&["--yaml", "--json", "user", "list"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn tunnels_are_listed_and_shown_in_part() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["tunnel", "list", "names"]), "office\noffice\n");
    assert_eq!(daemon.ok(&["tunnel", "list", "names", "remote_only"]), "");
    assert_eq!(
        daemon.ok(&["tunnel", "list", "names", "local"]),
        "office\noffice\n"
    );
    let none: Value =
        serde_json::from_str(&daemon.ok(&["--json", "tunnel", "list", "remote_only"])).unwrap();
    assert_eq!(none, json!([]));
    let config = daemon.ok(&["tunnel", "show", "config", "tunnel_id=17"]);
    for part in ["host_name", "hello_timeout", "20 s", "********"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    assert_eq!(
        daemon.ok(&["tunnel", "show", "transport", "tunnel_id=17"]),
        ""
    );
    let peer = daemon.ok(&["peer", "show", "peer_ipaddr=192.0.2.1"]);
    assert!(peer.contains("192.0.2.7") && peer.contains('2'), "{peer}");
    assert!(
        daemon
            .run(&["peer", "show", "peer_ipaddr=192.0.2.9"])
            .status
            .code()
            == Some(3)
    );
}

#[test]
fn debug_changes_the_categories_named_and_no_other() {
    let daemon = Daemon::start();
    let masked = |line: &str| match daemon.asked(line) {
        Request::ObjectModify(_, name, parameters) => (name, parameters["trace_flags"].clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        masked("debug modify tunnel_profile_name=x proto=on fsm=1"),
        ("x".to_owned(), json!("3"))
    );
    assert_eq!(
        masked("debug mod ppp_profile_name=x all=yes func=no"),
        ("x".to_owned(), json!((0x7ff & !64).to_string()))
    );
    for line in [
        "debug modify app",
        "debug modify protocol=yes",
        "debug modify app ppp_profile_name=x fsm=yes",
        "debug modify app fsm=perhaps",
        "debug show session_id=4",
        "debug modify app av=yes",
    ] {
        let output = daemon.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
    }
}

#[test]
fn words_and_names_of_objects_are_completed() {
    let daemon = Daemon::start();
    let complete = |text: &str| {
        let all = daemon.ok(&["complete", "word", "--", text]);
        all.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("tun"), ["tunnel"]);
    assert_eq!(complete("user list; tunnel pr"), ["profile"]);
    assert_eq!(complete("tunnel prof sh"), ["show"]);
    assert_eq!(complete("tunnel create peer_u"), ["peer_udp_port="]);
    assert_eq!(complete("tunnel create persist="), ["yes", "no"]);
    assert_eq!(
        complete("tunnel create auth_mode="),
        ["none", "simple", "challenge"]
    );
    assert_eq!(
        complete("system modify trace_flags=fsm,avp_d"),
        ["fsm,avp_data"]
    );
    assert_eq!(complete("tunnel show tunnel_name="), ["office"]);
    assert_eq!(complete("tunnel create tunnel_name="), [""; 0]);
    assert_eq!(complete("system show st"), ["status", "statistics"]);
    assert_eq!(
        complete("ppp profile unset profile_name=x lcp_echo"),
        ["lcp_echo_failure_count", "lcp_echo_interval"]
    );
    assert_eq!(complete("nonsense "), [""; 0]);
    assert_eq!(complete("--js"), ["--json"]);
    assert_eq!(complete("--json -q --so"), ["--socket="]);
    assert_eq!(complete("--json -q tun"), ["tunnel"]);
    assert_eq!(complete("--json "), complete(""));
    assert_eq!(complete("--socket "), [""; 0]);
    assert_eq!(complete("--socket /run"), [""; 0]);
    for elsewhere in ["--socket /nonexistent", "--socket=/nonexistent"] {
        let tunnel = format!("{elsewhere} tunnel show tunnel_name");
        assert_eq!(complete(&tunnel), ["tunnel_name="]);
        assert_eq!(complete(&(tunnel + "=")), [""; 0]);
    }
    assert!(
        daemon
            .ok(&["complete", "token", "tunnel show tunnel_name="])
            .starts_with("tunnel_name=office")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(daemon.ok(&["completions", shell]).contains("complete"));
    }
}

#[test]
fn the_exit_status_says_what_went_wrong() {
    let daemon = Daemon::start();
    for (line, status, said) in [
        ("tunnel delete tunnel_id=409", 1, "l2tpconfig: no\n"),
        (
            "tunnel delete tunnel_id=404",
            3,
            "l2tpconfig: there is no tunnel 404\n",
        ),
        ("tunnel dleete", 2, "`delete`"),
        ("s show", 2, "`s` can be system or session or server"),
        (
            "-R host tunnel list",
            2,
            "not asked over the network any more",
        ),
        ("peer", 2, "expected one of profile, show, list"),
        ("tunnel show", 2, "tunnel_name"),
        ("tunnel show tunnel_id=1 tunnel_name=a", 2, "is enough"),
        (
            "tunnel modify tunnel_id=1 hide_avps=yes",
            2,
            "only at creation",
        ),
        (
            "tunnel create dest_ipaddr=x mtu=5",
            2,
            "mtu=5\n                                    ^\n",
        ),
    ] {
        let output = daemon.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(status), "{line}");
        assert!(
            stderr(&output).contains(said),
            "{line}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{line}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"))
        .args(["--socket", "/nonexistent", "user", "list"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("no daemon at /nonexistent"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_daemon_that_goes_away_is_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (words, answer) in [
        ("user list", ""),
        ("config save", head),
        ("tunnel trace peer=192.0.2.1", head),
    ] {
        let child = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"))
            .arg("--socket")
            .arg(&socket)
            .args(words.split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert!(said.contains("the daemon went away"), "{words}: {said}");
        assert_eq!(output.status.code(), Some(4), "{words}");
    }
}

#[test]
fn input_that_is_no_text_is_said_to_be_that() {
    let output = Daemon::start().piped(b"user list\n\xff\xfe\n");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("line 2: standard input: a line is not UTF-8"),
        "{said}"
    );
}

#[test]
fn help_comes_from_the_declarations() {
    let daemon = Daemon::start();
    assert!(daemon.ok(&["--help"]).contains("ppp profile"));
    let text = daemon.ok(&["tunnel", "create", "--help"]);
    assert!(
        text.contains("peer_udp_port") && text.contains("[1701]") && !text.contains("tunnel_id"),
        "{text}"
    );
    assert!(
        daemon
            .ok(&["tunnel", "profile", "--help"])
            .contains("create|modify|delete|show|list|unset")
    );
}
