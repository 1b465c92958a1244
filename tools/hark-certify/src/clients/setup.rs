//! The setup of a round: accounts, first cursors and groups.

use std::collections::HashMap;
use std::time::Duration;

use hark_harness::accounts::{Account, AccountError, log_in, sign_up};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::clients::connection::{ConnectTarget, Connection};
use crate::clients::shared::{Group, Membership, SharedState};
use crate::history::recorder::Recorder;

/// Maximum wait for a response or reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a sign-up is repeated where the server's rate limits are on.
const SIGN_UP_TIMEOUT: Duration = Duration::from_mins(5);

/// Signs up `number` users and creates their groups. `name` distinguishes the accounts of the round from those of
/// others.
///
/// # Errors
/// A sentence: the failed step.
pub(crate) async fn set_up(
    servers: Vec<String>,
    number: usize,
    name: &str,
    seed: u64,
    recorder: &Recorder,
) -> Result<SharedState, String> {
    let mut accounts = Vec::new();
    for nth in 0..number {
        let http = http_client(nth)?;
        let email = format!("{name}-{nth}@certify.invalid");
        accounts.push(sign_up_with_retry(&http, &servers[0], &email, &format!("Person {nth}")).await?);
    }
    let mut connections = Vec::new();
    for person in &accounts {
        let target = ConnectTarget { servers: &servers, server: 0, user: person.id, token: &person.token };
        connections
            .push(Connection::open(target, Some(recorder)).await.map_err(|error| format!("no socket: {error:?}"))?);
    }
    // Before anything else: nothing precedes these cursors, so a `sync` from one returns everything.
    let mut first_cursors = Vec::new();
    for (person, connection) in accounts.iter().zip(&mut connections) {
        let reply = connection.call("sync", &json!({}), REPLY_TIMEOUT).await;
        let cursor = reply.as_ref().and_then(|reply| reply["params"]["item"]["cursor"].as_str());
        first_cursors.push((person.id, cursor.ok_or(format!("no cursor: {reply:?}"))?.to_owned()));
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut groups, mut memberships) = (Vec::new(), HashMap::new());
    for (nth, connection) in connections.iter_mut().enumerate().take((number / 3).max(2)) {
        let admin = accounts[nth].id;
        let mut others: Vec<i64> = accounts.iter().map(|person| person.id).filter(|id| *id != admin).collect();
        others.shuffle(&mut rng);
        let (always, floating) = others.split_at(others.len() / 2);
        let (inside, outside) = floating.split_at(floating.len() / 2);
        let first: Vec<i64> = always.iter().chain(inside).copied().collect();
        let params = json!({ "groupName": format!("Group {nth}"), "userIds": first });
        let reply = connection.call("newGroup", &params, REPLY_TIMEOUT).await;
        let id = reply.as_ref().and_then(|reply| reply["params"]["item"]["groupId"].as_i64());
        let id = id.ok_or(format!("no group: {reply:?}"))?;
        memberships.extend(outside.iter().map(|user| ((id, *user), Membership::Out)));
        groups.push(Group { id, admin, floating: floating.to_vec() });
    }
    for connection in connections {
        connection.close().await;
    }
    let shared = SharedState::new(servers, accounts, groups, memberships);
    for (user, cursor) in first_cursors {
        shared.add_cursor(user, &cursor);
    }
    Ok(shared)
}

/// An HTTP client with an address of its own in `X-Forwarded-For`, for a server that trusts a proxy. Other servers
/// ignore the header.
///
/// # Errors
/// A sentence: the client cannot be built.
pub(crate) fn http_client(nth: usize) -> Result<Client, String> {
    let address = format!("10.{}.{}.{}", nth >> 16 & 255, nth >> 8 & 255, nth & 255);
    let address = address.parse().map_err(|_| format!("{address} is no header"))?;
    let headers = [(reqwest::header::HeaderName::from_static("x-forwarded-for"), address)].into_iter().collect();
    let client = Client::builder().no_proxy().timeout(REPLY_TIMEOUT).default_headers(headers);
    client.build().map_err(|error| error.to_string())
}

/// Signs up a user, and repeats that while the server's rate limit refuses it.
///
/// # Errors
/// A sentence: the sign-up is refused otherwise, or for longer than [`SIGN_UP_TIMEOUT`].
pub(crate) async fn sign_up_with_retry(
    http: &Client,
    server: &str,
    email: &str,
    name: &str,
) -> Result<Account, String> {
    let deadline = Instant::now() + SIGN_UP_TIMEOUT;
    let mut exists = false;
    loop {
        let account = if exists { log_in(http, server, email).await } else { sign_up(http, server, email, name).await };
        match account {
            Err(AccountError::Refused(StatusCode::TOO_MANY_REQUESTS, _)) if Instant::now() < deadline => {
                sleep(Duration::from_secs(5)).await;
            }
            // The account was created, and only the login was refused.
            Err(AccountError::Refused(StatusCode::CONFLICT, _)) if !exists => exists = true,
            account => return account.map_err(|error| error.to_string()),
        }
    }
}
