//! The plan of a run: which rounds there are.

use std::time::Duration;

use clap::ValueEnum as _;

use crate::fault::{Fault, Layer};
use crate::options::Run;
use crate::scenarios::scenario::Scenario;

/// The plan of a round.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The name.
    pub(crate) name: String,
    /// The faults to inject.
    pub(crate) faults: Vec<Fault>,
    /// The scenario that it follows, instead of the fields below.
    pub(crate) scenario: Option<Scenario>,
    /// The number of servers.
    pub(crate) servers: usize,
    /// Whether the server runs a private PostgreSQL.
    pub(crate) has_private_postgres: bool,
    /// The duration of the load.
    pub(crate) duration: Duration,
    /// The seed of its random choices.
    pub(crate) seed: u64,
}

/// The rounds of a run: one for each fault, then mixed ones.
pub(crate) fn plans(run: &Run, seed: u64) -> Vec<Plan> {
    let all = Fault::value_variants();
    let alone: &[Fault] = if run.faults.is_empty() { all } else { &run.faults };
    let scripted = |fault: &Fault| {
        Scenario::of(*fault).iter().map(|scenario| Plan {
            name: scenario.name().to_owned(),
            faults: Vec::new(),
            scenario: Some(*scenario),
            servers: 1,
            has_private_postgres: false,
            duration: Duration::ZERO,
            seed,
        })
    };
    let mut plans: Vec<Plan> = alone
        .iter()
        .filter(|fault| fault.layer() != Layer::History)
        .map(|fault| Plan {
            name: fault.name(),
            faults: vec![*fault],
            scenario: None,
            servers: if *fault == Fault::KillOneOfTwo { 2 } else { 1 },
            has_private_postgres: fault.layer() != Layer::Database && *fault != Fault::KillOneOfTwo,
            // The abuse has seven parts.
            duration: run.load.duration().mul_f64(if *fault == Fault::Abuse { 2.5 } else { 1.0 }),
            seed,
        })
        .chain(alone.iter().flat_map(scripted))
        .collect();
    if run.faults.is_empty() || run.mixed {
        let of_private = |fault: &Fault| {
            fault.layer() == Layer::Clients && fault.is_mixable()
                || matches!(fault, Fault::KillServer | Fault::RestartServer | Fault::KillPostgres)
        };
        let mixed = |name: &str, servers, private, faults| Plan {
            name: name.to_owned(),
            faults,
            scenario: None,
            servers,
            has_private_postgres: private,
            duration: run.load.duration() * 4,
            seed,
        };
        plans.push(mixed("mixed-one-server", 1, true, all.iter().copied().filter(of_private).collect()));
        let all = all.iter().copied().filter(|fault| fault.is_mixable());
        plans.push(mixed("mixed-two-servers", 2, false, all.collect()));
    }
    plans
}
