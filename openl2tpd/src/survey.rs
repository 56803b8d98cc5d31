//! What carries sessions, and what this machine could do: `system show datapath`.

use std::sync::{Arc, Mutex, PoisonError};

use api::{CommandError, DatapathStatus, EnginePart, EngineStatus, ErrorKind, Response};
use datapath::Engine;
use datapath::survey::{Finding, Surveyor, UPLINKS};
use tokio::task;

use crate::carrier::Taken;

/// The engines, the fastest first.
const ENGINES: [Engine; 3] = [Engine::Kernel, Engine::Ebpf, Engine::Tun];

/// Answers what carries sessions.
pub(crate) struct Survey {
    taken: Taken,
    /// Nothing while another asks: one device is tried at a time.
    surveyor: Arc<Mutex<Surveyor>>,
}

impl Survey {
    pub(crate) fn new(taken: Taken, surveyor: Surveyor) -> Self {
        let surveyor = Arc::new(Mutex::new(surveyor));
        Self { taken, surveyor }
    }

    /// Tries everything.
    pub(crate) async fn answer(&self) -> Result<Response, CommandError> {
        let surveyor = Arc::clone(&self.surveyor);
        let tried = task::spawn_blocking(move || {
            let mut surveyor = surveyor.lock().unwrap_or_else(PoisonError::into_inner);
            surveyor.survey()
        });
        let findings = tried.await.map_err(|error| {
            let message = format!("the engines cannot be tried: {error}");
            CommandError::new(ErrorKind::Resources, message)
        })?;
        let release = rustix::system::uname();
        // Who does without programs has `tun`.
        let without = |finding: &Finding| finding.what == UPLINKS && finding.result.is_err();
        let by_itself = self.taken.datapath == "auto" && findings.iter().any(without);
        let now = |engine| match engine {
            Engine::Ebpf if by_itself => Engine::Tun,
            other => other,
        };
        Ok(Response::Datapath(Box::new(DatapathStatus {
            datapath: self.taken.datapath.to_owned(),
            shared_device: now(self.taken.shared).name().to_owned(),
            own_device: now(self.taken.own).name().to_owned(),
            kernel_release: release.release().to_string_lossy().into_owned(),
            engines: ENGINES.map(|engine| status(engine, &findings)).into(),
        })))
    }
}

fn status(engine: Engine, findings: &[Finding]) -> EngineStatus {
    let its = |of: Engine| findings.iter().filter(move |finding| finding.engine == of);
    let complete = |of: Engine| its(of).all(|f| f.result.is_ok() || !f.needed);
    // A session of `ebpf` is always one of `tun`, too.
    let usable = complete(engine) && (engine != Engine::Ebpf || complete(Engine::Tun));
    let parts = its(engine).map(|finding| {
        let (Ok(detail) | Err(detail)) = &finding.result;
        EnginePart {
            part: finding.what.to_owned(),
            available: finding.result.is_ok(),
            needed: finding.needed,
            detail: detail.clone(),
        }
    });
    EngineStatus {
        engine: engine.name().to_owned(),
        usable,
        parts: parts.collect(),
    }
}
