//! `pages`: the chat list and both histories, at their beginning and far down, one request at a time.

use serde_json::{Value, json};

use super::super::caller::Caller;
use super::super::options::Pages;
use super::super::results::{Results, float};
use super::super::run::{Meter, Run};
use super::super::{Bench, Failure};

/// How long one page is asked for before it is the next one's turn, in nanoseconds: whatever else goes on
/// meets all of them, and a slow one does not take the time of the others.
const TURN: u64 = 200_000_000;

/// One page that is asked for again and again.
struct Question {
    name: String,
    kind: &'static str,
    params: Value,
    took: Meter,
}

/// Asks for each in turn.
pub(super) async fn run(bench: &mut Bench, asked: &Pages) -> Result<Results, Failure> {
    let mut results = Results::of("pages");
    results.setting("limit", asked.limit);
    results.setting("deep page", asked.page);
    let reader = &bench.people.get(1).await?[0];
    let mut caller = Caller::new(bench.door.open(&reader.token).await?);
    let (receiver, group) = places(&mut caller, reader.id, asked).await?;
    let questions: Vec<Question> = [1, asked.page]
        .into_iter()
        .flat_map(|page| {
            [
                ("listLastMessage", json!({ "limit": asked.limit, "page": page })),
                ("getlatestMessageDialog", json!({ "receiverId": receiver, "limit": asked.limit, "page": page })),
                ("getlatestMessageGroup", json!({ "groupId": group, "limit": asked.limit, "page": page })),
            ]
            .map(|(kind, params)| Question {
                name: format!("{kind} page {page}"),
                kind,
                params,
                took: Meter::default(),
            })
        })
        .collect();
    for question in &questions {
        let page: Value = serde_json::from_slice(&caller.ask(question.kind, &question.params).await?)?;
        let rows = page["params"]["data"].as_array().map_or(0, Vec::len);
        results.figure(&format!("rows of {}", question.name), float(rows as u64));
    }

    let run = &bench.run;
    let warm_up = run.now() + nanoseconds(bench.options.warm_up);
    while run.now() < warm_up {
        ask_in_turn(run, &mut caller, &questions).await?;
    }
    let end = run.open_window() + nanoseconds(bench.options.seconds);
    while run.now() < end {
        ask_in_turn(run, &mut caller, &questions).await?;
    }
    run.close_window();
    results.measurements =
        questions.iter().map(|question| run.measurement(&question.took, 0, &question.name)).collect();
    Ok(results)
}

async fn ask_in_turn(run: &Run, caller: &mut Caller, questions: &[Question]) -> Result<(), Failure> {
    for question in questions {
        let end = run.now() + TURN;
        while run.now() < end {
            let begun = run.now();
            caller.ask(question.kind, &question.params).await?;
            question.took.record(run, begun, run.now());
        }
    }
    Ok(())
}

/// The dialog and the group to read: those that were asked for, else the first of the reader's list.
async fn places(caller: &mut Caller, reader: i64, asked: &Pages) -> Result<(i64, i64), Failure> {
    if let (Some(receiver), Some(group)) = (asked.receiver_id, asked.group_id) {
        return Ok((receiver, group));
    }
    let list: Value = serde_json::from_slice(&caller.ask("listLastMessage", &json!({ "limit": 100 })).await?)?;
    let rows = list["params"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let group = rows.iter().find_map(|row| row["groupId"].as_i64());
    let dialog = rows.iter().find(|row| row["groupId"].is_null());
    let other = dialog.and_then(|row| {
        let (sender, receiver) = (row["senderId"].as_i64()?, row["receiverId"].as_i64()?);
        Some(if sender == reader { receiver } else { sender })
    });
    let missing = |what| {
        Failure::Asked(format!("user {reader}, the first of --accounts, has no {what} among the newest conversations"))
    };
    let receiver = asked.receiver_id.or(other).ok_or_else(|| missing("dialog"))?;
    Ok((receiver, asked.group_id.or(group).ok_or_else(|| missing("group"))?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run, not negative")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
