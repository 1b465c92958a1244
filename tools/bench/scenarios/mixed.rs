//! `mixed`: people who write to friends and into groups, look at their lists and histories, type and
//! read, at a steady rate whatever the server makes of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::task::{AbortHandle, spawn_local};

use super::super::caller::{Caller, NoAnswer};
use super::super::judge::Wrongs;
use super::super::load::{make_group, open_all};
use super::super::options::Mixed;
use super::super::pacer::{due_at, pace};
use super::super::person::{ACTS, Acquaintances, Ears, Habits, Person, SharedPerson};
use super::super::results::{Results, float};
use super::super::run::Meter;
use super::super::talker::{Stream, Target};
use super::super::{Bench, Failure};

/// How many others somebody writes to.
const FRIENDS: usize = 5;
/// How many are in a group; everybody is in one.
const IN_A_GROUP: usize = 20;
/// So long without anything new, and what has not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// People, in a circle: everybody writes to the next ones.
pub(super) async fn run(bench: &mut Bench, asked: &Mixed) -> Result<Results, Failure> {
    if asked.people <= FRIENDS * 2 {
        return Err(Failure::Asked(format!("more than {} people are needed", FRIENDS * 2)));
    }
    let mut results = Results::of("mixed");
    results.setting("people", asked.people);
    results.setting("rate", asked.rate);
    let habits = Rc::new(Habits { took: ACTS.map(|_| Meter::default()), other_pushes: Meter::default() });
    let extras = knows_typing(bench).await?;
    results.setting("typing and receipts", extras);
    let everybody = gather(bench, asked.people, &habits).await?;
    let run = Rc::clone(&bench.run);
    for person in &everybody {
        person.borrow_mut().say_hello();
    }
    let is_answered = || everybody.iter().all(|person| person.borrow().waiting() == 0);
    run.settle(PATIENCE, is_answered).await;
    if extras {
        for person in &everybody {
            person.borrow_mut().look_out();
        }
        run.settle(PATIENCE, is_answered).await;
    }

    let acting = act(&everybody, asked.rate, extras, run.now());
    run.wait("mixed: warming up", bench.options.warm_up()).await;
    results.processor = run.measure("mixed", bench.options.length()).await;
    acting.abort();
    run.settle(PATIENCE, || is_answered() && judge(&everybody).lost == 0).await;

    results.wrongs = Some(judge(&everybody));
    results.refused = run.refused.take();
    results.ended = run.ended.take();
    let waiting: u64 = everybody.iter().map(|person| person.borrow().waiting()).sum();
    results.figure("requests without an answer", float(waiting));
    let replies = run.measurement(&run.replies, 0, "reply to anything");
    results.costs("request", replies.per_second);
    results.measurements = vec![replies, run.measurement(&run.deliveries, 0, "delivery of a message")];
    for ((act, _), took) in ACTS.iter().zip(&habits.took) {
        results.measurements.push(run.measurement(took, 0, act.kind()));
    }
    let others = run.measurement(&habits.other_pushes, 0, "other pushes").per_second;
    results.figure("other pushes a second", others);
    results.measurements.retain(|measurement| measurement.count > 0);
    Ok(results)
}

