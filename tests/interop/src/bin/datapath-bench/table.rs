//! What was measured, as ratios to plain veth of the same repetition.

use std::collections::BTreeMap;

use interop::spread::Spread;
use serde_json::{Value, json};

use crate::contender::{Kind, Mode};

/// Figures by mode, what was measured, and who was.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<(Mode, String), BTreeMap<Kind, Vec<f64>>>);

impl Samples {
    /// One figure of one repetition.
    pub(crate) fn put(&mut self, mode: Mode, kind: Kind, what: &str, figure: f64) {
        let row = self.0.entry((mode, what.to_owned())).or_default();
        row.entry(kind).or_default().push(figure);
    }

    pub(crate) fn json(&self) -> Value {
        let mut modes = serde_json::Map::new();
        for ((mode, what), row) in &self.0 {
            let of_mode = modes.entry(mode.name()).or_insert_with(|| json!({}));
            let mut contenders = serde_json::Map::new();
            for (kind, figures) in row {
                let spread = Spread::of(ratios(row, figures));
                let absolute = Spread::of(figures.clone());
                contenders.insert(
                    kind.name().to_owned(),
                    json!({
                        "median": absolute.map(|s| rounded(s.median)),
                        "ratio": spread.as_ref().map(|s| rounded(s.median)),
                        "ratio_min": spread.as_ref().map(|s| rounded(s.least)),
                        "ratio_max": spread.as_ref().map(|s| rounded(s.most)),
                    }),
                );
            }
            of_mode[what] = contenders.into();
        }
        modes.into()
    }

    /// The same of what matters most, a line for each contender: down and up, or client to server.
    pub(crate) fn summary(&self) -> String {
        self.columns("Gbit/s and kpps", SUMMARY)
    }

    /// The same of what else is measured.
    pub(crate) fn others(&self) -> String {
        self.columns("Gbit a CPU-second, kpps and us", OTHERS)
    }

    fn columns(&self, units: &str, columns: &[Column]) -> String {
        let titles: Vec<_> = columns.iter().map(|(title, _)| *title).collect();
        let mut table = format!(
            "| ratio to plain veth | {} |\n|---|{}\n",
            titles.join(" | "),
            "---|".repeat(columns.len())
        );
        for kind in Kind::ALL {
            let of = |&(mode, what): &(Mode, &str)| {
                let row = self.0.get(&(mode, what.to_owned()));
                let figures = row.and_then(|row| Some((row, row.get(&kind)?)));
                cell(figures.and_then(|(row, figures)| shown(kind, row, figures)))
            };
            let joined = |(_, figures): &Column| {
                let both: Vec<_> = figures.iter().map(of).collect();
                both.join(" / ")
            };
            let cells: Vec<_> = columns.iter().map(joined).collect();
            if cells.iter().any(|cell| cell.contains('.')) {
                let name = match kind {
                    Kind::Veth => format!("plain veth itself, {units}"),
                    other => other.name().to_owned(),
                };
                table += &format!("| {name} | {} |\n", cells.join(" | "));
            }
        }
        table
    }

    /// For people, in Markdown: medians of ratios, and what they lie between; of veth the medians themselves.
    pub(crate) fn table(&self) -> String {
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| self.0.values().any(|row| row.contains_key(kind)))
            .collect();
        let mut table = String::from("| |");
        for kind in &kinds {
            table += &format!(" {} |", kind.name());
        }
        table += &format!("\n|---|{}\n", "---|".repeat(kinds.len()));
        for ((mode, what), row) in &self.0 {
            table += &format!("| {} {what} |", mode.name());
            for kind in &kinds {
                let spread = row.get(kind).and_then(|its| shown(*kind, row, its));
                table += &spread.map_or_else(
                    || " |".to_owned(),
                    |s| match kind {
                        Kind::Veth => format!(" {:.2} |", s.median),
                        _ => format!(" {:.2} [{:.2}-{:.2}] |", s.median, s.least, s.most),
                    },
                );
            }
            table.push('\n');
        }
        table
    }
}

/// A column's title, and which figures are in it.
type Column = (&'static str, &'static [(Mode, &'static str)]);

/// What matters most.
const SUMMARY: &[Column] = &[
    ("full x1", &[(Mode::Full, "x1 down"), (Mode::Full, "x1 up")]),
    ("full x4", &[(Mode::Full, "x4 down"), (Mode::Full, "x4 up")]),
    ("wire x1", &[(Mode::Wire, "x1 down"), (Mode::Wire, "x1 up")]),
    ("wire x4", &[(Mode::Wire, "x4 down"), (Mode::Wire, "x4 up")]),
    (
        "forwarded, full",
        &[(Mode::Full, "forwarded down"), (Mode::Full, "forwarded up")],
    ),
    (
        "forwarded, wire",
        &[(Mode::Wire, "forwarded down"), (Mode::Wire, "forwarded up")],
    ),
    (
        "64 B packets, none lost",
        &[(Mode::Full, "64 B loss-free, kpps")],
    ),
];

/// What else is measured.
const OTHERS: &[Column] = &[
    (
        "a CPU-second, full x1",
        &[
            (Mode::Full, "x1 down a CPU-second"),
            (Mode::Full, "x1 up a CPU-second"),
        ],
    ),
    (
        "a CPU-second, full x4",
        &[
            (Mode::Full, "x4 down a CPU-second"),
            (Mode::Full, "x4 up a CPU-second"),
        ],
    ),
    (
        "a CPU-second, wire x1",
        &[
            (Mode::Wire, "x1 down a CPU-second"),
            (Mode::Wire, "x1 up a CPU-second"),
        ],
    ),
    (
        "a CPU-second, wire x4",
        &[
            (Mode::Wire, "x4 down a CPU-second"),
            (Mode::Wire, "x4 up a CPU-second"),
        ],
    ),
    (
        "64 B packets delivered",
        &[(Mode::Full, "64 B delivered, kpps")],
    ),
    (
        "IMIX packets delivered / none lost",
        &[
            (Mode::Full, "IMIX delivered, kpps"),
            (Mode::Full, "IMIX loss-free, kpps"),
        ],
    ),
    (
        "latency under load, p50 / p99",
        &[
            (Mode::Full, "latency p50, us"),
            (Mode::Full, "latency p99, us"),
        ],
    ),
];

/// A figure of the summary; with what it lies between where that is more than a third of it.
fn cell(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread {
             median,
             least,
             most,
         }| match most - least > median / 3.0 {
            true => format!("{median:.2} [{least:.2}-{most:.2}]"),
            false => format!("{median:.2}"),
        },
    )
}

/// What people are told of a contender's figures: of veth themselves, of others their ratios to it.
fn shown(kind: Kind, row: &BTreeMap<Kind, Vec<f64>>, figures: &[f64]) -> Option<Spread> {
    Spread::of(match kind {
        Kind::Veth => figures.to_vec(),
        _ => ratios(row, figures),
    })
}

/// Each figure by plain veth's of the same repetition.
fn ratios(row: &BTreeMap<Kind, Vec<f64>>, figures: &[f64]) -> Vec<f64> {
    let plain = row.get(&Kind::Veth).map_or(&[][..], Vec::as_slice);
    figures
        .iter()
        .zip(plain)
        .map(|(figure, plain)| figure / plain.max(f64::MIN_POSITIVE))
        .collect()
}

pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
