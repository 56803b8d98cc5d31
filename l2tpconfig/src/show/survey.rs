//! What this machine can do for each engine.

use api::DatapathStatus;

use super::{pairs, table, text, yes_or_no};

/// What carries sessions, and below what was tried: a line each.
pub(super) fn shown(status: &DatapathStatus) -> String {
    let taken = |engine: &str| match (status.datapath.as_str(), engine) {
        ("auto", "ebpf") => "ebpf without UDP checksums, tun with them".to_owned(),
        _ => engine.to_owned(),
    };
    let summary = pairs(vec![
        ("datapath", status.datapath.clone()),
        ("shared device", taken(&status.shared_device)),
        ("devices of their own", taken(&status.own_device)),
        ("kernel", status.kernel_release.clone()),
    ]);
    let rows = status.engines.iter().flat_map(|engine| {
        let mut missing = engine.parts.iter().filter(|p| p.needed && !p.available);
        let missing = missing.next().map(|part| format!("needs {}", part.part));
        let whole = vec![
            engine.engine.clone(),
            "-".to_owned(),
            yes_or_no(engine.usable),
            text(missing),
        ];
        let parts = engine.parts.iter().map(|part| {
            let optional = if part.needed { "" } else { " (optional)" };
            vec![
                engine.engine.clone(),
                format!("{}{optional}", part.part),
                yes_or_no(part.available),
                part.detail.clone(),
            ]
        });
        std::iter::once(whole).chain(parts)
    });
    summary + "\n" + &table(&["ENGINE", "PART", "THERE", "DETAIL"], rows)
}
