//! What this machine can do for each engine.

use api::DatapathStatus;

use super::{pairs, table, text, yes_or_no};

/// What carries sessions, and below what was tried: a line each.
pub(super) fn shown(status: &DatapathStatus) -> String {
    let summary = pairs(vec![
        ("datapath", status.datapath.clone()),
        ("shared device", status.shared_device.clone()),
        ("devices of their own", status.own_device.clone()),
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
