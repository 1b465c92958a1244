//! Prints verdicts.

use crate::checker::verdict::{Counts, RuleResult, Verdict};

/// The number of violations of a rule that are printed; the rest are only counted.
const MAX_PRINTED_VIOLATIONS: usize = 5;

/// Prints the verdict on one round.
pub(crate) fn round(name: &str, verdict: &Verdict) {
    let Counts { requests, acknowledged, pushes, longest_wait, .. } = &verdict.counts;
    let faults: Vec<String> = verdict.counts.faults.iter().map(|(name, number)| format!("{number} {name}")).collect();
    let faults = if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") };
    println!(
        "{name}: {faults}; {requests} requests, {acknowledged} sends acknowledged, {pushes} pushes, longest wait {} ms",
        longest_wait / 1000
    );
    for (fault, reason) in &verdict.counts.skipped {
        println!("  skipped: {fault}: {reason}");
    }
    for result in verdict.results.iter().filter(|result| !result.violations.is_empty()) {
        println!("  VIOLATED {}: {} times", label(result), result.violations.len());
        for violation in result.violations.iter().take(MAX_PRINTED_VIOLATIONS) {
            println!("    {}", violation.description);
            for entry in &violation.excerpts {
                println!("      {entry}");
            }
        }
    }
}

/// The verdict on all rounds together; `None` without a round.
pub(crate) fn sum(verdicts: Vec<Verdict>) -> Option<Verdict> {
    verdicts.into_iter().reduce(|mut sum, verdict| {
        for (result, other) in sum.results.iter_mut().zip(verdict.results) {
            result.evidence += other.evidence;
            result.violations.extend(other.violations);
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
        for (name, reason) in other.skipped {
            if !counts.skipped.iter().any(|(known, _)| *known == name) {
                counts.skipped.push((name, reason));
            }
        }
        sum
    })
}

/// Prints the final verdict.
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
    for (name, reason) in &counts.skipped {
        println!("  skipped               {name}: {reason}");
    }
    println!();
    for result in &verdict.results {
        let outcome = match (result.violations.len(), result.evidence) {
            (0, 0) => "not exercised".to_owned(),
            (0, event) => format!("held           {event} times"),
            (wrong, event) => format!("VIOLATED       {wrong} times, of {event}"),
        };
        println!("  {:72} {outcome}", label(result));
    }
    println!("\n{}", if verdict.holds() { "nothing was lost" } else { "the contract is violated" });
}

fn label(result: &RuleResult) -> String {
    if result.point == 0 { format!("-  {}", result.rule) } else { format!("{}. {}", result.point, result.rule) }
}
