//! What is printed.

use super::judge::{Counts, Ruling, Verdict};

/// So many violations of a rule are printed; the rest are counted.
const SHOWN: usize = 5;

/// Prints what became of one round.
pub(crate) fn round(name: &str, verdict: &Verdict) {
    let Counts { requests, acknowledged, pushes, longest_wait, .. } = &verdict.counts;
    let faults: Vec<String> = verdict.counts.faults.iter().map(|(name, number)| format!("{number} {name}")).collect();
    let faults = if faults.is_empty() { "no fault".to_owned() } else { faults.join(", ") };
    println!(
        "{name}: {faults}; {requests} requests, {acknowledged} sends acknowledged, {pushes} pushes, longest wait {} ms",
        longest_wait / 1000
    );
    for (fault, why) in &verdict.counts.not_made {
        println!("  not made here: {fault}: {why}");
    }
    for ruling in verdict.rulings.iter().filter(|ruling| !ruling.violations.is_empty()) {
        println!("  VIOLATED {}: {} times", named(ruling), ruling.violations.len());
        for violation in ruling.violations.iter().take(SHOWN) {
            println!("    {}", violation.what);
            for entry in &violation.shown {
                println!("      {entry}");
            }
        }
    }
}

/// All rounds in one.
pub(crate) fn sum(verdicts: Vec<Verdict>) -> Option<Verdict> {
    verdicts.into_iter().reduce(|mut sum, verdict| {
        for (ruling, other) in sum.rulings.iter_mut().zip(verdict.rulings) {
            ruling.evidence += other.evidence;
            ruling.violations.extend(other.violations);
        }
        let (counts, other) = (&mut sum.counts, verdict.counts);
        counts.requests += other.requests;
        counts.acknowledged += other.acknowledged;
        counts.pushes += other.pushes;
        counts.sockets += other.sockets;
        counts.stored += other.stored;
        counts.longest_wait = counts.longest_wait.max(other.longest_wait);
        for (name, number) in other.faults {
            match counts.faults.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += number,
                None => counts.faults.push((name, number)),
            }
        }
        for (name, why) in other.not_made {
            if !counts.not_made.iter().any(|(known, _)| *known == name) {
                counts.not_made.push((name, why));
            }
        }
        sum
    })
}

/// Prints the end.
pub(crate) fn verdict(verdict: &Verdict) {
    let counts = &verdict.counts;
    println!("\nverdict");
    println!("  requests              {}", counts.requests);
    println!("  sends acknowledged    {}", counts.acknowledged);
    println!("  messages stored       {}", counts.stored);
    println!("  pushes                {}", counts.pushes);
    println!("  sockets opened        {}", counts.sockets);
    println!("  longest wait          {} ms", counts.longest_wait / 1000);
    for (name, number) in &counts.faults {
        println!("  survived              {number} × {name}");
    }
    for (name, why) in &counts.not_made {
        println!("  not made here         {name}: {why}");
    }
    println!();
    for ruling in &verdict.rulings {
        let outcome = match (ruling.violations.len(), ruling.evidence) {
            (0, 0) => "not exercised".to_owned(),
            (0, seen) => format!("held           {seen} times"),
            (wrong, seen) => format!("VIOLATED       {wrong} times, of {seen}"),
        };
        println!("  {:62} {outcome}", named(ruling));
    }
    println!("\n{}", if verdict.holds() { "nothing was lost" } else { "the contract is violated" });
}

fn named(ruling: &Ruling) -> String {
    if ruling.point == 0 { format!("-  {}", ruling.rule) } else { format!("{}. {}", ruling.point, ruling.rule) }
}
