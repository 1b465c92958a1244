//! `pages`: the first and a deep page of the chat list and of both histories, one request at a time.

use serde_json::{Value, json};

use crate::context::Context;
use crate::error::BenchError;
use crate::measure::results::{Results, float};
use crate::measure::run::{Meter, Run};
use crate::options::Pages;
use crate::sockets::rpc_client::RpcClient;

/// How long one page is requested before it is the turn of the next one, in nanoseconds. The pages take turns, so that
/// a disturbance meets all of them and a slow page does not take the time of the others.
const TURN_NANOS: u64 = 200_000_000;

/// A page that is requested again and again.
struct PageRequest {
    name: String,
    frame_type: &'static str,
    params: Value,
    latency: Meter,
}

/// Requests each page in turn.
pub(super) async fn run(context: &mut Context, options: &Pages) -> Result<Results, BenchError> {
    let mut results = Results::new("pages");
    results.add_setting("limit", options.limit);
    results.add_setting("deep page", options.page);
    let reader = &context.accounts.get(1).await?[0];
    let mut client = RpcClient::new(context.connector.connect(&reader.token).await?);
    let (receiver, group) = find_conversations(&mut client, reader.id, options).await?;
    let pages: Vec<PageRequest> = [1, options.page]
        .into_iter()
        .flat_map(|page| {
            [
                ("listLastMessage", json!({ "limit": options.limit, "page": page })),
                ("getlatestMessageDialog", json!({ "receiverId": receiver, "limit": options.limit, "page": page })),
                ("getlatestMessageGroup", json!({ "groupId": group, "limit": options.limit, "page": page })),
            ]
            .map(|(frame_type, params)| PageRequest {
                name: format!("{frame_type} page {page}"),
                frame_type,
                params,
                latency: Meter::default(),
            })
        })
        .collect();
    for page in &pages {
        let reply: Value = serde_json::from_slice(&client.call(page.frame_type, &page.params).await?)?;
        let rows = reply["params"]["data"].as_array().map_or(0, Vec::len);
        results.add_figure(&format!("rows of {}", page.name), float(rows as u64));
    }

    let run = &context.run;
    let warm_up = run.now() + nanoseconds(context.options.warm_up);
    while run.now() < warm_up {
        request_in_turn(run, &mut client, &pages).await?;
    }
    let end = run.start_window() + nanoseconds(context.options.seconds);
    while run.now() < end {
        request_in_turn(run, &mut client, &pages).await?;
    }
    run.end_window();
    results.measurements = pages.iter().map(|page| run.measurement(&page.latency, 0, &page.name)).collect();
    Ok(results)
}

async fn request_in_turn(run: &Run, client: &mut RpcClient, pages: &[PageRequest]) -> Result<(), BenchError> {
    for page in pages {
        let end = run.now() + TURN_NANOS;
        while run.now() < end {
            let start = run.now();
            client.call(page.frame_type, &page.params).await?;
            page.latency.record(run, start, run.now());
        }
    }
    Ok(())
}

/// The peer of the dialog and the group to read: those of the options, or else the first ones of the reader's chat
/// list.
async fn find_conversations(client: &mut RpcClient, reader: i64, options: &Pages) -> Result<(i64, i64), BenchError> {
    if let (Some(receiver), Some(group)) = (options.receiver_id, options.group_id) {
        return Ok((receiver, group));
    }
    let list: Value = serde_json::from_slice(&client.call("listLastMessage", &json!({ "limit": 100 })).await?)?;
    let rows = list["params"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let group = rows.iter().find_map(|row| row["groupId"].as_i64());
    let dialog = rows.iter().find(|row| row["groupId"].is_null());
    let other = dialog.and_then(|row| {
        let (sender, receiver) = (row["senderId"].as_i64()?, row["receiverId"].as_i64()?);
        Some(if sender == reader { receiver } else { sender })
    });
    let missing = |what| {
        BenchError::Message(format!(
            "user {reader}, the first of --accounts, has no {what} among the newest conversations"
        ))
    };
    let receiver = options.receiver_id.or(other).ok_or_else(|| missing("dialog"))?;
    Ok((receiver, options.group_id.or(group).ok_or_else(|| missing("group"))?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run, not negative")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