/// Whether the server has the frames that not every server of the protocol has.
async fn knows_typing(bench: &mut Bench) -> Result<bool, Failure> {
    let me = &bench.people.get(1).await?[0];
    let mut caller = Caller::new(bench.door.open(&me.token).await?);
    match caller.ask("subscribe", &json!({ "events": ["typing"] })).await {
        Ok(_) => Ok(true),
        Err(NoAnswer::Refused(..)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a socket for each, in a circle of friends and in groups.
async fn gather(bench: &mut Bench, count: usize, habits: &Rc<Habits>) -> Result<Vec<SharedPerson>, Failure> {
    let accounts = bench.people.get(count).await?;
    let mut groups = Vec::new();
    for members in accounts.chunks(IN_A_GROUP) {
        groups.push(make_group(&bench.door, members).await?);
    }
    let opened = open_all(&bench.door, accounts).await?;
    let manner = bench.options.manner(Some(1.0));
    let id = |nth: usize| accounts[nth % count].id;
    let mut places = HashMap::new();
    let mut streams = 0;
    let mut everybody = Vec::new();
    for (nth, open) in opened.into_iter().enumerate() {
        let mut stream = |conversation: (i64, i64), target: Target| {
            let known = u32::try_from(places.len()).expect("a few for each person");
            let place = *places.entry(conversation).or_insert(known);
            streams += 1;
            Stream::new(place, streams, target, manner)
        };
        let friends: Vec<i64> = (1..=FRIENDS).map(|step| id(nth + step)).collect();
        let writers: Vec<i64> = (1..=FRIENDS).map(|step| id(nth + count - step)).collect();
        let group = groups[nth / IN_A_GROUP];
        let mut own: Vec<Stream> =
            friends.iter().map(|friend| stream((id(nth), *friend), Target::User(*friend))).collect();
        // No person has the id 0.
        own.push(stream((group, 0), Target::Group(group)));
        let known = Acquaintances { friends, writers, group };
        let person = Rc::new(RefCell::new(Person::new(&bench.run, habits, &open.line, own, known)));
        spawn_local(open.listen_to_the_end(Rc::clone(&bench.run), Ears(Rc::clone(&person))));
        everybody.push(person);
    }
    Ok(everybody)
}

/// Everybody in turn does something, at this rate in all.
fn act(everybody: &[SharedPerson], rate: f64, extras: bool, begun: u64) -> AbortHandle {
    let everybody = everybody.to_vec();
    let mut due = pace(rate);
    // The same acts in every run.
    let mut random = StdRng::seed_from_u64(4);
    let turns = async move {
        while let Some(some) = due.recv().await {
            for nth in some {
                let act = pick(random.random_range(0..100), extras);
                let mut person = everybody[random.random_range(0..everybody.len())].borrow_mut();
                let intended = Duration::from_nanos(begun) + due_at(rate, nth);
                person.act(act, random.random_range(0..1000), u64::try_from(intended.as_nanos()).unwrap_or(u64::MAX));
                person.flush();
            }
        }
    };
    spawn_local(turns).abort_handle()
}

/// Which of [`ACTS`] has this place among a hundred; a message where the server does not have it.
fn pick(place: u64, extras: bool) -> usize {
    let mut below = 0;
    let found = ACTS.iter().position(|(_, often)| {
        below += often;
        place < below
    });
    found.filter(|act| extras || ACTS[*act].0.is_everywhere()).unwrap_or(0)
}

/// Everybody hears their friends, and the others of their group.
fn judge(everybody: &[SharedPerson]) -> Wrongs {
    let mut all = Wrongs::default();
    let count = everybody.len();
    for (nth, person) in everybody.iter().enumerate() {
        let person = person.borrow();
        let mut lost = 0;
        let mut miss = |stream: &Stream| lost += person.ears.lost(stream.place, stream.number, &stream.sent);
        for step in 1..=FRIENDS {
            miss(&everybody[(nth + count - step) % count].borrow().streams[step - 1]);
        }
        let group = nth / IN_A_GROUP * IN_A_GROUP;
        for other in (group..count.min(group + IN_A_GROUP)).filter(|other| *other != nth) {
            let other = everybody[other].borrow();
            other.streams.last().into_iter().for_each(&mut miss);
        }
        all.add(Wrongs { lost, ..person.ears.wrongs() });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_picked_as_often_as_they_should() {
        let often: Vec<u64> =
            (0..ACTS.len()).map(|act| (0..100).filter(|place| pick(*place, true) == act).count() as u64).collect();
        assert_eq!(often, ACTS.map(|(_, often)| often));
        assert!((0..100).all(|place| ACTS[pick(place, false)].0.is_everywhere()));
    }
}
